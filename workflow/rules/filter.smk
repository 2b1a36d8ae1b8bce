# Localizations without the drift of the sample -> those that pass the filter, also in the formats of other programs.
EXPORTS = or_stop(export_endings, config)


rule filter:
    input:
        localizations=rules.correct_drift.output.localizations,
    output:
        localizations="<results>/{sample}/localizations.filtered.h5",
        figure=report(
            "<results>/{sample}/filtered.png",
            caption="../report/filtered.rst",
            category="Sample {sample}",
            labels={"figure": "Filter: every quantity before and after"},
        ),
        exports=[
            f"<results>/{{sample}}/localizations{endings[0]}"
            for endings in EXPORTS.values()
        ],
        beside_exports=[
            f"<results>/{{sample}}/localizations{ending}"
            for endings in EXPORTS.values()
            for ending in endings[1:]
        ],
        provenance="<results>/{sample}/filter.provenance.json",
    log:
        "<logs>/filter/{sample}.log",
    benchmark:
        "<benchmarks>/filter/{sample}.tsv"
    params:
        options=options("filter"),
        exports=lambda wildcards, output: " ".join(
            f"--export {name}={shlex.quote(path)}"
            for name, path in zip(EXPORTS, output.exports)
        ),
        version=stage_version("filter"),
    shell:
        "planeloc filter --localizations {input.localizations:q} {params.options} "
        "--output {output.localizations:q} --figure {output.figure:q} {params.exports} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
