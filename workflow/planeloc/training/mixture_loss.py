"""Loss of the regression network: minus the log-likelihood of the ground truth (Speiser et al. 2021).

Every pixel has a molecule with its own probability p. Their number is a sum of Bernoulli variables, nearly Gaussian
with mean Σ p and variance Σ p (1 − p). Their positions are a mixture over the pixels: a true molecule u has density
Σ_k p_k / Σp · N(u; mean_k, sd_k) in x, y, z and photons. The likelihood is largest where standard deviations equal the
errors, which calibrates them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from planeloc.networks.frame_drift import Drift, estimate_drift
from planeloc.networks.regression import background_of, plane_positions, read_pixels
from planeloc.networks.regression_molecules import window_drift

_REACH = 2  # largest distance of a molecule's own pixel from one that may predict it: REACH_PX, and deviations
_LEAST_COUNT_VARIANCE = 0.1  # else the likelihood of an empty window has no bound
_ALONE_WEIGHT = 0.5  # of the terms of each molecule alone, which guide the joint estimate
_LOG_TWO_PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class GroundTruth:
    """True molecules of a batch of windows, in the network's units, all inside their windows."""

    image: Tensor  # (n,) index in the batch
    position: Tensor  # (n, 4): x and y in px from the window's outer corner, z, photons
    background: Tensor  # (batch,) photons per pixel that the window has beyond those subtracted
    drift: Tensor  # (batch, planes − 1, 2) px


def regression_loss(maps: Tensor, truth: GroundTruth, drift_sd_px: float | tuple[float, ...]) -> Tensor:
    """Return minus the log-likelihood of the ground truth, averaged over the windows of a batch.

    It is that of the number and values of molecules, of background and inter-camera drift, and of the estimates that
    each molecule gives alone.

    Parameters
    ----------
    maps : (batch, channels, rows, columns), output of the network.
    drift_sd_px : prior of the drift of planes 1…, one of all or one of each.
    """
    drift = window_drift(maps, drift_sd_px)
    level, level_sd = background_of(maps)
    loss = count_loss(maps[:, 0], truth).sum() + mixture_loss(maps, truth, drift).sum()
    loss = loss + drift.minus_log_likelihood(truth.drift).sum()
    loss = loss + _ALONE_WEIGHT * _loss_alone(maps, truth, drift_sd_px).sum()
    background = _minus_log_normal(truth.background[:, None, None], level, level_sd)
    return loss / len(maps) + background.mean()


def count_loss(logit: Tensor, truth: GroundTruth) -> Tensor:
    """Return (batch,) minus log-likelihood of the number of molecules; `logit` (batch, rows, columns)."""
    number = torch.bincount(truth.image, minlength=len(logit)).to(logit.dtype)
    p = torch.sigmoid(logit)
    variance = (p * (1 - p)).sum(dim=(1, 2)) + _LEAST_COUNT_VARIANCE
    return _minus_log_normal(number, p.sum(dim=(1, 2)), variance.sqrt())


def mixture_loss(maps: Tensor, truth: GroundTruth, drift: Drift) -> Tensor:
    """Return (n,) minus log-density of every true molecule under the mixture of the pixels within `_REACH`."""
    rows, columns = maps.shape[2:]
    steps = torch.arange(-_REACH, _REACH + 1, device=truth.image.device)
    y_step, x_step = (step.flatten() for step in torch.meshgrid(steps, steps, indexing="ij"))
    own = truth.position[:, :2].floor().long()
    x, y = own[:, :1] + x_step, own[:, 1:] + y_step  # (n, pixels)
    inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    image = truth.image[:, None].expand_as(x)
    near = maps[image, :, y.clamp(0, rows - 1), x.clamp(0, columns - 1)].flatten(0, 1)
    reading = read_pixels(near, drift.of(image.flatten()))
    total = torch.logsumexp(logsigmoid(maps[:, 0]).flatten(1), dim=1)
    log_weight = logsigmoid(reading.logit).view(x.shape) - total[truth.image][:, None]
    target = truth.position[:, None].repeat(1, x.shape[1], 1)
    target[..., :2] -= torch.stack((x, y), dim=-1) + 0.5  # from the pixel's centre
    log_density = -_minus_log_normal(target.flatten(0, 1), reading.mean, reading.sd).sum(dim=1).view(x.shape)
    return -torch.logsumexp((log_weight + log_density).masked_fill(~inside, -math.inf), dim=1)


def _loss_alone(maps: Tensor, truth: GroundTruth, drift_sd_px: float | tuple[float, ...]) -> Tensor:
    """(n,) minus log-likelihood of the drift, and of the position given the drift, from each molecule's pixel."""
    rows, columns = maps.shape[2:]
    pixel = torch.stack([truth.position[:, a].long().clamp(0, side - 1) for a, side in enumerate((columns, rows))], 1)
    seen = plane_positions(maps[truth.image, :, pixel[:, 1], pixel[:, 0]])
    true_drift, number = truth.drift[truth.image], len(truth.image)
    each = torch.arange(number, device=maps.device)
    alone = estimate_drift(seen, torch.ones_like(seen.information[:, 0]), each, number, drift_sd_px)
    place = truth.position[:, :2] - pixel - 0.5
    sd = seen.information.sum(dim=1, keepdim=True).rsqrt()
    placed = _minus_log_normal(place, seen.place(true_drift), sd).sum(dim=1)
    return alone.minus_log_likelihood(true_drift) + placed


def _minus_log_normal(value: Tensor, mean: Tensor, sd: Tensor) -> Tensor:
    return 0.5 * ((value - mean) / sd) ** 2 + torch.log(sd) + 0.5 * _LOG_TWO_PI
