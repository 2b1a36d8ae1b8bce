# Only with `simulation:` in the configuration: the demo's raw files, as a microscope would have left them.
if config["simulation"]:

    rule simulate:
        input:
            settings=config["simulation"],
        output:
            experiment.files_in(simulated_folder(config)),
        log:
            "<logs>/simulate.log",
        benchmark:
            "<benchmarks>/simulate.tsv"
        params:
            folder=lambda wildcards: simulated_folder(config),
            version=stage_version("simulate"),
        shell:
            "planeloc simulate --settings {input.settings:q} --output {params.folder:q} 2>&1 | tee -i {log:q}"
