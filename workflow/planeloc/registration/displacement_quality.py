"""Quality values of the displacement of the cameras in a movie, and verdicts on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from planeloc.cameras.camera import Camera, camera_called
from planeloc.core.checks import Check, check_at_least, check_at_most
from planeloc.registration.movie_displacement import Displacement
from planeloc.registration.settings import UpdateRegistrationSettings

_CAUSE = "the camera or a region of interest was moved after the beads were recorded"


def displacement_values(found: Sequence[Displacement], field: Sequence[int]) -> dict[str, float]:
    """Quality values by name, of every camera but the reference."""
    values: dict[str, float] = {}
    for plane, own in enumerate(found[1:], start=1):
        name = f"camera_{plane}_"
        values[f"{name}displacement_x_px"], values[f"{name}displacement_y_px"] = map(float, own.shift_px)
        values[f"{name}displacement_px"] = own.farthest_px(field)
        values[f"{name}displacement_sd_px"] = math.hypot(*own.sd_px)
        values[f"{name}registration_significance"] = own.significance
    return values


def displacement_checks(
    values: Mapping[str, float],
    updated: Sequence[bool],
    swapped: tuple[int, int] | None,
    cameras: Sequence[Camera],
    settings: UpdateRegistrationSettings,
) -> list[Check]:
    """Verdicts on every camera but the reference: could its place be told, and is it where its transform says?"""
    corrected = settings.mode == "auto"
    checks = []
    for plane, camera in enumerate(cameras[1:], start=1):
        name = f"camera_{plane}_"
        checks.append(
            check_at_least(
                f"{name}registration_significance",
                values[f"{name}registration_significance"],
                f"{camera_called(camera.name)}: cannot tell whether its transform holds in this movie: too few "
                "molecules turn on and off, it sees another sample, or it is displaced by more than half of the field",
                warn=settings.registration_significance_warn,
            )
        )
        shift = f"{values[f'{name}displacement_x_px']:+.2f}, {values[f'{name}displacement_y_px']:+.2f} pixels"
        shift += f" in the middle of the field, {values[f'{name}displacement_px']:.2f} pixels at most"
        advice = f"{camera_called(camera.name)}: displaced by {shift}, against the beads; {_CAUSE}; "
        if swapped and plane in swapped:
            one, other = (camera_called(cameras[each].name) for each in swapped)
            advice = (
                f"{one} and {other} see what each other's transform says; were their files exchanged? Correct "
                "the order of the files"
            )
        elif corrected:
            advice += "the transform is updated from the movie; record beads again to be sure"
        else:
            advice += "record beads again, or set mode: auto to update the transform from the movie"
        size = values[f"{name}displacement_px"] if updated[plane] else 0.0
        worst = settings.displacement_px if (swapped and plane in swapped) or not corrected else math.inf
        checks.append(
            check_at_most(f"{name}significant_displacement_px", size, advice, warn=settings.displacement_px, fail=worst)
        )
    return checks
