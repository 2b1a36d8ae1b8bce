"""Drawing training images: emitters in a small window, imaged by planes with random shifts between the cameras.

Everything is drawn on the device of the generator, so that a seed and a step number define a batch: an interrupted
training continues with the same data.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from planeloc.psf import PSF, Emitters
from planeloc.scenes.scene import Scene
from planeloc.transforms.resampling import reference_grid, sample_planes

_MARGIN_PX = 3  # beyond the window, for the interpolation's support


@dataclass(frozen=True)
class Batch:
    """Simulated images and their emitters."""

    images: Tensor  # (batch, planes, rows, columns), photons above the background
    positions_nm: Tensor  # (batch, emitters, 3) as x, y, z
    photons: Tensor  # (batch, emitters)
    voxels: Tensor  # (batch, emitters, 3) as depth slice, row, column

    def __len__(self) -> int:
        return len(self.images)

    def part(self, start: int, stop: int) -> Batch:
        """Return images [start, stop) and their emitters."""
        of = slice(start, stop)
        return Batch(self.images[of], self.positions_nm[of], self.photons[of], self.voxels[of])


@dataclass(frozen=True)
class Shifts:
    """Shifts of the planes: inter-camera drift, which stays, and sub-pixel offsets, which resampling removes."""

    drift_nm: Tensor  # (batch, planes, 2)
    offset_px: Tensor  # (batch, planes, 2)
    margin_px: int  # beyond the window that resampling needs

    def total_nm(self, psf: PSF) -> Tensor:
        """(batch, planes, 2) inter-camera drift and resampling offset together, nm."""
        return self.drift_nm + self.offset_px * psf.pixel_size_nm


def draw_batch(psf: PSF, scene: Scene, size: int, generator: torch.Generator) -> Batch:
    """Draw `size` images with `scene.emitters` emitters each, on the generator's device."""
    emitters = (size, scene.emitters)
    positions = draw_positions(emitters, psf, scene, 0.0, generator)
    photons = uniform(emitters, *scene.photons, generator)
    shifts = draw_shifts(psf, scene, size, generator)
    expected = expected_images(psf, scene, positions, photons, shifts.total_nm(psf), shifts.margin_px)
    images, _ = observe(expected, scene, shifts, generator)
    return Batch(images, positions, photons, voxel_of(positions, psf.pixel_size_nm, scene))


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draw uniform values on the generator's device."""
    return torch.rand(*shape, generator=generator, device=generator.device) * (high - low) + low


def draw_positions(
    shape: tuple[int, ...], psf: PSF, scene: Scene, border_px: float, generator: torch.Generator
) -> Tensor:
    """Draw positions (..., 3) nm, uniform over the window, a border around it and the depth range."""
    border_nm, extent_nm = border_px * psf.pixel_size_nm, scene.window_px * psf.pixel_size_nm
    lateral = [uniform(shape, -border_nm, extent_nm + border_nm, generator) for _ in range(2)]
    return torch.stack((*lateral, uniform(shape, *scene.depth_range_nm, generator)), dim=-1)


def draw_shifts(psf: PSF, scene: Scene, size: int, generator: torch.Generator) -> Shifts:
    """Draw the shifts of the planes of `size` images."""
    drift_nm = draw_drift(psf, scene, size, generator)
    offset_px = torch.zeros(size, psf.planes, 2, device=generator.device)
    if scene.registration_resampling:
        offset_px[:, 1:] = uniform((size, psf.planes - 1, 2), -0.5, 0.5, generator)
    return Shifts(drift_nm, offset_px, _MARGIN_PX if scene.registration_resampling else 0)


def draw_drift(psf: PSF, scene: Scene, size: int, generator: torch.Generator) -> Tensor:
    """Draw (size, planes, 2) nm: inter-camera drift and errors of the transforms; plane 0 is the reference."""
    device, reach = generator.device, scene.inter_camera_drift_voxels
    steps = torch.randint(-reach, reach + 1, (size, psf.planes, 2), generator=generator, device=device)
    drift = steps * scene.voxel_nm(psf.pixel_size_nm)[0]
    known = scene.registration_sds_nm(psf.planes)
    if any(known):
        sd = torch.tensor((0.0, *known), device=device)[:, None]
        drift = drift + sd * torch.randn(drift.shape, generator=generator, device=device)
    drift[:, 0] = 0
    return drift


def expected_images(
    psf: PSF, scene: Scene, positions: Tensor, photons: Tensor, shifts_nm: Tensor, margin: int = 0
) -> Tensor:
    """Return the expected photons of all emitters, the window widened by a margin.

    Parameters
    ----------
    positions : (batch, emitters, 3) nm
    photons : (batch, emitters), of all planes
    shifts_nm : (batch, planes, 2)
    margin : pixels

    Returns
    -------
    (batch, planes, rows, columns)
    """
    x, y, z = positions.unbind(-1)
    border_nm = margin * psf.pixel_size_nm
    side = scene.window_px + 2 * margin
    shifts = shifts_nm[:, None].expand(-1, positions.shape[1], -1, -1)
    return psf.expected_photons(Emitters(x + border_nm, y + border_nm, z, photons, shifts), (side, side)).sum(dim=1)


def observe(
    expected: Tensor, scene: Scene, shifts: Shifts, generator: torch.Generator, sensors: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Turn expected photons with margins into registered images above the background that is subtracted.

    Parameters
    ----------
    expected : (batch, planes, rows, columns) photons without background, `shifts.margin_px` wider on every side.
    sensors : of this shape, which pixels are on a sensor; None: all. Elsewhere images are 0, as localization has them.

    Returns
    -------
    images : (batch, planes, rows, columns)
    residual : (batch, planes) background that was not subtracted, photons per pixel
    """
    size, planes = expected.shape[:2]
    background = uniform((size, 1, 1, 1), *scene.background, generator)
    residual = torch.zeros(size, planes, device=expected.device)
    if scene.background_error > 0:
        error = torch.randn(size, planes, generator=generator, device=expected.device)
        residual = scene.background_error * error * background[:, :, 0, 0]
    images = add_noise(expected + background, scene, generator) - (background - residual[:, :, None, None])
    if sensors is not None:
        images = images * sensors
    if scene.registration_resampling:
        images = sample_planes(images, _places(scene, shifts))
    return images, residual


def seen_pixels(sensors: Tensor, scene: Scene, shifts: Shifts) -> Tensor:
    """Return (batch, planes, rows, columns) whether the centre of a registered pixel is on a sensor.

    `sensors` is (batch, planes, rows, columns) with the margin of the shifts.
    """
    if not scene.registration_resampling:
        return sensors
    x, y = _places(scene, shifts).long().unbind(-1)  # the pixel that holds a place
    return sensors.flatten(2).gather(2, (y * sensors.shape[-1] + x).flatten(2)).view(x.shape)


def _places(scene: Scene, shifts: Shifts) -> Tensor:
    """(batch, planes, rows, columns, 2) px where registered pixels are taken from, in images with a margin."""
    grid = reference_grid(shifts.margin_px, shifts.margin_px, scene.window_px, scene.window_px)
    return grid.to(shifts.offset_px.device, torch.float32) + shifts.offset_px[:, :, None, None, :]


def add_noise(expected: Tensor, scene: Scene, generator: torch.Generator) -> Tensor:
    """Draw photon counts as the camera reports them: shot noise, EM multiplication, read noise."""
    # A measured PSF may fall below zero by its own noise.
    electrons = torch.poisson(expected.clamp(min=0) * scene.quantum_efficiency, generator=generator)
    if scene.em_multiplication:
        multiplied = torch._standard_gamma(electrons.clamp(min=1.0), generator=generator)
        electrons = torch.where(electrons > 0, multiplied, electrons)
    read_noise = torch.randn(expected.shape, generator=generator, device=expected.device) * scene.read_noise_photons
    return electrons / scene.quantum_efficiency + read_noise


def voxel_of(positions_nm: Tensor, pixel_size_nm: float, scene: Scene) -> Tensor:
    """Convert positions (..., 3) x, y, z in nm to voxel indices (depth slice, row, column)."""
    lateral = positions_nm[..., :2] * (scene.upsampling / pixel_size_nm)
    lateral = lateral.floor().clamp(0, scene.window_px * scene.upsampling - 1)
    depth = ((positions_nm[..., 2] - scene.depth_range_nm[0]) / scene.voxel_depth_nm).floor()
    depth = depth.clamp(0, scene.depth_slices - 1)
    return torch.stack((depth, lateral[..., 1], lateral[..., 0]), dim=-1).long()
