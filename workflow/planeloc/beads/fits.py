"""Gaussian fits of beads on every slice: position, width and peak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields

import numpy as np

from planeloc.beads.bead_stack import BeadStack
from planeloc.cameras.noise import NoiseModel
from planeloc.core.arrays import Array, Indices, Mask
from planeloc.fitting.gaussian_2d import fit_gaussians

_BATCH = 1000  # windows fitted at once: bounds the memory of the Jacobian
_STRAY_PX = 2.0  # a fit that ends farther than this from its bead has found something else


@dataclass(frozen=True)
class BeadFits:
    """Fits of every bead on every slice: arrays (beads, slices), pixels of the camera and photons."""

    x_px: Array
    y_px: Array
    x_sd_px: Array
    y_sd_px: Array
    squared_width_px2: Array  # (beads, slices, 1), or 2 for the two axes of the elliptical model
    squared_width_sd_px2: Array
    peak: Array
    peak_sd: Array
    relative_residual: Array
    good: Mask

    def only(self, kept: Mask) -> BeadFits:
        """Some of the beads."""
        return BeadFits(**{name: values[kept] for name, values in vars(self).items()})

    @classmethod
    def joined(cls, fits: Sequence[BeadFits]) -> BeadFits:
        """The beads of several cameras, one camera after the other."""
        return cls(*(np.concatenate([getattr(fit, field.name) for fit in fits]) for field in dataclass_fields(cls)))

    @property
    def position_px(self) -> Array:
        """(beads, slices, 2) x, y."""
        return np.stack((self.x_px, self.y_px), axis=-1)

    @property
    def position_variance_px2(self) -> Array:
        """(beads, slices) per axis: the mean of both."""
        return (self.x_sd_px**2 + self.y_sd_px**2) / 2

    @property
    def flux(self) -> Array:
        """Photons under the Gaussian."""
        return 2 * np.pi * np.sqrt(self.squared_width_px2[..., 0] * self.squared_width_px2[..., -1]) * self.peak


def fit_beads(
    stack: BeadStack,
    *,
    estimator: str,
    slices: Indices | slice = slice(None),
    elliptical: bool = False,
    axes_deg: float = 0.0,
) -> BeadFits:
    """Fit a Gaussian to every bead on every slice, or on some slices.

    Parameters
    ----------
    estimator, elliptical, axes_deg : as in `planeloc.fitting.gaussian_2d.fit_gaussians`.
    slices : the slices to fit.
    """
    photons = stack.photons[:, slices]
    shape, side = photons.shape[:2], photons.shape[-1]
    windows = photons.reshape(-1, side, side)
    masks = np.repeat(stack.own, shape[1], axis=0)
    options = {"noise": NoiseModel.of(stack.camera), "estimator": estimator, "elliptical": elliptical}
    batches = [slice(start, start + _BATCH) for start in range(0, max(len(windows), 1), _BATCH)]
    fits = [fit_gaussians(windows[at], mask=masks[at], axes_deg=axes_deg, **options) for at in batches]
    values, deviations, relative_residual, good = (
        np.concatenate([getattr(fit, name) for fit in fits])
        for name in ("parameters", "deviations", "relative_residual", "converged")
    )
    values, deviations = (array.reshape(*shape, array.shape[-1]) for array in (values, deviations))
    dx, dy = values[..., 0] - side / 2, values[..., 1] - side / 2
    return BeadFits(
        x_px=stack.centre_px[:, :1] + 0.5 + dx,
        y_px=stack.centre_px[:, 1:] + 0.5 + dy,
        x_sd_px=deviations[..., 0],
        y_sd_px=deviations[..., 1],
        squared_width_px2=values[..., 2:-2],
        squared_width_sd_px2=deviations[..., 2:-2],
        peak=values[..., -2],
        peak_sd=deviations[..., -2],
        relative_residual=relative_residual.reshape(shape),
        good=good.reshape(shape) & (np.hypot(dx, dy) < max(_STRAY_PX, side / 6)),
    )
