# Localizations -> those that pass the filter, also in the formats of Picasso and ThunderSTORM.
rule filter:
    input:
        localizations=rules.localize.output.localizations,
    output:
        localizations="<results>/{sample}/localizations.filtered.h5",
        picasso="<results>/{sample}/localizations.picasso.hdf5",
        picasso_sidecar="<results>/{sample}/localizations.picasso.yaml",
        thunderstorm="<results>/{sample}/localizations.thunderstorm.csv",
        provenance="<results>/{sample}/filter.provenance.json",
    log:
        "<logs>/filter/{sample}.log",
    benchmark:
        "<benchmarks>/filter/{sample}.tsv"
    params:
        options=options("filter"),
        version=stage_version("filter"),
    shell:
        "planeloc filter --localizations {input.localizations:q} {params.options} "
        "--output {output.localizations:q} --picasso {output.picasso:q} "
        "--thunderstorm {output.thunderstorm:q} "
        "--provenance {output.provenance:q} 2>&1 | tee {log:q}"
