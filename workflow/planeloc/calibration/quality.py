"""Quality values of a calibration, and the checks on them.

Every check has a threshold in the settings and says what to do at the microscope.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np

from planeloc.calibration.defocus_curve import DefocusFit
from planeloc.calibration.gaussian_model import PsfFit
from planeloc.calibration.photobleaching import Photobleaching
from planeloc.calibration.scan_fit import CalibratedPSF, relative_residual
from planeloc.calibration.settings import CalibrateSettings
from planeloc.core.arrays import Array
from planeloc.core.checks import Check, check_at_least, check_at_most

_MORE_BEADS = "its beads disagree; use more and brighter ones"
_ADVICE = {  # where it depends on nothing; else in `_advice`
    "step_over_depth_of_focus": "the z step is too coarse to resolve the focus; record the beads again in steps of 50 "
    "to 100 nm",
    "defocus_coverage": "widths are unknown for a part of the depths that molecules will have; scan further on both "
    "sides, or use brighter beads",
    "gaussian_residual_in_focus": "the spots in focus are not Gaussian: look for aberrations (correction collar, "
    "immersion), clumped beads, and beads that saturate a camera without saturation_counts in the microscope file",
    "width_residual_over_waist": "the widths do not follow one defocus curve: check the z step and that the stage "
    "moved evenly",
}


def quality_values(fit: PsfFit, calibrated: CalibratedPSF, astigmatism: Array, step_nm: float) -> dict[str, float]:
    """Every quality value by name; nm unless the name says otherwise.

    Parameters
    ----------
    astigmatism : (planes,) distance of the two line foci, nm.
    step_nm : displacement of the focus from slice to slice.
    """
    psf, curve, planes = calibrated.psf, fit.curve, fit.planes
    depths, depth_sd = np.array(psf.plane_depths_nm), fit.depth_sd_nm
    of_planes = {
        "beads": np.bincount(fit.plane_of),
        "depth_nm": depths,
        "depth_sd_nm": depth_sd,
        "motion_nm": np.array([np.median(plane.motion_px) for plane in planes]) * fit.pixel_size_nm,
        "photons": np.array([np.median(fit.photons[fit.plane_of == p]) for p in range(len(planes))]),
        "brightness": np.array(psf.brightness),
        "brightness_sd": calibrated.brightness_sd,
        "astigmatism_nm": astigmatism,
    }
    values = {
        "slices": len(curve.travel_nm),
        "focus_step_nm": step_nm,
        "step_over_depth_of_focus": step_nm / curve.depth_of_focus_nm,
        "fewest_beads": of_planes["beads"].min(),
        "saturated_beads": sum(plane.beads.rejected.get("saturated", 0) for plane in planes),
        **_curve_values(curve),
        **_residual_values(fit, calibrated),
        "bead_photons": of_planes["photons"].min(),
        "bead_motion_nm": of_planes["motion_nm"].max(),
        "lateral_stage_drift_nm": fit.stage_drift_px.max() * fit.pixel_size_nm,
        "stage_step_error_nm": fit.steps.largest_error_nm,
        "photobleaching": abs(fit.bleaching.lost),
        "photobleaching_sd": fit.bleaching.lost_sd,
        "depth_of_focus_over_waist": curve.depth_of_focus_nm / curve.waist_nm,
        "cameras_matched": 1 + sum(pairs is not None for pairs in fit.pairs),
        "hot_pixels": sum(np.count_nonzero(plane.beads.hot) for plane in planes),
        "excluded_beads": sum(plane.left_out for plane in planes),
        "astigmatism_nm": astigmatism.max(),
        "scan_margin": _scan_beyond_focus(fit).min() / curve.depth_of_focus_nm,
        "defocus_coverage": _coverage(fit, step_nm),
        "smallest_plane_spacing_nm": np.diff(np.sort(depths)).min(),
        "largest_depth_sd_nm": depth_sd.max(),
        "largest_brightness_sd": (calibrated.brightness_sd / of_planes["brightness"]).max(),
        "planes_in_order": _order(depths),
    }
    for p in range(len(planes)):
        values |= {f"plane_{p}_{name}": of_plane[p] for name, of_plane in of_planes.items()}
        if p:
            values[f"plane_{p}_spacing_nm"] = depths[p] - depths[p - 1]
            values[f"plane_{p}_spacing_sd_nm"] = np.hypot(depth_sd[p], depth_sd[p - 1])
    return {name: float(value) for name, value in values.items()}


def _curve_values(curve: DefocusFit) -> dict[str, float]:
    """The defocus curve and its standard deviations."""
    waist_sd, focus_depth_sd, asymmetry_sd, quartic_sd = curve.deviations
    return {
        "waist_nm": curve.waist_nm,
        "waist_sd_nm": waist_sd,
        "depth_of_focus_nm": curve.depth_of_focus_nm,
        "focus_depth_nm": curve.focus_depth_nm,
        "focus_depth_sd_nm": focus_depth_sd,
        "asymmetry": curve.asymmetry,
        "asymmetry_sd": asymmetry_sd,
        "quartic": curve.quartic,
        "quartic_sd": quartic_sd,
    }


def _residual_values(fit: PsfFit, calibrated: CalibratedPSF) -> dict[str, float]:
    """Residuals of the widths and of the images."""
    curve, of_gaussian, of_spline = fit.curve, calibrated.of_gaussian, calibrated.of_spline
    squared = curve.residual_nm**2 - fit.widths.sd_nm**2
    near_focus = _root_mean(squared[curve.near(1.5)])
    return {
        "width_residual_near_focus_nm": near_focus,
        "width_residual_all_nm": _root_mean(squared[curve.used]),
        "width_residual_over_waist": near_focus / curve.waist_nm,
        "gaussian_residual_in_focus": fit.gaussian_residual,
        "relative_residual_gaussian": relative_residual(of_gaussian, fit.reach_nm),
        **({"relative_residual_spline": relative_residual(of_spline, fit.reach_nm)} if of_spline else {}),
        "relative_residual": relative_residual(of_spline or of_gaussian, fit.reach_nm),
    }


def _order(depths_nm: Array) -> float:
    """1 where the foci rise with the number of the camera, −1 where they fall, 0 where they do neither."""
    signs = np.sign(np.diff(depths_nm))
    return float(signs[0]) if (signs == signs[0]).all() else 0.0


def _root_mean(squared: Array) -> float:
    return float(np.sqrt(max(np.mean(squared), 0.0))) if squared.size else float("nan")


def _scan_beyond_focus(fit: PsfFit) -> Array:
    """(planes, 2) Distance (nm) scanned before and after a plane's focus; negative where the focus lies outside."""
    travel = fit.curve.travel_nm
    foci = np.array([np.median(fit.curve.focus_nm[fit.plane_of == p]) for p in range(len(fit.planes))])
    ends = np.stack((foci - travel[0], travel[-1] - foci), axis=1)
    return ends * np.sign(travel[-1] - travel[0])


def _coverage(fit: PsfFit, step_nm: float) -> float:
    """Share of the defocus range that molecules will have in which a width was measured."""
    needed = np.linspace(-fit.reach_nm, fit.reach_nm, 201)
    seen = np.sort(fit.curve.defocus_nm[fit.curve.used])
    if not len(seen):
        return 0.0
    after = np.clip(np.searchsorted(seen, needed), 1, len(seen) - 1)
    nearest = np.minimum(np.abs(needed - seen[after - 1]), np.abs(needed - seen[after]))
    return float(np.mean(nearest <= 0.75 * step_nm))


def quality_checks(fit: PsfFit, values: dict[str, float], s: CalibrateSettings) -> list[Check]:
    """Every value that has a threshold, with what to do at the microscope."""
    advice = _ADVICE | _advice(fit, values, s.model)
    # The spline describes what is not round and follows no curve; the Gaussian cannot.
    astigmatism_fail, width_residual_fail = (
        (s.astigmatism_fail_nm, s.width_residual_fail) if s.model == "gaussian" else (inf, inf)
    )

    def at_most(name: str, warn: float, fail: float = inf) -> Check:
        return check_at_most(name, values[name], advice[name], warn=warn, fail=fail)

    def at_least(name: str, warn: float, fail: float = -inf) -> Check:
        return check_at_least(name, values[name], advice[name], warn=warn, fail=fail)

    return [
        at_least("fewest_beads", s.recommended_beads, s.minimum_beads),
        at_most("saturated_beads", 0),
        at_most("step_over_depth_of_focus", s.step_warn, s.step_fail),
        at_least("scan_margin", s.scan_margin_warn, s.scan_margin_fail),
        at_least("defocus_coverage", s.defocus_coverage_warn, s.defocus_coverage_fail),
        at_most("astigmatism_nm", s.astigmatism_warn_nm, astigmatism_fail),
        at_most("gaussian_residual_in_focus", s.gaussian_residual_warn, s.gaussian_residual_fail),
        at_most("width_residual_over_waist", s.width_residual_warn, width_residual_fail),
        at_most("relative_residual", s.relative_residual_warn, s.relative_residual_fail),
        at_least("bead_photons", s.photons_warn, s.photons_fail),
        at_most("bead_motion_nm", s.bead_motion_warn_nm, s.bead_motion_fail_nm),
        at_most("lateral_stage_drift_nm", s.stage_drift_warn_nm, s.stage_drift_fail_nm),
        at_most("stage_step_error_nm", s.stage_step_warn_nm, s.stage_step_fail_nm),
        at_most("photobleaching", s.photobleaching_warn),
        at_least("cameras_matched", len(fit.planes)),
        _check_on_shape(values["depth_of_focus_over_waist"], s),
        at_most("largest_depth_sd_nm", s.depth_sd_warn_nm, s.depth_sd_fail_nm),
        at_most("largest_brightness_sd", s.brightness_sd_warn, s.brightness_sd_fail),
        at_least("smallest_plane_spacing_nm", s.spacing_warn_nm, s.spacing_fail_nm),
        at_least("planes_in_order", 1),
    ]


def _check_on_shape(ratio: float, s: CalibrateSettings) -> Check:
    """Whether the depth of focus agrees with the size of the spots, as it does at any numerical aperture."""
    name, check_step = "depth_of_focus_over_waist", "for spots of this size: check the z step in the calibration table"
    if ratio > s.focus_ratio_least:
        advice = f"the depth of focus is long {check_step}, and that the stage moved by this step"
        return check_at_most(name, ratio, advice, warn=s.focus_ratio_most)
    advice = f"the depth of focus is short {check_step}, look for clumped beads and for saturated ones"
    return check_at_least(name, ratio, advice, warn=s.focus_ratio_least)


def _advice(fit: PsfFit, values: dict[str, float], model: str) -> dict[str, str]:
    """Advice of the checks that names cameras or slices, or depends on the model."""
    names = fit.names

    def of(choose: Callable[[list[float]], int], value: str) -> str:
        """The camera whose value is the smallest or largest."""
        return names[int(choose([values[f"plane_{p}_{value}"] for p in range(len(names))]))]

    return {
        "fewest_beads": f"{of(np.argmin, 'beads')} has the fewest; more beads in the field make depths and "
        "brightness more precise",
        "saturated_beads": f"saturated beads left out{_saturated(fit)}; lower the laser power or the exposure time",
        "scan_margin": "the scan does not go through the focus of every plane with slices on both sides: "
        f"{_missed_end(fit)}, or record a longer one",
        "astigmatism_nm": "the spots are lines that turn with focus, most on "
        f"{of(np.argmax, 'astigmatism_nm')}: remove the cylindrical lens or align the beam splitters; the gaussian "
        "model is round, `model: spline` is not",
        "relative_residual": "the PSF model does not fit the beads; "
        + (
            "use `model: spline`, and look for aberrations (correction collar, immersion)"
            if model == "gaussian"
            else "the beads differ from each other: look for clumps, use more beads, in the middle of the field"
        ),
        "bead_photons": f"the beads are dim on {of(np.argmin, 'photons')}; raise the laser power or the "
        "exposure time, or use brighter beads",
        "bead_motion_nm": "the beads move independently between slices, most on "
        f"{of(np.argmax, 'motion_nm')}: fix them to the coverslip, and let them settle",
        "lateral_stage_drift_nm": "all beads move sideways together during the scan, most on "
        f"{names[int(np.argmax(fit.stage_drift_px))]}: let the stage settle, clamp the sample, and align the scan "
        "with the optical axis",
        "stage_step_error_nm": f"the stage jumped or went back near slice {fit.steps.worst + 1} (the first is 1), "
        "which shifts the depths of the planes relative to each other: record the beads again, with time for the stage "
        "to settle on every slice",
        "photobleaching": _advice_on_bleaching(fit.bleaching),
        "cameras_matched": _advice_on_matching(fit),
        "largest_depth_sd_nm": f"the depth of {of(np.argmax, 'depth_sd_nm')} is uncertain: {_MORE_BEADS}",
        "largest_brightness_sd": f"the brightness of {of(np.argmax, 'brightness_sd')} is uncertain: {_MORE_BEADS}, "
        "farther apart",
        "smallest_plane_spacing_nm": f"{_nearest_planes(fit)} share a focus: was the same file given twice? Check that "
        "each is from another camera, and that the cameras' foci differ",
        "planes_in_order": _advice_on_order(fit.depths_nm),
    }


def _saturated(fit: PsfFit) -> str:
    """' (3 on camera a, 1 on camera b)', or nothing."""
    numbers = [(plane.beads.rejected.get("saturated", 0), plane.name) for plane in fit.planes]
    text = ", ".join(f"{number} on {name}" for number, name in numbers if number)
    return f" ({text})" if text else ""


def _missed_end(fit: PsfFit) -> str:
    """Where slices are missing."""
    beyond = _scan_beyond_focus(fit)
    plane, end = np.unravel_index(int(np.argmin(beyond)), beyond.shape)
    when, which = (("begin it earlier", "first"), ("end it later", "last"))[int(end)]
    return f"{when}, {fit.names[int(plane)]} is nearest to its {which} slice"


def _nearest_planes(fit: PsfFit) -> str:
    """The two planes whose depths are closest."""
    order = np.argsort(fit.depths_nm)
    first = int(np.argmin(np.diff(fit.depths_nm[order])))
    return " and ".join(fit.names[int(p)] for p in order[first : first + 2])


def _advice_on_bleaching(bleaching: Photobleaching) -> str:
    if np.ptp(bleaching.brightness) > 0:
        effect = "photobleaching, which was removed from the planes' brightness"
    else:
        effect = (
            "by photobleaching, or because the spots hold fewer photons on one side of focus (correction collar, "
            "immersion); the planes' brightness is uncertain; if the beads bleached, set beads_bleach"
        )
    return (
        f"the brightness of the beads {'fell' if bleaching.lost > 0 else 'rose'} during the scan, {effect}; let "
        "the lamp settle, and lower the laser power or use beads that bleach less"
    )


def _advice_on_matching(fit: PsfFit) -> str:
    unlike = [plane.name for plane, pairs in zip(fit.planes[1:], fit.pairs, strict=True) if pairs is None]
    if not unlike:
        return "all cameras image the same beads"
    return (
        f"the beads of {', '.join(unlike)} could not be matched to those of {fit.names[0]}, so that depths and "
        "brightness compare different beads: give bead files of the same field, with 5 or more beads on all cameras"
    )


def _advice_on_order(depths_nm: Array) -> str:
    """What to check in the calibration table, given the order of the foci over the cameras."""
    order = _order(depths_nm)
    if order < 0:
        return (
            "z decreases with the number of the camera: either `scan` in the calibration table is wrong "
            "(objective or sample), which turns z upside down, or the cameras are listed from the deepest focus to the "
            "shallowest; then list them the other way round"
        )
    if order > 0:
        return "z increases with the number of the camera; a wrong `scan` in the calibration table would turn "
        "z upside down"
    return (
        "the foci neither rise nor fall with the number of the camera: check the order of the files in the "
        "calibration table and of the cameras in the microscope file"
    )
