"""Molecules that were detected in frames, and what finds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class _Columns(NamedTuple):
    frame: Tensor  # (n,)
    position: Tensor  # (n, 3): x, y, z
    deviation: Tensor  # (n, 3) standard deviations
    probability: Tensor  # (n,)
    photons: Tensor  # (n,)
    background: Tensor  # (n,), per pixel, on the plane in best focus
    goodness_of_fit: Tensor  # (n,) deviance of the counts around it over its expectation, NaN where nothing was fitted
    # How a fitted molecule follows the inter-camera drift of its frame; those of others do not.
    response: Tensor  # (n, 3, q) derivatives of its position by the drift of planes 1…, x and y; q 0 without a fit
    at_rest: Tensor  # (n, 3) nm, what its position would change by if that drift were 0
    variance: Tensor  # (n, 3) nm² of its position with the drift known, NaN where nothing was fitted


class Detections(_Columns):
    """Molecules of some frames, of which the first is 0; nm of the reference camera's field, photons."""

    __slots__ = ()

    def __new__(
        cls,
        frame: Tensor,
        position: Tensor,
        deviation: Tensor,
        probability: Tensor,
        photons: Tensor,
        background: Tensor,
        goodness_of_fit: Tensor | None = None,
        *of_drift: Tensor,
    ) -> Detections:
        """What finds molecules says nothing of their fit."""
        if goodness_of_fit is None:
            goodness_of_fit = torch.full_like(probability, torch.nan)
        known = frame, position, deviation, probability, photons, background, goodness_of_fit
        return super().__new__(cls, *known, *(of_drift or _unmoved(position, 0)))

    def unmoved(self, drifts: int) -> Detections:
        """Return detections that do not follow the drift, for as many numbers as it has."""
        return Detections(*self[:7], *_unmoved(self.position, drifts))

    def at(self, rows: Tensor) -> Detections:
        """Return some of the rows, by number or mask."""
        return Detections(*(values[rows] for values in self))

    def double(self) -> Detections:
        """Return float64 values."""
        return Detections(self.frame, *(values.double() for values in self[1:]))

    def replaced(self, rows: Tensor, others: Detections) -> Detections:
        """Return detections with other values in some rows, by number."""
        return Detections(*(a.index_copy(0, rows, b) for a, b in zip(self, others, strict=True)))

    @classmethod
    def joined(cls, detections: Sequence[Detections]) -> Detections:
        """Concatenate detections."""
        return cls(*(torch.cat(values) for values in zip(*detections, strict=True)))


def _unmoved(position: Tensor, drifts: int) -> tuple[Tensor, Tensor, Tensor]:
    still = torch.zeros_like(position)
    return position.new_zeros(len(position), 3, drifts), still, torch.full_like(position, torch.nan)


class Finder(Protocol):
    """Finds molecules by a network of some kind."""

    def __call__(self, images: Tensor, registered: Tensor, background: Tensor) -> list[Detections]:
        """Return the molecules in frames.

        Parameters
        ----------
        images, registered : (frames, planes, y, x) photons above background, as recorded and registered.
        background : (planes, y, x) photons.
        """


def background_at(background: Tensor, plane: Tensor, mapped_px: Tensor, frame: Tensor | None = None) -> Tensor:
    """Return the background at molecules (n, planes, 2), on one `plane` (n,) each.

    `background` is (planes, y, x), or (frames, planes, y, x) and needs the `frame` (n,) of each molecule.
    """
    x, y = mapped_px[torch.arange(len(plane), device=plane.device), plane].floor().long().unbind(-1)
    rows, columns = background.shape[-2:]
    own = () if background.dim() == 3 else (frame,)
    return background[(*own, plane, y.clamp(0, rows - 1), x.clamp(0, columns - 1))]
