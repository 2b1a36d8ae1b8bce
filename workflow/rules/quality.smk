# Quality values of all stages -> the verdicts on a calibration in one file, and the quality page of a sample.
# A step that fails leaves its values as <step>.quality.failed.json; `onerror` puts these into qc.json and on the page.

# What is on the page, whatever the order: NAME: quality values (of localize: its table, which holds the check of the
# network; of filter: its table, which says what was removed), figure:NAME: a figure, link:NAME: a page beside it. planeloc.reporting.sections says what each is called.
ON_PAGE = {
    "cameras": rules.cameras.output.quality,
    "figure:cameras": rules.cameras.output.figure,
    "registration": rules.register.output.quality,
    "figure:registration": rules.register.output.figure,
    "calibration": rules.calibrate.output.quality,
    "figure:calibration": rules.calibrate.output.figure,
    "movie": rules.convert.output.quality,
    "synchronization": rules.synchronize.output.quality,
    "figure:synchronization": rules.synchronize.output.figure,
    "registration_in_movie": rules.update_registration.output.quality,
    "figure:registration_in_movie": rules.update_registration.output.figure,
    "network": rules.localize.output.localizations,
    "figure:training": rules.train.output.figure,
    "camera_drift": rules.localize.output.quality,
    "figure:camera_drift": rules.localize.output.figure,
    "localization": rules.overlay.output.quality,
    "figure:overlay": rules.overlay.output.figure,
    "sample_drift": rules.correct_drift.output.quality,
    "figure:sample_drift": rules.correct_drift.output.figure,
    "linking": rules.link.output.quality,
    "figure:linking": rules.link.output.figure,
    "resolution": rules.measure_resolution.output.quality,
    "figure:resolution": rules.measure_resolution.output.figure,
    "filter": rules.filter.output.localizations,
    "figure:filtered": rules.filter.output.figure,
    "link:view_3d": rules.view_3d.output.page,
    "figure:depth": rules.render.output.depth_image,
    "figure:projections": rules.render.output.projections,
    "figure:slices": rules.render.output.slices,
    "figure:before_after": rules.render.output.drift_image,
    "evaluation": rules.evaluate.output.metrics,
    "figure:evaluation": rules.evaluate.output.figure,
}

# Steps whose error is told on the page if they stop: name on the page -> rule.
TOLD_IF_STOPPED = {
    "cameras": rules.cameras,
    "registration": rules.register,
    "calibration": rules.calibrate,
    "movie": rules.convert,
    "synchronization": rules.synchronize,
    "registration_in_movie": rules.update_registration,
    "network": rules.train,
    "localization": rules.localize,
    "overlay": rules.overlay,
    "sample_drift": rules.correct_drift,
    "filter": rules.filter,
    "linking": rules.link,
    "resolution": rules.measure_resolution,
    "views": rules.render,
    "view_3d": rules.view_3d,
    "evaluation": rules.evaluate,
}
if config["simulation"]:
    TOLD_IF_STOPPED = {"simulation": rules.simulate, **TOLD_IF_STOPPED}


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
        lambda wildcards: list(on_page(wildcards.sample).values()),
    output:
        page=report(
            "<results>/{sample}/quality.html",
            caption="../report/quality.rst",
            category="Sample {sample}",
            labels={"figure": "1 Quality: start here"},
        ),
        verdict="<results>/{sample}/verdict.json",
    log:
        "<logs>/quality/{sample}.log",
    benchmark:
        "<benchmarks>/quality/{sample}.tsv"
    params:
        files=lambda wildcards, input: named(zip(on_page(wildcards.sample), input)),
        version=stage_version("report"),
    shell:
        "planeloc report quality --output {output.page:q} --verdict {output.verdict:q} {params.files} 2>&1 | tee -i {log:q}"
