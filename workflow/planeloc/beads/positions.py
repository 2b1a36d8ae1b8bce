"""Positions of the beads of one camera on every slice, with their variances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planeloc.beads.bead_stack import BeadStack
from planeloc.beads.detection import BeadSearch, find_beads, find_clean_beads
from planeloc.beads.fits import BeadFits, fit_beads
from planeloc.cameras.camera import Camera
from planeloc.core.arrays import Array, Counts, Indices

_SNR_OF_PEAK = 4.0
_LARGEST_SD_PX = 0.5
# Neighbours, rings and uneven background displace a spot in proportion to its area and its squared width: 0.003 px/px⁴
# is as much as photon noise where a spot of 5,000 photons is four times as wide as in focus, and nothing in focus.
_DISPLACEMENT_PER_PX = 0.003


@dataclass(frozen=True)
class BeadPositions:
    """Positions of beads on one camera, best known first."""

    position_px: Array  # (n, 2) x, y
    label: Indices  # frame, or 0 for beads that stay
    slice_px: Array  # (n, slices, 2) x, y on every slice
    slice_variance_px2: Array  # (n, slices) mean of both axes; infinite where the position is unknown
    summary: str
    advice: str  # what to do to have more
    motion_px: float  # median over the beads of their rms motion between slices, less the noise; nan if unknown


def find_positions(counts: Counts, camera: Camera, search: BeadSearch) -> BeadPositions:
    """Beads that stay, in a stack (slices, rows, columns) of one camera: all slices show the same ones."""
    beads = find_clean_beads(counts, camera, search)
    fits = fit_beads(BeadStack.cut(counts, camera, beads, search.window_px), estimator="likelihood")
    return _mean_positions(fits, np.zeros(len(beads), dtype=np.int64), search, beads.summary, beads.advice)


def find_moving_positions(counts: Counts, frames: Indices, camera: Camera, search: BeadSearch) -> BeadPositions:
    """Particles that move, in images (frames, rows, columns) of one camera: every frame is an independent image."""
    found = [find_beads(image[None], camera, search) for image in counts]
    cuts = [
        BeadStack.cut(image[None], camera, beads, search.window_px) for image, beads in zip(counts, found, strict=True)
    ]
    fits = fit_beads(BeadStack.joined(cuts), estimator="likelihood")
    advice = min(found, key=len).advice
    summary = f"{sum(map(len, found))} usable particles in {len(frames)} frames"
    return _mean_positions(fits, np.repeat(frames, [len(beads) for beads in found]), search, summary, advice)


def _mean_positions(fits: BeadFits, label: Indices, search: BeadSearch, summary: str, advice: str) -> BeadPositions:
    """Positions of every bead on the slices, and their mean, weighted by information."""
    variance = fits.position_variance_px2
    clear = fits.good & (fits.peak > _SNR_OF_PEAK * fits.peak_sd) & (variance < _LARGEST_SD_PX**2)
    clear &= fits.squared_width_px2[..., 0] < (search.window_px / 2) ** 2
    systematic = _DISPLACEMENT_PER_PX * fits.squared_width_px2[..., 0] ** 2
    information = np.where(clear, 1 / (variance + systematic**2), 0.0)
    kept = np.nonzero(clear.any(axis=1))[0]
    kept = kept[np.argsort(-information[kept].sum(axis=1), kind="stable")]
    information = information[kept]
    slices = np.where(information[..., None] > 0, fits.position_px[kept], 0.0)
    total = information.sum(axis=1)
    position = np.sum(information[..., None] * slices, axis=1) / total[:, None]
    away = np.sum(information * np.sum((slices - position[:, None]) ** 2, axis=-1), axis=1)
    noise = 2.0 * (np.count_nonzero(information, axis=1) - 1)  # expected of both axes, were it all noise
    motion = np.sqrt(np.maximum(away - noise, 0.0) / total)
    return BeadPositions(
        position_px=position,
        label=label[kept],
        slice_px=slices,
        slice_variance_px2=np.where(information > 0, 1 / np.maximum(information, 1e-12), np.inf),
        summary=summary,
        advice=advice,
        motion_px=float(np.median(motion)) if len(kept) and information.shape[1] > 1 else float("nan"),
    )
