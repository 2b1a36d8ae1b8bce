"""The pixels around the beads of one camera, cut out of its images once: every fit and every sum takes them here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planeloc.beads.detection import Beads
from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import NoiseModel
from planeloc.core.arrays import Array, Counts, Indices, Mask

_EMPTY = 0.7  # of a window: farther than this from any spot the field is empty
_FEWEST_EMPTY = 100  # pixels; with fewer, the darkest share of the image is taken
_DARKEST = 0.2


@dataclass(frozen=True)
class BeadStack:
    """Windows around the beads of one camera on all slices.

    Attributes
    ----------
    camera : for the noise of the pixels.
    centre_px : (beads, 2) column, row of the pixel in the middle of every window.
    photons : (beads, slices, side, side).
    own : (beads, side, side) pixels that are on the camera, are not hot, and belong to no neighbour.
    """

    camera: Camera
    centre_px: Indices
    photons: NDArray[np.float32]
    own: Mask

    @classmethod
    def cut(cls, counts: Counts, camera: Camera, beads: Beads, window_px: int) -> BeadStack:
        """Cut the windows from the images of a camera.

        Parameters
        ----------
        counts : raw, (slices, rows, columns).
        window_px : odd side of the windows.
        """
        _, rows, columns = counts.shape
        half = window_px // 2
        offsets = np.arange(-half, half + 1)
        row = beads.rows[:, None, None] + offsets[:, None]
        column = beads.columns[:, None, None] + offsets[None, :]
        own = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        radius = np.hypot(offsets[:, None], offsets[None, :])
        for bead in range(len(beads)):
            for x, y in beads.others:
                apart = np.hypot(x - beads.columns[bead], y - beads.rows[bead])
                if 0 < apart <= 2 * window_px:
                    own[bead] &= np.hypot(column[bead] - x, row[bead] - y) >= radius
        row, column = np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)
        if beads.hot is not None:
            own &= ~beads.hot[row, column]
        photons = camera.photons(np.swapaxes(counts[:, row, column], 0, 1))
        centres = np.column_stack((beads.columns, beads.rows))
        return cls(camera, centres, np.ascontiguousarray(photons), own)

    @classmethod
    def joined(cls, stacks: Sequence[BeadStack]) -> BeadStack:
        """The beads of several stacks of one camera, of equally many slices, as one stack."""
        fields = ("centre_px", "photons", "own")
        return cls(stacks[0].camera, *(np.concatenate([getattr(stack, name) for stack in stacks]) for name in fields))

    def only(self, kept: Mask) -> BeadStack:
        """Some of the beads."""
        return replace(self, centre_px=self.centre_px[kept], photons=self.photons[kept], own=self.own[kept])

    @property
    def corner_px(self) -> Indices:
        """(beads, 2) x, y of the windows' outer corners."""
        return self.centre_px - self.photons.shape[-1] // 2

    def brightness(self, background: Array) -> tuple[Array, Array]:
        """Photons in every window above `background` (slices,) per pixel, and their standard deviations.

        A sum contains all photons that fall into a window, whatever the shape of the spot. Both (beads, slices).
        """
        above = self.photons.astype(np.float64) - background[:, None, None]
        photons = (above * self.own[:, None]).sum(axis=(2, 3))
        noise = NoiseModel.of(self.camera)
        variance = self.own.sum(axis=(1, 2))[:, None] * noise.variance(np.maximum(background, 0.0))
        return photons, np.sqrt(variance + noise.slope * np.maximum(photons, 0.0))


def field_background(counts: Counts, camera: Camera, beads: Beads, window_px: int) -> Array:
    """(slices,) photons per pixel far from all spots of a stack of raw counts (slices, rows, columns)."""
    row, column = np.indices(counts.shape[1:])
    away = np.ones(counts.shape[1:], dtype=bool)
    for x, y in beads.others:
        away &= np.hypot(column - x, row - y) > _EMPTY * window_px
    empty = np.count_nonzero(away) >= _FEWEST_EMPTY
    return np.array([camera.photons(np.median(c[away]) if empty else np.quantile(c, _DARKEST)) for c in counts])
