# Bead scans -> depth and PSF of every plane, and how the photons are divided among the planes.
rule calibrate:
    input:
        beads=watched(of_calibration("beads")),
        microscope=lambda wildcards: microscope_of(wildcards.calibration),
        registration=rules.register.output.registration,
    output:
        psf="<results>/calibration/{calibration}/psf.h5",
        figure=report(
            "<results>/calibration/{calibration}/psf.png",
            caption="../report/calibration.rst",
            category="Calibration {calibration}",
            labels={"figure": "Spot width against depth"},
        ),
        quality="<results>/calibration/{calibration}/psf.quality.json",
        provenance="<results>/calibration/{calibration}/calibrate.provenance.json",
    log:
        "<logs>/calibrate/{calibration}.log",
    benchmark:
        "<benchmarks>/calibrate/{calibration}.tsv"
    priority: 10  # a calibration that fails should stop the run before movies are converted
    params:
        beads=recordings("--beads", of_calibration("beads")),
        contents=contents(of_calibration("beads")),
        z_step=of_calibration("z_step_nm"),
        scan=of_calibration("scan"),
        options=options("calibrate"),
        version=stage_version("calibrate"),
    shell:
        "planeloc calibrate {params.beads} --microscope {input.microscope:q} --registration {input.registration:q} "
        "--z-step-nm {params.z_step} --scan {params.scan} {params.options} "
        "--output {output.psf:q} --figure {output.figure:q} --quality {output.quality:q} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
