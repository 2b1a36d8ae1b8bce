"""Normal equations of all molecules of some frames, and of the planes' drift, which molecules of a frame share.

Every molecule has unknowns of its own, every frame has its drift. Molecules whose images overlap are coupled in pairs.
With K the information about the molecules of a frame, C between them and the drift, and S about the drift,

    [K  C] [step ]   [gradient      ]
    [Cᵀ S] [drift] = [drift gradient]

is solved by conjugate gradients (Saad 2003, Iterative Methods for Sparse Linear Systems, section 9.2). The
preconditioner solves the same equations without the overlaps: K then is one block per molecule, and molecules are
eliminated by the Schur complement S − Cᵀ K⁻¹ C. So where nothing overlaps, one iteration is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

_MOST_ITERATIONS = 20  # of conjugate gradients
_ACCURATE = 0.03  # of what is solved for, in the norm of the information
_LEAST_OWN = 0.02  # of a molecule's own information that its neighbours leave, along every direction


@dataclass(frozen=True)
class Pairs:
    """Molecules of a frame whose windows overlap, each pair once."""

    first: Tensor  # (m,)
    second: Tensor  # (m,)

    def add_coupled(self, result: Tensor, blocks: Tensor, vectors: Tensor) -> None:
        """To `result` (n, p), what `blocks` (m, p, p), of first and second, make of every molecule's neighbours'."""
        result.index_add_(0, self.first, _times(blocks, vectors[self.second]))
        result.index_add_(0, self.second, _times(blocks.transpose(1, 2), vectors[self.first]))


class Vector(NamedTuple):
    """Of all unknowns."""

    molecules: Tensor  # (n, p)
    drift: Tensor  # (frames, q)

    def plus_multiple(self, factor: Tensor, other: Vector, frame: Tensor) -> Vector:
        """This vector and `factor` (frames,) times another."""
        molecules = self.molecules + factor[frame][:, None] * other.molecules
        return Vector(molecules, self.drift + factor[:, None] * other.drift)


@dataclass(frozen=True)
class System:
    """The normal equations; p unknowns of each of n molecules, q of the drift of each frame."""

    frame: Tensor  # (n,)
    own: Tensor  # (n, p, p)
    pairs: Pairs
    between: Tensor  # (m, p, p) first and second of every pair
    with_drift: Tensor  # (n, p, q), with what neighbours of the molecule add
    with_drift_alone: Tensor  # (n, p, q), without
    drift: Tensor  # (frames, q, q), the prior's precision included; with what overlaps add
    drift_alone: Tensor  # (frames, q, q), without
    gradient: Vector

    def damped(self, damping: Tensor) -> System:
        """With (n, p) times their own information added to the unknowns'."""
        diagonal = torch.diagonal(self.own, dim1=1, dim2=2)
        return replace(self, own=self.own + torch.diag_embed(damping * diagonal))

    def in_frames(self, chosen: Tensor, other: System) -> System:
        """The equations of `chosen` (frames,), and of another system of the same molecules in the other frames."""
        if chosen.all():
            return self
        rows = chosen[self.frame]
        parts = {
            "own": rows,
            "with_drift": rows,
            "with_drift_alone": rows,
            "between": rows[self.pairs.first],
            "drift": chosen,
            "drift_alone": chosen,
        }
        mixed = {
            name: torch.where(kept[:, None, None], getattr(self, name), getattr(other, name))
            for name, kept in parts.items()
        }
        molecules = torch.where(rows[:, None], self.gradient.molecules, other.gradient.molecules)
        drift = torch.where(chosen[:, None], self.gradient.drift, other.gradient.drift)
        return replace(self, **mixed, gradient=Vector(molecules, drift))

    def solve(self) -> Vector:
        """Steps of the molecules and of the drift."""
        inverse = _inverse(self.own)
        gain = inverse @ self.with_drift_alone
        schur = torch.linalg.inv(self.drift_alone - self._of_frames(self.with_drift_alone.transpose(1, 2) @ gain))

        def without_overlaps(right: Vector) -> Vector:
            alone = _times(inverse, right.molecules)
            rest = right.drift - self._of_frames(_times(gain.transpose(1, 2), right.molecules))
            drift = _times(schur, rest)
            return Vector(alone - _times(gain, drift[self.frame]), drift)

        solution = without_overlaps(self.gradient)
        if not len(self.between):
            return solution
        one = torch.ones_like(self.drift[:, 0, 0])
        residual = self.gradient.plus_multiple(-one, self._applied(solution), self.frame)
        enough = _ACCURATE**2 * self._product(self.gradient, solution)
        direction = preconditioned = without_overlaps(residual)
        product = self._product(residual, preconditioned)
        going = product > enough  # a frame that goes on after its end gathers nothing but rounding errors
        for _ in range(_MOST_ITERATIONS):
            if not going.any():
                break
            image = self._applied(direction)
            curvature = self._product(direction, image)
            going = going & (curvature > 0)  # couplings that are taken from an earlier step may not fit quite
            pace = torch.where(going, product / curvature, 0.0)
            solution = solution.plus_multiple(pace, direction, self.frame)
            residual = residual.plus_multiple(-pace, image, self.frame)
            preconditioned = without_overlaps(residual)
            last, product = product, self._product(residual, preconditioned)
            direction = preconditioned.plus_multiple(torch.where(going, product / last, 0.0), direction, self.frame)
            going = going & (product > enough)
        return solution

    def _applied(self, vector: Vector) -> Vector:
        molecules = _times(self.own, vector.molecules) + _times(self.with_drift, vector.drift[self.frame])
        self.pairs.add_coupled(molecules, self.between, vector.molecules)
        drift = self._of_frames(_times(self.with_drift.transpose(1, 2), vector.molecules))
        return Vector(molecules, drift + _times(self.drift, vector.drift))

    def _product(self, a: Vector, b: Vector) -> Tensor:
        """(frames,) scalar products."""
        return self._of_frames((a.molecules * b.molecules).sum(dim=1)) + (a.drift * b.drift).sum(dim=1)

    def covariance(self) -> Tensor:
        """(n, p, p) of each molecule, what is left unknown of the drift included.

        What an overlapping neighbour takes of a molecule's information is exact for one neighbour, and for several that
        do not overlap with each other. What all tell of the drift is taken as if nothing overlapped.
        """
        inverse = _inverse(self.own)
        alone = self._beside_neighbours(inverse) if len(self.between) else inverse
        gain = inverse @ self.with_drift_alone
        about_drift = self.drift_alone - self._of_frames(self.with_drift_alone.transpose(1, 2) @ gain)
        return alone + gain @ torch.linalg.inv(about_drift)[self.frame] @ gain.transpose(1, 2)

    def _beside_neighbours(self, inverse: Tensor) -> Tensor:
        """(n, p, p) covariance of every molecule with its neighbours unknown and the drift known."""
        taken, pairs = torch.zeros_like(inverse), self.pairs
        taken.index_add_(0, pairs.first, self.between @ inverse[pairs.second] @ self.between.transpose(1, 2))
        taken.index_add_(0, pairs.second, self.between.transpose(1, 2) @ inverse[pairs.first] @ self.between)
        crowded = torch.zeros_like(self.frame, dtype=torch.bool)
        crowded[pairs.first] = crowded[pairs.second] = True
        sound = (inverse + taken).isfinite().flatten(1).all(dim=1)
        crowded &= sound
        scale = torch.diagonal(inverse[crowded], dim1=1, dim2=2).sqrt()
        both = scale[:, :, None] * scale[:, None, :]
        factor, failed = torch.linalg.cholesky_ex(inverse[crowded] / both)
        root = scale[:, :, None] * torch.where(failed[:, None, None] > 0, 0.0, factor)
        left, axes = torch.linalg.eigh(root.transpose(1, 2) @ taken[crowded] @ root)
        whitened = root @ axes
        alone = torch.where(sound[:, None, None], inverse, torch.nan)
        alone[crowded] = (whitened / (1 - left).clamp(min=_LEAST_OWN)[:, None, :]) @ whitened.transpose(1, 2)
        return alone

    def _of_frames(self, values: Tensor) -> Tensor:
        """Sums of the molecules' (n, …) in every frame."""
        return values.new_zeros(len(self.drift), *values.shape[1:]).index_add_(0, self.frame, values)


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """(n, p, q) and (n, q) → (n, p)."""
    return (matrices @ vectors[..., None])[..., 0]


def _inverse(matrices: Tensor) -> Tensor:
    """Inverse of positive definite (n, p, p), whatever the units."""
    scale = torch.diagonal(matrices, dim1=1, dim2=2).clamp(min=1e-300).rsqrt()
    both = scale[:, :, None] * scale[:, None, :]
    return torch.linalg.inv(matrices * both) * both
