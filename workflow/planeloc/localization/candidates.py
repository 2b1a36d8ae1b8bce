"""Where molecules may be: a matched filter over all planes that tolerates their drift; and a plain sum of light.

For a depth z, the best linear test for a molecule in noise of known variance σ² is Σ s·x/σ² over √(Σ s²/σ²), with s its
expected image on all planes and x the photons above background; without a molecule the test value has unit variance
(Kay, Fundamentals of Statistical Signal Processing II, chapter 4). As the place within the pixel and the shift of
every plane are unknown, s is the image averaged over them. It costs a hundredth of the network, which then has to look
only where the value of some depth is a local maximum above a threshold.

Where the network costs little itself, the light of a square about as large as a spot, on all planes together, is test
enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from planeloc.networks.tiles import PageGrid
from planeloc.psf import PSF

_WINDOW_PX = 9
_DEPTH_STEP_NM = 200.0
_PLAIN_WAISTS = 3.0  # side of the square in which light is summed
_LEAST_RISE = 1.0  # of a test value above its neighbours, in standard deviations
# Gauss-Hermite quadrature of three points: exact averages of polynomials up to order 5 over a normal distribution
_NODES = (-math.sqrt(3.0), 0.0, math.sqrt(3.0))
_WEIGHTS = (1 / 6, 2 / 3, 1 / 6)


class CandidateSearch:
    """The filters of a microscope."""

    def __init__(
        self,
        psf: PSF,
        depth_range_nm: tuple[float, float],
        drift_sd_nm: float | tuple[float, ...],
        device: torch.device,
    ) -> None:
        """`drift_sd_nm`: standard deviation of the shifts of planes 1… along one axis, one of all or one of each."""
        self.templates = _templates(psf, depth_range_nm, drift_sd_nm).to(device, torch.float32)

    def noise(self, variance: Tensor) -> Tensor:
        """Standard deviation (depths, rows, columns) of the filtered images, from the variance (planes, rows, columns)
        of a pixel; 0 where nothing is seen.
        """
        certainty = torch.where(variance > 0, 1 / variance, 0.0)
        return self._filter(certainty[None], self.templates**2)[0].sqrt()

    def test_values(self, photons: Tensor, variance: Tensor, noise: Tensor) -> Tensor:
        """(n, depths, rows, columns) for photons above background (n, planes, rows, columns)."""
        weighted = torch.where(variance > 0, photons / variance, 0.0)
        return self._filter(weighted, self.templates) / noise.clamp(min=1e-12)

    @staticmethod
    def _filter(images: Tensor, templates: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        return nn.functional.conv2d(images, templates, padding=_WINDOW_PX // 2)


def candidate_pixels(test_values: Tensor, threshold: float) -> Tensor:
    """(m, 3) image, row, column of pixels where there may be a molecule.

    There the test value (n, depths, rows, columns) of some depth exceeds the threshold and rises above its 3×3 pixels'
    mean by more than that of the pixels beside it. So a dim molecule on the slope of a bright one is seen, too.
    """
    sharp = nn.functional.pad(test_values, (1, 1, 1, 1))
    sharp = test_values - _over_neighbours(torch.add, sharp) / 9
    highest = _over_neighbours(torch.maximum, nn.functional.pad(sharp, (1, 1, 1, 1), value=-math.inf))
    found = (sharp == highest) & (sharp > _LEAST_RISE) & (test_values > threshold)
    return found.any(dim=1).nonzero()


def lit_pages(
    photons: Tensor, variance: Tensor, threshold: float, grid: PageGrid, reach_px: int, side_px: int
) -> Tensor:
    """Marks (n, rows, columns) on the pages that have light within `reach_px`, of photons (n, planes, y, x).

    `variance` (planes, y, x) of a pixel; `threshold` in standard deviations of the light of squares of `side_px`
    pixels, all planes.
    """
    sums = (images.sum(dim=-3, keepdim=True) for images in (photons, variance[None]))
    light, square = (_over_square(images, side_px) for images in sums)
    excess = light - threshold * square.sqrt()
    beyond = [n * grid.side_px - size for n, size in zip(grid.shape, grid.field_px, strict=True)]
    excess = nn.functional.pad(excess, (0, beyond[1], 0, beyond[0]), value=-1.0)
    best = nn.functional.max_pool2d(excess, grid.side_px + 2 * reach_px, stride=grid.side_px, padding=reach_px)
    return best[:, 0] > 0


def spot_side_px(psf: PSF) -> int:
    """The least odd number of pixels, from 3 on, that is as wide as a spot in focus."""
    return max(3, 2 * math.ceil((_PLAIN_WAISTS * psf.gaussian.waist_nm / psf.pixel_size_nm - 1) / 2) + 1)


def _over_square(images: Tensor, side_px: int) -> Tensor:
    """Sums over squares, of which what lies beyond the field is dark."""
    return nn.functional.avg_pool2d(images, side_px, stride=1, padding=side_px // 2) * side_px**2


def _over_neighbours(combine: Callable[[Tensor, Tensor], Tensor], images: Tensor) -> Tensor:
    """Combine 3×3 neighbours, along rows and then along columns; the rim of one pixel is used up."""
    rows = combine(combine(images[:, :, :-2], images[:, :, 1:-1]), images[:, :, 2:])
    return combine(combine(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


def _templates(psf: PSF, depth_range_nm: tuple[float, float], drift_sd_nm: float | tuple[float, ...]) -> Tensor:
    """(depths, planes, rows, columns): expected images of a molecule in the middle pixel, averaged over what is
    unknown.
    """
    low, high = depth_range_nm
    number = max(2, round((high - low) / _DEPTH_STEP_NM) + 1)
    depths = torch.linspace(low, high, number, dtype=torch.float64)
    pixel = psf.pixel_size_nm
    drift = torch.as_tensor(drift_sd_nm, dtype=torch.float64).expand(psf.planes - 1).tolist()
    # Plane 0 is the reference.
    spread = torch.tensor([math.hypot(sd, pixel / math.sqrt(12)) for sd in (0.0, *drift)], dtype=torch.float64)
    middle = torch.full_like(depths, 0.5 * _WINDOW_PX * pixel)
    average = torch.zeros(())
    for x, of_x in zip(_NODES, _WEIGHTS, strict=True):
        for y, of_y in zip(_NODES, _WEIGHTS, strict=True):
            shifts = spread[:, None] * torch.tensor((x, y), dtype=torch.float64)
            shifts = shifts.expand(len(depths), -1, -1)
            shape = (_WINDOW_PX, _WINDOW_PX)
            images = psf.expected_photons(middle, middle, depths, torch.ones_like(depths), shape, shifts)
            average = average + of_x * of_y * images
    return average
