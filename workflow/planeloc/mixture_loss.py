"""The likelihood of the true molecules under what the regression network says of a window (Speiser et al. 2021).

Every pixel holds a molecule with its own probability p. Their number is a sum of Bernoulli variables, nearly normal
with mean Σ p and variance Σ p (1 − p). Where they lie is a mixture over the pixels: a true molecule u has density
Σ_k p_k / Σp · N(u; mean_k, sd_k) in x, y, z and photons. Minus the logarithm of both is the loss. Being a likelihood it
is smallest where deviations are as large as the errors, which is what calibrates them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from planeloc.networks.regression import Output, Reading, read_maps

_REACH = 2  # pixels from a molecule's own to the farthest that may place one there: REACH_PX, and deviations
_LEAST_COUNT_VARIANCE = 0.1  # else certainty of an empty window would be rewarded without end
_LOG_TWO_PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Truth:
    """True molecules of a batch of windows, in the network's units, all inside their windows."""

    image: Tensor  # (n,) index in the batch
    position: Tensor  # (n, 4): x and y in px from the window's outer corner, z, photons
    background: Tensor  # (batch,) photons per pixel that the window has beyond those subtracted
    drift: Tensor  # (batch, planes − 1, 2) px


def regression_loss(output: Output, truth: Truth) -> Tensor:
    """Minus the log-likelihood of the truth, averaged over the windows of a batch."""
    batch = len(output.maps)
    reading = read_maps(output.maps.transpose(0, 1), output.drift.movedim(0, -1)[..., None, None])
    loss = (count_loss(reading.logit, truth).sum() + mixture_loss(reading, truth).sum()) / batch
    level = truth.background[:, None, None]
    loss = loss + _minus_log_normal(level, reading.background, reading.background_sd).mean()
    return loss + _minus_log_normal(truth.drift, *output.drift.unbind(1)).sum() / batch


def count_loss(logit: Tensor, truth: Truth) -> Tensor:
    """(batch,) minus log-likelihood of the number of molecules of every window; `logit` (batch, rows, columns)."""
    number = torch.bincount(truth.image, minlength=len(logit)).to(logit.dtype)
    p = torch.sigmoid(logit)
    variance = (p * (1 - p)).sum(dim=(1, 2)) + _LEAST_COUNT_VARIANCE
    return _minus_log_normal(number, p.sum(dim=(1, 2)), variance.sqrt())


def mixture_loss(reading: Reading, truth: Truth) -> Tensor:
    """(n,) minus log-density of every true molecule under the mixture; pixels beyond `_REACH` cannot place it.

    `reading` has channels first, then (batch, rows, columns).
    """
    rows, columns = reading.logit.shape[1:]
    steps = torch.arange(-_REACH, _REACH + 1, device=truth.image.device)
    own = truth.position[:, :2].floor().long()
    x, y = own[:, 0, None, None] + steps, own[:, 1, None, None] + steps[:, None]
    inside = ((x >= 0) & (x < columns) & (y >= 0) & (y < rows)).flatten(1)
    index = (truth.image[:, None, None] * rows + y.clamp(0, rows - 1)) * columns + x.clamp(0, columns - 1)
    index = index.flatten(1)  # (n, pixels)

    total = torch.logsumexp(logsigmoid(reading.logit).flatten(1), dim=1)
    log_weight = logsigmoid(reading.logit.reshape(-1)[index]) - total[truth.image][:, None]
    mean, sd = (values.reshape(4, -1)[:, index] for values in (reading.mean, reading.sd))
    x_away = truth.position[:, 0, None] - (x.expand(-1, len(steps), -1).flatten(1) + 0.5)
    y_away = truth.position[:, 1, None] - (y.expand(-1, -1, len(steps)).flatten(1) + 0.5)
    target = torch.stack((x_away, y_away, *(truth.position[:, i, None].expand_as(x_away) for i in (2, 3))))
    log_density = log_weight - _minus_log_normal(target, mean, sd).sum(dim=0)
    return -torch.logsumexp(log_density.masked_fill(~inside, -math.inf), dim=1)


def _minus_log_normal(value: Tensor, mean: Tensor, sd: Tensor) -> Tensor:
    return 0.5 * ((value - mean) / sd) ** 2 + torch.log(sd) + 0.5 * _LOG_TWO_PI
