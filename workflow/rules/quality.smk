# Quality values of all stages -> the verdicts on a calibration in one file, and all that concern a sample on one page.
# A step that fails leaves its values as <step>.quality.failed.json, and `onerror` puts these into qc.json, too.
rule qc:
    input:
        cameras=where_measured(
            rules.cameras.output.quality, lambda wildcards: wildcards.calibration
        ),
        calibration=rules.calibrate.output.quality,
        registration=rules.register.output.quality,
        script=SCRIPTS / "qc.py",
    output:
        qc="<results>/calibration/{calibration}/qc.json",
    log:
        "<logs>/qc/{calibration}.log",
    benchmark:
        "<benchmarks>/qc/{calibration}.tsv"
    params:
        cameras=lambda wildcards, input: " ".join(
            shlex.quote(f"cameras={file}") for file in [input.cameras] if file
        ),
    shell:
        "python3 {input.script:q} {output.qc:q} {params.cameras} calibration={input.calibration:q} "
        "registration={input.registration:q} 2>&1 | tee {log:q}"


rule quality:
    input:
        cameras=where_measured(
            rules.cameras.output.quality,
            lambda wildcards: experiment.samples[wildcards.sample].calibration,
        ),
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
