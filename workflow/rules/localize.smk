# Movie with its cameras in step, registration, PSF and network -> the table of molecules.
rule localize:
    input:
        movie=rules.convert.output.manifest,
        # Named only to notice that it was deleted: Snakemake cannot see inside it.
        store=rules.convert.output.store,
        synchronization=rules.synchronize.output.synchronization,
        registration=rules.update_registration.output.registration,
        psf=made_for_sample(rules.calibrate.output.psf),
        weights=made_for_sample(rules.train.output.weights),
    output:
        localizations="<results>/{sample}/localizations.h5",
        camera_drift="<results>/{sample}/camera_drift.csv",
        figure=report(
            "<results>/{sample}/camera_drift.png",
            caption="../report/camera_drift.rst",
            category="Sample {sample}",
            labels={"figure": "Drift of the cameras"},
        ),
        quality="<results>/{sample}/camera_drift.quality.json",
        provenance="<results>/{sample}/localize.provenance.json",
    log:
        "<logs>/localize/{sample}.log",
    benchmark:
        "<benchmarks>/localize/{sample}.tsv"
    threads: ALL_CORES
    resources:
        gpu=gpus("localize"),
    params:
        options=options("localize"),
        version=stage_version("localize"),
    shell:
        "planeloc localize --movie {input.movie:q} --synchronization {input.synchronization:q} --registration {input.registration:q} "
        "--psf {input.psf:q} --weights {input.weights:q} {params.options} --workers {threads} "
        "--output {output.localizations:q} --camera-drift {output.camera_drift:q} "
        "--camera-drift-figure {output.figure:q} --camera-drift-quality {output.quality:q} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
