"""Assembly of the normal equations of frames from what every window says on every plane.

On a plane, five numbers describe a molecule: x, y and defocus there, photons, background (`PER_PLANE`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from planeloc.fitting.normal_equations import NormalEquations, OverlappingPairs, Unknowns
from planeloc.fitting.windows import InitialMolecules

PER_PLANE = 5


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
