"""How well a position can be known when the planes have drifted by unknown amounts.

The lateral shifts of planes 1… are unknown parameters of the image with a prior (plane 0 is the reference). Of a normal
prior the inverse variance is added to the Fisher information, and the inverse of the sum bounds the mean squared error
(van Trees' inequality; van Trees 1968, Detection, Estimation, and Modulation Theory I, section 2.4). The drift is then
eliminated. Molecules of one frame share the drift: each of them tells something about it.

A drift that comes in whole steps, as the paper's, is known better than its variance says. The limit for such a prior
is the error of the best estimate from the true posterior, `least_error_of_steps`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ellipe
from torch import Tensor

_LEAST_SD_NM = 1e-3  # of a drift that is known while others are not
_GRID = 81  # points per axis of a posterior
_GRID_REACH = 5.0  # on either side, in standard deviations of the posterior under a normal prior
_AT_ONCE = 256  # posteriors
_WEISZFELD_STEPS = 12


def covariance_with_drift(information: Tensor, drift_sd_nm: float | Sequence[float]) -> Tensor:
    """Bound on the covariance of x, y, z and photons of molecules that share an unknown drift.

    Parameters
    ----------
    information : (..., molecules, planes, 4, 4) of every plane's image alone (`information.plane_information`).
        The molecules' images do not overlap.
    drift_sd_nm : standard deviation of the drift of planes 1… along each axis, one of all or one of each; 0: known.

    Returns
    -------
    (..., molecules, 4, 4)
    """
    alone = torch.linalg.inv(information.sum(dim=-3))
    moved = information[..., 1:, :, :2]
    drifting = moved.shape[-3]
    sd = torch.as_tensor(drift_sd_nm, dtype=torch.float64).to(moved).expand(drifting)
    if not sd.any():
        return alone
    cross = moved.transpose(-3, -2).flatten(-2)  # (..., molecules, 4, drifts)
    apart = torch.eye(drifting).to(moved)[:, None, :, None]
    own = (moved[..., :2, :].unsqueeze(-2) * apart).flatten(-2).flatten(-3, -2)
    gain = alone @ cross
    # What the molecules tell about the drift when their positions are unknown (Schur complement), and the prior.
    about_drift = (own - cross.transpose(-1, -2) @ gain).sum(dim=-3)
    prior = sd.clamp(min=_LEAST_SD_NM).repeat_interleave(2)  # of x and y of each plane in turn
    about_drift = about_drift + torch.diag(prior**-2)
    return alone + gain @ torch.linalg.inv(about_drift).unsqueeze(-3) @ gain.transpose(-1, -2)


def mean_lateral_error(covariance: Tensor) -> NDArray[np.float64]:
    """(...) Mean distance from its centre of a normal variable in the plane, covariance (..., 2 or more, same).

    With standard deviations a ≥ b along the principal axes it is √(2/π) · a · E(1 − b²/a²), E the complete elliptic
    integral of the second kind.
    """
    smaller, larger = torch.linalg.eigvalsh(covariance[..., :2, :2]).clamp(min=0).unbind(-1)
    ratio = (smaller / larger.clamp(min=1e-300)).numpy()
    return math.sqrt(2 / math.pi) * larger.sqrt().numpy() * ellipe(1 - ratio)


def mean_axial_error(covariance: Tensor) -> NDArray[np.float64]:
    """(...) Mean of |z error| of a normal variable with that variance."""
    return (math.sqrt(2 / math.pi) * covariance[..., 2, 2].clamp(min=0).sqrt()).numpy()


def lateral_precision(information: Tensor) -> Tensor:
    """(..., planes, 2) what each plane alone tells about x and about y, 1/nm², of its information (..., planes, 4, 4).

    Depth and photons, common to the planes, take their share from all planes alike: the sum over the planes is what
    all tell together with the drift known. The share is next to nothing but where the window cuts spots off.
    """
    precision = torch.diagonal(information, dim1=-2, dim2=-1)[..., :2]
    together = torch.linalg.inv(information.sum(dim=-3))
    left = 1 / torch.diagonal(together, dim1=-2, dim2=-1)[..., None, :2]
    return precision * left / precision.sum(dim=-2, keepdim=True)


def least_error_of_steps(precision: Tensor, steps_nm: Tensor, generator: torch.Generator) -> NDArray[np.float64]:
    """Mean 2-D distance from the true position of the best estimate when the drift comes in steps.

    Every plane p places the molecule at x̂_p = x + Δ_p + normal error, along each axis; the steps Δ_p of planes 1… are
    equally likely and Δ_0 = 0. For one draw of the x̂_p a molecule, the posterior of x (flat prior) is worked out on a
    grid and its geometric median, than which no estimate is closer to x on average, is found by Weiszfeld's steps.
    Taken is the mean distance under the posterior: its mean over draws is the mean error, with less scatter.

    Parameters
    ----------
    precision : (n, planes, 2) of `lateral_precision`, 1/nm².
    steps_nm : (k,) the values that a drift may take.

    Returns
    -------
    (n,) of one draw of noise and drift each; to be averaged.
    """
    precision = precision.clamp(min=1e-12)
    size = precision.shape
    chosen = torch.randint(len(steps_nm), size, generator=generator)
    drift = steps_nm.to(precision)[chosen]
    drift[:, 0] = 0
    seen = drift + torch.randn(size, generator=generator, dtype=precision.dtype) * precision.rsqrt()
    parts = zip(seen.split(_AT_ONCE), precision.split(_AT_ONCE), strict=True)
    return np.concatenate([_distance_under_posterior(*part, steps_nm.to(precision)).numpy() for part in parts])


def _distance_under_posterior(seen: Tensor, precision: Tensor, steps_nm: Tensor) -> Tensor:
    """(n,) Mean distance of x from its posterior's geometric median, of `seen` (n, planes, 2)."""
    variance = 1 / precision
    variance[:, 1:] += (steps_nm**2).mean()
    weight = 1 / variance
    middle = (weight * seen).sum(dim=1) / weight.sum(dim=1)
    reach = _GRID_REACH * weight.sum(dim=1).rsqrt()
    grid = middle[..., None] + reach[..., None] * torch.linspace(-1, 1, _GRID).to(seen)  # (n, 2, grid)
    distance = seen[..., None] - grid[:, None]  # (n, planes, 2, grid)
    half = 0.5 * precision[..., None]
    steps = distance[:, 1:, ..., None] - steps_nm
    likelihood = (
        torch.logsumexp(-half[:, 1:, ..., None] * steps**2, dim=-1).sum(dim=1) - half[:, 0] * distance[:, 0] ** 2
    )
    along_x, along_y = torch.softmax(likelihood, dim=-1).unbind(1)
    posterior = along_y[:, :, None] * along_x[:, None, :]
    x, y = grid[:, 0, None, :], grid[:, 1, :, None]
    median = torch.stack(((along_x * grid[:, 0]).sum(-1), (along_y * grid[:, 1]).sum(-1)), dim=-1)
    for _ in range(_WEISZFELD_STEPS):
        pull = posterior / _distance(x, y, median).clamp(min=1e-6)
        total = pull.sum(dim=(1, 2))
        median = torch.stack(((pull * x).sum(dim=(1, 2)) / total, (pull * y).sum(dim=(1, 2)) / total), dim=-1)
    return (posterior * _distance(x, y, median)).sum(dim=(1, 2))


def _distance(x: Tensor, y: Tensor, point: Tensor) -> Tensor:
    return torch.hypot(x - point[:, 0, None, None], y - point[:, 1, None, None])
