"""Normal equations of all molecules of some frames and of the inter-camera drift: assembly and solution.

Every molecule has unknowns of its own; the molecules of a frame share its inter-camera drift. Molecules whose images
overlap are coupled in pairs. With K the information about the molecules of a frame, C between them and the drift, and S
about the drift,

    [K  C] [step ]   [gradient      ]
    [Cᵀ S] [drift] = [drift gradient]

is solved by conjugate gradients (Saad 2003, Iterative Methods for Sparse Linear Systems, section 9.2). The
preconditioner solves the same equations without the overlaps: K then is one block per molecule, and molecules are
eliminated by the Schur complement S − Cᵀ K⁻¹ C. Where nothing overlaps, one iteration is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from planeloc.fitting.limits import SOLVER_ITERATIONS, SOLVER_TOLERANCE
from planeloc.fitting.windows import InitialMolecules, OverlappingPairs

PER_PLANE = 5  # numbers that describe a molecule on a plane: x, y and defocus there, photons, background
_LEAST_REMAINING = 0.02  # of a molecule's information that its neighbours leave, along every direction


class Unknowns(NamedTuple):
    """Values, steps or gradients of all unknowns."""

    molecules: Tensor  # (n, p)
    drift: Tensor  # (frames, q)

    def plus_multiple(self, factor: Tensor, other: Unknowns, frame: Tensor) -> Unknowns:
        """Add `factor` (frames,) times another vector."""
        molecules = self.molecules + factor[frame][:, None] * other.molecules
        return Unknowns(molecules, self.drift + factor[:, None] * other.drift)

    def in_frames(self, chosen: Tensor, other: Unknowns, frame: Tensor) -> Unknowns:
        """Combine `chosen` frames (frames,) with the other frames of another vector."""
        molecules = torch.where(chosen[frame][:, None], self.molecules, other.molecules)
        return Unknowns(molecules, torch.where(chosen[:, None], self.drift, other.drift))


@dataclass(frozen=True)
class NormalEquations:
    """Information about p unknowns of each of n molecules and q of the drift of each frame, and the gradient."""

    frame: Tensor  # (n,)
    own: Tensor  # (n, p, p)
    pairs: OverlappingPairs
    between: Tensor  # (m, p, p) first and second of every pair
    with_drift: Tensor  # (n, p, q), with what neighbours of the molecule add
    with_drift_alone: Tensor  # (n, p, q), without
    drift: Tensor  # (frames, q, q), with what overlaps add
    drift_alone: Tensor  # (frames, q, q), without
    gradient: Unknowns

    def with_prior(self, precision: Unknowns, offset: Unknowns) -> NormalEquations:
        """Add normal priors, diagonal `precision` (drift: (q,)), at an `offset` from their means."""
        about_drift = torch.diag(precision.drift)
        return replace(
            self,
            own=self.own + torch.diag_embed(precision.molecules),
            drift=self.drift + about_drift,
            drift_alone=self.drift_alone + about_drift,
            gradient=Unknowns(
                self.gradient.molecules - precision.molecules * offset.molecules,
                self.gradient.drift - precision.drift * offset.drift,
            ),
        )

    def damped(self, damping: Tensor) -> NormalEquations:
        """Add (n, p) times their own information to the molecules'."""
        diagonal = torch.diagonal(self.own, dim1=1, dim2=2)
        return replace(self, own=self.own + torch.diag_embed(damping * diagonal))

    def in_frames(self, chosen: Tensor, other: NormalEquations) -> NormalEquations:
        """Combine `chosen` frames (frames,) with the other frames of equations of the same molecules."""
        if chosen.all():
            return self
        rows = chosen[self.frame]
        kept = {
            "own": rows,
            "with_drift": rows,
            "with_drift_alone": rows,
            "between": rows[self.pairs.first],
            "drift": chosen,
            "drift_alone": chosen,
        }
        mixed = {
            name: torch.where(mask[:, None, None], getattr(self, name), getattr(other, name))
            for name, mask in kept.items()
        }
        return replace(self, **mixed, gradient=self.gradient.in_frames(chosen, other.gradient, self.frame))

    def solve(self) -> Unknowns:
        """Solve for the steps by preconditioned conjugate gradients; frames converge independently."""
        precondition = _WithoutOverlaps(self)
        solution = precondition(self.gradient)
        if not len(self.between):
            return solution
        one = self.drift.new_ones(len(self.drift))
        residual = self.gradient.plus_multiple(-one, self._applied(solution), self.frame)
        enough = SOLVER_TOLERANCE**2 * self._product(self.gradient, solution)
        direction = preconditioned = precondition(residual)
        product = self._product(residual, preconditioned)
        active = product > enough  # a converged frame would gather nothing but rounding errors
        for _ in range(SOLVER_ITERATIONS):
            if not active.any():
                break
            image = self._applied(direction)
            curvature = self._product(direction, image)
            active = active & (curvature > 0)  # coupling that is kept from an earlier step may not be consistent
            length = torch.where(active, product / curvature, 0.0)
            solution = solution.plus_multiple(length, direction, self.frame)
            residual = residual.plus_multiple(-length, image, self.frame)
            preconditioned = precondition(residual)
            last, product = product, self._product(residual, preconditioned)
            direction = preconditioned.plus_multiple(torch.where(active, product / last, 0.0), direction, self.frame)
            active = active & (product > enough)
        return solution

    def covariance(self) -> Tensor:
        """(n, p, p) of each molecule, with the remaining uncertainty of the drift.

        The information that an overlapping neighbour takes is exact for one neighbour, and for several that do not
        overlap with each other. The drift is estimated as if nothing overlapped.
        """
        isolated = _WithoutOverlaps(self)
        alone = self._beside_neighbours(isolated.inverse) if len(self.between) else isolated.inverse
        return alone + isolated.gain @ isolated.drift_covariance[self.frame] @ isolated.gain.transpose(1, 2)

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
        factor, failed = torch.linalg.cholesky_ex(inverse[crowded] / _outer(scale))
        root = scale[:, :, None] * torch.where(failed[:, None, None] > 0, 0.0, factor)
        left, axes = torch.linalg.eigh(root.transpose(1, 2) @ taken[crowded] @ root)
        whitened = root @ axes
        alone = torch.where(sound[:, None, None], inverse, torch.nan)
        alone[crowded] = (whitened / (1 - left).clamp(min=_LEAST_REMAINING)[:, None, :]) @ whitened.transpose(1, 2)
        return alone

    def sum_in_frames(self, values: Tensor) -> Tensor:
        """Sums of the molecules' (n, …) in every frame."""
        return values.new_zeros(len(self.drift), *values.shape[1:]).index_add_(0, self.frame, values)

    def _applied(self, vector: Unknowns) -> Unknowns:
        """The information times a vector."""
        molecules = _times(self.own, vector.molecules) + _times(self.with_drift, vector.drift[self.frame])
        first, second = self.pairs
        molecules.index_add_(0, first, _times(self.between, vector.molecules[second]))
        molecules.index_add_(0, second, _times(self.between.transpose(1, 2), vector.molecules[first]))
        drift = self.sum_in_frames(_times(self.with_drift.transpose(1, 2), vector.molecules))
        return Unknowns(molecules, drift + _times(self.drift, vector.drift))

    def _product(self, a: Unknowns, b: Unknowns) -> Tensor:
        """(frames,) scalar products."""
        return self.sum_in_frames((a.molecules * b.molecules).sum(dim=1)) + (a.drift * b.drift).sum(dim=1)


def assemble(
    molecules: InitialMolecules,
    frames: int,
    pairs: OverlappingPairs,
    factors: Tensor,
    products: Tensor,
    coupling: Tensor,
) -> NormalEquations:
    """Sum the information of all planes about the unknowns of the frames.

    Parameters
    ----------
    factors : (n, planes, 5) of the derivatives of unit images.
    products : (n, planes, 5, 6) weighted sums over pixels of products of derivatives; last column: with the residual.
    coupling : (m, planes, 5, 5) the same between the molecules of every pair.
    """
    frame, axes = molecules.frame, molecules.axes
    products = _to_reference(products, axes, None) * factors[..., None]
    gradient, blocks = products[..., PER_PLANE], _to_reference(products[..., :PER_PLANE], None, axes)
    blocks = blocks * factors[..., None, :]
    coupling = _to_reference(coupling, axes[pairs.first], axes[pairs.second])
    coupling = coupling * factors[pairs.first][..., None] * factors[pairs.second][..., None, :]
    # Drift moves all molecules: what a plane's drift does to a molecule's pixels, its neighbours do, too.
    alone = blocks[..., :2]
    moving = alone.index_add(0, pairs.first, coupling[..., :2])
    moving = moving.index_add(0, pairs.second, coupling[..., :2, :].transpose(2, 3))
    drifts = 2 * (axes.shape[1] - 1)
    drift_gradient = gradient.new_zeros(frames, drifts).index_add(0, frame, gradient[:, 1:, :2].flatten(1))
    own_gradient = torch.cat((gradient[..., :4].sum(dim=1), gradient[..., 4]), dim=1)
    return NormalEquations(
        frame,
        _of_molecules(blocks),
        pairs,
        _of_molecules(coupling),
        _with_drift(moving),
        _with_drift(alone),
        _of_drift(moving, frame, frames),
        _of_drift(alone, frame, frames),
        Unknowns(own_gradient, drift_gradient),
    )


class _WithoutOverlaps:
    """Exact solution of equations whose molecules do not overlap.

    Attributes
    ----------
    inverse : (n, p, p) of every molecule's own information.
    gain : (n, p, q) step of a molecule per drift.
    drift_covariance : (frames, q, q) inverse Schur complement.
    """

    def __init__(self, equations: NormalEquations) -> None:
        self._equations = equations
        self.inverse = _inverse(equations.own)
        self.gain = self.inverse @ equations.with_drift_alone
        known = equations.sum_in_frames(equations.with_drift_alone.transpose(1, 2) @ self.gain)
        self.drift_covariance = torch.linalg.inv(equations.drift_alone - known)

    def __call__(self, right: Unknowns) -> Unknowns:
        equations = self._equations
        alone = _times(self.inverse, right.molecules)
        rest = right.drift - equations.sum_in_frames(_times(self.gain.transpose(1, 2), right.molecules))
        drift = _times(self.drift_covariance, rest)
        return Unknowns(alone - _times(self.gain, drift[equations.frame]), drift)


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """(n, p, q) and (n, q) → (n, p)."""
    return (matrices @ vectors[..., None])[..., 0]


def _outer(scale: Tensor) -> Tensor:
    return scale[:, :, None] * scale[:, None, :]


def _inverse(matrices: Tensor) -> Tensor:
    """Inverse of positive definite (n, p, p) in any units."""
    both = _outer(torch.diagonal(matrices, dim1=1, dim2=2).clamp(min=1e-300).rsqrt())
    return torch.linalg.inv(matrices * both) * both


def _to_reference(products: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    """Turn the first two (rows, columns) of (…, rows, columns) from a camera's axes to the reference camera's."""
    if left is not None:
        products = torch.cat((left.transpose(-1, -2) @ products[..., :2, :], products[..., 2:, :]), dim=-2)
    if right is not None:
        products = torch.cat((products[..., :2] @ right, products[..., 2:]), dim=-1)
    return products


def _of_molecules(blocks: Tensor) -> Tensor:
    """(n, 4 + planes, 4 + planes) from every plane's (n, planes, 5, 5): each has a background of its own."""
    planes = blocks.shape[1]
    whole = blocks.new_zeros(len(blocks), 4 + planes, 4 + planes)
    whole[:, :4, :4] = blocks[..., :4, :4].sum(dim=1)
    whole[:, :4, 4:] = blocks[..., :4, 4].transpose(1, 2)
    whole[:, 4:, :4] = blocks[..., 4, :4]
    whole.diagonal(dim1=1, dim2=2)[:, 4:] = blocks[..., 4, 4]
    return whole


def _with_drift(moving: Tensor) -> Tensor:
    """(n, 4 + planes, 2 · (planes − 1)) information between unknowns and drift, from (n, planes, 5, 2)."""
    planes = moving.shape[1]
    whole = moving.new_zeros(len(moving), 4 + planes, planes - 1, 2)
    whole[:, :4] = moving[:, 1:, :4].transpose(1, 2)
    each = torch.arange(planes - 1, device=moving.device)
    whole[:, 5 + each, each] = moving[:, 1:, 4]
    return whole.flatten(2)


def _of_drift(moving: Tensor, frame: Tensor, frames: int) -> Tensor:
    """(frames, q, q) information about the drift, from (n, planes, 5, 2) of molecules."""
    drifts = moving.shape[1] - 1
    about = moving.new_zeros(frames, drifts, 2, 2).index_add(0, frame, moving[:, 1:, :2])
    whole = moving.new_zeros(frames, drifts, 2, drifts, 2)
    each = torch.arange(drifts, device=moving.device)
    whole[:, each, :, each] = about.transpose(0, 1)
    return whole.flatten(3).flatten(1, 2)
