# All results -> one page.
rule page:
    input:
        training=expand(
            "<results>/experiments/training/{network}.json", network=NETWORKS
        ),
        one_molecule=expand(
            "<results>/experiments/one_molecule/{data}/{estimator}.json",
            data=["paper", "voxel_centres", "additive_noise", "camera"],
            estimator=ESTIMATORS,
        ),
        sweeps=[
            f"<results>/experiments/sweeps/{sweep}/{estimator}.json"
            for sweep, estimators in SWEEPS.items()
            for estimator in estimators
        ],
        helix=expand("<results>/experiments/helix/{network}.json", network=NETWORKS),
        speed=rules.speed.output.result,
        bound=rules.bound.output.result,
        architecture="resources/architecture.json",
        # The page also reads evaluation.json beside the picture.
        evaluation=structure("evaluation.json"),
        picture=structure("voxels.png"),
        localizations=structure("localizations.h5"),
    output:
        page="<results>/report.html",
        provenance="<results>/report.provenance.json",
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    params:
        experiments=lambda wildcards: f"{config['results']}/experiments",
        picture=repeated("--structure", "picture"),
        localizations=repeated("--structure-localizations", "localizations"),
        version=stage_version("paper_report", VERSIONS),
    shell:
        "planeloc-reproduction report --results {params.experiments:q} --architecture {input.architecture:q} "
        "{params.picture} {params.localizations} --output {output.page:q} --provenance {output.provenance:q} "
        "2>&1 | tee -i {log:q}"
