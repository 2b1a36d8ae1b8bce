# Movie and registration -> the frame of every camera that shows each moment.
rule synchronize:
    input:
        movie=rules.convert.output.manifest,
        # Named only to notice that it was deleted: Snakemake cannot see inside it.
        store=rules.convert.output.store,
        registration=made_for_sample(rules.register.output.registration),
    output:
        synchronization="<results>/{sample}/synchronization.json",
        figure=report(
            "<results>/{sample}/synchronization.png",
            caption="../report/synchronization.rst",
            category="Sample {sample}",
            labels={"figure": "Synchronization of the cameras"},
        ),
        quality="<results>/{sample}/synchronization.quality.json",
        provenance="<results>/{sample}/synchronize.provenance.json",
    log:
        "<logs>/synchronize/{sample}.log",
    benchmark:
        "<benchmarks>/synchronize/{sample}.tsv"
    params:
        options=options("synchronize"),
        version=stage_version("synchronize"),
    shell:
        "planeloc synchronize --movie {input.movie:q} --registration {input.registration:q} {params.options} "
        "--output {output.synchronization:q} --figure {output.figure:q} --quality {output.quality:q} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
