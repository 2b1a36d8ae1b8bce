# Filtered localizations, and the ground truth where it is known -> metrics.
rule evaluate:
    input:
        localizations=rules.filter.output.localizations,
        truth=of_sample("truth"),
        psf=made_for_sample(rules.calibrate.output.psf),
        microscope=lambda wildcards: microscope_of(
            experiment.samples[wildcards.sample].calibration
        ),
        registration=rules.update_registration.output.registration,
    output:
        metrics="<results>/{sample}/evaluation.json",
        figure=report(
            "<results>/{sample}/evaluation.png",
            caption="../report/evaluation.rst",
            category="Sample {sample}",
            labels={"figure": "Evaluation"},
        ),
        provenance="<results>/{sample}/evaluate.provenance.json",
    log:
        "<logs>/evaluate/{sample}.log",
    benchmark:
        "<benchmarks>/evaluate/{sample}.tsv"
    params:
        truth=repeated("--truth", "truth"),
        options=options("evaluate"),
        version=stage_version("evaluate"),
    shell:
        "planeloc evaluate --localizations {input.localizations:q} {params.truth} {params.options} "
        "--psf {input.psf:q} --microscope {input.microscope:q} --registration {input.registration:q} "
        "--output {output.metrics:q} --figure {output.figure:q} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
