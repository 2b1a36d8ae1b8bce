"""Settings of the `calibrate` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting, threshold

MODELS = ("gaussian", "spline")


@dataclass(frozen=True)
class CalibrateSettings:
    """How beads are chosen, which model is fitted to them, and how good the calibration must be."""

    model: str = setting(
        "spline",
        "PSF model. spline: cubic B-splines fitted to the beads; gaussian: a Gaussian with a defocus curve.",
        choices=MODELS,
    )
    refractive_index_factor: float = setting(
        1.0,
        "Focal shift factor: focus displacement over stage displacement; about 0.8 from oil into water.",
        minimum=0.2,
        maximum=2,
    )
    window_nm: float = setting(
        2900.0, "Side of the square fitted around a bead.", unit="nm", minimum=500, advanced=True
    )
    isolation_nm: float = setting(
        2000.0, "Minimum distance between two beads; closer ones are excluded.", unit="nm", minimum=0, advanced=True
    )
    border_nm: float = setting(
        800.0,
        "Minimum distance of a bead from the edge of the field; closer ones are excluded.",
        unit="nm",
        minimum=0,
        advanced=True,
    )
    minimum_snr: float = setting(
        8.0, "Minimum signal-to-noise ratio of a bead in its brightest slice.", minimum=3, advanced=True
    )
    minimum_beads: int = threshold(1, "stop below", "number of usable beads per camera", minimum=1)
    recommended_beads: int = threshold(3, "warn below", "number of usable beads per camera", minimum=1)
    bead_diameter_nm: float = setting(
        0.0, "Bead diameter. The Gaussian's widths are corrected for it, the spline is not.", unit="nm", minimum=0
    )
    beads_bleach: bool = setting(False, "Correct the planes' brightness for steady photobleaching of the beads.")
    maximum_step_nm: float = setting(250.0, "Largest accepted z step.", unit="nm", minimum=1, advanced=True)
    step_warn: float = threshold(0.35, "warn above", "ratio of z step to depth of focus", minimum=0)
    step_fail: float = threshold(0.5, "stop above", "ratio of z step to depth of focus", minimum=0)
    scan_margin_warn: float = threshold(
        1.0, "warn below", "scan range beyond a plane's focus, in depths of focus", minimum=0, was=("margin_warn",)
    )
    scan_margin_fail: float = threshold(
        0.5, "stop below", "scan range beyond a plane's focus, in depths of focus", minimum=0, was=("margin_fail",)
    )
    defocus_coverage_warn: float = threshold(
        0.9, "warn below", "measured fraction of the required defocus range", maximum=1, was=("coverage_warn",)
    )
    defocus_coverage_fail: float = threshold(
        0.5, "stop below", "measured fraction of the required defocus range", maximum=1, was=("coverage_fail",)
    )
    width_residual_warn: float = threshold(
        0.08,
        "warn above",
        "rms residual of the widths near focus, relative to the width in focus, w0",
        minimum=0,
        was=("residual_warn",),
    )
    width_residual_fail: float = threshold(
        0.3,
        "stop above",
        "rms residual of the widths near focus, relative to the width in focus, w0 (model gaussian only)",
        minimum=0,
        was=("residual_fail",),
    )
    gaussian_residual_warn: float = threshold(
        0.15, "warn above", "relative residual of a Gaussian fit to a bead in focus", minimum=0, was=("misfit_warn",)
    )
    gaussian_residual_fail: float = threshold(
        0.4, "stop above", "relative residual of a Gaussian fit to a bead in focus", minimum=0, was=("misfit_fail",)
    )
    relative_residual_warn: float = threshold(
        0.15, "warn above", "relative residual of the PSF fit", minimum=0, was=("unexplained_warn",)
    )
    relative_residual_fail: float = threshold(
        0.5, "stop above", "relative residual of the PSF fit", minimum=0, was=("unexplained_fail",)
    )
    photons_warn: float = threshold(
        1000.0, "warn below", "photon count of a bead in focus, in one plane", unit="photons", minimum=0
    )
    photons_fail: float = threshold(
        100.0, "stop below", "photon count of a bead in focus, in one plane", unit="photons", minimum=0
    )
    bead_motion_warn_nm: float = threshold(
        15.0,
        "warn above",
        "rms motion of individual beads during the scan",
        unit="nm",
        minimum=0,
        was=("motion_warn_nm",),
    )
    bead_motion_fail_nm: float = threshold(
        60.0,
        "stop above",
        "rms motion of individual beads during the scan",
        unit="nm",
        minimum=0,
        was=("motion_fail_nm",),
    )
    stage_drift_warn_nm: float = threshold(
        20.0, "warn above", "rms lateral stage drift", unit="nm", minimum=0, was=("wander_warn_nm",)
    )
    stage_drift_fail_nm: float = threshold(
        150.0, "stop above", "rms lateral stage drift", unit="nm", minimum=0, was=("wander_fail_nm",)
    )
    stage_step_warn_nm: float = threshold(15.0, "warn above", "error of a single stage step", unit="nm", minimum=0)
    stage_step_fail_nm: float = threshold(50.0, "stop above", "error of a single stage step", unit="nm", minimum=0)
    photobleaching_warn: float = threshold(
        0.15,
        "warn above",
        "relative change of the beads' brightness during the scan (photobleaching)",
        minimum=0,
        was=("faded_warn",),
    )
    focus_ratio_least: float = threshold(
        1.3, "warn below", "ratio of depth of focus to the width in focus, w0", minimum=0
    )
    focus_ratio_most: float = threshold(
        4.0, "warn above", "ratio of depth of focus to the width in focus, w0", minimum=0
    )
    depth_sd_warn_nm: float = threshold(
        15.0, "warn above", "standard deviation of a plane's depth", unit="nm", minimum=0
    )
    depth_sd_fail_nm: float = threshold(
        80.0, "stop above", "standard deviation of a plane's depth", unit="nm", minimum=0
    )
    brightness_sd_warn: float = threshold(
        0.03, "warn above", "relative standard deviation of a plane's brightness", minimum=0
    )
    brightness_sd_fail: float = threshold(
        0.2, "stop above", "relative standard deviation of a plane's brightness", minimum=0
    )
    astigmatism_warn_nm: float = threshold(
        100.0, "warn above", "distance between the two line foci", unit="nm", minimum=0
    )
    astigmatism_fail_nm: float = threshold(
        250.0, "stop above", "distance between the two line foci (model gaussian only)", unit="nm", minimum=0
    )
    spacing_warn_nm: float = threshold(80.0, "warn below", "distance between neighbouring planes", unit="nm", minimum=0)
    spacing_fail_nm: float = threshold(20.0, "stop below", "distance between neighbouring planes", unit="nm", minimum=0)
