# Quality values of all stages -> the verdicts on a calibration in one file, and all that concern a sample on one page.
# A step that fails leaves its values as <step>.quality.failed.json, and `onerror` puts these into qc.json, too.
rule qc:
    input:
        cameras=where_measured(
            rules.cameras.output.quality, lambda wildcards: wildcards.calibration
        ),
        calibration=rules.calibrate.output.quality,
        registration=rules.register.output.quality,
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
        version=stage_version("report"),
    shell:
        "planeloc report qc --output {output.qc:q} {params.cameras} calibration={input.calibration:q} "
        "registration={input.registration:q} 2>&1 | tee -i {log:q}"


rule quality:
    input:
        cameras=where_measured(
            rules.cameras.output.quality,
            lambda wildcards: experiment.samples[wildcards.sample].calibration,
        ),
        calibration=made_for_sample(rules.calibrate.output.quality),
        registration=made_for_sample(rules.register.output.quality),
        movie=rules.convert.output.quality,
        sample_drift=rules.correct_drift.output.quality,
        resolution=rules.measure_resolution.output.quality,
        evaluation=rules.evaluate.output.metrics,
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
            shlex.quote(f"cameras={file}") for file in [input.cameras] if file
        ),
        version=stage_version("report"),
    shell:
        "planeloc report quality --output {output.page:q} {params.cameras} calibration={input.calibration:q} "
        "registration={input.registration:q} movie={input.movie:q} "
        "sample_drift={input.sample_drift:q} resolution={input.resolution:q} "
        "evaluation={input.evaluation:q} 2>&1 | tee -i {log:q}"
