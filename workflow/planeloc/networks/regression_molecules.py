"""From the output of the regression network to molecules, on the device.

Near the border of pixels, a molecule's probability is divided among them. One molecule is reported for every maximum
whose 3×3 pixels together exceed the threshold. A pixel that is probable on its own is a molecule also beside a more
probable one, if it gives another position. Only these pixels are decoded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from planeloc.networks.frame_drift import Drift, estimate_drift
from planeloc.networks.pixel_maps import PixelMaps
from planeloc.networks.regression import background_of, plane_positions, read_pixels

_ALONE = 0.6  # a more probable pixel may be a molecule whatever its neighbours
_SAME_PLACE = 9.0  # squared distance of two molecules in standard deviations, x, y and z together, at least
_OWN = 4  # of 3×3 pixels, the middle
_SURE = 1 - 1e-6
_TELLING = -2.0  # logit of the pixels that the inter-camera drift is estimated from


@dataclass(frozen=True)
class Units:
    """Units of the network's output on a microscope."""

    pixel_size_nm: float
    depth_range_nm: tuple[float, float]
    photons: float  # of the brightest molecule of training
    drift_sd_px: float | tuple[float, ...]  # of planes 1… along either axis, one of all or one of each
    deviation_factors: tuple[float, float] = (1.0, 1.0)  # rms normalised error, lateral and axial

    @property
    def middle_nm(self) -> float:
        """Middle of the depth range."""
        return (self.depth_range_nm[0] + self.depth_range_nm[1]) / 2

    @property
    def half_depth_nm(self) -> float:
        """Half the length of the depth range."""
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

    def __len__(self) -> int:
        return len(self.image)

    def at(self, rows: Tensor) -> Found:
        """Return some of the molecules, by number or mask."""
        return Found(*(getattr(self, field.name)[rows] for field in fields(self)))


def find_molecules(maps: Tensor | PixelMaps, units: Units, threshold: float, drift: Drift | None = None) -> Found:
    """Return the molecules whose probability exceeds `threshold`.

    Parameters
    ----------
    maps : (batch, channels, rows, columns), output of the network; or that of some pixels.
    drift : inter-camera drift of every image; None: estimated from its molecules.
    """
    maps = PixelMaps.whole(maps) if isinstance(maps, Tensor) else maps
    drift = _drift(maps, units.drift_sd_px) if drift is None else drift
    image, row, column, around = _candidates(maps.logit.float(), threshold)
    pixels = maps.at(image, row, column).float()
    reading = read_pixels(pixels, drift.of(image))
    centre = torch.stack((column, row), dim=1) + 0.5
    place = torch.cat((reading.mean[:, :2] + centre, reading.mean[:, 2:3]), dim=1)
    neighbour = _neighbours(image, row, column, maps.logit.shape[1:])
    kept = _distinct(place, reading.sd[:, :3], around, neighbour)
    others = (neighbour >= 0) & kept[neighbour]  # molecules themselves
    probability = around.masked_fill(others, 0.0).sum(dim=1).clamp(max=_SURE)
    scale = place.new_tensor([units.pixel_size_nm, units.pixel_size_nm, units.half_depth_nm])
    lateral, axial = units.deviation_factors
    factors = place.new_tensor([lateral, lateral, axial])
    return Found(
        image=image,
        position_nm=place * scale + place.new_tensor([0.0, 0.0, units.middle_nm]),
        position_sd_nm=reading.sd[:, :3] * scale * factors,
        probability=probability,
        photons=(reading.mean[:, 3] * units.photons).clamp(min=0),
        photons_sd=reading.sd[:, 3] * units.photons,
        background=background_of(pixels)[0],
    ).at(kept)


def window_drift(maps: Tensor, prior_sd_px: float | tuple[float, ...]) -> Drift:
    """Return the inter-camera drift in every image of a batch, from the pixels that may hold molecules.

    `maps` (batch, channels, rows, columns) is the network's output.
    """
    return _drift(PixelMaps.whole(maps), prior_sd_px)


def _drift(maps: PixelMaps, prior_sd_px: float | tuple[float, ...]) -> Drift:
    image, row, column = torch.nonzero(maps.logit > _TELLING, as_tuple=True)
    telling = maps.at(image, row, column)
    telling = telling if telling.dtype == torch.float64 else telling.float()
    exists = torch.sigmoid(telling[:, 0]).detach()
    return estimate_drift(plane_positions(telling), exists, image, len(maps.logit), prior_sd_px)


def _candidates(logit: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Index in the batch, row and column of the pixels that may be reported, and the probabilities (n, 9) around them.

    Of nine pixels that exceed the threshold together, the largest exceeds a ninth of it. Of two equal neighbours the
    first in the image is the maximum.
    """
    least = threshold / 9
    image, row, column = torch.nonzero(logit > math.log(least / (1 - least)), as_tuple=True)
    padded = torch.nn.functional.pad(logit, (1, 1, 1, 1), value=-math.inf).flatten()
    around = padded[_places_around(image, row, column, logit.shape[1:])]
    maximum = around.argmax(dim=1) == _OWN
    around = torch.sigmoid(around)
    kept = (maximum & (around.sum(dim=1) > threshold)) | (around[:, _OWN] > max(_ALONE, threshold))
    return image[kept], row[kept], column[kept], around[kept]


def _places_around(image: Tensor, row: Tensor, column: Tensor, shape: torch.Size) -> Tensor:
    """(n, 9) flat index of 3×3 pixels in images of a shape that have a border of one pixel."""
    rows, columns = (size + 2 for size in shape)
    steps = torch.arange(3, device=image.device)
    first = (image * rows + row) * columns + column
    return (first[:, None, None] + steps[:, None] * columns + steps).flatten(1)


def _neighbours(image: Tensor, row: Tensor, column: Tensor, shape: torch.Size) -> Tensor:
    """(n, 9) index of the listed pixels around each, except itself; −1 where there is none."""
    wanted = _places_around(image, row, column, shape)
    number = wanted[:, _OWN].contiguous()  # ascending, as the pixels are
    at = torch.searchsorted(number, wanted).clamp(max=max(len(number) - 1, 0))
    there = number[at] == wanted
    there[:, _OWN] = False
    return at.masked_fill(~there, -1)


def _distinct(place: Tensor, sd: Tensor, around: Tensor, neighbour: Tensor) -> Tensor:
    """Whether pixels (n,) report a molecule that no more probable neighbour does.

    A molecule near the border of two pixels may be probable in both, which then give the same position.
    """
    order = torch.arange(9, device=place.device) < _OWN  # the first of equals is the more probable
    own = around[:, _OWN, None]
    rival = (neighbour >= 0) & ((around > own) | ((around == own) & order))
    spread = sd[:, None].square() + sd[neighbour].square()
    distance = ((place[:, None] - place[neighbour]).square() / spread).sum(dim=-1)
    return ~(rival & (distance < _SAME_PLACE)).any(dim=1)
