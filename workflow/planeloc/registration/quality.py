"""Quality values of a registration, and the checks on the worst camera."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from planeloc.beads.positions import BeadPositions
from planeloc.core.checks import Check, check_at_least, check_at_most
from planeloc.registration.results import RegisteredPlane, area_share
from planeloc.registration.settings import RegisterSettings

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
    registered: Sequence[RegisteredPlane], positions: Sequence[BeadPositions], pixel_size_nm: float
) -> dict[str, float]:
    """Quality values of every plane, by name."""
    values: dict[str, float] = {}
    for p, seen in enumerate(positions):
        values |= {
            f"plane_{p}_beads": float(len(seen.label)),
            f"plane_{p}_lateral_stage_drift_nm": seen.motion_px * pixel_size_nm,
        }
    for p, plane in enumerate(registered, start=1):
        of_plane = {
            "matched": float(len(plane.residual_px)),
            "excluded": float(plane.excluded),
            "beads_on_common_slices": float(plane.compared),
            "residual_nm": plane.residual_rms_px * pixel_size_nm,
            "leave_one_out_nm": plane.left_out_rms_px * pixel_size_nm,
            "scatter_nm": plane.scatter_px * pixel_size_nm,
            "transform_sd_nm": plane.transform_sd_nm,
            "corner_sd_nm": plane.corner_sd_nm,
            "bead_motion_nm": plane.own_motion_px * pixel_size_nm,
            "shift_x_px": float(plane.transform.shift_px[0]),
            "shift_y_px": float(plane.transform.shift_px[1]),
            "mirrored": float(plane.transform.mirrored),
            "quadratic": float(plane.transform.model == "quadratic"),
            "second_best_match": plane.rival,
            "chance_matches": plane.chance,
        }
        values |= {f"plane_{p}_{name}": value for name, value in of_plane.items()}
    return values


def quality_checks(
    registered: Sequence[RegisteredPlane],
    positions: Sequence[BeadPositions],
    shape: tuple[int, int],
    pixel_size_nm: float,
    s: RegisterSettings,
) -> list[Check]:
    """Checks on the worst camera, with what to do at the microscope; `shape` is (rows, columns) of the cameras."""

    def most(value: str) -> float:
        return max(getattr(plane, value) for plane in registered)

    def at_most(name: str, value: float, warn: float, fail: float = inf) -> Check:
        return check_at_most(name, value, _ADVICE[name], warn=warn, fail=fail)

    def at_least(name: str, value: float, warn: float, fail: float = -inf) -> Check:
        return check_at_least(name, value, _ADVICE[name], warn=warn, fail=fail)

    matched = float(min(len(plane.residual_px) for plane in registered))
    area = min(area_share(plane.reference_px, shape) for plane in registered)
    checks = [
        at_least("matched_beads", matched, s.recommended_matched, s.minimum_matched),
        at_most("residual_px", most("residual_rms_px"), s.residual_warn_px, s.residual_fail_px),
        at_most("leave_one_out_px", most("left_out_rms_px"), 2 * s.residual_warn_px),
        at_most("second_best_match", most("rival"), s.second_best_match_warn, s.second_best_match_fail),
        at_most("chance_matches", most("chance"), s.chance_matches_warn, s.chance_matches_fail),
        at_most("transform_sd_nm", most("transform_sd_nm"), s.transform_sd_warn_nm, s.transform_sd_fail_nm),
        at_most("corner_sd_nm", most("corner_sd_nm"), s.corner_sd_warn_nm),
        at_least("covered_area_fraction", area, s.area_warn),
        at_least("beads_on_common_slices", float(min(plane.compared for plane in registered)), s.minimum_matched),
    ]
    motion_nm = max(seen.motion_px for seen in positions) * pixel_size_nm
    if np.isfinite(motion_nm):  # of a scan
        own_nm = most("own_motion_px") * pixel_size_nm
        checks.append(at_most("lateral_stage_drift_nm", motion_nm, s.stage_drift_warn_nm))
        checks.append(at_most("bead_motion_nm", own_nm, s.bead_motion_warn_nm, s.bead_motion_fail_nm))
    return checks
