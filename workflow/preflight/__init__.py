"""What is checked before the first job starts: the configuration, the sample and calibration tables, the microscope.

Imported by ``workflow/rules/common.smk``. Plain functions on plain files, so that every message can be tested without
running Snakemake. Nothing here imports the package ``planeloc``: the workflow must also start where the package lives
only in a container. The schemas of the configuration and of the microscope file are made from the package's settings;
``planeloc/cameras/region_rules.py`` and ``planeloc/postprocessing/filter_expression.py`` need nothing but Python and
are run from their files.
"""
