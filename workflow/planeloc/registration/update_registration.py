"""The `update-registration` stage: do the transforms of the beads still hold in the movie?

A camera that was touched, or a region of interest that was moved, after the beads were recorded sees another part of
the sample than its transform says. The molecules of the movie show by how much
(`planeloc.registration.movie_displacement`). Displacements that inter-camera drift explains, which `localize` estimates
in every frame, are left to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from planeloc.core.arrays import Array
from planeloc.core.checks import print_warnings, stop_on_failure, write_quality
from planeloc.core.files import read_json
from planeloc.core.settings import check
from planeloc.diagnostics.registered_changes import moved
from planeloc.movie.store import Movie
from planeloc.registration.displacement_figure import write_displacements
from planeloc.registration.displacement_quality import displacement_checks, displacement_values
from planeloc.registration.movie_displacement import Displacement, measure_displacements
from planeloc.registration.settings import UpdateRegistrationSettings
from planeloc.transforms.camera_transform import Registration, TransformUncertainty

_LEAST_SIGMAS = 4.0  # by which a displacement must differ from zero
_LEAST_SLOPE_PX = 0.1  # at the corner of the field; a smaller rotation or magnification is left alone
_SWAPPED = 0.25  # two cameras were exchanged if each fits the other's transform so much better


def update_registration(
    movie: Path,
    registration: Path,
    output: Path,
    figure: Path,
    quality: Path,
    settings: UpdateRegistrationSettings,
    synchronization: Path | None = None,
) -> dict[str, Any]:
    """Compare the transforms with a movie, and write those to use; returns what was found, for the record.

    Parameters
    ----------
    movie, registration : manifest of the movie, and the transforms of its cameras from `register`.
    output : transforms to use for this movie (JSON), to write.
    figure, quality : figure (PNG) and quality values (JSON) to write.
    synchronization : file of the `synchronize` stage.

    Raises
    ------
    PlanelocError : a file cannot be read, movie and transforms have different numbers of cameras, two cameras were
        exchanged, or with mode: check, a camera is displaced. Figure and quality values are left beside `figure` and
        `quality`, with `.failed` in their names.
    """
    check(settings)
    recorded, transforms = Movie.open(movie, synchronization), Registration.read(registration)
    recorded.check_cameras(registration, transforms.planes)
    found = [] if settings.mode == "never" else measure_displacements(recorded, transforms)
    field = recorded.shape[2:]
    updated = [is_displaced(each, field, settings) for each in found]
    used = transforms
    if settings.mode == "auto":
        for plane in np.flatnonzero(updated).tolist():
            used = _with_update(used, plane, found[plane], field)
    cameras = recorded.microscope.cameras
    swapped = exchanged(transforms, found, field) if any(updated) else None
    values = displacement_values(found, field)
    checks = displacement_checks(values, updated, swapped, cameras, settings) if found else []

    def draw(path: Path) -> None:
        write_displacements(path, found, updated, cameras, settings)

    stop_on_failure(movie, values, checks, figure, quality, draw)
    print_warnings(checks)
    draw(figure)
    write_quality(quality, values, checks)
    details = dict(read_json(registration).get("details", {}))
    details["movie_update"] = {"mode": settings.mode, "settings": asdict(settings), "updated": updated}
    used.write(output, details)
    return {"updated_cameras": [cameras[plane].name for plane in np.flatnonzero(updated)], "mode": settings.mode}


def is_displaced(found: Displacement, field: Sequence[int], settings: UpdateRegistrationSettings) -> bool:
    """Whether a camera is displaced beyond what inter-camera drift and chance explain."""
    if found.significance < settings.registration_significance_warn:
        return False
    size = np.abs(found.shift_px)
    sd = np.where(np.isfinite(found.sd_px), found.sd_px, 0.0)
    far = found.farthest_px(field) > settings.displacement_px
    return bool(far and ((size > _LEAST_SIGMAS * sd).any() or has_slope(found, field)))


def has_slope(found: Displacement, field: Sequence[int]) -> bool:
    """Whether a displacement is more than a shift."""
    size = float(np.abs(found.slope).max())
    return size * max(field) / 2 > _LEAST_SLOPE_PX and size > _LEAST_SIGMAS * found.slope_sd


def exchanged(
    registration: Registration, found: Sequence[Displacement], field: Sequence[int]
) -> tuple[int, int] | None:
    """Two cameras, none of them the reference, each of which sees what the other's transform says; None if none do."""
    points = _grid(field)
    for first in range(1, registration.planes):
        for second in range(first + 1, registration.planes):
            pair = (first, second), (second, first)
            own = max(np.abs(found[a].at(points)).max() for a, _ in pair)
            other = max(_distance(registration, found, a, b, points) for a, b in pair)
            if own > 1 and other < _SWAPPED * own:
                return first, second
    return None


def _distance(
    registration: Registration, found: Sequence[Displacement], plane: int, other: int, points: Array
) -> float:
    """How far a camera sees from where the transform of another one says, px."""
    seen = registration.transforms[plane](points + found[plane].at(points))
    return float(np.abs(seen - registration.transforms[other](points)).max())


def _with_update(registration: Registration, plane: int, found: Displacement, field: Sequence[int]) -> Registration:
    """The registration with one transform updated; the covariance of its shift becomes that of the measurement."""
    slope = found.slope if has_slope(found, field) else np.zeros((2, 2))
    transforms, known = list(registration.transforms), list(registration.uncertainty)
    transform = transforms[plane]
    transforms[plane] = moved(transform, found.shift_px, slope, found.centre_px)
    if known and known[plane] is not None and np.isfinite(found.sd_px).all():
        axes = transform.matrix
        known[plane] = _of_shift(known[plane], axes @ np.diag(found.sd_px**2) @ axes.T)
    return replace(registration, transforms=tuple(transforms), uncertainty=tuple(known))


def _of_shift(known: TransformUncertainty, covariance_px2: Array) -> TransformUncertainty:
    """The uncertainty with another covariance (2, 2) of the shift, independent of the other coefficients."""
    size = len(known.covariance_px2) // 2
    covariance = known.covariance_px2.copy()
    constant = [0, size]
    covariance[constant, :] = covariance[:, constant] = 0
    covariance[np.ix_(constant, constant)] = covariance_px2
    return replace(known, covariance_px2=covariance)


def _grid(field: Sequence[int]) -> Array:
    """Points (x, y) over the field, its corners among them."""
    rows, columns = field
    return np.stack(np.meshgrid(np.linspace(0, columns, 5), np.linspace(0, rows, 5)), axis=-1).reshape(-1, 2)
