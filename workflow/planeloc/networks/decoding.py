"""From the regression network's maps to molecules, on the device.

A molecule's probability is its pixel's own and, where it lies near the border of pixels, also its neighbours'. One
molecule is reported for every maximum whose 3×3 pixels together are more probable than the threshold. A pixel that is
probable by itself is a molecule also beside a more probable one: a single molecule has not enough probability for both.
Only the pixels that are reported are read out, so that the cost is that of one pass over the probabilities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from planeloc.networks.drift import Drift, estimate_drift
from planeloc.networks.regression import background_of, read_pixels, sightings_of

_ALONE = 0.6  # more probable than this, a pixel needs no neighbours and fears none
_SURE = 1 - 1e-6
_TELLING = -2.0  # logit; pixels below it say nothing of the drift


@dataclass(frozen=True)
class Units:
    """What the network's numbers mean on a microscope."""

    pixel_size_nm: float
    depth_range_nm: tuple[float, float]
    photons: float  # of the brightest molecule of training
    drift_sd_px: float  # of a plane along either axis

    @property
    def middle_nm(self) -> float:
        return (self.depth_range_nm[0] + self.depth_range_nm[1]) / 2

    @property
    def half_depth_nm(self) -> float:
        return (self.depth_range_nm[1] - self.depth_range_nm[0]) / 2


@dataclass(frozen=True)
class Found:
    """One entry per molecule; positions from the outer corner of the window's pixel (0, 0)."""

    image: Tensor  # (n,) index in the batch, ascending
    position_nm: Tensor  # (n, 3): x, y, z
    position_sd_nm: Tensor  # (n, 3)
    probability: Tensor  # (n,)
    photons: Tensor  # (n,) of all planes
    photons_sd: Tensor  # (n,)
    background: Tensor  # (n,) photons per pixel beyond those that were subtracted
    background_sd: Tensor  # (n,)

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: torch.device | str) -> Found:
        return Found(*(getattr(self, field.name).to(device) for field in fields(self)))


def find_molecules(maps: Tensor, units: Units, threshold: float, drift: Drift | None = None) -> Found:
    """Molecules whose probability exceeds `threshold`.

    Parameters
    ----------
    maps : (batch, numbers, rows, columns), of the network.
    drift : of every image; None: as its molecules tell.
    """
    drift = window_drift(maps, units.drift_sd_px) if drift is None else drift
    logit = maps[:, 0].float()
    image, row, column, probability = _maxima(logit, threshold)
    pixels = maps[image, :, row, column].float()
    reading = read_pixels(pixels, drift.of(image))
    centre = torch.stack((column, row), dim=1) + 0.5
    lateral = (centre + reading.mean[:, :2]) * units.pixel_size_nm
    depth = units.middle_nm + units.half_depth_nm * reading.mean[:, 2:3]
    scale = reading.sd.new_tensor([units.pixel_size_nm, units.pixel_size_nm, units.half_depth_nm])
    background, background_sd = background_of(pixels)
    return Found(
        image=image,
        position_nm=torch.cat((lateral, depth), dim=1),
        position_sd_nm=reading.sd[:, :3] * scale,
        probability=probability,
        photons=(reading.mean[:, 3] * units.photons).clamp(min=0),
        photons_sd=reading.sd[:, 3] * units.photons,
        background=background,
        background_sd=background_sd,
    )


def window_drift(maps: Tensor, prior_sd_px: float) -> Drift:
    """Drift of the planes in every image of a batch, from the pixels that may hold molecules."""
    image, row, column = torch.nonzero(maps[:, 0] > _TELLING, as_tuple=True)
    telling = maps[image, :, row, column]
    telling = telling if telling.dtype == torch.float64 else telling.float()
    exists = torch.sigmoid(telling[:, 0]).detach()
    return estimate_drift(sightings_of(telling), exists, image, len(maps), prior_sd_px)


def _maxima(logit: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Index in the batch, row and column of the pixels to report, and the probability of their 3×3 pixels.

    Only pixels that could win are looked at: of nine that exceed the threshold together, the largest exceeds a ninth of
    it. Of two equal neighbours the first in the image is the maximum.
    """
    rows, columns = logit.shape[1:]
    least = threshold / 9
    image, row, column = torch.nonzero(logit > math.log(least / (1 - least)), as_tuple=True)
    padded = torch.nn.functional.pad(logit, (1, 1, 1, 1), value=-math.inf).flatten()
    steps = torch.arange(3, device=logit.device)
    first = (image * (rows + 2) + row) * (columns + 2) + column
    around = padded[first[:, None, None] + steps[:, None] * (columns + 2) + steps].flatten(1)
    maximum = around.argmax(dim=1) == 4
    p = torch.sigmoid(around)
    total = p.sum(dim=1)
    alone = p[:, 4] > max(_ALONE, threshold)
    kept = (maximum & (total > threshold)) | alone
    others = torch.where(p > max(_ALONE, threshold), 0.0, p)  # neighbours that stand alone are not this molecule's
    others[:, 4] = p[:, 4]
    return image[kept], row[kept], column[kept], others.sum(dim=1)[kept].clamp(max=_SURE)
