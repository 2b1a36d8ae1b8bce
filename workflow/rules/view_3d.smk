# Localizations -> a page in which a browser shows them in 3D.
rule view_3d:
    input:
        localizations=PICTURED,
    output:
        page=report(
            "<results>/{sample}/view_3d.html",
            caption="../report/view_3d.rst",
            category="Sample {sample}",
            labels={"figure": "3D view, to turn, zoom and cut"},
        ),
        provenance="<results>/{sample}/view-3d.provenance.json",
    log:
        "<logs>/view_3d/{sample}.log",
    benchmark:
        "<benchmarks>/view_3d/{sample}.tsv"
    params:
        options=options("view_3d"),
        version=stage_version("view-3d"),
    shell:
        "planeloc view-3d --localizations {input.localizations:q} {params.options} --title {wildcards.sample:q} "
        "--output {output.page:q} --provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
