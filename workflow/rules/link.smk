# Filtered localizations -> one row per blink of a molecule, also in the formats of other programs.
LINKED_EXPORTS = or_stop(export_endings, config, "link")


rule link:
    input:
        localizations=rules.filter.output.localizations,
        sample_drift=rules.correct_drift.output.trajectory,
    output:
        localizations="<results>/{sample}/localizations.linked.h5",
        exports=[
            f"<results>/{{sample}}/localizations.linked{endings[0]}"
            for endings in LINKED_EXPORTS.values()
        ],
        beside_exports=[
            f"<results>/{{sample}}/localizations.linked{ending}"
            for endings in LINKED_EXPORTS.values()
            for ending in endings[1:]
        ],
        figure=report(
            "<results>/{sample}/linking.png",
            caption="../report/linking.rst",
            category="Sample {sample}",
            labels={"figure": "Linked blinks"},
        ),
        quality="<results>/{sample}/linking.quality.json",
        provenance="<results>/{sample}/link.provenance.json",
    log:
        "<logs>/link/{sample}.log",
    benchmark:
        "<benchmarks>/link/{sample}.tsv"
    params:
        options=options("link"),
        exports=lambda wildcards, output: " ".join(
            f"--export {name}={shlex.quote(path)}"
            for name, path in zip(LINKED_EXPORTS, output.exports)
        ),
        version=stage_version("link"),
    shell:
        "planeloc link --localizations {input.localizations:q} --sample-drift {input.sample_drift:q} "
        "{params.options} --output {output.localizations:q} {params.exports} "
        "--figure {output.figure:q} --quality {output.quality:q} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
