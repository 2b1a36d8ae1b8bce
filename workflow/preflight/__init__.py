"""What is checked before the first job starts: the configuration, the two sheets, and which code a step depends on.

Imported by ``workflow/rules/common.smk``. Plain functions on plain files, so that every message can be tested without
running Snakemake. Nothing here imports the package ``planeloc``: the workflow must also start where the package lives
only in a container.
"""
