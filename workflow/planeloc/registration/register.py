"""The `register` stage: from bead images to the map of every camera and how well it is known.

1. Beads are found on each camera by itself and fitted on every slice.
2. Their positions, averaged over the slices by information (so slices near that camera's focus count most), are matched
   to the reference without a first guess: any of the eight orientations, a shift of up to a third of the field, a few
   degrees and per cent, many beads seen by one camera only (`point_matching`).
3. The sideways path of the scan, common to all beads and cameras, is found from the matched beads on all slices and
   taken out, so that the map holds for images taken at once (`stage_path`).
4. The map is fitted (`map_fitting`) and judged.

With `beads_move`, every frame counts as an image of its own, whose particles are only matched within the frame: a movie
of a few moving particles registers cameras, too.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planeloc.beads.detection import BeadSearch, camera_file, odd_window, read_slices
from planeloc.beads.point_matching import Match, MatchLimits, match_points, orientation_words
from planeloc.beads.positions import BeadPoints, find_moving_points, find_points
from planeloc.beads.stage_path import hold_still
from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.core.checks import (
    Check,
    check_at_least,
    check_at_most,
    print_warnings,
    quality_dict,
    stop_on_failure,
    write_quality,
)
from planeloc.core.errors import PlanelocError
from planeloc.core.settings import check as check_settings
from planeloc.io.camera_files import CameraSource, open_cameras
from planeloc.registration.figure import RegisteredPlane, draw_registration
from planeloc.registration.settings import RegisterSettings
from planeloc.registration.transform_fit import FEWEST_FOR_QUADRATIC, fit_map, fit_shift
from planeloc.registration.transform_fit import Beads as MatchedBeads
from planeloc.transforms.camera_transform import Affine, Quadratic, Registration

_LOG = logging.getLogger(__name__)

Array = NDArray[np.float64]

_MOST_FRAMES = 500  # of a movie of moving particles
_MOST_SLICES = 1000  # more is a movie
_BRIGHTEST = 150  # points that are matched; more would add time, not safety


def register(
    beads: Sequence[Path],
    microscope: Microscope,
    output: Path,
    figure: Path,
    quality: Path,
    settings: RegisterSettings | None = None,
) -> None:
    """Find the map from the reference camera to every other one and write it with its figure and quality values.

    Parameters
    ----------
    beads : one image or a z-stack per camera, in the microscope's layout.

    Raises
    ------
    PlanelocError
        Too few beads, no or no unambiguous match, or a failed quality check: of the latter, figure and quality values
        are left beside `figure` and `quality`, with `.failed` in their names. Nothing else is written then.
    """
    settings = settings or RegisterSettings()
    check_settings(settings)
    with open_cameras([Path(path) for path in beads], microscope) as source:
        files, shape = source.files, source.shape[2:]
        frames = _frames(source, settings)
        counts, cameras = read_slices(source, microscope.cameras, frames)
    search = BeadSearch(
        window_px=odd_window(settings.window_nm, microscope.pixel_size_nm),
        isolation_px=settings.isolation_nm / microscope.pixel_size_nm,
        border_px=settings.border_nm / microscope.pixel_size_nm,
        minimum_snr=settings.minimum_snr,
    )
    points = [
        find_moving_points(counts[:, p], frames, camera, search)
        if settings.beads_move
        else find_points(counts[:, p], camera, search)
        for p, camera in enumerate(cameras)
    ]
    others = range(1, microscope.planes)
    matches = [_match(points, p, shape, cameras, camera_file(files, p), settings) for p in others]
    placed = _place(points, matches, settings.minimum_matched)
    pixel = microscope.pixel_size_nm
    registered = [
        _register_plane(camera_file(files, p), cameras[p].name, match, beads, shape, pixel, settings)
        for p, match, beads in zip(others, matches, placed, strict=True)
    ]
    values, checks = _assess(registered, points, shape, pixel, settings)

    def draw(path: Path) -> None:
        draw_registration(path, cameras[0].name, points[0].position_px, registered, shape, pixel, checks)

    stop_on_failure(files[0], values, checks, Path(figure), Path(quality), draw)
    registration = Registration(
        maps=(Affine.identity(), *(plane.camera_map for plane in registered)),
        residual_nm=(0.0, *(plane.residual_rms_px * pixel for plane in registered)),
        uncertainty=(None, *(plane.uncertainty for plane in registered)),
        beads=(len(points[0].label), *(len(plane.residual_px) for plane in registered)),
    )
    draw(figure)
    write_quality(quality, values, checks)
    print_warnings(checks)
    details = {
        "height_px": shape[0],
        "width_px": shape[1],
        "pixel_size_nm": pixel,
        "orientation": ["reference", *(plane.orientation for plane in registered)],
        "quality": quality_dict(values, checks),
        "settings": asdict(settings),
    }
    registration.write(output, details)
    for plane in registered:
        _LOG.info(plane.words(pixel))


def _frames(source: CameraSource, settings: RegisterSettings) -> NDArray[np.int64]:
    """The frames that are used: all slices of a scan; of a long movie, frames spread over it."""
    total = source.shape[0]
    if not settings.beads_move:
        if total > _MOST_SLICES:
            raise PlanelocError(
                f"{source.files[0]}: {total} frames, a movie and not a bead scan: give bead images, or set beads_move"
            )
        return np.arange(total)
    return np.unique(np.linspace(0, total - 1, min(total, _MOST_FRAMES)).astype(np.int64))


def _match(
    points: Sequence[BeadPoints],
    plane: int,
    shape: tuple[int, int],
    cameras: Sequence[Camera],
    file: Path,
    settings: RegisterSettings,
) -> Match:
    """Which beads of a camera are which ones of the reference."""
    reference, camera = points[0], points[plane]
    seen = f"{cameras[0].name}: {reference.summary}; {cameras[plane].name}: {camera.summary}"
    fewer = min(reference, camera, key=lambda points: len(points.label))
    if len(fewer.label) < settings.minimum_matched:
        raise PlanelocError(
            f"{file}: too few beads to register ({seen}), at least {settings.minimum_matched} on both cameras needed; "
            f"{fewer.advice}, or image a denser bead sample"
        )
    limits = MatchLimits(
        rotation_deg=settings.maximum_rotation_deg,
        scale=settings.maximum_scale_change,
        shift_share=settings.maximum_shift,
        tolerance_px=settings.tolerance_px,
    )
    most = None if settings.beads_move else _BRIGHTEST
    match = match_points(
        reference.position_px[:most],
        camera.position_px[:most],
        shape,
        reference_labels=reference.label[:most],
        camera_labels=camera.label[:most],
        limits=limits,
    )
    matched = 0 if match is None else len(match.pairs)
    if match is None or matched < settings.minimum_matched:
        raise PlanelocError(
            f"{file}: only {matched} beads match between the cameras ({seen}), at least {settings.minimum_matched} "
            "needed; check that all files show the same field, or image a denser bead sample"
        )
    return match


@dataclass(frozen=True)
class _Placed:
    """Matched beads of one camera and the reference without the path of the stage."""

    beads: MatchedBeads
    compared: int  # beads that both cameras see clearly on a common slice
    moving: int  # beads left out, as they move by themselves
    own_motion_px: float  # median over the beads of both cameras


def _place(points: Sequence[BeadPoints], matches: Sequence[Match], minimum: int) -> list[_Placed]:
    """Places of the matched beads on every camera but the reference, less the path that all beads go together.

    The path must be the same for all cameras, so the beads of all of them are used for it. Cameras that see fewer than
    `minimum` beads on common slices with the reference are not connected with it, and keep the path.
    """
    used = np.unique(np.concatenate([match.pairs[:, 0] for match in matches]))
    turns = [np.eye(2), *(match.affine.matrix for match in matches)]
    rows = [used, *(match.pairs[:, 1] for match in matches)]
    camera = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    series = [points[c].slice_px[row] @ np.linalg.inv(turns[c]).T for c, row in enumerate(rows)]
    noise = [points[c].slice_variance_px2[row] / abs(np.linalg.det(turns[c])) for c, row in enumerate(rows)]
    compared = [
        int(np.isfinite(noise[0][np.searchsorted(used, match.pairs[:, 0])] + noise[c]).any(axis=1).sum())
        for c, match in enumerate(matches, start=1)
    ]
    connected = np.array([True, *(number >= minimum for number in compared)])[camera]
    position, variance = np.concatenate(series), np.concatenate(noise)
    first = np.cumsum([0, *map(len, rows)])
    still = hold_still(position, variance, camera, connected)
    steady = ~still.moves
    if still.moves.any():  # what one bead does by itself is no path
        still = hold_still(position, variance, camera, connected & steady)
    placed = []
    for c, match in enumerate(matches, start=1):
        a, b = np.searchsorted(used, match.pairs[:, 0]), first[c] + np.arange(len(match.pairs))
        good = steady[a] & steady[b]
        if good.sum() < minimum:
            good[:] = True
        a, b, turn = a[good], b[good], turns[c]
        enlarged = abs(np.linalg.det(turn))
        shared = still.shared_px2(a, b)
        if not connected[b[0]]:  # at least what is seen of the wandering may lie between the two
            shared = shared + sum(np.nan_to_num(points[k].motion_px) ** 2 / 2 for k in (0, c))
        beads = MatchedBeads(
            still.place_px[a],
            still.place_px[b] @ turn.T,
            enlarged * (still.variance_px2[a] + still.variance_px2[b]),
            enlarged * shared,
        )
        own = float(np.median(still.own_motion_px[np.concatenate((a, b))]))
        placed.append(_Placed(beads, compared[c - 1], int(np.sum(~good)), own))
    return placed


def _register_plane(
    file: Path,
    name: str,
    match: Match,
    placed: _Placed,
    shape: tuple[int, int],
    pixel: float,
    settings: RegisterSettings,
) -> RegisteredPlane:
    """Fit the map of one camera."""
    # Points in a corner of the field say where it lies, but their errors, enlarged, would turn and stretch the rest.
    narrow = _spread(placed.beads.source, shape) < settings.affine_area
    matched = len(placed.beads.source)
    if settings.model == "quadratic" and (narrow or matched < FEWEST_FOR_QUADRATIC):
        raise PlanelocError(
            f"{file}: {matched} matched beads on camera {name} are too few or too close together for a quadratic map; "
            f"{FEWEST_FOR_QUADRATIC} all over the field are needed: image more, or set register: model: auto"
        )
    fit = fit_shift(placed.beads) if narrow else fit_map(placed.beads, settings.model)
    alone = Registration(
        (Affine.identity(), fit.camera_map), (0.0, 0.0), shape, (None, fit.uncertainty), (None, None), pixel
    )
    field_sd, corner_sd = alone.field_sd_nm(1)
    kept = fit.kept
    return RegisteredPlane(
        name=name,
        orientation=orientation_words(fit.camera_map.matrix),
        camera_map=fit.camera_map,
        uncertainty=fit.uncertainty,
        reference_px=placed.beads.source[kept],
        camera_px=placed.beads.target[kept],
        residual_px=fit.residual_px[kept],
        residual_rms_px=fit.residual_rms_px,
        left_out_rms_px=fit.left_out_rms_px,
        scatter_px=fit.scatter_px,
        rival=match.rival,
        chance=match.chance,
        compared=placed.compared,
        excluded=match.left_out + placed.moving + int(np.sum(~kept)),
        own_motion_px=placed.own_motion_px,
        field_sd_nm=field_sd,
        corner_sd_nm=corner_sd,
    )


def _assess(
    registered: Sequence[RegisteredPlane],
    points: Sequence[BeadPoints],
    shape: tuple[int, int],
    pixel: float,
    settings: RegisterSettings,
) -> tuple[dict[str, float], list[Check]]:
    """Quality values of all planes, and the checks on the worst of them."""
    values: dict[str, float] = {}
    for p, seen in enumerate(points):
        values |= {f"plane_{p}_beads": float(len(seen.label)), f"plane_{p}_bead_motion_nm": seen.motion_px * pixel}
    for p, plane in enumerate(registered, start=1):
        values |= {
            f"plane_{p}_matched": float(len(plane.residual_px)),
            f"plane_{p}_left_out": float(plane.excluded),
            f"plane_{p}_compared": float(plane.compared),
            f"plane_{p}_residual_nm": plane.residual_rms_px * pixel,
            f"plane_{p}_leave_one_out_nm": plane.left_out_rms_px * pixel,
            f"plane_{p}_scatter_nm": plane.scatter_px * pixel,
            f"plane_{p}_map_sd_nm": plane.field_sd_nm,
            f"plane_{p}_corner_sd_nm": plane.corner_sd_nm,
            f"plane_{p}_own_motion_nm": plane.own_motion_px * pixel,
            f"plane_{p}_shift_x_px": float(plane.camera_map.shift_px[0]),
            f"plane_{p}_shift_y_px": float(plane.camera_map.shift_px[1]),
            f"plane_{p}_mirrored": float(plane.camera_map.mirrored),
            f"plane_{p}_quadratic": float(isinstance(plane.camera_map, Quadratic)),
            f"plane_{p}_rival": plane.rival,
            f"plane_{p}_chance": plane.chance,
        }
    worst = max(plane.residual_rms_px for plane in registered)
    checks = [
        check_at_least(
            "matched_beads",
            float(min(len(plane.residual_px) for plane in registered)),
            "more beads in the field give a safer map",
            warn=settings.recommended_matched,
            fail=settings.minimum_matched,
        ),
        check_at_most(
            "residual_px",
            worst,
            "the cameras' images differ by more than their map: check that nothing moved between or during the "
            "exposures, and for clumped beads",
            warn=settings.residual_warn_px,
            fail=settings.residual_fail_px,
        ),
        check_at_most(
            "leave_one_out_px",
            max(plane.left_out_rms_px for plane in registered),
            "the map hangs on single beads; image more of them, spread over the field",
            warn=2 * settings.residual_warn_px,
        ),
        check_at_most(
            "rival_match",
            max(plane.rival for plane in registered),
            "the beads match almost as well in a second way; image more beads, in no regular pattern",
            warn=settings.rival_warn,
            fail=settings.rival_fail,
        ),
        check_at_most(
            "chance_matches",
            max(plane.chance for plane in registered),
            "points strewn at random would match as well, so these beads may not be the same: check that all files "
            "show the same field, and image more beads",
            warn=settings.chance_warn,
            fail=settings.chance_fail,
        ),
        check_at_most(
            "map_sd_nm",
            max(plane.field_sd_nm for plane in registered),
            "the map is uncertain over the field; image more or brighter beads, spread over all of it",
            warn=settings.map_sd_warn_nm,
            fail=settings.map_sd_fail_nm,
        ),
        check_at_most(
            "corner_sd_nm",
            max(plane.corner_sd_nm for plane in registered),
            "the map is uncertain in a corner of the field; image beads there, too",
            warn=settings.corner_sd_warn_nm,
        ),
        check_at_least(
            "area_share",
            min(_spread(plane.reference_px, shape) for plane in registered),
            "the matched beads cover a small part of the field, the rest is extrapolated (from a shift alone where "
            "they cover next to nothing); spread beads over the field",
            warn=settings.area_warn,
        ),
        check_at_least(
            "beads_on_common_slices",
            float(min(plane.compared for plane in registered)),
            "a camera and the reference see too few beads well on the same slices, so what the stage or the objective "
            "wanders sideways between slices is in the map; take brighter beads, or give an image of beads that all "
            "cameras see well as registration_beads",
            warn=settings.minimum_matched,
        ),
    ]
    motion = max(plane.motion_px for plane in points) * pixel
    if np.isfinite(motion):  # of a scan
        checks += [
            check_at_most(
                "bead_motion_nm",
                motion,
                "the beads move sideways during the scan: let the stage settle, and look for runout of the stage or "
                "the objective and for oblique beam paths",
                warn=settings.motion_warn_nm,
            ),
            check_at_most(
                "own_motion_nm",
                max(plane.own_motion_px for plane in registered) * pixel,
                "the beads move, each on its own way: they are loose; fix them to the coverslip (dry them on, or use "
                "poly-lysine) and scan again",
                warn=settings.own_motion_warn_nm,
                fail=settings.own_motion_fail_nm,
            ),
        ]
    return values, checks


def _spread(points: Array, shape: tuple[int, int]) -> float:
    """Area of an ellipse with the points' second moments (twice their rms) over the field's area, at most 1."""
    area = 4 * np.pi * np.sqrt(max(np.linalg.det(np.cov(points.T)), 0.0))
    return min(float(area / (shape[0] * shape[1])), 1.0)
