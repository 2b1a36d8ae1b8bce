"""Settings of the `calibrate` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting

MODELS = ("gaussian", "spline")


@dataclass(frozen=True)
class CalibrateSettings:
    """How beads are chosen, which model is fitted to them, and how good the calibration must be."""

    model: str = setting(
        "spline", "PSF: gaussian with a defocus curve, or spline: as the beads show it.", choices=MODELS
    )
    refractive_index_factor: float = setting(
        1.0,
        "Way of the focus in the sample over way of the stage; about 0.8 from oil into water.",
        minimum=0.2,
        maximum=2,
    )
    window_nm: float = setting(2900.0, "Side of the square fitted around a bead, nm.", minimum=500)
    isolation_nm: float = setting(2000.0, "Beads closer to another than this are left out, nm.", minimum=0)
    border_nm: float = setting(800.0, "Beads closer to the border than this are left out, nm.", minimum=0)
    minimum_snr: float = setting(8.0, "Brightness of a bead over the noise, on its best slice.", minimum=3)
    minimum_beads: int = setting(1, "Fewest usable beads per camera; fewer stop the run.", minimum=1)
    recommended_beads: int = setting(3, "Fewest beads per camera without a warning.", minimum=1)
    bead_diameter_nm: float = setting(
        0.0, "Bead diameter, taken out of the Gaussian's widths, not of the spline, nm.", minimum=0
    )
    beads_bleach: bool = setting(False, "Take light that fades evenly out of the planes' brightness.")
    maximum_step_nm: float = setting(250.0, "Coarser scans are refused unseen, nm.", minimum=1)
    step_warn: float = setting(0.35, "Step over the depth of focus that warns.", minimum=0)
    step_fail: float = setting(0.5, "Step over the depth of focus that stops the run.", minimum=0)
    margin_warn: float = setting(1.0, "Scan beyond a plane's focus, in depths of focus, that warns.", minimum=0)
    margin_fail: float = setting(0.5, "Scan beyond a plane's focus, in depths of focus, that stops.", minimum=0)
    coverage_warn: float = setting(0.9, "Share of the needed defocus range measured, that warns.", maximum=1)
    coverage_fail: float = setting(0.5, "Share of the needed defocus range measured, that stops the run.", maximum=1)
    residual_warn: float = setting(0.08, "Rms width residual near focus over w0 that warns.", minimum=0)
    residual_fail: float = setting(0.3, "Rms width residual near focus over w0 that stops a Gaussian's run.", minimum=0)
    misfit_warn: float = setting(0.15, "Share of a bead in focus that no Gaussian explains, that warns.", minimum=0)
    misfit_fail: float = setting(0.4, "Share of a bead in focus that no Gaussian explains, that stops.", minimum=0)
    unexplained_warn: float = setting(
        0.15, "Share of the beads' images that the model leaves over, that warns.", minimum=0
    )
    unexplained_fail: float = setting(
        0.5, "Share of the beads' images that the model leaves over, that stops.", minimum=0
    )
    photons_warn: float = setting(1000.0, "Photons of a bead on a plane, in focus, below which to warn.", minimum=0)
    photons_fail: float = setting(100.0, "Photons of a bead on a plane, in focus, that stop the run.", minimum=0)
    motion_warn_nm: float = setting(15.0, "Rms way of single beads during the scan that warns, nm.", minimum=0)
    motion_fail_nm: float = setting(60.0, "Rms way of single beads during the scan that stops the run, nm.", minimum=0)
    wander_warn_nm: float = setting(20.0, "Rms sideways way of all beads together that warns, nm.", minimum=0)
    wander_fail_nm: float = setting(150.0, "Rms sideways way of all beads together that stops the run, nm.", minimum=0)
    stage_step_warn_nm: float = setting(15.0, "Error of a single step of the stage that warns, nm.", minimum=0)
    stage_step_fail_nm: float = setting(50.0, "Error of a single step of the stage that stops the run, nm.", minimum=0)
    faded_warn: float = setting(
        0.15, "Share of the beads' light lost or gained during the scan, that warns.", minimum=0
    )
    focus_ratio_least: float = setting(1.3, "Depth of focus over w0 below which to warn.", minimum=0)
    focus_ratio_most: float = setting(4.0, "Depth of focus over w0 above which to warn.", minimum=0)
    depth_sd_warn_nm: float = setting(15.0, "Standard deviation of a plane's depth that warns, nm.", minimum=0)
    depth_sd_fail_nm: float = setting(80.0, "Standard deviation of a plane's depth that stops the run, nm.", minimum=0)
    brightness_sd_warn: float = setting(
        0.03, "Standard deviation of a plane's brightness that warns, relative.", minimum=0
    )
    brightness_sd_fail: float = setting(
        0.2, "Standard deviation of a plane's brightness that stops the run, relative.", minimum=0
    )
    astigmatism_warn_nm: float = setting(100.0, "Distance of the two line foci that warns, nm.", minimum=0)
    astigmatism_fail_nm: float = setting(
        250.0, "Distance of the two line foci that stops a Gaussian's run, nm.", minimum=0
    )
    spacing_warn_nm: float = setting(80.0, "Distance of two neighbouring planes below which to warn, nm.", minimum=0)
    spacing_fail_nm: float = setting(20.0, "Distance of two neighbouring planes that stops the run, nm.", minimum=0)
