"""Is a calibration to be trusted? Its settings, its quality values, and the checks on them.

Every check has a threshold in the settings and says what to do at the microscope.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planeloc.beads.bead_stack import Explained, misfit
from planeloc.calibration.gaussian_model import PsfFit
from planeloc.calibration.settings import CalibrateSettings
from planeloc.core.checks import Check, check_at_least, check_at_most
from planeloc.psf import PSF

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Calibrated:
    """A model and how it explains the beads."""

    psf: PSF
    brightness_sd: Array  # (planes,)
    by_gaussian: list[Explained]  # of every plane
    by_spline: list[Explained] | None  # where that is the model


def quality_values(fit: PsfFit, calibrated: Calibrated, astigmatism: Array, step_nm: float) -> dict[str, float]:
    """Every quality value by name; nm unless the name says otherwise."""
    psf, by_gaussian, by_spline = calibrated.psf, calibrated.by_gaussian, calibrated.by_spline
    curve = fit.curve
    defocus = fit.defocus_nm
    squared = curve.residual_nm**2 - fit.widths.sd_nm**2
    near = curve.used & (np.abs(defocus) < 1.5 * curve.depth_of_focus_nm)
    counts = np.bincount(fit.plane_of)
    depths = np.array(psf.plane_depths_nm)
    values = {
        "slices": float(len(fit.widths.travel_nm)),
        "step_of_the_focus_nm": step_nm,
        "step_over_depth_of_focus": step_nm / curve.depth_of_focus_nm,
        "beads_fewest_on_a_camera": float(counts.min()),
        "beads_saturated": float(sum(plane.beads.rejected.get("saturated", 0) for plane in fit.planes)),
        "waist_nm": curve.waist_nm,
        "waist_sd_nm": float(curve.deviations[0]),
        "depth_of_focus_nm": curve.depth_of_focus_nm,
        "focus_depth_nm": curve.focus_depth_nm,
        "focus_depth_sd_nm": float(curve.deviations[1]),
        "asymmetry": curve.asymmetry,
        "asymmetry_sd": float(curve.deviations[2]),
        "quartic": curve.quartic,
        "quartic_sd": float(curve.deviations[3]),
        "width_residual_near_focus_nm": _root_mean(squared[near]),
        "width_residual_all_nm": _root_mean(squared[curve.used]),
        "width_residual_over_waist": _root_mean(squared[near]) / curve.waist_nm,
        "misfit_near_focus": fit.misfit,
        "unexplained_by_gaussian": misfit(by_gaussian, fit.reach_nm),
        **({"unexplained_by_spline": misfit(by_spline, fit.reach_nm)} if by_spline else {}),
        "unexplained_by_model": misfit(by_spline or by_gaussian, fit.reach_nm),
        "bead_photons_fewest": float(min(np.median(fit.photons[fit.plane_of == p]) for p in range(len(counts)))),
        "bead_motion_nm": float(_motions_nm(fit, psf.pixel_size_nm).max()),
        "common_motion_nm": float(fit.common_way_px.max()) * psf.pixel_size_nm,
        "stage_step_error_nm": fit.course.largest_step_error_nm,
        "light_faded": abs(fit.course.faded),
        "light_faded_sd": fit.course.faded_sd,
        "depth_of_focus_over_waist": curve.depth_of_focus_nm / curve.waist_nm,
        "cameras_matched": float(1 + sum(pairs is not None for pairs in fit.pairs)),
        "hot_pixels": float(sum(np.count_nonzero(plane.beads.bad) for plane in fit.planes)),
        "beads_left_out": float(sum(plane.left_out for plane in fit.planes)),
        "astigmatism_nm": float(astigmatism.max()),
        "scan_beyond_focus": float(_scan_beyond_focus(fit).min()) / curve.depth_of_focus_nm,
        "range_covered": _coverage(fit, step_nm),
        "smallest_plane_spacing_nm": float(np.diff(np.sort(depths)).min()),
        "largest_depth_sd_nm": float(fit.depth_sd_nm.max()),
        "largest_brightness_sd": float((calibrated.brightness_sd / np.array(psf.brightness)).max()),
        "planes_in_order": _order(depths),
    }
    for p in range(len(depths)):
        values |= {
            f"plane_{p}_beads": float(counts[p]),
            f"plane_{p}_depth_nm": float(depths[p]),
            f"plane_{p}_depth_sd_nm": float(fit.depth_sd_nm[p]),
            f"plane_{p}_motion_nm": float(_motions_nm(fit, psf.pixel_size_nm)[p]),
            f"plane_{p}_photons": float(np.median(fit.photons[fit.plane_of == p])),
            f"plane_{p}_brightness": float(psf.brightness[p]),
            f"plane_{p}_brightness_sd": float(calibrated.brightness_sd[p]),
            f"plane_{p}_astigmatism_nm": float(astigmatism[p]),
        }
        if p:
            values |= {
                f"plane_{p}_spacing_nm": float(depths[p] - depths[p - 1]),
                f"plane_{p}_spacing_sd_nm": float(np.hypot(fit.depth_sd_nm[p], fit.depth_sd_nm[p - 1])),
            }
    return values


def _order(depths_nm: Array) -> float:
    """1 where the foci rise with the number of the camera, −1 where they fall, 0 where they do neither."""
    signs = np.sign(np.diff(depths_nm))
    return float(signs[0]) if (signs == signs[0]).all() else 0.0


def _root_mean(squared: Array) -> float:
    return float(np.sqrt(max(np.mean(squared), 0.0))) if squared.size else float("nan")


def _motions_nm(fit: PsfFit, pixel_size_nm: float) -> Array:
    """(planes,) way of the typical bead by itself."""
    return np.array([np.median(plane.motion_px) for plane in fit.planes]) * pixel_size_nm


def _scan_beyond_focus(fit: PsfFit) -> Array:
    """(planes, 2) Slices before and after a plane's focus, as a way in nm; negative where the focus lies outside."""
    travel = fit.widths.travel_nm
    foci = np.array([np.median(fit.curve.focus_nm[fit.plane_of == p]) for p in range(len(fit.planes))])
    ends = np.stack((foci - travel[0], travel[-1] - foci), axis=1)
    return ends * np.sign(travel[-1] - travel[0])


def _coverage(fit: PsfFit, step_nm: float) -> float:
    """Share of the defocus range that molecules will use in which a width was measured."""
    needed = np.linspace(-fit.reach_nm, fit.reach_nm, 201)
    seen = np.sort(fit.defocus_nm[fit.curve.used])
    if not len(seen):
        return 0.0
    after = np.clip(np.searchsorted(seen, needed), 1, len(seen) - 1)
    nearest = np.minimum(np.abs(needed - seen[after - 1]), np.abs(needed - seen[after]))
    return float(np.mean(nearest <= 0.75 * step_nm))


def quality_checks(fit: PsfFit, values: dict[str, float], s: CalibrateSettings) -> list[Check]:
    """Every value that has a threshold, with what to do at the microscope."""
    # The spline holds what is not round and follows no curve; for the Gaussian it is an end.
    round_only = s.model == "gaussian"
    at = _Names(fit, values)
    unlike = [plane.camera.name for plane, pairs in zip(fit.planes[1:], fit.pairs, strict=True) if pairs is None]
    return [
        check_at_least(
            "beads_fewest_on_a_camera",
            values["beads_fewest_on_a_camera"],
            f"{at.least('beads')} has the fewest; more beads in the field give safer depths and brightness",
            warn=s.recommended_beads,
            fail=s.minimum_beads,
        ),
        check_at_most(
            "beads_saturated",
            values["beads_saturated"],
            f"saturated beads were left out{_saturated(fit)}; lower the laser power or the exposure time",
            warn=0,
        ),
        check_at_most(
            "step_over_depth_of_focus",
            values["step_over_depth_of_focus"],
            "the z step is too coarse to see the focus; record the beads again in steps of 50 to 100 nm",
            warn=s.step_warn,
            fail=s.step_fail,
        ),
        check_at_least(
            "scan_beyond_focus",
            values["scan_beyond_focus"],
            "the scan does not go through the focus of every plane with slices on both sides: "
            f"{_missed_end(fit)}, or record a longer one",
            warn=s.margin_warn,
            fail=s.margin_fail,
        ),
        check_at_least(
            "range_covered",
            values["range_covered"],
            "widths are unknown for a part of the depths that molecules will have; scan further on both sides, or use "
            "brighter beads",
            warn=s.coverage_warn,
            fail=s.coverage_fail,
        ),
        check_at_most(
            "astigmatism_nm",
            values["astigmatism_nm"],
            f"the spots are lines that turn with focus, most on {at.most('astigmatism_nm')}: take out the cylindrical "
            "lens or align the beam splitters; the gaussian model is round, `model: spline` is not",
            warn=s.astigmatism_warn_nm,
            fail=s.astigmatism_fail_nm if round_only else np.inf,
        ),
        check_at_most(
            "misfit_near_focus",
            values["misfit_near_focus"],
            "the spots in focus are no Gaussians: look for aberrations (correction collar, immersion), clumped beads, "
            "and beads that saturate a camera whose saturation_counts are not in the microscope file",
            warn=s.misfit_warn,
            fail=s.misfit_fail,
        ),
        check_at_most(
            "width_residual_over_waist",
            values["width_residual_over_waist"],
            "the widths do not follow one defocus curve: check the z step and that the stage moved evenly",
            warn=s.residual_warn,
            fail=s.residual_fail if round_only else np.inf,
        ),
        check_at_most(
            "unexplained_by_model",
            values["unexplained_by_model"],
            "the model does not show what the beads look like; "
            + (
                "use `model: spline`, and look for aberrations (correction collar, immersion)"
                if round_only
                else "the beads differ from each other: look for clumps, take more of them, in the middle of the field"
            ),
            warn=s.unexplained_warn,
            fail=s.unexplained_fail,
        ),
        check_at_least(
            "bead_photons_fewest",
            values["bead_photons_fewest"],
            f"the beads are dim on {at.least('photons')}; raise the laser power or the exposure time, or "
            "take brighter beads",
            warn=s.photons_warn,
            fail=s.photons_fail,
        ),
        check_at_most(
            "bead_motion_nm",
            values["bead_motion_nm"],
            f"the beads move by themselves between slices, most on {at.most('motion_nm')}: fix them to "
            "the cover slip, and let them settle",
            warn=s.motion_warn_nm,
            fail=s.motion_fail_nm,
        ),
        check_at_most(
            "common_motion_nm",
            values["common_motion_nm"],
            "all beads move sideways together during the scan, most on "
            f"{fit.names[int(np.argmax(fit.common_way_px))]}: let the stage settle, clamp the sample, and align the "
            "scan with the optical axis",
            warn=s.wander_warn_nm,
            fail=s.wander_fail_nm,
        ),
        check_at_most(
            "stage_step_error_nm",
            values["stage_step_error_nm"],
            f"the stage jumped or went back near slice {fit.course.worst_step + 1} (the first is 1), which "
            "moves the depths of the planes against each other: record the beads again, with time for the stage to "
            "settle on every slice",
            warn=s.stage_step_warn_nm,
            fail=s.stage_step_fail_nm,
        ),
        check_at_most(
            "light_faded",
            values["light_faded"],
            f"the beads' light {'fell' if fit.course.faded > 0 else 'rose'} during the scan, "
            + (
                "which was taken out of the planes' brightness"
                if np.ptp(fit.course.light) > 0
                else "or the spots hold less light on one side of focus (correction collar, immersion), which makes "
                "the planes' brightness unsure; if the beads bleached, set beads_bleach"
            )
            + "; let the lamp settle, and take less light or beads that bleach less",
            warn=s.faded_warn,
        ),
        check_at_least(
            "cameras_matched",
            values["cameras_matched"],
            (
                f"the beads of {', '.join(unlike)} could not be recognized among those of {fit.names[0]}, so that "
                "depths and brightness compare different beads: give bead files of the same field, with 5 or more "
                "beads that all cameras see"
                if unlike
                else "all cameras see the same beads"
            ),
            warn=len(fit.planes),
        ),
        _check_on_shape(values["depth_of_focus_over_waist"], s),
        check_at_most(
            "largest_depth_sd_nm",
            values["largest_depth_sd_nm"],
            f"the depth of {at.most('depth_sd_nm')} is not well known: its beads disagree; take more and brighter ones",
            warn=s.depth_sd_warn_nm,
            fail=s.depth_sd_fail_nm,
        ),
        check_at_most(
            "largest_brightness_sd",
            values["largest_brightness_sd"],
            f"the brightness of {at.most('brightness_sd')} is not well known: its beads disagree; take more and "
            "brighter ones, farther apart",
            warn=s.brightness_sd_warn,
            fail=s.brightness_sd_fail,
        ),
        check_at_least(
            "smallest_plane_spacing_nm",
            values["smallest_plane_spacing_nm"],
            f"{_nearest_planes(fit)} share a focus: the same file given twice? Check that each is from another camera, "
            "and that the cameras' foci differ",
            warn=s.spacing_warn_nm,
            fail=s.spacing_fail_nm,
        ),
        check_at_least("planes_in_order", values["planes_in_order"], _advice_on_order(fit.depths_nm), warn=1),
    ]


def _check_on_shape(ratio: float, s: CalibrateSettings) -> Check:
    """Whether the depth of focus goes with the size of the spots, as it does at any numerical aperture."""
    name, check_step = "depth_of_focus_over_waist", "for spots of this size: check the z step in the sheet"
    if ratio > s.focus_ratio_least:
        advice = f"the depth of focus is long {check_step}, and that the stage kept it"
        return check_at_most(name, ratio, advice, warn=s.focus_ratio_most)
    advice = f"the depth of focus is short {check_step}, look for clumped beads and for those that saturate"
    return check_at_least(name, ratio, advice, warn=s.focus_ratio_least)


class _Names:
    """Names of the cameras on which the values of planes are at an end."""

    def __init__(self, fit: PsfFit, values: dict[str, float]) -> None:
        self.names, self.values = fit.names, values

    def _of(self, value: str) -> list[float]:
        return [self.values[f"plane_{p}_{value}"] for p in range(len(self.names))]

    def least(self, value: str) -> str:
        return self.names[int(np.argmin(self._of(value)))]

    def most(self, value: str) -> str:
        return self.names[int(np.argmax(self._of(value)))]


def _saturated(fit: PsfFit) -> str:
    """' (3 on camera a, 1 on camera b)', or nothing."""
    numbers = [(plane.beads.rejected.get("saturated", 0), plane.camera.name) for plane in fit.planes]
    text = ", ".join(f"{number} on {name}" for number, name in numbers if number)
    return f" ({text})" if text else ""


def _missed_end(fit: PsfFit) -> str:
    """Where slices are missing."""
    plane, end = np.unravel_index(int(np.argmin(ways := _scan_beyond_focus(fit))), ways.shape)
    when = ("begin it earlier", "end it later")[int(end)]
    return f"{when}, {fit.names[int(plane)]} is nearest to its {('first', 'last')[int(end)]} slice"


def _nearest_planes(fit: PsfFit) -> str:
    """The two planes whose depths are closest."""
    order = np.argsort(fit.depths_nm)
    first = int(np.argmin(np.diff(fit.depths_nm[order])))
    return " and ".join(fit.names[int(p)] for p in order[first : first + 2])


def _advice_on_order(depths_nm: Array) -> str:
    """What to check in the sheet, given which way the foci run over the cameras."""
    if (np.diff(depths_nm) < 0).all():
        return (
            "z decreases with the number of the camera: either `scan` in the sheet is wrong (objective or sample), "
            "which turns z upside down, or the cameras are listed from the deepest focus to the shallowest; then list "
            "them the other way round"
        )
    if (np.diff(depths_nm) > 0).all():
        return "z increases with the number of the camera; a wrong `scan` in the sheet would turn z upside down"
    return (
        "the foci neither rise nor fall with the number of the camera: check the order of the files in the sheet and "
        "of the cameras in the microscope file"
    )
