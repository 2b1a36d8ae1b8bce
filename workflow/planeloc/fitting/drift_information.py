"""What the molecules of a frame say of its inter-camera drift, and how their positions follow from it.

About the maximum of a frame's posterior, the logarithm of the likelihood is quadratic in the unknowns of the molecules
and in the drift d. With the molecules eliminated (Schur complement) it is −½ dᵀ J d + hᵀ d. The prior of d is not in
it, so that another can take its place, for example what other frames say. Whatever d is found to be, a molecule moves
by its response, S (d − d of the fit), and its covariance becomes that of a known drift, plus S cov(d) Sᵀ.

Molecules whose windows overlap are eliminated together, by conjugate gradients whose preconditioner takes every
molecule alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from planeloc.core.devices import in_large_groups
from planeloc.fitting.conjugate_gradients import inverse
from planeloc.fitting.windows import OverlappingPairs

_ITERATIONS = 12
_FIXED_ITERATIONS = 8  # of large groups, which do not look at any value
_TOLERANCE = 0.03  # of the solution, in the norm of the information
_SPREADS = 3  # of a doubtful molecule, to the neighbours of neighbours


class Likelihood(NamedTuple):
    """Derivatives of the likelihood about its maximum: n molecules with p unknowns, m pairs, q of a frame's drift."""

    own: Tensor  # (n, p, p) information, priors of the molecules included
    between: Tensor  # (m, p, p) first and second of every pair
    with_drift: Tensor  # (n, p, q), with what neighbours of the molecule add
    gradient: Tensor  # (n, p), priors of the molecules included
    drift_gradient: Tensor  # (n, q) each molecule's part


class DriftInformation(NamedTuple):
    """What is known of the drift of frames, without any prior of it, and how molecules follow it."""

    precision: Tensor  # (frames, q, q) J
    moment: Tensor  # (frames, q) h
    response: Tensor  # (n, 3, q) S: derivatives of x, y, z by the drift
    variance: Tensor  # (n, 3) of x, y, z with the drift known, neighbours unknown


def drift_information(
    frame: Tensor,
    pairs: OverlappingPairs,
    likelihood: Likelihood,
    drift: Tensor,
    trusted: Tensor,
    variance: Tensor,
    scale: Tensor,
) -> DriftInformation:
    """Eliminate the molecules of frames.

    Parameters
    ----------
    frame : (n,) of each molecule.
    likelihood : at the maximum.
    drift : (frames, q) there.
    trusted : (n,) molecules that may say something of the drift; the others and their neighbours do not.
    variance : (n, 3) with the drift known, which is handed on.
    scale : (n,) by which variances are larger than the likelihood says: what a molecule says counts less by as much.
    """
    columns = torch.cat((likelihood.with_drift, likelihood.gradient[:, :, None]), dim=2)
    solved = _eliminated(frame, len(drift), pairs, likelihood, columns)
    q = drift.shape[1]
    taken = likelihood.with_drift.transpose(1, 2) @ solved
    each = _moved_alone(likelihood.with_drift) - taken[..., :q]
    slope = likelihood.drift_gradient - taken[..., q]
    rows = _without_neighbours_of(~trusted, pairs) & taken.isfinite().flatten(1).all(dim=1)
    each, slope = each / scale[:, None, None], slope / scale[:, None]
    each, slope = (torch.where(rows.view(-1, *[1] * (values.dim() - 1)), values, 0.0) for values in (each, slope))
    precision = each.new_zeros(len(drift), q, q).index_add_(0, frame, each)
    precision = (precision + precision.transpose(1, 2)) / 2
    moment = (precision @ drift[..., None])[..., 0].index_add_(0, frame, slope)
    return DriftInformation(precision, moment, -solved[:, :3, :q], variance)


def _moved_alone(with_drift: Tensor) -> Tensor:
    """(n, q, q) information about the drift, of molecules (n, p, q) that are known: a plane's drift moves x and y."""
    n, _, q = with_drift.shape
    blocks = with_drift[:, :2].unflatten(2, (q // 2, 2))  # (n, axis, plane, axis)
    own = torch.eye(q // 2, dtype=with_drift.dtype, device=with_drift.device)
    return torch.einsum("napb,pr->nparb", blocks, own).reshape(n, q, q)


def _without_neighbours_of(doubtful: Tensor, pairs: OverlappingPairs) -> Tensor:
    """(n,) Molecules that neither are doubtful (n,) nor overlap with one that is, directly or through others."""
    if len(pairs.first):
        for _ in range(_SPREADS):
            either = doubtful[pairs.first] | doubtful[pairs.second]
            touched = doubtful.double().index_add(0, pairs.first, either.double())
            doubtful = touched.index_add(0, pairs.second, either.double()) > 0
    return ~doubtful


def _eliminated(frame: Tensor, frames: int, pairs: OverlappingPairs, known: Likelihood, right: Tensor) -> Tensor:
    """(n, p, c) Solution of the molecules' equations, their drift known, for right sides (n, p, c)."""
    alone = inverse(known.own)
    solution = alone @ right
    if not len(pairs.first):
        return solution
    fixed = in_large_groups(right.device)

    def applied(vector: Tensor) -> Tensor:
        out = known.own @ vector
        out = out.index_add(0, pairs.first, known.between @ vector[pairs.second])
        return out.index_add(0, pairs.second, known.between.transpose(1, 2) @ vector[pairs.first])

    def product(one: Tensor, other: Tensor) -> Tensor:
        return one.new_zeros(frames, one.shape[2]).index_add(0, frame, (one * other).sum(dim=1))

    residual = right - applied(solution)
    direction = alone @ residual
    now = product(residual, direction)
    enough = _TOLERANCE**2 * product(right, solution)
    active = now > enough
    for _ in range(_FIXED_ITERATIONS if fixed else _ITERATIONS):
        if not fixed and not active.any():
            break
        image = applied(direction)
        curvature = product(direction, image)
        active = active & (curvature > 0)  # coupling that is kept from an earlier step may not be consistent
        length = torch.where(active, now / curvature, 0.0)[frame][:, None]
        solution, residual = solution + length * direction, residual - length * image
        preconditioned = alone @ residual
        last, now = now, product(residual, preconditioned)
        direction = preconditioned + torch.where(active, now / last, 0.0)[frame][:, None] * direction
        active = active & (now > enough)
    return solution
