# Localizations before and after linking -> resolution, precision from neighbouring frames, and what limits both.
rule measure_resolution:
    input:
        localizations=rules.filter.output.localizations,
        linked=rules.link.output.localizations,
    output:
        resolution="<results>/{sample}/resolution.json",
        figure=report(
            "<results>/{sample}/resolution.png",
            caption="../report/resolution.rst",
            category="Sample {sample}",
            labels={"figure": "Resolution"},
        ),
        quality="<results>/{sample}/resolution.quality.json",
        provenance="<results>/{sample}/measure-resolution.provenance.json",
    log:
        "<logs>/measure_resolution/{sample}.log",
    benchmark:
        "<benchmarks>/measure_resolution/{sample}.tsv"
    params:
        options=options("measure_resolution"),
        version=stage_version("measure-resolution"),
    shell:
        "planeloc measure-resolution --localizations {input.localizations:q} --linked {input.linked:q} {params.options} "
        "--output {output.resolution:q} --figure {output.figure:q} --quality {output.quality:q} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
