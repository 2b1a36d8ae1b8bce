"""The `register` stage: from bead images to the affine map of every camera.

Beads are found on each camera by itself, their positions averaged over the slices by information (so slices near that
camera's focus count most), then matched to the reference without a first guess: any of the eight orientations, a shift
of up to a third of the field, a few degrees and per cent, many beads seen by one camera only.

The cameras see a bead best on different slices of a scan, between which the stage or the objective also wander
sideways. This path is common to all beads and cameras: it is found from the matched beads on all slices and taken out,
so that the map holds for images taken at once.

With `beads_move`, every frame counts as an image of its own, whose particles are only matched within the frame: a movie
of a few moving particles registers cameras, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planeloc.beads import (
    BeadFits,
    BeadSearch,
    camera_file,
    find_beads,
    fit_beads,
    fit_moving_beads,
    odd_window,
    read_slices,
)
from planeloc.camera import Camera
from planeloc.errors import PlanelocError
from planeloc.figures.registration import RegisteredPlane, draw_registration
from planeloc.geometry import Affine, Registration
from planeloc.microscope import Microscope
from planeloc.point_matching import MatchLimits, fit_affine, fit_shift, match_points, robust_fit
from planeloc.quality import Check, check_at_least, check_at_most, quality_dict, stop_on_failure, write_quality
from planeloc.readers import CameraSource, open_cameras
from planeloc.settings import check as check_settings
from planeloc.settings import setting

Array = NDArray[np.float64]

_FEWEST_MATCHED = 4
_MOST_FRAMES = 500  # of a movie of moving particles
_MOST_SLICES = 1000  # more is a movie
_SMALLEST_SD_PX = 0.005  # aberrations and bead shape limit a position whatever the photons
_SNR_OF_PEAK = 4.0
_LARGEST_SD_PX = 0.5
_REWEIGHTINGS = 6
_BRIGHTEST = 150  # points that are matched; more would add time, not safety


@dataclass(frozen=True)
class RegisterSettings:
    """How beads are found and matched, and how good the map must be."""

    window_nm: float = setting(2100.0, "Side of the square fitted around a bead, nm.", minimum=500)
    isolation_nm: float = setting(900.0, "Beads closer to another than this are left out, nm.", minimum=0)
    border_nm: float = setting(500.0, "Beads closer to the border than this are left out, nm.", minimum=0)
    minimum_snr: float = setting(6.0, "Brightness of a bead over the noise, on its best slice.", minimum=3)
    beads_move: bool = setting(False, "Take every frame by itself: for a movie of moving particles.")
    maximum_rotation_deg: float = setting(5.0, "Rotation from one of the 8 orientations, °.", minimum=0, maximum=20)
    maximum_scale_change: float = setting(0.03, "Relative difference in magnification.", minimum=0, maximum=0.2)
    maximum_shift: float = setting(0.34, "Shift as a share of the field.", minimum=0, maximum=1)
    tolerance_px: float = setting(2.0, "Distance at which two points may be the same while matching, px.", minimum=0.1)
    minimum_matched: int = setting(4, "Fewest matched beads per camera; fewer stop the run.", minimum=_FEWEST_MATCHED)
    recommended_matched: int = setting(8, "Fewest matched beads per camera without a warning.", minimum=4)
    residual_warn_px: float = setting(0.15, "Rms residual that warns, px.", minimum=0)
    residual_fail_px: float = setting(1.0, "Rms residual that stops the run, px.", minimum=0)
    rival_warn: float = setting(0.5, "Score of the second-best match over the best that warns.", minimum=0)
    rival_fail: float = setting(0.8, "Score of the second-best match over the best that stops the run.", minimum=0)
    motion_warn_nm: float = setting(12.0, "Rms wandering of the beads during the scan that warns, nm.", minimum=0)
    affine_area: float = setting(0.03, "Share of the field below which only a shift is fitted.", minimum=0, maximum=1)
    area_warn: float = setting(0.15, "Share of the field between the matched beads that warns.", minimum=0, maximum=1)


@dataclass(frozen=True)
class _Points:
    """Positions of beads on one camera, best known first."""

    position_px: Array  # (n, 2) x, y
    variance_px2: Array  # (n,) mean of both axes
    label: NDArray[np.int64]  # frame, or 0 for beads that stay
    slice_px: Array  # (n, slices, 2) x, y on every slice
    slice_variance_px2: Array  # (n, slices) mean of both axes; infinite where the position is unknown
    summary: str
    motion_px: float  # median over the beads of their rms wandering between slices, less the noise; nan if unknown


def register(
    beads: Sequence[Path],
    microscope: Microscope,
    output: Path,
    figure: Path,
    quality: Path,
    settings: RegisterSettings | None = None,
) -> None:
    """Find the map from the reference camera to every other one and write it with its figure and quality values.

    `beads`: one image or a z-stack per camera, in the microscope's layout.

    Raises
    ------
    PlanelocError
        Too few beads, no or no unambiguous match, or a failed quality check: of the latter, the figure is drawn beside
        `figure`, with `.failed` in its name. Nothing else is written then.
    """
    settings = settings or RegisterSettings()
    check_settings(settings)
    with open_cameras([Path(path) for path in beads], microscope) as source:
        files, shape = source.files, source.shape[2:]
        frames = _frames(source, settings)
        counts, cameras = read_slices(source, microscope.cameras, frames)
    # Every frame of particles that move is an image of its own; of a scan, all slices show the same beads.
    labels = frames if settings.beads_move else np.zeros_like(frames)
    points = [
        _find(counts[:, p], labels, camera, microscope.pixel_size_nm, settings) for p, camera in enumerate(cameras)
    ]
    registered = [
        _register_plane(points, p, shape, cameras, camera_file(files, p), settings) for p in range(microscope.planes)
    ]
    pixel = microscope.pixel_size_nm
    values, checks = _assess(registered, points, shape, pixel, settings)

    def draw(path: Path) -> None:
        draw_registration(path, registered, shape, pixel, checks)

    stop_on_failure(files[0], values, checks, Path(figure), Path(quality), draw)
    registration = Registration(
        tuple(plane.affine for plane in registered), tuple(plane.residual_rms_px * pixel for plane in registered)
    )
    draw(figure)
    write_quality(quality, values, checks)
    field = {"height_px": shape[0], "width_px": shape[1], "pixel_size_nm": pixel}
    registration.write(output, {**field, "quality": quality_dict(values, checks), "settings": asdict(settings)})


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


def _find(
    counts: NDArray[np.uint16],
    frames: NDArray[np.int64],
    camera: Camera,
    pixel: float,
    settings: RegisterSettings,
) -> _Points:
    """Bead positions on one camera: of the whole stack together, or of every frame by itself."""
    search = BeadSearch(
        window_px=odd_window(settings.window_nm, pixel),
        isolation_px=settings.isolation_nm / pixel,
        border_px=settings.border_nm / pixel,
        minimum_snr=settings.minimum_snr,
    )
    if not settings.beads_move:
        beads = find_beads(counts, camera, search)
        fits = fit_beads(counts, camera, beads, search.window_px, estimator="likelihood")
        return _points(fits, np.zeros(len(beads), dtype=np.int64), search, beads.summary)
    found = [find_beads(image[None], camera, search) for image in counts]
    fits = fit_moving_beads(counts, camera, found, search.window_px, estimator="likelihood")
    summary = f"{sum(map(len, found))} usable particles in {len(frames)} frames"
    return _points(fits, np.repeat(frames, [len(beads) for beads in found]), search, summary)


def _points(fits: BeadFits, label: NDArray[np.int64], search: BeadSearch, summary: str) -> _Points:
    """Positions of every bead on the slices, and their mean, weighted by information."""
    variance = (fits.x_sd_px**2 + fits.y_sd_px**2) / 2
    clear = fits.good & (fits.peak > _SNR_OF_PEAK * fits.peak_sd) & (variance < _LARGEST_SD_PX**2)
    clear &= fits.squared_width_px2[..., 0] < (search.window_px / 2) ** 2
    information = np.where(clear, 1 / (variance + _SMALLEST_SD_PX**2), 0.0)
    kept = np.nonzero(clear.any(axis=1))[0]
    kept = kept[np.argsort(-information[kept].sum(axis=1), kind="stable")]
    information = information[kept]
    slices = np.where(information[..., None] > 0, np.stack((fits.x_px[kept], fits.y_px[kept]), axis=-1), 0.0)
    total = information.sum(axis=1)
    position = np.sum(information[..., None] * slices, axis=1) / total[:, None]
    away = np.sum(information * np.sum((slices - position[:, None]) ** 2, axis=-1), axis=1)
    noise = 2.0 * (np.count_nonzero(information, axis=1) - 1)  # expected of both axes, were it all noise
    wandering = np.sqrt(np.maximum(away - noise, 0.0) / total)
    return _Points(
        position_px=position,
        variance_px2=1 / total + _SMALLEST_SD_PX**2,
        label=label[kept],
        slice_px=slices,
        slice_variance_px2=np.where(information > 0, 1 / np.maximum(information, 1e-12), np.inf),
        summary=summary,
        motion_px=float(np.median(wandering)) if len(kept) and information.shape[1] > 1 else float("nan"),
    )


def _path(position_px: Array, variance_px2: Array) -> Array:
    """(slices, 2) The way that all beads go together, up to a constant, by least squares with Huber weights.

    `position_px` (beads, slices, 2) is a bead's place plus the path; `variance_px2` (beads, slices), infinite where it
    is unknown.
    """
    known = np.isfinite(variance_px2)
    weights = 1 / variance_px2
    for _ in range(_REWEIGHTINGS):
        total = weights.sum(axis=1, keepdims=True)
        away = position_px - np.sum(weights[..., None] * position_px, axis=1, keepdims=True) / total[..., None]
        normal = np.diag(weights.sum(axis=0)) - (weights / total).T @ weights  # the beads' places are eliminated
        # What the beads do not say (the constant, slices without beads) becomes zero.
        ridge = 1e-9 * weights.sum(axis=0).max() * np.eye(len(normal))
        path = np.linalg.solve(normal + ridge, np.sum(weights[..., None] * away, axis=0))
        rest = position_px - path
        rest -= np.sum(weights[..., None] * rest, axis=1, keepdims=True) / total[..., None]
        ratio = np.sqrt(np.sum(rest**2, axis=-1) / 2 / np.where(known, variance_px2, 1.0))
        scale = max(1.0, float(np.median(ratio[known])))
        weights = 1 / variance_px2 / np.maximum(ratio / (1.5 * scale), 1.0)
    return path


def _without_path(
    reference: _Points, camera: _Points, pairs: NDArray[np.int64], matrix: Array
) -> tuple[Array, Array, int]:
    """Positions of matched beads (n, 2) on the reference and on the camera, less the path that all beads go together.

    The path is what both cameras see, so it must be the same for both; `matrix` (2, 2), of a first map, turns it from
    the reference's pixels to the camera's. Also returns how many beads both cameras see clearly on a common slice,
    without which the paths near the two foci are not connected.
    """
    seen = [points.slice_px[pairs[:, side]] for side, points in enumerate((reference, camera))]
    variance = [points.slice_variance_px2[pairs[:, side]] for side, points in enumerate((reference, camera))]
    enlarged = abs(np.linalg.det(matrix))
    path = _path(
        np.concatenate((seen[0], seen[1] @ np.linalg.inv(matrix).T)),
        np.concatenate((variance[0], variance[1] / enlarged)),
    )
    places = []
    for positions, uncertain, way in zip(seen, variance, (path, path @ matrix.T), strict=True):
        weights = 1 / uncertain[..., None]
        places.append(np.sum(weights * (positions - way), axis=1) / weights.sum(axis=1))
    return places[0], places[1], int(np.isfinite(variance[0] + variance[1]).any(axis=1).sum())


def _register_plane(
    points: Sequence[_Points],
    plane: int,
    shape: tuple[int, int],
    cameras: Sequence[Camera],
    file: Path,
    settings: RegisterSettings,
) -> RegisteredPlane:
    """Match one camera to the reference and fit the map; the reference itself gets the identity."""
    reference, camera = points[0], points[plane]
    seen = f"{cameras[0].name}: {reference.summary}; {cameras[plane].name}: {camera.summary}"
    if min(len(reference.label), len(camera.label)) < settings.minimum_matched:
        raise PlanelocError(
            f"{file}: too few beads to register ({seen}), at least {settings.minimum_matched} on both cameras needed; "
            "image a denser bead sample, take brighter beads, or check the offset and the order of the cameras"
        )
    if plane == 0:
        nothing = np.empty((0, 2))
        beads = reference.position_px
        return RegisteredPlane(cameras[0].name, Affine.identity(), beads, nothing, nothing, 0.0, 0.0, 0.0, len(beads))
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
    source, target = reference.position_px[match.pairs[:, 0]], camera.position_px[match.pairs[:, 1]]
    variance = reference.variance_px2[match.pairs[:, 0]] + camera.variance_px2[match.pairs[:, 1]]
    still_source, still_target, compared = _without_path(reference, camera, match.pairs, match.affine.matrix)
    if compared >= settings.minimum_matched:
        source, target = still_source, still_target
    # Points in a corner of the field say where it lies, but their errors, enlarged, would turn and stretch the rest.
    fit = fit_affine if _spread(source, shape) >= settings.affine_area else fit_shift
    affine, weights, residual = robust_fit(source, target, variance, fit)
    return RegisteredPlane(
        name=cameras[plane].name,
        affine=affine,
        reference_px=source,
        camera_px=target,
        residual_px=residual,
        residual_rms_px=_weighted_rms(residual, weights),
        left_out_rms_px=_weighted_rms(_leave_one_out(source, target, weights, fit), weights),
        rival=match.rival_score / max(match.score, 1e-9),
        compared=compared,
    )


def _weighted_rms(residual: Array, weights: Array) -> float:
    """Root mean squared distance (both axes together), px."""
    return float(np.sqrt(np.average(np.sum(residual**2, axis=1), weights=weights)))


def _leave_one_out(source: Array, target: Array, weights: Array, fit: Callable[[Array, Array, Array], Affine]) -> Array:
    """Residual of every point under the map fitted to the others."""
    residual = np.empty_like(source)
    for i in range(len(source)):
        others = np.arange(len(source)) != i
        residual[i] = target[i] - fit(source[others], target[others], weights[others])(source[i])
    return residual


def _assess(
    registered: Sequence[RegisteredPlane],
    points: Sequence[_Points],
    shape: tuple[int, int],
    pixel: float,
    settings: RegisterSettings,
) -> tuple[dict[str, float], list[Check]]:
    """Quality values of all planes, and the checks on the worst of them."""
    values: dict[str, float] = {}
    others = registered[1:]
    for p, (plane, seen) in enumerate(zip(registered, points, strict=True)):
        values |= {f"plane_{p}_beads": float(len(seen.label)), f"plane_{p}_bead_motion_nm": seen.motion_px * pixel}
        if p == 0:
            continue
        values |= {
            f"plane_{p}_matched": float(len(plane.residual_px)),
            f"plane_{p}_compared": float(plane.compared),
            f"plane_{p}_residual_nm": plane.residual_rms_px * pixel,
            f"plane_{p}_leave_one_out_nm": plane.left_out_rms_px * pixel,
            f"plane_{p}_shift_x_px": float(plane.affine.shift_px[0]),
            f"plane_{p}_shift_y_px": float(plane.affine.shift_px[1]),
            f"plane_{p}_mirrored": float(plane.affine.mirrored),
            f"plane_{p}_rival": plane.rival,
        }
    worst = max(plane.residual_rms_px for plane in others)
    checks = [
        check_at_least(
            "matched_beads",
            float(min(len(plane.residual_px) for plane in others)),
            "more beads in the field give a safer map",
            warn=settings.recommended_matched,
            fail=settings.minimum_matched,
        ),
        check_at_most(
            "residual_px",
            worst,
            "the cameras' images differ by more than an affine map: check that nothing moved between or during the "
            "exposures, and for clumped beads",
            warn=settings.residual_warn_px,
            fail=settings.residual_fail_px,
        ),
        check_at_most(
            "leave_one_out_px",
            max(plane.left_out_rms_px for plane in others),
            "the map hangs on single beads; image more of them, spread over the field",
            warn=2 * settings.residual_warn_px,
        ),
        check_at_most(
            "rival_match",
            max(plane.rival for plane in others),
            "the beads match almost as well in a second way; image more beads, in no regular pattern",
            warn=settings.rival_warn,
            fail=settings.rival_fail,
        ),
        check_at_least(
            "area_share",
            min(_spread(plane.reference_px, shape) for plane in others),
            "the matched beads cover a small part of the field, the rest is extrapolated (from a shift alone where "
            "they cover next to nothing); spread beads over the field",
            warn=settings.area_warn,
        ),
        check_at_least(
            "beads_on_common_slices",
            float(min(plane.compared for plane in others)),
            "a camera and the reference see too few beads well on the same slices, so what the stage or the objective "
            "wanders sideways between slices is in the map; take brighter beads, or give an image of beads that all "
            "cameras see well as registration_beads",
            warn=settings.minimum_matched,
        ),
    ]
    motion = max(plane.motion_px for plane in points) * pixel
    if np.isfinite(motion):  # of a scan
        checks.append(
            check_at_most(
                "bead_motion_nm",
                motion,
                "the beads move sideways during the scan: let the stage settle, and look for runout of the stage or "
                "the objective and for oblique beam paths",
                warn=settings.motion_warn_nm,
            )
        )
    return values, checks


def _spread(points: Array, shape: tuple[int, int]) -> float:
    """Area of an ellipse with the points' second moments (twice their rms) over the field's area, at most 1."""
    area = 4 * np.pi * np.sqrt(max(np.linalg.det(np.cov(points.T)), 0.0))
    return min(float(area / (shape[0] * shape[1])), 1.0)
