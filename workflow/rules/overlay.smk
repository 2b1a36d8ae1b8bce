# Movie, registration and localizations -> raw frames of all cameras with the localizations drawn on them.
rule overlay:
    input:
        movie=rules.convert.output.manifest,
        # Named only to notice that it was deleted: Snakemake cannot see inside it.
        store=rules.convert.output.store,
        synchronization=rules.synchronize.output.synchronization,
        registration=rules.update_registration.output.registration,
        localizations=rules.localize.output.localizations,
    output:
        figure=report(
            "<results>/{sample}/overlay.png",
            caption="../report/overlay.rst",
            category="Sample {sample}",
            labels={"figure": "Raw frames with localizations"},
        ),
        quality="<results>/{sample}/overlay.quality.json",
        provenance="<results>/{sample}/overlay.provenance.json",
    log:
        "<logs>/overlay/{sample}.log",
    benchmark:
        "<benchmarks>/overlay/{sample}.tsv"
    params:
        options=options("overlay"),
        version=stage_version("overlay"),
    shell:
        "planeloc overlay --movie {input.movie:q} --synchronization {input.synchronization:q} --registration {input.registration:q} "
        "--localizations {input.localizations:q} {params.options} --figure {output.figure:q} "
        "--quality {output.quality:q} --provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
