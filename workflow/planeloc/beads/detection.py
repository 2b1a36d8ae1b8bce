"""Finding the beads of one camera in a stack of images.

A bead is a spot above the noise on some slice. The rings around a bright bead out of focus are spots, too; they are
distinguished from neighbouring beads by their brightness.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from planeloc.cameras.camera import Camera
from planeloc.cameras.hot_pixels import hot_in_bead_scan, without_hot_pixels
from planeloc.cameras.noise import NoiseModel
from planeloc.core.arrays import Array, Counts, Indices, Mask

_HALO = 0.25  # a spot this much dimmer than a bead within its window is its ring, not a neighbour
_CLIPPED_SHARE = 0.01  # of the pixels; fewer may be hot ones
_FEWEST_CLIPPED = 3
_SMALLEST_NOISE_COUNTS = 3.0  # with less, pixels share the largest number by chance


@dataclass(frozen=True)
class BeadSearch:
    """How beads are found, in pixels of the camera."""

    window_px: int  # odd; side of the square that is fitted
    isolation_px: float  # nearest allowed neighbour
    border_px: float  # nearest allowed border
    minimum_snr: float  # of the smoothed spot on its brightest slice

    @classmethod
    def in_pixels(
        cls, pixel_size_nm: float, window_nm: float, isolation_nm: float, border_nm: float, minimum_snr: float
    ) -> BeadSearch:
        """From lengths in nm; the window is at least 7 px wide, so that it contains background."""
        window_px = max(7, 2 * round((window_nm / pixel_size_nm - 1) / 2) + 1)
        return cls(window_px, isolation_nm / pixel_size_nm, border_nm / pixel_size_nm, minimum_snr)


@dataclass(frozen=True)
class Beads:
    """The usable beads of one camera, brightest first, and why others were left out."""

    columns: Indices  # (beads,) brightest pixel
    rows: Indices
    others: Array  # (spots, 2) column, row of every spot that is not a ring, usable or not
    rejected: dict[str, int]  # reason → number
    clipped: bool  # much of the image is saturated, or its brightest spots have flat tops
    hot: Mask | None = None  # (rows, columns) pixels that do not count

    def __len__(self) -> int:
        return len(self.columns)

    def only(self, kept: Mask) -> Beads:
        """Some of the beads."""
        return replace(self, columns=self.columns[kept], rows=self.rows[kept])

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
                "the brightest pixels have equal counts, as if saturated: lower the laser power or the exposure time, "
                "or use dimmer beads"
            )
        return {
            "too close to the border": "move the beads to the middle of the field",
            "saturated": "lower the laser power or the exposure time, or use dimmer beads",
            "too close to another": "use a sparser bead sample or a smaller isolation distance; a bead that moves "
            "appears as several spots: fix the beads to the coverslip",
            "none": "use brighter beads or a longer exposure, and check offset_counts",
        }[worst]


def find_clean_beads(counts: Counts, camera: Camera, search: BeadSearch) -> Beads:
    """As `find_beads`, in spite of hot pixels (which are masked) and pixels clipped below the camera's saturation."""
    hot = hot_in_bead_scan(counts, camera)
    repaired = without_hot_pixels(counts, hot)
    full = min(camera.saturation_counts, _ceiling_counts(repaired, camera))
    return replace(find_beads(repaired, replace(camera, saturation_counts=full), search), hot=hot)


def find_beads(counts: Counts, camera: Camera, search: BeadSearch) -> Beads:
    """Beads of one camera in a stack (slices, rows, columns) of raw counts."""
    _, rows, columns = counts.shape
    x, y = _find_spots(counts, camera, search)
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


def _find_spots(counts: Counts, camera: Camera, search: BeadSearch) -> tuple[Indices, Indices]:
    """Columns and rows of the spots above the noise that are not rings of a brighter one, brightest first."""
    shape = counts.shape[1:]
    narrow = max(0.8, search.window_px / 14)
    kernels = (narrow, 2.5 * narrow)
    projection = np.full(shape, -np.inf)
    spread = np.inf
    for image in counts:
        contrast = _contrast(camera.photons(image), kernels)
        np.maximum(projection, contrast, out=projection)
        spread = min(spread, float(np.median(np.abs(contrast - np.median(contrast)))) * 1.4826)
    noise = _expected_noise(counts, camera, kernels)
    if min(shape) >= 3 * search.window_px:  # the noise of a large field is measured, whatever the data sheet says
        noise = max(noise, spread)
    peaks = (projection == ndimage.maximum_filter(projection, size=3)) & (projection > search.minimum_snr * noise)
    y, x = np.nonzero(peaks)
    order = np.argsort(-projection[y, x], kind="stable")
    x, y = x[order], y[order]
    spots = _without_halos(x, y, projection[y, x], search.window_px)
    return x[spots], y[spots]


def _ceiling_counts(counts: Counts, camera: Camera) -> float:
    """Count at which the images are clipped, recognized by many pixels at the largest count; infinite if there is none.

    Noise spreads the brightest pixels of good images over many counts: hardly two are equal.
    """
    top = int(counts.max())
    noise = float(np.sqrt(NoiseModel.of(camera).variance(np.float64(camera.photons(top))))) / camera.photons_per_count
    if not noise >= _SMALLEST_NOISE_COUNTS:
        return float("inf")
    at_top = np.count_nonzero(counts == top)
    below = np.count_nonzero(counts >= top - noise) - at_top
    clipped = _FEWEST_CLIPPED <= at_top < counts.size / 2 and at_top > below
    return float(top) if clipped else float("inf")


def _has_flat_top(counts: Counts) -> bool:
    """Whether four neighbouring pixels of an image share the largest count, which noise makes very unlikely."""
    top = counts == counts.max()
    flat = top[:, 1:, 1:] & top[:, :-1, 1:] & top[:, 1:, :-1] & top[:, :-1, :-1]
    return bool(flat.any()) and float(np.mean(top)) < 0.5


def _contrast(image: NDArray[np.float32], kernels: tuple[float, float]) -> NDArray[np.float32]:
    """Difference of two Gaussian blurs: keeps spots, removes slowly varying background."""
    return ndimage.gaussian_filter(image, kernels[0]) - ndimage.gaussian_filter(image, kernels[1])


def _expected_noise(counts: Counts, camera: Camera, kernels: tuple[float, float]) -> float:
    """Noise of the contrast on empty background, from the camera's data sheet."""
    size = 2 * int(4 * kernels[1]) + 3
    delta = np.zeros((size, size), dtype=np.float32)
    delta[size // 2, size // 2] = 1
    gain = float(np.sqrt(np.sum(_contrast(delta, kernels) ** 2)))
    background = min(float(np.median(image)) for image in counts)
    return gain * float(np.sqrt(NoiseModel.of(camera).variance(np.float64(camera.photons(background)))))


def _without_halos(x: NDArray, y: NDArray, score: NDArray, window_px: int) -> Indices:
    """Indices of the spots that are not rings of a brighter one; `score` descends."""
    kept: list[int] = []
    for i in range(len(x)):
        near = [j for j in kept if np.hypot(x[i] - x[j], y[i] - y[j]) <= window_px * 0.75]
        if not any(score[i] < _HALO * score[j] for j in near):
            kept.append(i)
    return np.array(kept, dtype=np.int64)
