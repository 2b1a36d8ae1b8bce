"""Normal equations of all molecules of some frames and of the inter-camera drift: assembly and solution.

Every molecule has unknowns of its own; the molecules of a frame share its inter-camera drift. Molecules whose images
overlap are coupled in pairs. With K the information about the molecules of a frame, C between them and the drift, and S
about the drift,

    [K  C] [step ]   [gradient      ]
    [Cᵀ S] [drift] = [drift gradient]

is solved by conjugate gradients (`planeloc.fitting.conjugate_gradients`). The preconditioner solves the same equations
without the overlaps: K then is one block per molecule, and molecules are eliminated by the Schur complement
S − Cᵀ K⁻¹ C. Where nothing overlaps, one iteration is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from planeloc.fitting.conjugate_gradients import FrameSystem, Information, Neighbourhood, inverse
from planeloc.fitting.drift_information import Likelihood
from planeloc.fitting.limits import LEAST_REMAINING
from planeloc.fitting.windows import InitialMolecules, OverlappingPairs

PER_PLANE = 5  # numbers that describe a molecule on a plane: x, y and defocus there, photons, background


class Unknowns(NamedTuple):
    """Values, steps or gradients of all unknowns."""

    molecules: Tensor  # (n, p)
    drift: Tensor  # (frames, q)

    def in_frames(self, chosen: Tensor, other: Unknowns, frame: Tensor) -> Unknowns:
        """Combine `chosen` frames (frames,) with the other frames of another vector."""
        molecules = torch.where(chosen[frame][:, None], self.molecules, other.molecules)
        return Unknowns(molecules, torch.where(chosen[:, None], self.drift, other.drift))


@dataclass(frozen=True)
class NormalEquations:
    """Information about p unknowns of each of n molecules and q of the drift of each frame, and the gradient."""

    frame: Tensor  # (n,)
    near: Neighbourhood
    pairs: OverlappingPairs
    own: Tensor  # (n, p, p)
    between: Tensor  # (m, p, p) first and second of every pair
    with_drift: Tensor  # (n, p, q), with what neighbours of the molecule add
    with_drift_alone: Tensor  # (n, p, q), without
    drift: Tensor  # (frames, q, q), with what overlaps add
    drift_alone: Tensor  # (frames, q, q), without
    gradient: Unknowns
    drift_gradient: Tensor  # (n, q) each molecule's part of the likelihood's

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
        rows, frames = chosen[self.frame][:, None, None], chosen[:, None, None]
        kept = {
            "own": rows,
            "with_drift": rows,
            "with_drift_alone": rows,
            "between": rows[self.pairs.first],
            "drift_gradient": rows[:, 0],
            "drift": frames,
            "drift_alone": frames,
        }
        mixed = {name: torch.where(mask, getattr(self, name), getattr(other, name)) for name, mask in kept.items()}
        return replace(self, **mixed, gradient=self.gradient.in_frames(chosen, other.gradient, self.frame))

    def solve(self) -> Unknowns:
        """Solve for the steps; those of molecules without a place in the table are 0."""
        information = Information(*(getattr(self, name) for name in Information._fields))
        return Unknowns(*FrameSystem(information, self.near).solve(*self.gradient))

    def covariance(self) -> tuple[Tensor, Tensor]:
        """(n, p, p) of each molecule, and with the drift known; see `covariance_of_molecules`."""
        known = self.own, self.between, self.with_drift_alone, self.drift_alone
        return covariance_of_molecules(self.frame, self.pairs, *known)

    def about_drift(self) -> tuple[OverlappingPairs, Likelihood]:
        """What `planeloc.fitting.drift_information` needs."""
        known = self.own, self.between, self.with_drift, self.gradient.molecules, self.drift_gradient
        return self.pairs, Likelihood(*known)


def covariance_of_molecules(
    frame: Tensor, pairs: OverlappingPairs, own: Tensor, between: Tensor, with_drift: Tensor, drift: Tensor
) -> tuple[Tensor, Tensor]:
    """(n, p, p) covariance of each molecule, with the remaining uncertainty of the drift and with the drift known.

    The information that an overlapping neighbour takes is exact for one neighbour, and for several that do not overlap
    with each other. The drift is estimated as if nothing overlapped.

    Parameters
    ----------
    frame, own, between : as in `NormalEquations`.
    with_drift, drift : what each molecule says of the drift, and of it with the drift, as if nothing overlapped.
    """
    alone = inverse(own)
    gain = alone @ with_drift
    known = torch.zeros_like(drift).index_add_(0, frame, with_drift.transpose(1, 2) @ gain)
    of_drift = torch.linalg.inv_ex(drift - known).inverse
    if len(between):
        alone = _beside_neighbours(alone, between, pairs)
    return alone + gain @ of_drift[frame] @ gain.transpose(1, 2), alone


def _beside_neighbours(inverse: Tensor, between: Tensor, pairs: OverlappingPairs) -> Tensor:
    """(n, p, p) covariance of every molecule with its neighbours unknown and the drift known."""
    taken = torch.zeros_like(inverse)
    taken.index_add_(0, pairs.first, between @ inverse[pairs.second] @ between.transpose(1, 2))
    taken.index_add_(0, pairs.second, between.transpose(1, 2) @ inverse[pairs.first] @ between)
    crowded = torch.zeros(len(inverse), dtype=torch.bool, device=inverse.device)
    crowded[pairs.first] = crowded[pairs.second] = True
    sound = (inverse + taken).isfinite().flatten(1).all(dim=1)
    crowded &= sound
    scale = torch.diagonal(inverse[crowded], dim1=1, dim2=2).sqrt()
    factor, failed = torch.linalg.cholesky_ex(inverse[crowded] / _outer(scale))
    without = failed[:, None, None] > 0  # no root: nothing is known of these
    root = torch.where(without, 0.0, scale[:, :, None] * factor)
    left, axes = torch.linalg.eigh(root.transpose(1, 2) @ taken[crowded] @ root)
    whitened = root @ axes
    alone = torch.where(sound[:, None, None], inverse, torch.nan)
    beside = (whitened / (1 - left).clamp(min=LEAST_REMAINING)[:, None, :]) @ whitened.transpose(1, 2)
    alone[crowded] = torch.where(without, torch.nan, beside)
    return alone


class Assembly:
    """Sums the information of all planes about the unknowns of frames.

    Attributes
    ----------
    turn : (n, planes, 5, 5) from the derivatives on a plane to those along the axes of the reference camera.
    """

    def __init__(self, molecules: InitialMolecules, near: Neighbourhood, pairs: OverlappingPairs) -> None:
        axes = molecules.axes
        self._frame, self._near, self._pairs = molecules.frame, near, pairs
        n, planes = axes.shape[:2]
        # Derivatives by x and y of a camera are turned to the axes of the reference camera.
        self.turn = torch.eye(PER_PLANE, dtype=axes.dtype, device=axes.device).repeat(n, planes, 1, 1)
        self.turn[..., :2, :2] = axes.transpose(2, 3)
        self._of_molecules, self._with_drift, self._of_drift = (
            places.to(axes) for places in (_molecule_places(planes), _mixed_places(planes), _drift_places(planes))
        )

    def __call__(self, factors: Tensor, products: Tensor, coupling: Tensor) -> NormalEquations:
        """Assemble.

        Parameters
        ----------
        factors : (n, planes, 5) of the derivatives of unit images.
        products : (n, planes, 5, 6) weighted sums over pixels of products of derivatives; last column: with the
            residual.
        coupling : (m, planes, 5, 5) the same between the molecules of every pair.
        """
        table, (first, second) = self._near.table, self._pairs
        n, planes = factors.shape[:2]
        p, drifts = 4 + planes, 2 * (planes - 1)
        turn = factors[..., None] * self.turn
        products = turn @ products
        gradient, alone = products[..., PER_PLANE], products[..., :PER_PLANE] @ turn.transpose(2, 3)
        coupling = turn[first] @ coupling @ turn[second].transpose(2, 3)
        # Drift moves all molecules: what a plane's drift does to a molecule's pixels, its neighbours do, too.
        moving = alone[..., :2].index_add(0, first, coupling[..., :2])
        moving = moving.index_add(0, second, coupling[..., :2, :].transpose(2, 3))
        own_gradient = torch.cat((gradient[..., :4].sum(dim=1), gradient[..., 4]), dim=1)
        about_drift = torch.stack((moving[:, 1:, :2], alone[:, 1:, :2, :2]), dim=1).flatten(2)
        about_drift = table.sums(about_drift) @ self._of_drift
        drift_gradient = gradient[:, 1:, :2].flatten(1)
        with_drift, with_drift_alone = (each.flatten(1) @ self._with_drift for each in (moving, alone[..., :2]))
        return NormalEquations(
            self._frame,
            self._near,
            self._pairs,
            (alone.flatten(1) @ self._of_molecules).view(n, p, p),
            (coupling.flatten(1) @ self._of_molecules).view(-1, p, p),
            with_drift.view(n, p, drifts),
            with_drift_alone.view(n, p, drifts),
            about_drift[:, 0].reshape(-1, drifts, drifts),
            about_drift[:, 1].reshape(-1, drifts, drifts),
            Unknowns(own_gradient, table.sums(drift_gradient)),
            drift_gradient,
        )


def _molecule_places(planes: int) -> Tensor:
    """(planes · 5 · 5, p · p) 1 where an entry of a plane's block belongs: each plane has a background of its own."""
    places = torch.zeros(planes, PER_PLANE, PER_PLANE, 4 + planes, 4 + planes)
    for plane in range(planes):
        at = [0, 1, 2, 3, 4 + plane]
        for i, row in enumerate(at):
            for j, column in enumerate(at):
                places[plane, i, j, row, column] = 1
    return places.flatten(0, 2).flatten(1)


def _mixed_places(planes: int) -> Tensor:
    """(planes · 5 · 2, p · q) the same between molecules and drift; plane 0 does not drift."""
    places = torch.zeros(planes, PER_PLANE, 2, 4 + planes, planes - 1, 2)
    for plane in range(1, planes):
        for i, row in enumerate([0, 1, 2, 3, 4 + plane]):
            for axis in range(2):
                places[plane, i, axis, row, plane - 1, axis] = 1
    return places.flatten(0, 2).flatten(1)


def _drift_places(planes: int) -> Tensor:
    """((planes − 1) · 2 · 2, q · q) the same of the drift with itself."""
    places = torch.zeros(planes - 1, 2, 2, planes - 1, 2, planes - 1, 2)
    for plane in range(planes - 1):
        for i in range(2):
            for j in range(2):
                places[plane, i, j, plane, i, plane, j] = 1
    return places.flatten(0, 2).flatten(1)


def _outer(scale: Tensor) -> Tensor:
    return scale[:, :, None] * scale[:, None, :]
