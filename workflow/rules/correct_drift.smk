# Localizations -> the same without the drift of the sample, if they show a significant one.
rule correct_drift:
    input:
        localizations=rules.localize.output.localizations,
    output:
        localizations="<results>/{sample}/localizations.drift_corrected.h5",
        trajectory="<results>/{sample}/sample_drift.csv",
        figure=report(
            "<results>/{sample}/sample_drift.png",
            caption="../report/sample_drift.rst",
            category="Sample {sample}",
            labels={"figure": "Sample drift"},
        ),
        quality="<results>/{sample}/sample_drift.quality.json",
        provenance="<results>/{sample}/correct-drift.provenance.json",
    log:
        "<logs>/correct_drift/{sample}.log",
    benchmark:
        "<benchmarks>/correct_drift/{sample}.tsv"
    params:
        options=options("correct_drift"),
        version=stage_version("correct-drift"),
    shell:
        "planeloc correct-drift --localizations {input.localizations:q} {params.options} "
        "--output {output.localizations:q} --trajectory {output.trajectory:q} "
        "--figure {output.figure:q} --quality {output.quality:q} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
