# Filtered localizations, and the truth where it is known -> metrics; then all quality values of a sample on one page.
rule evaluate:
    input:
        localizations=rules.filter.output.localizations,
        truth=of_sample("truth"),
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
        code=code_version("evaluation"),
    shell:
        "planeloc evaluate --localizations {input.localizations:q} {params.truth} {params.options} "
        "--output {output.metrics:q} --figure {output.figure:q} "
        "--provenance {output.provenance:q} 2>&1 | tee {log:q}"


rule quality:
    input:
        cameras=measured_for_sample(rules.cameras.output.quality),
        calibration=made_for_sample(rules.calibrate.output.quality),
        registration=made_for_sample(rules.register.output.quality),
        movie=rules.convert.output.quality,
        evaluation=rules.evaluate.output.metrics,
        script=SCRIPTS / "quality_page.py",
    output:
        page=report(
            "<results>/{sample}/quality.html",
            caption="../report/quality.rst",
            category="Sample {sample}",
            labels={"figure": "Quality values"},
        ),
    log:
        "<logs>/quality/{sample}.log",
    benchmark:
        "<benchmarks>/quality/{sample}.tsv"
    params:
        cameras=lambda wildcards, input: " ".join(
            shlex.quote(f"Cameras={file}") for file in [input.cameras] if file
        ),
    shell:
        "python3 {input.script:q} {output.page:q} {params.cameras} Calibration={input.calibration:q} "
        "Registration={input.registration:q} Movie={input.movie:q} Evaluation={input.evaluation:q} 2>&1 | tee {log:q}"
