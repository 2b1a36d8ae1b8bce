# Camera files -> one compressed movie of raw counts, and the manifest with its checksums.
rule convert:
    input:
        movie=watched(of_sample("movie")),
        microscope=lambda wildcards: microscope_of(
            experiment.samples[wildcards.sample].calibration
        ),
    output:
        store=directory("<results>/{sample}/movie.zarr"),
        manifest="<results>/{sample}/movie.manifest.json",
        quality="<results>/{sample}/movie.quality.json",
        provenance="<results>/{sample}/convert.provenance.json",
    log:
        "<logs>/convert/{sample}.log",
    benchmark:
        "<benchmarks>/convert/{sample}.tsv"
    threads: 2
    params:
        movie=recordings("--movie", of_sample("movie")),
        contents=contents(of_sample("movie")),
        options=options("convert"),
        version=stage_version("convert"),
    shell:
        "planeloc convert {params.movie} --microscope {input.microscope:q} {params.options} --threads {threads} "
        "--store {output.store:q} --manifest {output.manifest:q} --quality {output.quality:q} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
