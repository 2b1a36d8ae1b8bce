# Dark and bright movies, where the calibration table names them -> the microscope file with the cameras as measured.
rule cameras:
    input:
        dark=watched(of_calibration("dark")),
        bright=watched(of_calibration("bright")),
        bright_without_em=watched(of_calibration("bright_without_em")),
        microscope=of_calibration("microscope"),
    output:
        microscope="<results>/calibration/{calibration}/microscope.yaml",
        figure=report(
            "<results>/calibration/{calibration}/cameras.png",
            caption="../report/cameras.rst",
            category="Calibration {calibration}",
            labels={"figure": "Photon transfer of the cameras"},
        ),
        quality="<results>/calibration/{calibration}/cameras.quality.json",
        provenance="<results>/calibration/{calibration}/cameras.provenance.json",
    log:
        "<logs>/cameras/{calibration}.log",
    benchmark:
        "<benchmarks>/cameras/{calibration}.tsv"
    priority: 10  # a calibration that fails should stop the run before movies are converted
    params:
        dark=recordings("--dark", of_calibration("dark")),
        bright=recordings("--bright", of_calibration("bright")),
        bright_without_em=recordings(
            "--bright-without-em", of_calibration("bright_without_em")
        ),
        options=options("cameras"),
        contents=contents(*map(of_calibration, ("dark", "bright", "bright_without_em"))),
        version=stage_version("cameras"),
    shell:
        "planeloc cameras {params.dark} {params.bright} {params.bright_without_em} "
        "--microscope {input.microscope:q} {params.options} "
        "--output {output.microscope:q} --figure {output.figure:q} --quality {output.quality:q} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
