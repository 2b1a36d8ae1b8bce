"""Finding beads in a stack of images and fitting a Gaussian to each of them on every slice.

A bead is a spot that stands out of the noise on some slice. Rings around a bright bead out of focus are spots too; they
are told from neighbours by their brightness. Pixels that belong to a neighbour, or lie outside the camera, are masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import NoiseModel
from planeloc.core.errors import PlanelocError
from planeloc.fitting.gaussian_2d import fit_gaussians
from planeloc.io.camera_files import CameraSource

Array = NDArray[np.float64]

_HALO = 0.25  # a spot this much dimmer than a bead within its window is its ring, not a neighbour
_BATCH = 1000  # windows fitted at once: bounds the memory of the Jacobian
_CLIPPED_SHARE = 0.01  # of the pixels; fewer may be hot ones
_STRAY_PX = 2.0  # a fit that leaves its bead by more has found something else


@dataclass(frozen=True)
class BeadSearch:
    """How beads are found, in pixels of the camera."""

    window_px: int  # odd; side of the square that is fitted
    isolation_px: float  # nearest allowed neighbour
    border_px: float  # nearest allowed border
    minimum_snr: float  # of the smoothed spot on its best slice


@dataclass(frozen=True)
class Beads:
    """The usable beads of one camera, brightest first, and why others were left out."""

    columns: NDArray[np.int64]  # (beads,) brightest pixel
    rows: NDArray[np.int64]
    others: Array  # (spots, 2) column, row of every spot that is not a ring, usable or not
    rejected: dict[str, int]  # reason → number
    clipped: bool  # much of the image is saturated, or its brightest spots have flat tops
    bad: NDArray[np.bool_] | None = None  # (rows, columns) pixels that do not count

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def summary(self) -> str:
        """For messages: '3 usable beads (2 too close to another, 1 saturated)'."""
        why = ", ".join(f"{number} {reason}" for reason, number in self.rejected.items() if number)
        return f"{len(self)} usable bead{'' if len(self) == 1 else 's'}" + (f" ({why})" if why else "")

    @property
    def advice(self) -> str:
        """What to do to have more usable beads."""
        reasons = self.rejected
        worst = max(reasons, key=reasons.__getitem__) if any(reasons.values()) else "none"
        if self.clipped and worst != "saturated":
            return (
                "the brightest pixels are all alike, as if saturated: lower the laser power or the exposure time, or "
                "take dimmer beads"
            )
        return {
            "too close to the border": "move the beads to the middle of the field",
            "saturated": "lower the laser power or the exposure time, or take dimmer beads",
            "too close to another": "use a sparser bead sample or a smaller isolation distance; beads that drift leave "
            "several spots: fix them to the cover slip",
            "none": "take brighter beads or a longer exposure, and check offset_counts",
        }[worst]


@dataclass(frozen=True)
class BeadFits:
    """Fits of every bead on every slice: arrays (beads, slices), pixels and photons."""

    x_px: Array
    y_px: Array
    x_sd_px: Array
    y_sd_px: Array
    squared_width_px2: Array  # (beads, slices, 1), or 2 for the two axes of the elliptical model
    squared_width_sd_px2: Array
    peak: Array
    peak_sd: Array
    misfit: Array
    good: NDArray[np.bool_]

    @property
    def flux(self) -> Array:
        """Photons under the Gaussian."""
        return 2 * np.pi * np.sqrt(self.squared_width_px2[..., 0] * self.squared_width_px2[..., -1]) * self.peak


def noise_model(camera: Camera) -> NoiseModel:
    """Pixel variance in photons: shot noise of the photoelectrons with its EM excess, and read noise."""
    return NoiseModel.of(camera)


def odd_window(window_nm: float, pixel_size_nm: float) -> int:
    """Side of the fit window in pixels: odd, at least 7 so that a background is left to see."""
    return max(7, 2 * round((window_nm / pixel_size_nm - 1) / 2) + 1)


def camera_file(files: Sequence[Path], plane: int) -> Path:
    """The file that holds a plane: its own, or the one that all planes share."""
    return files[plane] if len(files) > plane else files[0]


def read_slices(
    source: CameraSource, cameras: Sequence[Camera], frames: Sequence[int]
) -> tuple[NDArray[np.uint16], tuple[Camera, ...]]:
    """Counts (slices, planes, rows, columns) of bead images, and the cameras, saturated where their files are full.

    Raises
    ------
    PlanelocError
        Two cameras have the very same images: one file was given twice.
    """
    counts = np.empty((len(frames), *source.shape[1:]), dtype=np.uint16)
    for index, frame in enumerate(frames):
        counts[index] = source.read(int(frame), int(frame) + 1)[0]
    for p, q in combinations(range(len(cameras)), 2):
        if all(np.array_equal(image[p], image[q]) for image in counts):
            raise PlanelocError(
                f"{camera_file(source.files, q)}: cameras {cameras[p].name} and {cameras[q].name} have the very same "
                "images, as if a file or a region were given twice; correct the bead files in the sheet, or the "
                "regions in the microscope file"
            )
    full = zip(cameras, source.largest_counts, strict=True)
    return counts, tuple(replace(c, saturation_counts=min(c.saturation_counts, largest)) for c, largest in full)


def find_beads(counts: NDArray[np.uint16], camera: Camera, search: BeadSearch) -> Beads:
    """Beads of one camera in a stack (slices, rows, columns) of raw counts."""
    _, rows, columns = counts.shape
    narrow = max(0.8, search.window_px / 14)
    kernels = (narrow, 2.5 * narrow)
    projection = np.full((rows, columns), -np.inf)
    spread = np.inf
    for image in counts:
        contrast = _contrast(camera.photons(image), kernels)
        np.maximum(projection, contrast, out=projection)
        spread = min(spread, float(np.median(np.abs(contrast - np.median(contrast)))) * 1.4826)
    noise = _expected_noise(counts, camera, kernels)
    if min(rows, columns) >= 3 * search.window_px:  # a large field shows its own noise, whatever the data sheet says
        noise = max(noise, spread)
    peaks = (projection == ndimage.maximum_filter(projection, size=3)) & (projection > search.minimum_snr * noise)
    y, x = np.nonzero(peaks)
    order = np.argsort(-projection[y, x], kind="stable")
    x, y, score = x[order], y[order], projection[y, x][order]
    spots = _without_halos(x, y, score, search.window_px)
    x, y = x[spots], y[spots]
    distance = np.hypot(x[:, None] - x, y[:, None] - y) + np.where(np.eye(len(x), dtype=bool), np.inf, 0.0)
    reach = search.window_px // 4
    saturated = np.max(counts, axis=0) >= min(camera.saturation_counts, np.iinfo(counts.dtype).max)
    clipped = float(np.mean(saturated)) > _CLIPPED_SHARE or _has_flat_top(counts)
    near_saturated = ndimage.maximum_filter(saturated, size=2 * reach + 1)
    edge = np.minimum.reduce([x + 0.5, y + 0.5, columns - x - 0.5, rows - y - 0.5]) if len(x) else np.empty(0)
    reasons = {
        "too close to the border": edge < search.border_px,
        "saturated": near_saturated[y, x],
        "too close to another": distance.min(axis=1, initial=np.inf) < search.isolation_px,
    }
    usable = np.ones(len(x), dtype=bool)
    rejected = {}
    for reason, hit in reasons.items():
        rejected[reason] = int(np.sum(usable & hit))
        usable &= ~hit
    return Beads(x[usable], y[usable], np.column_stack((x, y)).astype(float), rejected, clipped)


def fit_beads(
    counts: NDArray[np.uint16],
    camera: Camera,
    beads: Beads,
    window_px: int,
    *,
    estimator: str,
    elliptical: bool = False,
    axes_deg: float = 0.0,
) -> BeadFits:
    """Fit every bead on every slice of a stack (slices, rows, columns) of raw counts; positions in camera pixels."""
    windows, masks = cut_out(counts, camera, beads, window_px)
    return _fit_windows(
        windows,
        np.repeat(masks, len(counts), axis=0),
        np.column_stack((beads.columns, beads.rows)),
        len(counts),
        {"noise": noise_model(camera), "estimator": estimator, "elliptical": elliptical, "axes_deg": axes_deg},
    )


def fit_moving_beads(
    counts: NDArray[np.uint16], camera: Camera, beads: Sequence[Beads], window_px: int, *, estimator: str
) -> BeadFits:
    """Fit the beads found on every image of (frames, rows, columns) by itself: arrays (beads of all frames, 1)."""
    cuts = [cut_out(image[None], camera, found, window_px) for image, found in zip(counts, beads, strict=True)]
    return _fit_windows(
        np.concatenate([windows for windows, _ in cuts]),
        np.concatenate([masks for _, masks in cuts]),
        np.concatenate([np.column_stack((found.columns, found.rows)) for found in beads]),
        1,
        {"noise": noise_model(camera), "estimator": estimator},
    )


def _fit_windows(
    windows: NDArray[np.float32],
    masks: NDArray[np.bool_],
    centres: NDArray[np.int64],
    slices: int,
    options: dict[str, Any],
) -> BeadFits:
    """Fit windows (beads·slices, side, side) about centres (beads, 2), in batches; positions in camera pixels."""
    side = windows.shape[-1]
    batches = [slice(start, start + _BATCH) for start in range(0, max(len(windows), 1), _BATCH)]
    fits = [fit_gaussians(windows[batch], mask=masks[batch], **options) for batch in batches]
    shape = (len(centres), slices)
    values, deviations, misfit, good = (
        np.concatenate([getattr(fit, name) for fit in fits])
        for name in ("parameters", "deviations", "misfit", "converged")
    )
    values, deviations = (array.reshape(*shape, array.shape[-1]) for array in (values, deviations))
    dx, dy = values[..., 0] - side / 2, values[..., 1] - side / 2
    return BeadFits(
        x_px=centres[:, :1] + 0.5 + dx,
        y_px=centres[:, 1:] + 0.5 + dy,
        x_sd_px=deviations[..., 0],
        y_sd_px=deviations[..., 1],
        squared_width_px2=values[..., 2:-2],
        squared_width_sd_px2=deviations[..., 2:-2],
        peak=values[..., -2],
        peak_sd=deviations[..., -2],
        misfit=misfit.reshape(shape),
        good=good.reshape(shape) & (np.hypot(dx, dy) < max(_STRAY_PX, side / 6)),
    )


def require_beads(beads: Beads, minimum: int, where: Path, camera: Camera) -> None:
    """Raise `PlanelocError` that says how many beads this camera shows and what to do."""
    if len(beads) < minimum:
        raise PlanelocError(
            f"{where}: {beads.summary} on camera {camera.name}, at least {minimum} needed; {beads.advice}"
        )


def _has_flat_top(counts: NDArray[np.uint16]) -> bool:
    """Whether four neighbouring pixels of an image share the largest count, as noise would hardly let them."""
    top = counts == counts.max()
    flat = top[:, 1:, 1:] & top[:, :-1, 1:] & top[:, 1:, :-1] & top[:, :-1, :-1]
    return bool(flat.any()) and float(np.mean(top)) < 0.5


def _contrast(image: NDArray[np.float32], kernels: tuple[float, float]) -> NDArray[np.float32]:
    """Difference of two Gaussian blurs: spots stay, slow background goes."""
    return ndimage.gaussian_filter(image, kernels[0]) - ndimage.gaussian_filter(image, kernels[1])


def _expected_noise(counts: NDArray[np.uint16], camera: Camera, kernels: tuple[float, float]) -> float:
    """Noise of the contrast on empty background, from the camera's data sheet."""
    size = 2 * int(4 * kernels[1]) + 3
    delta = np.zeros((size, size), dtype=np.float32)
    delta[size // 2, size // 2] = 1
    gain = float(np.sqrt(np.sum(_contrast(delta, kernels) ** 2)))
    background = min(float(np.median(image)) for image in counts)
    return gain * float(np.sqrt(noise_model(camera).variance(np.float64(camera.photons(background)))))


def _without_halos(x: NDArray, y: NDArray, score: NDArray, window_px: int) -> NDArray[np.int64]:
    """Indices of the spots that are not rings of a brighter one; `score` descends."""
    kept: list[int] = []
    for i in range(len(x)):
        near = [j for j in kept if np.hypot(x[i] - x[j], y[i] - y[j]) <= window_px * 0.75]
        if not any(score[i] < _HALO * score[j] for j in near):
            kept.append(i)
    return np.array(kept, dtype=np.int64)


def cut_out(
    counts: NDArray[np.uint16], camera: Camera, beads: Beads, window_px: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Windows in photons (beads·slices, side, side) and masks (beads, side, side) of the pixels of its own."""
    _, rows, columns = counts.shape
    half = window_px // 2
    offsets = np.arange(-half, half + 1)
    row = beads.rows[:, None, None] + offsets[:, None]
    column = beads.columns[:, None, None] + offsets[None, :]
    mask = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    own = np.hypot(offsets[:, None], offsets[None, :])
    for bead in range(len(beads)):
        for x, y in beads.others:
            apart = np.hypot(x - beads.columns[bead], y - beads.rows[bead])
            if 0 < apart <= 2 * window_px:
                mask[bead] &= np.hypot(column[bead] - x, row[bead] - y) >= own
    row, column = np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)
    if beads.bad is not None:
        mask &= ~beads.bad[row, column]
    cut = counts[:, row, column]  # (slices, beads, side, side)
    windows = camera.photons(np.swapaxes(cut, 0, 1)).reshape(-1, window_px, window_px)
    return windows, mask
