"""The `overlay` stage: raw frames of every camera with the localizations drawn through the transforms onto them.

It shows in one figure whether detection and registration fit the movie. Two frames are drawn: one with a typical number
of molecules, and a crowded one. Below, the mean image of the molecules in focus is drawn about the place where table
and transform put them, for every camera; its offset from there is stated and judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from planeloc.core.checks import Check, check_at_most, print_warnings, write_quality
from planeloc.core.errors import PlanelocError
from planeloc.core.settings import check
from planeloc.io import localization_table
from planeloc.io.localization_table import metadata_value
from planeloc.movie.store import Movie
from planeloc.rendering import overlay_figure as figures
from planeloc.rendering.mean_spot import REACH_PX, MeanSpot, mean_spot
from planeloc.rendering.settings import OverlaySettings
from planeloc.transforms.camera_transform import Registration

_CROWDED = 95  # percentile of the molecules per frame; the very last percent may be flashes
_STRETCH = 50  # frames about each frame that is drawn, from which mean images are taken
_MOST_BYTES = 1 << 29  # of the frames of both stretches in memory
_MOST_SPOTS = 2000  # per plane
_IN_FOCUS_NM = 150.0


@dataclass(frozen=True)
class Panel:
    """A part of one camera's image in one frame, and the localizations on it.

    Attributes
    ----------
    photons : (rows, columns)
    origin_px : x and y of its outer corner, on the camera
    points_px : (n, 2) x and y of all localizations of the frame, on the camera
    depth_nm : (n,)
    sharp : (n,) whether this plane is the one closest to the localization's depth
    """

    photons: NDArray[np.float64]
    origin_px: tuple[int, int]
    points_px: NDArray[np.float64]
    depth_nm: NDArray[np.float64]
    sharp: NDArray[np.bool_]


def overlay(
    movie: Path,
    registration: Path,
    localizations_file: Path,
    figure: Path,
    quality: Path,
    settings: OverlaySettings,
    synchronization: Path | None = None,
) -> dict[str, Any]:
    """Draw the figure and judge the offsets of the cameras; returns the frames that were drawn, for the record.

    Parameters
    ----------
    movie : manifest of the converted movie.
    localizations_file : the table as it was localized in this movie.
    figure, quality : figure (PNG) and quality values (JSON) to write.
    synchronization : file of the `synchronize` stage that the localizations were made with.

    Raises
    ------
    PlanelocError : a file cannot be read, or the files do not belong together.
    """
    check(settings)
    images, transforms = Movie.open(movie, synchronization), Registration.read(registration)
    table, metadata = localization_table.read_columns(localizations_file)
    _belong_together(images, transforms, localizations_file, metadata)
    depths = np.asarray(metadata_value(localizations_file, metadata, "plane_depths_nm"), dtype=np.float64)
    points = np.stack((table["x"], table["y"]), axis=1) / images.microscope.pixel_size_nm
    frames = chosen_frames(table["frame"], images.frames)
    rows = [_panels(images, transforms, table, points, depths, frame, settings.region_px) for frame in frames]
    spots = _mean_spots(images, transforms, table, points, depths, frames)
    counts = [int((table["frame"] == frame).sum()) for frame in frames]
    figures.write_overlay(figure, rows, spots, frames, counts, images.microscope, depths, settings.colour_map)
    checks = offset_checks(spots, [camera.name for camera in images.microscope.cameras], settings)
    print_warnings(checks)
    write_quality(quality, offset_values(spots, images.microscope.pixel_size_nm), checks)
    return {"frames": frames}


def offset_values(spots: Sequence[MeanSpot], pixel_nm: float) -> dict[str, float]:
    """Quality values of every camera by name; offsets only where they are known."""
    values: dict[str, float] = {}
    for number, spot in enumerate(spots):
        values[f"camera_{number}_molecules_in_focus"] = spot.molecules
        if spot.offset_px and spot.offset_sd_px:
            for axis, offset, sd in zip("xy", spot.offset_px, spot.offset_sd_px, strict=True):
                values[f"camera_{number}_offset_{axis}_nm"] = pixel_nm * offset
                values[f"camera_{number}_offset_{axis}_sd_nm"] = pixel_nm * sd
    return values


def offset_checks(spots: Sequence[MeanSpot], cameras: Sequence[str], settings: OverlaySettings) -> list[Check]:
    """Verdict on the largest offset; none where no offset is known."""
    known = [(math.hypot(*spot.offset_px), name) for spot, name in zip(spots, cameras, strict=True) if spot.offset_px]
    if not known:
        return []
    largest, name = max(known)
    advice = (
        f"the molecules on {name} are not where the transform puts them: the camera moved after the beads were "
        "recorded, or the registration belongs to another alignment; look at overlay.png, and record the beads again"
    )
    return [check_at_most("largest_offset_px", largest, advice, warn=settings.offset_warn_px)]


def _belong_together(movie: Movie, registration: Registration, path: Path, metadata: Mapping[str, Any]) -> None:
    """Raise an error if table, movie and transforms are not of one sample, or the table is not as it was localized."""
    if metadata.get("sample_drift", {}).get("corrected"):
        raise PlanelocError(
            f"{path}: the sample drift was taken out of these positions, so that they do not fit the frames; give the "
            "table as it was localized, localizations.h5"
        )
    size = tuple(metadata_value(path, metadata, key) for key in ("frames", "height_px", "width_px"))
    if size != (movie.frames, movie.height, movie.width) or registration.planes != movie.planes:
        raise PlanelocError(
            f"{path}: a table of {size[0]} frames of {size[1]}×{size[2]} pixels and {registration.planes} transforms "
            f"do not fit {movie.manifest}, {movie.frames} frames of {movie.height}×{movie.width} pixels of "
            f"{movie.planes} cameras; give the files of one sample"
        )


def chosen_frames(frame: NDArray[np.int64], frames: int) -> list[int]:
    """A frame with the median number of molecules and one with many, of those that have any; else the middle one.

    Of several with the same number, the one in the middle of them in time.
    """
    counts = np.bincount(frame, minlength=frames)
    some = np.sort(counts[counts > 0])
    if not len(some):
        return [frames // 2]
    wanted = (some[len(some) // 2], some[min(len(some) - 1, len(some) * _CROWDED // 100)])
    found = [np.flatnonzero(counts == number) for number in wanted]
    return list(dict.fromkeys(int(which[len(which) // 2]) for which in found))


def _panels(
    movie: Movie,
    registration: Registration,
    table: Mapping[str, NDArray],
    points: NDArray[np.float64],
    depths: NDArray[np.float64],
    frame: int,
    region_px: int,
) -> list[Panel]:
    """One frame on every camera."""
    here = table["frame"] == frame
    z = table["z"][here]
    closest = np.abs(z[:, None] - depths).argmin(axis=1)
    corner = densest_region(points[here], (movie.width, movie.height), region_px)
    counts = movie.read(frame, frame + 1)[0]
    panels = []
    for plane, (transform, camera) in enumerate(zip(registration.transforms, movie.microscope.cameras, strict=True)):
        columns, rows = _seen(transform, corner, region_px, (movie.width, movie.height))
        photons = np.asarray(camera.photons(counts[plane, rows, columns]), dtype=np.float64)
        panels.append(
            Panel(photons, (columns.start, rows.start), transform(points[here]).reshape(-1, 2), z, closest == plane)
        )
    return panels


def densest_region(points: NDArray[np.float64], size: tuple[int, int], side: int) -> tuple[int, int]:
    """Corner (x, y) of the square of `side` pixels that holds most points, of a field of `size` (width, height).

    Squares overlap by half. A field that is not larger is shown as a whole.
    """
    best, corner = -1, (0, 0)
    steps = [sorted({*range(0, max(length - side, 0), max(side // 2, 1)), max(length - side, 0)}) for length in size]
    for y in steps[1]:
        for x in steps[0]:
            inside = int(np.all((points >= (x, y)) & (points < (x + side, y + side)), axis=1).sum())
            if inside > best:
                best, corner = inside, (x, y)
    return corner


def _seen(transform: Any, corner: tuple[int, int], side: int, size: tuple[int, int]) -> tuple[slice, slice]:
    """Columns and rows of a camera on which a square of the reference is."""
    low, high = np.asarray(corner), np.minimum(np.add(corner, side), size)
    corners = transform(np.array([low, (low[0], high[1]), (high[0], low[1]), high], dtype=np.float64))
    first = np.clip(np.floor(corners.min(axis=0)), 0, np.subtract(size, 1)).astype(int)
    last = np.clip(np.ceil(corners.max(axis=0)), first + 1, size).astype(int)
    return slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))


def _mean_spots(
    movie: Movie,
    registration: Registration,
    table: Mapping[str, NDArray],
    points: NDArray[np.float64],
    depths: NDArray[np.float64],
    frames: list[int],
) -> list[MeanSpot]:
    """The mean image of the molecules in focus, per plane, from stretches of the movie about `frames`."""
    stretch = stretch_frames(math.prod(movie.shape[1:]))
    starts = [min(max(frame - stretch // 2, 0), max(movie.frames - stretch, 0)) for frame in frames]
    read = sorted({number for start in starts for number in range(start, min(start + stretch, movie.frames))})
    counts = np.concatenate([movie.read(number, number + 1) for number in read])
    place = np.full(movie.frames, -1)
    place[read] = np.arange(len(read))
    rows = np.flatnonzero(place[table["frame"]] >= 0)
    rows = rows[~_crowded(table["frame"][rows], points[rows])]
    spots = []
    for plane, (transform, camera) in enumerate(zip(registration.transforms, movie.microscope.cameras, strict=True)):
        use = rows[np.abs(table["z"][rows] - depths[plane]) < _IN_FOCUS_NM]
        use = use[:: max(1, -(-len(use) // _MOST_SPOTS))]
        image = place[table["frame"][use]]
        spots.append(mean_spot(counts[:, plane], image, transform(points[use]).reshape(-1, 2), camera.photons))
    return spots


def stretch_frames(pixels: int) -> int:
    """Frames of a stretch, by the pixels of a frame on all planes: fewer of large sensors."""
    return min(_STRETCH, max(1, _MOST_BYTES // (2 * 2 * pixels)))


def _crowded(frame: NDArray[np.int64], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,) whether another point of the same frame is so close that its light is in a mean image."""
    found = np.zeros(len(frame), dtype=bool)
    order = np.argsort(frame, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(frame[order])) + 1):
        if len(rows) > 1:
            pairs = cKDTree(points[rows]).query_pairs(2 * REACH_PX, output_type="ndarray")
            found[rows[pairs.ravel()]] = True
    return found
