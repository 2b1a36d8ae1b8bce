# PSF, and photon counts and background of the first movie -> a network for this microscope.
# Given weights that fit are used as they are, which takes seconds.
rule train:
    input:
        psf=rules.calibrate.output.psf,
        microscope=lambda wildcards: microscope_of(wildcards.calibration),
        registration=rules.register.output.registration,
        # Photon counts and background are measured in the calibration's first sample alone, whatever its age: a sample
        # that is added later, or converted again, must not train a network again.
        movies=lambda wildcards: ancient(
            expand(
                "<results>/{sample}/movie.manifest.json",
                sample=experiment.samples_of(wildcards.calibration)[:1],
            )
        ),
        synchronization=lambda wildcards: ancient(
            expand(
                rules.synchronize.output.synchronization,
                sample=experiment.samples_of(wildcards.calibration)[:1],
            )
        ),
        start_from=config["train"]["start_from"] or [],
    output:
        weights="<results>/networks/{calibration}/weights.safetensors",
        record="<results>/networks/{calibration}/training.json",
        figure=report(
            "<results>/networks/{calibration}/curves.png",
            caption="../report/training.rst",
            category="Calibration {calibration}",
            labels={"figure": "Training of the network"},
        ),
        provenance="<results>/networks/{calibration}/train.provenance.json",
    log:
        "<logs>/train/{calibration}.log",
    benchmark:
        "<benchmarks>/train/{calibration}.tsv"
    threads: ALL_CORES
    resources:
        gpu=gpus("train"),
    params:
        movies=repeated("--movie", "movies"),
        synchronization=repeated("--synchronization", "synchronization"),
        start_from=repeated("--start-from", "start_from"),
        options=options("train"),
        version=stage_version("train"),
    shell:
        "planeloc train --psf {input.psf:q} --microscope {input.microscope:q} "
        "--registration {input.registration:q} {params.movies} {params.synchronization} {params.start_from} {params.options} "
        "--threads {threads} --output {output.weights:q} --record {output.record:q} --figure {output.figure:q} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
