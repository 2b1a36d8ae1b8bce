"""Training scenes for the regression network: windows from empty to dense.

A density is drawn for every image, and molecules are placed at random in the window and a border around it, so that
those outside contribute photons as at the edge of a sensor. Molecules outside need not be found.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from planeloc.core.errors import PlanelocError
from planeloc.psf import PSF, Emitters
from planeloc.scenes.draw import Shifts, draw_positions, draw_shifts, observe, seen_pixels, uniform
from planeloc.scenes.edges import draw_sensors
from planeloc.scenes.scene import Scene

_BORDER_PX = 2.0  # molecules farther outside than this are not drawn
MOST_PER_PIXEL = 0.1  # closer than a PSF's width on average: molecules cannot be resolved
_BYTES_AT_ONCE = 256 << 20  # of the images of single molecules


@dataclass(frozen=True)
class DenseScenes:
    """Simulated images and the molecules within them."""

    images: Tensor  # (batch, planes, rows, columns), photons above the background
    image: Tensor  # (n,) index in the batch
    positions_nm: Tensor  # (n, 3) as x, y, z, all inside their windows
    photons: Tensor  # (n,)
    background: Tensor  # (batch,) photons per pixel that were not subtracted, mean of the planes
    drift_nm: Tensor  # (batch, planes, 2)
    seen: Tensor | None = None  # (batch, planes, rows, columns), which pixels each camera sees; None: all

    def __len__(self) -> int:
        return len(self.images)

    def part(self, start: int, stop: int) -> DenseScenes:
        """Return images [start, stop) and their molecules."""
        of, own = slice(start, stop), (self.image >= start) & (self.image < stop)
        molecules = (self.image[own] - start, self.positions_nm[own], self.photons[own])
        seen = None if self.seen is None else self.seen[of]
        return DenseScenes(self.images[of], *molecules, self.background[of], self.drift_nm[of], seen)


def draw_dense_scenes(psf: PSF, scene: Scene, size: int, generator: torch.Generator) -> DenseScenes:
    """Draw `size` images on the generator's device; the root of the density is uniform within `scene.density`."""
    low, high = _density(scene)
    side = scene.window_px + 2 * _BORDER_PX
    density = uniform((size,), low**0.5, high**0.5, generator) ** 2
    number = torch.poisson(density * side**2, generator=generator).long()
    image = torch.repeat_interleave(torch.arange(size, device=generator.device), number)
    positions = draw_positions((len(image),), psf, scene, _BORDER_PX, generator)
    photons = uniform((len(image),), *scene.photons, generator)
    shifts = draw_shifts(psf, scene, size, generator)
    expected = _expected(psf, scene, image, positions, photons, shifts)
    sensors = None
    if scene.edges > 0:
        sensors = draw_sensors(size, psf.planes, scene.window_px + 2 * shifts.margin_px, scene.edges, generator)
    images, residual = observe(expected, scene, shifts, generator, sensors)
    seen = None if sensors is None else seen_pixels(sensors, scene, shifts)
    extent_nm = scene.window_px * psf.pixel_size_nm
    inside = ((positions[:, :2] >= 0) & (positions[:, :2] < extent_nm)).all(dim=1)
    molecules = (image[inside], positions[inside], photons[inside])
    return DenseScenes(images, *molecules, residual.mean(dim=1), shifts.drift_nm, seen)


def _density(scene: Scene) -> tuple[float, float]:
    if scene.density is None or scene.density[1] > MOST_PER_PIXEL:
        most = f"{MOST_PER_PIXEL * 16**2:g} molecules per 16×16 pixels"
        raise PlanelocError(f"setting density: training images are drawn with up to {most}; give a smaller density")
    return scene.density


def _expected(psf: PSF, scene: Scene, image: Tensor, positions: Tensor, photons: Tensor, shifts: Shifts) -> Tensor:
    """Expected photons (batch, planes, rows, columns) of molecules listed one by one, with the margin of the shifts."""
    side = scene.window_px + 2 * shifts.margin_px
    x, y, z = positions.unbind(-1)
    border_nm, shifts_nm = shifts.margin_px * psf.pixel_size_nm, shifts.total_nm(psf)
    total = positions.new_zeros(len(shifts_nm), psf.planes, side, side)
    at_once = max(1, _BYTES_AT_ONCE // (total[0].numel() * total.element_size()))
    for start in range(0, len(image), at_once):
        of = slice(start, start + at_once)
        place = (x[of] + border_nm, y[of] + border_nm, z[of])
        single = psf.expected_photons(Emitters(*place, photons[of], shifts_nm[image[of]]), (side, side))
        total.index_add_(0, image[of], single)
    return total
