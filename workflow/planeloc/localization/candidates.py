"""Candidates: where molecules may be, by a matched filter over all planes, or by the sum of photons.

For a depth z, the best linear test for a molecule in noise of known variance σ² is Σ s·x/σ² over √(Σ s²/σ²), with s its
expected image on all planes and x the photons above background; without a molecule the test value has unit variance
(Kay, Fundamentals of Statistical Signal Processing II, chapter 4). As the position within the pixel and the
inter-camera drift are unknown, s is the image averaged over them. The filter costs a hundredth of the upsampling
network, which then computes only where the test value of some depth is a local maximum above a threshold.

For the regression network, which costs little, the sum of photons in a square of a spot's size, over all planes, is
enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor, nn

from planeloc.networks.tiles import TileGrid
from planeloc.psf import PSF, Emitters

_WINDOW_PX = 9
_DEPTH_STEP_NM = 200.0
_PLAIN_WAISTS = 3.0  # side of the square in which photons are summed
_LEAST_RISE = 1.0  # of a test value above its neighbours, in standard deviations
# Gauss-Hermite quadrature of three points: exact averages of polynomials up to order 5 over a normal distribution
_NODES_AND_WEIGHTS = ((-math.sqrt(3.0), 1 / 6), (0.0, 2 / 3), (math.sqrt(3.0), 1 / 6))


class CandidateSearch:
    """Matched filters of a microscope."""

    def __init__(
        self,
        psf: PSF,
        depth_range_nm: tuple[float, float],
        drift_sd_nm: float | tuple[float, ...],
        device: torch.device,
    ) -> None:
        """`drift_sd_nm`: inter-camera drift of planes 1… along one axis, one value for all or one for each."""
        self.templates = _templates(psf, depth_range_nm, drift_sd_nm).to(device, torch.float32)

    def noise(self, variance: Tensor) -> Tensor:
        """Standard deviation (depths, rows, columns) of filtered images; 0 without a sensor.

        `variance` (planes, rows, columns) is that of a pixel.
        """
        certainty = torch.where(variance > 0, 1 / variance, 0.0)
        return self._filter(certainty[None], self.templates**2)[0].sqrt()

    def test_values(self, photons: Tensor, variance: Tensor, noise: Tensor) -> Tensor:
        """Test values (n, depths, rows, columns) of photons above background (n, planes, rows, columns)."""
        weighted = torch.where(variance > 0, photons / variance, 0.0)
        return self._filter(weighted, self.templates) / noise.clamp(min=1e-12)

    @staticmethod
    def _filter(images: Tensor, templates: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        return nn.functional.conv2d(images, templates, padding=_WINDOW_PX // 2)


def candidate_pixels(test_values: Tensor, threshold: float) -> Tensor:
    """Find pixels (m, 3): image, row, column, where there may be a molecule.

    There, the test value (n, depths, rows, columns) of some depth exceeds the threshold and rises above its 3×3 pixels'
    mean by more than that of the adjacent pixels. A dim molecule on the slope of a bright one is found, too.
    """
    sharp = nn.functional.pad(test_values, (1, 1, 1, 1))
    sharp = test_values - _over_neighbours(torch.add, sharp) / 9
    highest = _over_neighbours(torch.maximum, nn.functional.pad(sharp, (1, 1, 1, 1), value=-math.inf))
    found = (sharp == highest) & (sharp > _LEAST_RISE) & (test_values > threshold)
    return found.any(dim=1).nonzero()


def bright_tiles(
    photons: Tensor, variance: Tensor, threshold: float, grid: TileGrid, reach_px: int, side_px: int
) -> Tensor:
    """Find the tiles of a grid that are not dark.

    Parameters
    ----------
    photons : (n, planes, y, x) above background.
    variance : (planes, y, x) of a pixel.
    threshold : in standard deviations of the photons in a square, summed over all planes.
    reach_px : how far beyond a tile a bright square may lie.
    side_px : side of the squares.

    Returns
    -------
    (n, rows, columns) bool.
    """
    sums = (images.sum(dim=-3, keepdim=True) for images in (photons, variance[None]))
    bright, square = (_over_square(images, side_px) for images in sums)
    excess = bright - threshold * square.sqrt()
    beyond = [n * grid.side_px - size for n, size in zip(grid.shape, grid.field_px, strict=True)]
    excess = nn.functional.pad(excess, (0, beyond[1], 0, beyond[0]), value=-1.0)
    best = nn.functional.max_pool2d(excess, grid.side_px + 2 * reach_px, stride=grid.side_px, padding=reach_px)
    return best[:, 0] > 0


def spot_side_px(psf: PSF) -> int:
    """Smallest odd number of pixels, at least 3, that is as wide as a spot in focus."""
    return max(3, 2 * math.ceil((_PLAIN_WAISTS * psf.gaussian.waist_nm / psf.pixel_size_nm - 1) / 2) + 1)


def _over_square(images: Tensor, side_px: int) -> Tensor:
    """Sums over squares of an odd side; pixels beyond the field are dark.

    Along columns and then along rows: `avg_pool2d` adds up every square on its own, which takes seven times as long.
    """
    reach = side_px // 2
    for dimension, border in ((-2, (0, 0, reach, reach)), (-1, (reach, reach))):
        size, padded = images.shape[dimension], nn.functional.pad(images, border)
        images = padded.narrow(dimension, 0, size).clone()
        for step in range(1, side_px):
            images += padded.narrow(dimension, step, size)
    return images


def _over_neighbours(combine: Callable[[Tensor, Tensor], Tensor], images: Tensor) -> Tensor:
    """Combine 3×3 neighbours, along rows and then along columns; the rim of one pixel is used up."""
    rows = combine(combine(images[:, :, :-2], images[:, :, 1:-1]), images[:, :, 2:])
    return combine(combine(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


def _templates(psf: PSF, depth_range_nm: tuple[float, float], drift_sd_nm: float | tuple[float, ...]) -> Tensor:
    """Expected images (depths, planes, rows, columns) of a molecule in the middle pixel, averaged over the unknowns."""
    low, high = depth_range_nm
    number = max(2, round((high - low) / _DEPTH_STEP_NM) + 1)
    depths = torch.linspace(low, high, number, dtype=torch.float64)
    pixel = psf.pixel_size_nm
    drift = torch.as_tensor(drift_sd_nm, dtype=torch.float64).expand(psf.planes - 1).tolist()
    # Plane 0 is the reference.
    spread = torch.tensor([math.hypot(sd, pixel / math.sqrt(12)) for sd in (0.0, *drift)], dtype=torch.float64)
    average = torch.zeros(())
    for (x, of_x), (y, of_y) in product(_NODES_AND_WEIGHTS, repeat=2):
        shifts = (spread[:, None] * torch.tensor((x, y), dtype=torch.float64)).expand(len(depths), -1, -1)
        emitters = Emitters.in_middle(_WINDOW_PX * pixel, depths, plane_shifts_nm=shifts)
        average = average + of_x * of_y * psf.expected_photons(emitters, (_WINDOW_PX, _WINDOW_PX))
    return average
