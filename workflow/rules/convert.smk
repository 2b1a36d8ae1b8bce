# Camera files -> one compressed, checksummed store of the raw counts, and the manifest that vouches for it.
rule convert:
    input:
        movie=of_sample("movie"),
        microscope=lambda wildcards: experiment.calibrations[
            experiment.samples[wildcards.sample].calibration
        ].microscope,
    output:
        store=directory("<results>/{sample}/movie.zarr"),
        manifest="<results>/{sample}/movie.manifest.json",
        provenance="<results>/{sample}/convert.provenance.json",
    log:
        "<logs>/convert/{sample}.log",
    benchmark:
        "<benchmarks>/convert/{sample}.tsv"
    threads: 2
    params:
        movie=repeated("--movie", "movie"),
        options=options("convert"),
        code=code_version("conversion"),
    shell:
        "planeloc convert {params.movie} --microscope {input.microscope:q} {params.options} --threads {threads} "
        "--store {output.store:q} --manifest {output.manifest:q} "
        "--provenance {output.provenance:q} 2>&1 | tee {log:q}"
