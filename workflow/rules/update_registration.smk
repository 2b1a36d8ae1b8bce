# Movie and registration of the beads -> the registration to use for this movie.
rule update_registration:
    input:
        movie=rules.convert.output.manifest,
        # Named only to notice that it was deleted: Snakemake cannot see inside it.
        store=rules.convert.output.store,
        synchronization=rules.synchronize.output.synchronization,
        registration=made_for_sample(rules.register.output.registration),
    output:
        registration="<results>/{sample}/registration.json",
        figure=report(
            "<results>/{sample}/registration_in_movie.png",
            caption="../report/registration_in_movie.rst",
            category="Sample {sample}",
            labels={"figure": "Transforms in the movie"},
        ),
        quality="<results>/{sample}/registration_in_movie.quality.json",
        provenance="<results>/{sample}/update-registration.provenance.json",
    log:
        "<logs>/update_registration/{sample}.log",
    benchmark:
        "<benchmarks>/update_registration/{sample}.tsv"
    params:
        options=options("update_registration"),
        version=stage_version("update-registration"),
    shell:
        "planeloc update-registration --movie {input.movie:q} --synchronization {input.synchronization:q} "
        "--registration {input.registration:q} {params.options} --output {output.registration:q} "
        "--figure {output.figure:q} --quality {output.quality:q} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
