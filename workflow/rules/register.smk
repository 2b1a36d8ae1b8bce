# Bead images of all cameras -> the transform from the reference camera to every other.
rule register:
    input:
        beads=watched(of_calibration("registration_beads")),
        microscope=lambda wildcards: microscope_of(wildcards.calibration),
    output:
        registration="<results>/calibration/{calibration}/registration.json",
        figure=report(
            "<results>/calibration/{calibration}/registration.png",
            caption="../report/registration.rst",
            category="Calibration {calibration}",
            labels={"figure": "Registration of the cameras"},
        ),
        quality="<results>/calibration/{calibration}/registration.quality.json",
        provenance="<results>/calibration/{calibration}/register.provenance.json",
    log:
        "<logs>/register/{calibration}.log",
    benchmark:
        "<benchmarks>/register/{calibration}.tsv"
    priority: 10  # a calibration that fails should stop the run before movies are converted
    params:
        beads=recordings("--beads", of_calibration("registration_beads")),
        contents=contents(of_calibration("registration_beads")),
        options=options("register"),
        version=stage_version("register"),
    shell:
        "planeloc register {params.beads} --microscope {input.microscope:q} {params.options} "
        "--output {output.registration:q} --figure {output.figure:q} --quality {output.quality:q} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
