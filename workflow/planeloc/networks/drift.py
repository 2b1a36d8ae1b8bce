"""Drift of the planes in a frame, from all its molecules together.

A molecule between two planes tells how far one has moved against the other, and nothing of the rest. So each gives, for
every plane, its step against the plane before and the information that it has of this step. Steps are linear in the
drifts d of planes 1…, e = D d; with the prior d ~ N(0, σ²) and the information Λ, summed over the molecules, the
posterior is normal with precision A = 1/σ² + Dᵀ Λ D and mean A⁻¹ Dᵀ Λ e. One molecule alone cannot be placed better
than its planes agree; many together can.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_LEAST_PRIOR_SD_PX = 0.01  # also where planes do not drift
_LEAST_INFORMATION, _MOST_INFORMATION = -8.0, 7.0  # logarithms, in units of the prior's


class Drift(NamedTuple):
    """Of planes 1… against plane 0, px; the same for x and y but for the mean."""

    mean: Tensor  # (batch, planes − 1, 2)
    precision: Tensor  # (batch, planes − 1, planes − 1)
    covariance: Tensor  # (batch, planes − 1, planes − 1)

    def of(self, image: Tensor) -> Drift:
        """Of each image that is named."""
        return Drift(*(values[image] for values in self))

    def minus_log_likelihood(self, drift: Tensor) -> Tensor:
        """(batch,) without the constant; `drift` (batch, planes − 1, 2) px."""
        error = drift - self.mean
        squares = torch.einsum("bpa,bpq,bqa->b", error, self.precision, error)
        return 0.5 * squares - torch.linalg.slogdet(self.precision).logabsdet  # of two axes


class Steps(NamedTuple):
    """What single molecules say of the planes' steps."""

    mean: Tensor  # (n, planes − 1, 2) px, of a plane against the one before
    raw_information: Tensor  # (n, planes − 1)

    def information(self, prior_sd_px: float) -> Tensor:
        """(n, planes − 1) of either axis, 1/px²."""
        raw = self.raw_information.clamp(_LEAST_INFORMATION, _MOST_INFORMATION)
        return torch.exp(raw) / max(prior_sd_px, _LEAST_PRIOR_SD_PX) ** 2

    def minus_log_likelihood(self, drift: Tensor, prior_sd_px: float) -> Tensor:
        """(n,) of the true drift (n, planes − 1, 2) by every molecule alone, without the constant."""
        first = torch.diff(drift, dim=1, prepend=torch.zeros_like(drift[:, :1]))
        variance = torch.full_like(self.raw_information, 2.0)  # of a step in the prior; plane 0 does not move
        variance[:, 0] = 1.0
        prior = 1 / (variance * max(prior_sd_px, _LEAST_PRIOR_SD_PX) ** 2)
        information = self.information(prior_sd_px)
        total = (prior + information)[..., None]
        error = first - self.mean * information[..., None] / total
        return (0.5 * error.square() * total - 0.5 * torch.log(total)).sum(dim=(1, 2))


def estimate_drift(steps: Steps, weight: Tensor, image: Tensor, batch: int, prior_sd_px: float) -> Drift:
    """Posterior of the drift in `batch` images from molecules that exist with probability `weight` (n,)."""
    information = steps.information(prior_sd_px) * weight[:, None]
    planes = information.shape[1]
    total = information.new_zeros(batch, planes).index_add(0, image, information)
    weighted = information[..., None] * steps.mean
    moment = weighted.new_zeros(batch, planes, 2).index_add(0, image, weighted)
    unit = torch.eye(planes, dtype=total.dtype, device=total.device)
    difference = unit - torch.diag(torch.ones(planes - 1, dtype=total.dtype, device=total.device), -1)
    precision = unit / max(prior_sd_px, _LEAST_PRIOR_SD_PX) ** 2
    precision = precision + difference.t() @ (total[..., None] * difference)
    covariance = torch.linalg.inv(precision)
    return Drift(covariance @ (difference.t() @ moment), precision, covariance)
