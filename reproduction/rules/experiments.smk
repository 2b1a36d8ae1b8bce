# The experiments of the paper, each in one rule with its own result.
SPARSE = ["compressed_sensing", "matching_pursuit"]
FITS = ["fit_without_drift", "fit_with_drift"]
ESTIMATORS = NETWORKS + SPARSE + ["alternating"] + FITS
# The fits are for one molecule; the alternation takes a third of a second per image and is in Table 3 only.
SWEEPS = {
    "drift": NETWORKS + SPARSE + FITS,
    "density": NETWORKS + SPARSE,
    "photons": NETWORKS + SPARSE + FITS,
}


rule network:
    input:
        start_from=lambda wildcards: config[wildcards.network] or [],
        # The learning curve of given weights lies beside them.
        history=record_of_weights,
    output:
        weights="<results>/experiments/training/{network}.safetensors",
        record="<results>/experiments/training/{network}.json",
        figure="<results>/experiments/training/{network}.png",
        provenance="<results>/experiments/training/{network}.provenance.json",
    log:
        "<logs>/network.{network}.log",
    benchmark:
        "<benchmarks>/network.{network}.tsv"
    resources:
        gpu=gpus(),
    params:
        start_from=repeated("--start-from", "start_from"),
        options=options(config["train"]),
        drift=lambda wildcards: 2 if wildcards.network == "robust" else 0,
        version=stage_version("train"),
    shell:
        "planeloc train {params.start_from} {params.options} --on-mismatch stop "
        "--network upsampling --inter-camera-drift-voxels {params.drift} --no-registration-resampling "
        "--emitters 3 --photons auto --background auto --upsampling 8 --voxel-depth-nm 50 --depth-range-nm 0 "
        "--output {output.weights:q} --record {output.record:q} --figure {output.figure:q} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"


rule one_molecule:
    input:
        weights=weights_of,
    output:
        result="<results>/experiments/one_molecule/{data}/{estimator}.json",
        seconds="<results>/experiments/one_molecule/{data}/{estimator}.seconds.json",
        provenance="<results>/experiments/one_molecule/{data}/{estimator}.provenance.json",
    log:
        "<logs>/one_molecule.{data}.{estimator}.log",
    benchmark:
        "<benchmarks>/one_molecule.{data}.{estimator}.tsv"
    # Where the time counts, all cores are taken, so that nothing else runs beside it; one of them is used.
    threads: lambda wildcards: ALL_CORES if wildcards.data == "paper" else 1
    resources:
        gpu=gpus(),
    params:
        weights=repeated("--weights", "weights"),
        options=of_config("images", "device"),
        version=stage_version("one_molecule", VERSIONS),
    shell:
        "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 planeloc-reproduction one-molecule --data {wildcards.data} "
        "--estimator {wildcards.estimator} {params.weights} "
        "{params.options} --output {output.result:q} --seconds {output.seconds:q} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"


rule sweep:
    input:
        weights=weights_of,
    output:
        result="<results>/experiments/sweeps/{sweep}/{estimator}.json",
        provenance="<results>/experiments/sweeps/{sweep}/{estimator}.provenance.json",
    log:
        "<logs>/sweep.{sweep}.{estimator}.log",
    benchmark:
        "<benchmarks>/sweep.{sweep}.{estimator}.tsv"
    resources:
        gpu=gpus(),
    params:
        weights=repeated("--weights", "weights"),
        options=of_config("molecules", "device"),
        version=stage_version("sweep", VERSIONS),
    shell:
        "planeloc-reproduction sweep --sweep {wildcards.sweep} --estimator {wildcards.estimator} {params.weights} "
        "{params.options} --output {output.result:q} --provenance {output.provenance:q} 2>&1 | tee -i {log:q}"


rule helix:
    input:
        weights=weights_of,
    output:
        result="<results>/experiments/helix/{network}.json",
        provenance="<results>/experiments/helix/{network}.provenance.json",
    log:
        "<logs>/helix.{network}.log",
    benchmark:
        "<benchmarks>/helix.{network}.tsv"
    resources:
        gpu=gpus(),
    params:
        options=of_config("frames", "device"),
        version=stage_version("helix", VERSIONS),
    shell:
        "planeloc-reproduction helix --network {wildcards.network} --weights {input.weights:q} {params.options} "
        "--output {output.result:q} --provenance {output.provenance:q} 2>&1 | tee -i {log:q}"


rule speed:
    input:
        weights="<results>/experiments/training/robust.safetensors",
    output:
        result="<results>/experiments/speed.json",
        provenance="<results>/experiments/speed.provenance.json",
    log:
        "<logs>/speed.log",
    benchmark:
        "<benchmarks>/speed.tsv"
    threads: ALL_CORES
    resources:
        gpu=gpus(),
    params:
        options=of_config("largest_px", "device"),
        version=stage_version("speed", VERSIONS),
    shell:
        "OMP_NUM_THREADS=1 planeloc-reproduction speed --weights {input.weights:q} {params.options} "
        "--output {output.result:q} --provenance {output.provenance:q} 2>&1 | tee -i {log:q}"


rule bound:
    output:
        result="<results>/experiments/bound.json",
        provenance="<results>/experiments/bound.provenance.json",
    log:
        "<logs>/bound.log",
    benchmark:
        "<benchmarks>/bound.tsv"
    params:
        version=stage_version("bound", VERSIONS),
    shell:
        "planeloc-reproduction bound --output {output.result:q} --provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
