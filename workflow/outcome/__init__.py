"""What is said at the end of a run: one row for every sample.

Imported by ``workflow/rules/common.smk``. As in `preflight`, nothing here imports the package ``planeloc``: the
workflow also runs where the package lives only in a container.
"""
