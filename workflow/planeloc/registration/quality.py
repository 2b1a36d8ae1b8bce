"""Quality values of a registration, and the checks on the worst camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

import numpy as np

from planeloc.beads.positions import BeadPositions
from planeloc.core.checks import Check, check_at_least, check_at_most
from planeloc.registration.settings import RegisterSettings
from planeloc.registration.transform_fit import RegisteredPlane, covered_fraction
from planeloc.transforms.camera_transform import Registration
from planeloc.transforms.coverage import Coverage

_ADVICE = {
    "matched_beads": "more beads in the field make the transform safer",
    "residual_px": "the cameras' images differ by more than their transform: check that nothing moved between or "
    "during the exposures, and look for clumped beads",
    "leave_one_out_px": "the transform depends on individual beads; image more of them, spread over the field",
    "second_best_match": "the beads match almost as well in a second way; image more beads, in no regular pattern",
    "chance_matches": "randomly placed points would match as well, so these beads may not be the same: check that all "
    "files show the same field, and image more beads",
    "transform_sd_nm": "the transform is uncertain over the field; image more or brighter beads, spread over all of it",
    "corner_sd_nm": "the transform is uncertain in a corner of the field; image beads there, too",
    "covered_area_fraction": "the matched beads cover a small part of the field, and the rest is extrapolated (from a "
    "shift alone where they cover next to nothing); spread beads over the field",
    "beads_on_common_slices": "a camera and the reference share too few beads that both image well on the same slices, "
    "so the transform contains the sideways motion of stage and objective between slices; use brighter beads, or give "
    "an image of beads that all cameras image well as registration_beads",
    "lateral_stage_drift_nm": "the beads move sideways during the scan: let the stage settle, and look for runout of "
    "the stage or the objective and for oblique beam paths",
    "bead_motion_nm": "the beads move independently of each other: they are loose; fix them to the coverslip (dry them "
    "on, or use poly-lysine) and scan again",
}


def quality_values(
    registration: Registration, registered: Sequence[RegisteredPlane], positions: Sequence[BeadPositions]
) -> dict[str, float]:
    """Quality values of every plane, by name."""
    pixel = registration.pixel_size_nm
    values = {"common_field_fraction": Coverage(registration, registration.field_px).common_share()}
    for p, seen in enumerate(positions):
        values |= {
            f"plane_{p}_beads": float(len(seen.label)),
            f"plane_{p}_lateral_stage_drift_nm": seen.motion_px * pixel,
        }
    for p, plane in enumerate(registered, start=1):
        fit, (transform_sd_nm, corner_sd_nm) = plane.fit, registration.transform_sd_nm(p)
        of_plane = {
            "matched": plane.used,
            "excluded": plane.excluded,
            "beads_on_common_slices": plane.matched.compared,
            "residual_nm": fit.residual_rms_px * pixel,
            "leave_one_out_nm": fit.leave_one_out_rms_px * pixel,
            "scatter_nm": fit.scatter_px * pixel,
            "transform_sd_nm": transform_sd_nm,
            "corner_sd_nm": corner_sd_nm,
            "bead_motion_nm": plane.matched.bead_motion_px * pixel,
            "shift_x_px": fit.transform.shift_px[0],
            "shift_y_px": fit.transform.shift_px[1],
            "mirrored": fit.transform.mirrored,
            "quadratic": fit.transform.model == "quadratic",
            "second_best_match": plane.match.second_best,
            "chance_matches": plane.match.chance_matches,
        }
        values |= {f"plane_{p}_{name}": float(value) for name, value in of_plane.items()}
    return values


def quality_checks(
    values: Mapping[str, float], registered: Sequence[RegisteredPlane], shape: tuple[int, int], s: RegisterSettings
) -> list[Check]:
    """Checks on the worst camera, with what to do at the microscope; `shape` is (rows, columns) of the cameras."""

    def of_cameras(name: str, first: int = 1) -> list[float]:
        return [values[f"plane_{p}_{name}"] for p in range(first, len(registered) + 1)]

    largest = ("second_best_match", "chance_matches", "transform_sd_nm", "corner_sd_nm", "bead_motion_nm")
    worst = {name: max(of_cameras(name)) for name in largest} | {
        "matched_beads": min(of_cameras("matched")),
        "residual_px": max(plane.fit.residual_rms_px for plane in registered),
        "leave_one_out_px": max(plane.fit.leave_one_out_rms_px for plane in registered),
        "covered_area_fraction": min(covered_fraction(plane.reference_px, shape) for plane in registered),
        "beads_on_common_slices": min(of_cameras("beads_on_common_slices")),
        "lateral_stage_drift_nm": max(of_cameras("lateral_stage_drift_nm", first=0)),
    }

    def at_most(name: str, warn: float, fail: float = inf) -> Check:
        return check_at_most(name, worst[name], _ADVICE[name], warn=warn, fail=fail)

    def at_least(name: str, warn: float, fail: float = -inf) -> Check:
        return check_at_least(name, worst[name], _ADVICE[name], warn=warn, fail=fail)

    checks = [
        at_least("matched_beads", s.recommended_matched, s.minimum_matched),
        at_most("residual_px", s.residual_warn_px, s.residual_fail_px),
        at_most("leave_one_out_px", s.leave_one_out_warn_px),
        at_most("second_best_match", s.second_best_match_warn, s.second_best_match_fail),
        at_most("chance_matches", s.chance_matches_warn, s.chance_matches_fail),
        at_most("transform_sd_nm", s.transform_sd_warn_nm, s.transform_sd_fail_nm),
        at_most("corner_sd_nm", s.corner_sd_warn_nm),
        at_least("covered_area_fraction", s.area_warn),
        at_least("beads_on_common_slices", s.common_slices_warn),
    ]
    if np.isfinite(worst["lateral_stage_drift_nm"]):  # of a scan
        checks.append(at_most("lateral_stage_drift_nm", s.stage_drift_warn_nm))
        checks.append(at_most("bead_motion_nm", s.bead_motion_warn_nm, s.bead_motion_fail_nm))
    return checks
