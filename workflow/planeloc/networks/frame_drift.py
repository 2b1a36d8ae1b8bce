"""Inter-camera drift of a frame from all its molecules, and each molecule's position from those on the planes.

A molecule's position on plane p is x_p = x + d_p, with information i_p; d is the drift of planes 1… against plane 0,
the same for all molecules of the frame. The model is linear and, with the prior d ~ N(0, σ²), Gaussian, so drift and
molecules are solved for together, each molecule eliminated by a Schur complement (bundle adjustment in one step). A
molecule gives the drift the information diag(i) − i iᵀ / Σi and the moment i (x_p − Σ i x / Σ i). Its x is the mean of
x_p − d_p with weights w = i / Σi and has the variance 1/Σi + wᵀ C w, where C is the covariance of the drift.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_LEAST_PRIOR_SD_PX = 0.01  # also without drift


class Drift(NamedTuple):
    """Inter-camera drift of planes 1… against plane 0, px; x and y share precision and covariance."""

    mean: Tensor  # (batch, planes − 1, 2)
    precision: Tensor  # (batch, planes − 1, planes − 1)
    covariance: Tensor  # (batch, planes − 1, planes − 1)

    def of(self, image: Tensor) -> Drift:
        """Return the drift of some images, by number."""
        return Drift(*(values[image] for values in self))

    def minus_log_likelihood(self, drift: Tensor) -> Tensor:
        """Return (batch,) without the constant, of `drift` (batch, planes − 1, 2) px."""
        error = drift - self.mean
        squares = torch.einsum("bpa,bpq,bqa->b", error, self.precision, error)
        return 0.5 * squares - torch.linalg.slogdet(self.precision).logabsdet  # of two axes


class PlanePositions(NamedTuple):
    """Positions of molecules on every plane."""

    position: Tensor  # (n, planes, 2) px
    information: Tensor  # (n, planes) of either axis, 1/px²

    @property
    def weight(self) -> Tensor:
        """(n, planes), sums to 1."""
        return self.information / self.information.sum(dim=1, keepdim=True)

    def place(self, drift: Tensor) -> Tensor:
        """Return the molecules' positions (n, 2) px, given the drift (n, planes − 1, 2)."""
        seen = self.position - torch.cat((torch.zeros_like(drift[:, :1]), drift), dim=1)
        return (self.weight[..., None] * seen).sum(dim=1)

    def variance(self, covariance: Tensor) -> Tensor:
        """Return their variance (n,) px² on either axis, given the drift's covariance (n, planes − 1, planes − 1)."""
        weight = self.weight[:, 1:]
        return 1 / self.information.sum(dim=1) + torch.einsum("np,npq,nq->n", weight, covariance, weight)


def estimate_drift(
    seen: PlanePositions, probability: Tensor, image: Tensor, batch: int, prior_sd_px: float | tuple[float, ...]
) -> Drift:
    """Return the posterior of the inter-camera drift in each of `batch` images.

    Parameters
    ----------
    seen : of n molecules.
    probability : (n,) that a molecule exists.
    image : (n,) index in the batch.
    prior_sd_px : of planes 1…, one of all or one of each.
    """
    information = seen.information[:, 1:]
    shared = information[:, :, None] * seen.weight[:, None, 1:]
    each = (torch.diag_embed(information) - shared) * probability[:, None, None]
    middle = (seen.weight[..., None] * seen.position).sum(dim=1, keepdim=True)
    moment = probability[:, None, None] * information[..., None] * (seen.position[:, 1:] - middle)
    planes = information.shape[1]
    prior = torch.as_tensor(prior_sd_px, dtype=torch.float64).clamp(min=_LEAST_PRIOR_SD_PX).square().to(each)
    precision = torch.eye(planes, dtype=each.dtype, device=each.device) / prior
    precision = precision + each.new_zeros(batch, planes, planes).index_add(0, image, each)
    covariance = torch.linalg.inv(precision)
    total = moment.new_zeros(batch, planes, 2).index_add(0, image, moment)
    return Drift(covariance @ total, precision, covariance)
