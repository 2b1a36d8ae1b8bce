# The paper's experiments, recomputed (`snakemake paper --configfile config/paper/config.yaml`):
#
#   <results>/experiments/training/{network}.*      the two networks and how they were trained
#   <results>/experiments/one_molecule/{data}/      Table 3, Fig. 7 and 8
#   <results>/experiments/sweeps/{sweep}/           beyond the paper: drift, density, photons
#   <results>/experiments/helix/  speed.json  bound.json
#   <results>/report.html                           all of it on one page, beside the paper's values
PAPER_SPARSE = ["compressed_sensing", "matching_pursuit"]
PAPER_FITS = ["fit_without_drift", "fit_with_drift"]
PAPER_ESTIMATORS = PAPER_NETWORKS + PAPER_SPARSE + ["alternating"] + PAPER_FITS
# The fits know one molecule alone; the alternation takes a third of a second an image and is in Table 3 only.
PAPER_SWEEPS = {
    "drift": PAPER_NETWORKS + PAPER_SPARSE + PAPER_FITS,
    "density": PAPER_NETWORKS + PAPER_SPARSE,
    "photons": PAPER_NETWORKS + PAPER_SPARSE + PAPER_FITS,
}

# What the report is given of the structure; it looks for evaluation.json itself.
PAPER_STRUCTURE = {
    "voxels.png": "--structure",
    "localizations.h5": "--structure-localizations",
}


rule paper_network:
    input:
        start_from=lambda wildcards: config["paper"][wildcards.network] or [],
        # The learning curve of given weights lies beside them.
        history=history_of_weights,
    output:
        weights=f"{PAPER}/training/{{network}}.safetensors",
        record=f"{PAPER}/training/{{network}}.json",
        figure=f"{PAPER}/training/{{network}}.png",
        provenance=f"{PAPER}/training/{{network}}.provenance.json",
    log:
        "<logs>/paper/network.{network}.log",
    benchmark:
        "<benchmarks>/paper/network.{network}.tsv"
    resources:
        gpu=gpus("train"),
    params:
        start_from=repeated("--start-from", "start_from"),
        options=options("train"),
        drift=lambda wildcards: 2 if wildcards.network == "robust" else 0,
        version=stage_version("train"),
    shell:
        "planeloc train {params.start_from} {params.options} --on-mismatch stop "
        "--network upsampling --drift-voxels {params.drift} --no-registration-resampling "
        "--emitters 3 --photons auto --background auto --upsampling 8 --voxel-depth-nm 50 --depth-range-nm 0 "
        "--output {output.weights:q} --record {output.record:q} --figure {output.figure:q} "
        "--provenance {output.provenance:q} 2>&1 | tee {log:q}"


rule paper_one_molecule:
    input:
        weights=paper_weights,
    output:
        result=f"{PAPER}/one_molecule/{{data}}/{{estimator}}.json",
        seconds=f"{PAPER}/one_molecule/{{data}}/{{estimator}}.seconds.json",
        provenance=f"{PAPER}/one_molecule/{{data}}/{{estimator}}.provenance.json",
    log:
        "<logs>/paper/one_molecule.{data}.{estimator}.log",
    benchmark:
        "<benchmarks>/paper/one_molecule.{data}.{estimator}.tsv"
    # Where the time counts, all cores are taken, so that nothing else runs beside it; one of them is used.
    threads: lambda wildcards: ALL_CORES if wildcards.data == "paper" else 1
    resources:
        gpu=gpus("paper"),
    params:
        weights=repeated("--weights", "weights"),
        options=options("paper", "images", "device"),
        version=stage_version("one_molecule", REPRODUCTION),
    shell:
        "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 planeloc-reproduction one-molecule --data {wildcards.data} "
        "--estimator {wildcards.estimator} {params.weights} "
        "{params.options} --output {output.result:q} --seconds {output.seconds:q} "
        "--provenance {output.provenance:q} 2>&1 | tee {log:q}"


rule paper_sweep:
    input:
        weights=paper_weights,
    output:
        result=f"{PAPER}/sweeps/{{sweep}}/{{estimator}}.json",
        provenance=f"{PAPER}/sweeps/{{sweep}}/{{estimator}}.provenance.json",
    log:
        "<logs>/paper/sweep.{sweep}.{estimator}.log",
    benchmark:
        "<benchmarks>/paper/sweep.{sweep}.{estimator}.tsv"
    resources:
        gpu=gpus("paper"),
    params:
        weights=repeated("--weights", "weights"),
        options=options("paper", "molecules", "device"),
        version=stage_version("sweep", REPRODUCTION),
    shell:
        "planeloc-reproduction sweep --sweep {wildcards.sweep} --estimator {wildcards.estimator} {params.weights} "
        "{params.options} --output {output.result:q} --provenance {output.provenance:q} 2>&1 | tee {log:q}"


rule paper_helix:
    input:
        weights=paper_weights,
    output:
        result=f"{PAPER}/helix/{{network}}.json",
        provenance=f"{PAPER}/helix/{{network}}.provenance.json",
    log:
        "<logs>/paper/helix.{network}.log",
    benchmark:
        "<benchmarks>/paper/helix.{network}.tsv"
    resources:
        gpu=gpus("paper"),
    params:
        options=options("paper", "frames", "device"),
        version=stage_version("helix", REPRODUCTION),
    shell:
        "planeloc-reproduction helix --network {wildcards.network} --weights {input.weights:q} {params.options} "
        "--output {output.result:q} --provenance {output.provenance:q} 2>&1 | tee {log:q}"


rule paper_speed:
    input:
        weights=f"{PAPER}/training/robust.safetensors",
    output:
        result=f"{PAPER}/speed.json",
        provenance=f"{PAPER}/speed.provenance.json",
    log:
        "<logs>/paper/speed.log",
    benchmark:
        "<benchmarks>/paper/speed.tsv"
    threads: ALL_CORES
    resources:
        gpu=gpus("paper"),
    params:
        options=options("paper", "largest_px", "device"),
        version=stage_version("speed", REPRODUCTION),
    shell:
        "OMP_NUM_THREADS=1 planeloc-reproduction speed --weights {input.weights:q} {params.options} "
        "--output {output.result:q} --provenance {output.provenance:q} 2>&1 | tee {log:q}"


rule paper_bound:
    output:
        result=f"{PAPER}/bound.json",
        provenance=f"{PAPER}/bound.provenance.json",
    log:
        "<logs>/paper/bound.log",
    benchmark:
        "<benchmarks>/paper/bound.tsv"
    params:
        version=stage_version("bound", REPRODUCTION),
    shell:
        "planeloc-reproduction bound --output {output.result:q} --provenance {output.provenance:q} 2>&1 | tee {log:q}"


rule paper_report:
    input:
        training=expand(f"{PAPER}/training/{{network}}.json", network=PAPER_NETWORKS),
        one_molecule=expand(
            f"{PAPER}/one_molecule/{{data}}/{{estimator}}.json",
            data=["paper", "voxel_centres", "additive_noise", "camera"],
            estimator=PAPER_ESTIMATORS,
        ),
        sweeps=[
            f"{PAPER}/sweeps/{sweep}/{estimator}.json"
            for sweep, estimators in PAPER_SWEEPS.items()
            for estimator in estimators
        ],
        helix=expand(f"{PAPER}/helix/{{network}}.json", network=PAPER_NETWORKS),
        speed=rules.paper_speed.output.result,
        bound=rules.paper_bound.output.result,
        architecture="resources/architecture.json",
        structure=(
            [
                f"<results>/{config['paper']['structure']}/{file}"
                for file in [*PAPER_STRUCTURE, "evaluation.json"]
            ]
            if config["paper"]["structure"]
            else []
        ),
    output:
        report="<results>/report.html",
        provenance="<results>/report.provenance.json",
    log:
        "<logs>/paper/report.log",
    benchmark:
        "<benchmarks>/paper/report.tsv"
    params:
        folder=lambda wildcards: f"{config['pathvars']['results']}/experiments",
        structure=lambda wildcards, input: " ".join(
            f"{PAPER_STRUCTURE[os.path.basename(file)]} {shlex.quote(file)}"
            for file in input.structure
            if os.path.basename(file) in PAPER_STRUCTURE
        ),
        version=stage_version("report", REPRODUCTION),
    shell:
        "planeloc-reproduction report --results {params.folder:q} --architecture {input.architecture:q} {params.structure} "
        "--output {output.report:q} --provenance {output.provenance:q} 2>&1 | tee {log:q}"


rule paper:
    input:
        rules.paper_report.output.report,


wildcard_constraints:
    network="robust|nonrobust",
    estimator="[a-z_]+",
    data="[a-z_]+",
    sweep="[a-z_]+",
