"""Conjugate gradients for the unknowns of many frames at once (Saad 2003, Iterative Methods, section 9.2).

The unknowns of a frame are one row of a table: those of its molecules, place by place, and its drift, filled up to
whole places. A molecule's rows of the information lie together with those of its neighbours, so that a product with the
information is one gathering and one multiplication, however many pairs there are. Frames converge independently: one
that has converged no longer changes, and on a GPU the number of iterations is fixed, so that the program need not look
at any value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from planeloc.core.devices import in_large_groups
from planeloc.fitting.frame_table import FrameTable
from planeloc.fitting.limits import SOLVER_ITERATIONS, SOLVER_TOLERANCE
from planeloc.fitting.windows import OverlappingPairs

_FIXED_ITERATIONS = 10  # of large groups; of crowded frames' solutions 5 % need more, and then take the next step


class Information(NamedTuple):
    """Blocks of the normal equations of n molecules with p unknowns each, m pairs, and q of each frame's drift."""

    own: Tensor  # (n, p, p)
    between: Tensor  # (m, p, p) first and second of every pair
    with_drift: Tensor  # (n, p, q), with what neighbours of the molecule add
    with_drift_alone: Tensor  # (n, p, q), without
    drift: Tensor  # (frames, q, q), with what overlaps add
    drift_alone: Tensor  # (frames, q, q), without


@dataclass(frozen=True)
class Neighbourhood:
    """Which blocks make the rows of every place of a table, and which unknowns they are multiplied with."""

    table: FrameTable
    pairs: bool  # whether there are any
    block: Tensor  # (places, 1 + most) of own, nothing, pairs, pairs transposed, zero
    entry: Tensor  # (places, (1 + most) · p + q) in the flat vectors of all frames

    @classmethod
    def of(cls, table: FrameTable, pairs: OverlappingPairs, p: int, q: int) -> Neighbourhood:
        """Find the neighbours of every place, from `pairs` of molecules that have places."""
        device, places, n, m = table.row.device, len(table.row), len(table.place), len(pairs.first)
        where = torch.arange(places + 1, device=device)
        block, other = table.row[:, None], where[:-1, None]
        if m:
            end, partner = torch.cat(pairs), torch.cat(pairs[::-1])
            end = torch.where(end != partner, end, n)  # a pair that only fills the list
            end, order = torch.sort(end, stable=True)
            rank = torch.arange(2 * m, device=device) - torch.searchsorted(end, end)
            rank = torch.where(end < n, rank, 0)
            most = int(rank.max()) + 1
            at = torch.nn.functional.pad(table.place, (0, 1), value=places)[end]
            blocks = torch.full((places + 1, most), n + 1 + 2 * m, device=device)
            blocks[at, rank] = n + 1 + order
            others = where[:, None].repeat(1, most)
            others[at, rank] = table.place[partner[order]]
            block, other = torch.cat((block, blocks[:-1]), dim=1), torch.cat((other, others[:-1]), dim=1)
        length = _length(table.width, p, q)
        frame = where[:-1] // max(1, table.width)
        first = other // max(1, table.width) * length + other % max(1, table.width) * p
        entry = (first[:, :, None] + torch.arange(p, device=device)).flatten(1)
        of_drift = (frame * length + table.width * p)[:, None] + torch.arange(q, device=device)
        return cls(table, m > 0, block, torch.cat((entry, of_drift), dim=1))


class FrameSystem:
    """The equations of all frames as one table, and their solution."""

    def __init__(self, information: Information, near: Neighbourhood) -> None:
        table, self._near = near.table, near
        p, q = information.with_drift.shape[1:]
        self._shape = frames, width, p, q = table.frames, table.width, p, q
        blocks, nothing = information.own, information.own.new_zeros(1, p, p)
        each = torch.eye(p, dtype=blocks.dtype, device=blocks.device)[None]
        blocks = torch.cat((blocks, each, information.between, information.between.transpose(1, 2), nothing))
        own = blocks[near.block]
        with_drift = table.spread(information.with_drift)
        self._molecules = torch.cat((own.transpose(1, 2).flatten(2), with_drift), dim=2)
        self._drift = torch.cat((self._by_frame(with_drift).transpose(1, 2), information.drift), dim=2)
        alone = table.spread(information.with_drift_alone)
        own = inverse(own[:, 0])
        gain = self._by_frame(own @ alone)
        covariance = torch.linalg.inv_ex(information.drift_alone - self._by_frame(alone).transpose(1, 2) @ gain).inverse
        length = _length(width, p, q)
        self._filling = gain.new_zeros(frames, length - width * p - q)
        self._zero = gain.new_zeros(())
        self._inverse = self._filled(self._by_frame(own), length).reshape(-1, p, p)
        of_drift = -torch.eye(q, dtype=gain.dtype, device=gain.device).expand(frames, q, q)
        self._gain = self._filled(torch.cat((gain, of_drift), dim=1), length)
        to_drift = torch.cat((-gain @ covariance.transpose(1, 2), covariance.transpose(1, 2)), dim=1)
        self._to_drift = self._filled(to_drift, length).transpose(1, 2)

    def solve(self, molecules: Tensor, drift: Tensor) -> tuple[Tensor, Tensor]:
        """Solve for right sides (n, p) and (frames, q)."""
        table = self._near.table
        frames, width, p, q = self._shape
        right = torch.cat((table.spread(molecules).view(frames, width * p), drift, self._filling), dim=1)
        solution = self._precondition(right)
        if self._near.pairs:
            solution = self._iterated(right, solution)
        molecules, drift, _ = solution.split((width * p, q, self._filling.shape[1]), dim=1)
        return table.gathered(molecules.reshape(-1, p)), drift

    def _iterated(self, right: Tensor, solution: Tensor) -> Tensor:
        """Improve a solution until every frame's is good enough."""
        fixed = in_large_groups(right.device)
        residual = right - self._applied(solution)
        enough = SOLVER_TOLERANCE**2 * _dot(right, solution)
        direction = self._precondition(residual)
        product = _dot(residual, direction)
        active = product > enough  # a converged frame would gather nothing but rounding errors
        for _ in range(_FIXED_ITERATIONS if fixed else SOLVER_ITERATIONS):
            if not fixed and not active.any():
                break
            image = self._applied(direction)
            curvature = _dot(direction, image)
            active = active & (curvature > 0)  # coupling that is kept from an earlier step may not be consistent
            length = torch.where(active, product / curvature, self._zero)
            solution = torch.addcmul(solution, length, direction)
            residual = torch.addcmul(residual, length, image, value=-1)
            preconditioned = self._precondition(residual)
            last, product = product, _dot(residual, preconditioned)
            direction = torch.addcmul(preconditioned, torch.where(active, product / last, self._zero), direction)
            active = active & (product > enough)
        return solution

    def _applied(self, vector: Tensor) -> Tensor:
        """The information times vectors (frames, length)."""
        near = vector.view(-1)[self._near.entry]
        molecules = torch.bmm(self._molecules, near[:, :, None]).view(len(vector), -1)
        _, width, p, q = self._shape
        drift = torch.bmm(self._drift, vector[:, : width * p + q, None])[:, :, 0]
        return torch.cat((molecules, drift, self._filling), dim=1)

    def _precondition(self, right: Tensor) -> Tensor:
        """Solve exactly as if nothing overlapped: molecules are eliminated by the Schur complement."""
        drift = torch.bmm(self._to_drift, right[:, :, None])
        alone = torch.bmm(self._inverse, right.view(-1, self._shape[2], 1)).view(*right.shape, 1)
        return torch.baddbmm(alone, self._gain, drift, alpha=-1)[:, :, 0]

    @staticmethod
    def _filled(values: Tensor, length: int) -> Tensor:
        """(frames, …, columns) → (frames, length, columns), with zeros."""
        return torch.nn.functional.pad(values, (0, 0, 0, length - values.shape[1]))

    def _by_frame(self, values: Tensor) -> Tensor:
        """(places, p, q) → (frames, width · p, q)."""
        frames, width, p, _ = self._shape
        return values.reshape(frames, width * p, values.shape[2])


def _length(width: int, p: int, q: int) -> int:
    """Unknowns of a frame: p of every place, and q that fill whole places."""
    return (width - (-q // p)) * p


def inverse(matrices: Tensor) -> Tensor:
    """Inverse of positive definite (n, p, p) in any units; not finite where there is none."""
    scale = torch.diagonal(matrices, dim1=1, dim2=2).clamp(min=1e-300).rsqrt()
    both = scale[:, :, None] * scale[:, None, :]
    return torch.linalg.inv_ex(matrices * both).inverse * both


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(frames, 1) scalar products."""
    return torch.bmm(a[:, None], b[:, :, None])[:, :, 0]
