# Localizations -> a picture of a part of the sample, one job for every view in the configuration.
rule view:
    input:
        localizations=PICTURED,
    output:
        picture=report(
            "<results>/{sample}/views/{view}.png",
            caption="../report/view.rst",
            category="Sample {sample}",
            labels={"figure": "View {view}"},
        ),
        tiff="<results>/{sample}/views/{view}.ome.tif",
        provenance="<results>/{sample}/views/{view}.view.provenance.json",
    log:
        "<logs>/view/{sample}.{view}.log",
    benchmark:
        "<benchmarks>/view/{sample}.{view}.tsv"
    params:
        options=lambda wildcards: options(f"views.{wildcards.view}"),
        version=stage_version("view"),
    shell:
        "planeloc view --localizations {input.localizations:q} {params.options} "
        "--picture {output.picture:q} --tiff {output.tiff:q} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
