# Lets `snakemake` be started in this folder. A bare include would run nothing, hence the default target.
include: "workflow/Snakefile"


rule default:
    default_target: True
    input:
        rules.all.input,
