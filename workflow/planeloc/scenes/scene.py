"""Training scenes: a few emitters in a small window, seen by the planes with random shifts between the cameras.

Everything is drawn on the device that trains, from one generator, so that a seed and a step number name a batch:
training can be interrupted anywhere and goes on with the very same data. Defaults are the paper's Table 2.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import NoiseModel, PixelNoise
from planeloc.core.errors import PlanelocError
from planeloc.psf import PSF, GaussianPSF, paper_psf
from planeloc.transforms.resampling import reference_grid, sample_planes

# Table 2's weights U[0.3, 1] times the 1,356 photons that a' = 5e7 puts on the 192 nm pixels of each of four planes.
PAPER_PHOTONS = (0.3 * 4 * 5.0e7 / 192.0**2, 4 * 5.0e7 / 192.0**2)
PAPER_BACKGROUND = (4.0, 4.0)  # "rate parameter of Poisson noise"
PAPER_CAMERA = Camera("paper", offset_counts=0, read_noise_electrons=3.0)  # "variance of Gaussian noise" 9

_MARGIN_PX = 3  # beyond the window, for the interpolation's support


@dataclass(frozen=True)
class Scene:
    """What a training image may contain; also the record of what a network has seen."""

    window_px: int = 16
    emitters: int = 3
    photons: tuple[float, float] = PAPER_PHOTONS  # uniform, summed over all planes
    background: tuple[float, float] = PAPER_BACKGROUND  # photons per pixel and plane, uniform per image
    read_noise_photons: float = PAPER_CAMERA.read_noise_photons()
    quantum_efficiency: float = 1.0
    em_multiplication: bool = False  # gamma-distributed gain: doubles the variance of the shot noise
    upsampling: int = 8  # voxels per pixel, laterally
    voxel_depth_nm: float = 50.0
    depth_range_nm: tuple[float, float] = (-800.0, 800.0)
    drift_voxels: int = (
        2  # per image, plane and axis: a whole number of voxels, uniform in ±this; 0: the non-robust network
    )
    registration_resampling: bool = True  # sample planes 1… at random sub-pixel offsets, as localization will
    # Per image, plane and axis: normal shift, how well the maps of planes 1… are known; one value, or one of each.
    registration_sd_nm: float | tuple[float, ...] = 0.0
    density: tuple[float, float] | None = None  # molecules per pixel, drawn per image; None: always `emitters`
    background_error: float = 0.0  # relative standard deviation of the background that is subtracted

    @property
    def depth_slices(self) -> int:
        low, high = self.depth_range_nm
        return round((high - low) / self.voxel_depth_nm)

    def voxel_nm(self, pixel_size_nm: float) -> tuple[float, float, float]:
        """Size (x, y, z) of the voxels on a microscope with these pixels, which may differ a little from training's."""
        lateral = pixel_size_nm / self.upsampling
        return lateral, lateral, self.voxel_depth_nm

    def drift_sds_nm(self, pixel_size_nm: float, planes: int) -> tuple[float, ...]:
        """Standard deviation of what each of planes 1… is shifted by along one axis: drift and errors of its map."""
        reach = self.drift_voxels
        steps = reach * (reach + 1) / 3  # variance of a whole number, uniform in ±reach
        drift = steps * self.voxel_nm(pixel_size_nm)[0] ** 2
        return tuple(math.sqrt(drift + sd**2) for sd in self.registration_sds_nm(planes))

    def drift_sd_nm(self, pixel_size_nm: float) -> float:
        """The same, rms over planes 1…."""
        known = self.registration_sd_nm
        sds = self.drift_sds_nm(pixel_size_nm, 1 + len(known) if isinstance(known, tuple) else 2)
        return sds[0] if len(set(sds)) == 1 else math.sqrt(sum(sd**2 for sd in sds) / len(sds))

    def registration_sds_nm(self, planes: int) -> tuple[float, ...]:
        """How well the maps of planes 1… are known."""
        known = self.registration_sd_nm if isinstance(self.registration_sd_nm, tuple) else ()
        if known and len(known) != planes - 1:
            raise PlanelocError(f"registration_sd_nm has {len(known)} values; {planes} planes need {planes - 1}")
        return known or (self.registration_sd_nm,) * (planes - 1)

    @property
    def noise(self) -> NoiseModel:
        """Noise of a pixel, the same on every plane."""
        excess = 2.0 if self.em_multiplication else 1.0
        return NoiseModel(excess / self.quantum_efficiency, self.read_noise_photons**2)

    def pixel_noise(self, planes: int) -> PixelNoise:
        """Of photons with their background."""
        return PixelNoise.from_models([self.noise] * planes)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scene:
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@dataclass(frozen=True)
class Batch:
    """Simulated images and where their emitters are."""

    images: Tensor  # (batch, planes, rows, columns), photons above the background
    positions_nm: Tensor  # (batch, emitters, 3) as x, y, z
    photons: Tensor  # (batch, emitters)
    voxels: Tensor  # (batch, emitters, 3) as depth slice, row, column

    def __len__(self) -> int:
        return len(self.images)

    def part(self, start: int, stop: int) -> Batch:
        """Images [start, stop) and their emitters."""
        of = slice(start, stop)
        return Batch(self.images[of], self.positions_nm[of], self.photons[of], self.voxels[of])


def draw_batch(psf: PSF, scene: Scene, size: int, generator: torch.Generator) -> Batch:
    """Draw `size` images on the generator's device."""
    emitters = (size, scene.emitters)
    extent_nm = scene.window_px * psf.pixel_size_nm
    lateral = [uniform(emitters, 0.0, extent_nm, generator) for _ in range(2)]
    positions = torch.stack((*lateral, uniform(emitters, *scene.depth_range_nm, generator)), dim=-1)
    photons = uniform(emitters, *scene.photons, generator)
    shifts = draw_shifts(psf, scene, size, generator)
    expected = expected_images(psf, scene, positions, photons, shifts.total_nm(psf), shifts.margin_px)
    images, _ = observe(expected, scene, shifts, generator)
    return Batch(images, positions, photons, voxel_of(positions, psf.pixel_size_nm, scene))


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(*shape, generator=generator, device=generator.device) * (high - low) + low


@dataclass(frozen=True)
class Shifts:
    """Where the planes of every image lie: drift, which stays, and sub-pixel offsets, which sampling takes back."""

    drift_nm: Tensor  # (batch, planes, 2)
    offset_px: Tensor  # (batch, planes, 2)
    margin_px: int  # beyond the window that sampling reaches

    def total_nm(self, psf: PSF) -> Tensor:
        return self.drift_nm + self.offset_px * psf.pixel_size_nm


def draw_shifts(psf: PSF, scene: Scene, size: int, generator: torch.Generator) -> Shifts:
    """The planes of `size` images."""
    drift_nm = draw_drift(psf, scene, size, generator)
    offset_px = torch.zeros(size, psf.planes, 2, device=generator.device)
    if scene.registration_resampling:
        offset_px[:, 1:] = uniform((size, psf.planes - 1, 2), -0.5, 0.5, generator)
    return Shifts(drift_nm, offset_px, _MARGIN_PX if scene.registration_resampling else 0)


def observe(expected: Tensor, scene: Scene, shifts: Shifts, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What cameras make of expected photons with margins, in photons above the background that is subtracted.

    Returns the registered images (batch, planes, rows, columns), and what of the background was not subtracted
    (batch, planes), photons per pixel.
    """
    size, planes = expected.shape[:2]
    background = uniform((size, 1, 1, 1), *scene.background, generator)
    left = torch.zeros(size, planes, device=expected.device)
    if scene.background_error > 0:
        error = torch.randn(size, planes, generator=generator, device=expected.device)
        left = scene.background_error * error * background[:, :, 0, 0]
    images = add_noise(expected + background, scene, generator) - (background - left[:, :, None, None])
    if scene.registration_resampling:
        margin = shifts.margin_px
        grid = reference_grid(margin, margin, scene.window_px, scene.window_px).to(images.device, torch.float32)
        images = sample_planes(images, grid + shifts.offset_px[:, :, None, None, :])
    return images, left


def voxel_of(positions_nm: Tensor, pixel_size_nm: float, scene: Scene) -> Tensor:
    """(..., 3) positions as x, y, z → voxel indices as depth slice, row, column."""
    lateral = positions_nm[..., :2] * (scene.upsampling / pixel_size_nm)
    lateral = lateral.floor().clamp(0, scene.window_px * scene.upsampling - 1)
    depth = ((positions_nm[..., 2] - scene.depth_range_nm[0]) / scene.voxel_depth_nm).floor()
    depth = depth.clamp(0, scene.depth_slices - 1)
    return torch.stack((depth, lateral[..., 1], lateral[..., 0]), dim=-1).long()


def draw_drift(psf: PSF, scene: Scene, size: int, generator: torch.Generator) -> Tensor:
    """(size, planes, 2) nm; plane 0 is the reference and does not move (section 3.2 of the paper).

    What the planes drift, and by how much their maps are wrong.
    """
    device, reach = generator.device, scene.drift_voxels
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
    """Expected photons (batch, planes, rows, columns) of all emitters, the window widened by `margin` pixels.

    `positions` (batch, emitters, 3) nm, `photons` (batch, emitters) of all planes, `shifts_nm` (batch, planes, 2).
    """
    x, y, z = positions.unbind(-1)
    border_nm = margin * psf.pixel_size_nm
    side = scene.window_px + 2 * margin
    shifts = shifts_nm[:, None].expand(-1, positions.shape[1], -1, -1)
    return psf.expected_photons(x + border_nm, y + border_nm, z, photons, (side, side), shifts).sum(dim=1)


def add_noise(expected: Tensor, scene: Scene, generator: torch.Generator) -> Tensor:
    """Photon counts as the camera reports them: shot noise, EM multiplication, read noise."""
    # A measured PSF may fall below zero by its own noise.
    electrons = torch.poisson(expected.clamp(min=0) * scene.quantum_efficiency, generator=generator)
    if scene.em_multiplication:
        multiplied = torch._standard_gamma(electrons.clamp(min=1.0), generator=generator)
        electrons = torch.where(electrons > 0, multiplied, electrons)
    read_noise = torch.randn(expected.shape, generator=generator, device=expected.device) * scene.read_noise_photons
    return electrons / scene.quantum_efficiency + read_noise


def natural_depth_range(psf: PSF) -> float:
    """Return the planes' span and half a spacing beyond each end, nm: the slabs of the paper."""
    span = max(psf.plane_depths_nm) - min(psf.plane_depths_nm)
    return span * psf.planes / (psf.planes - 1)


def paper_scene() -> tuple[GaussianPSF, Scene]:
    """The paper's microscope and Table 2 to the letter: no resampling."""
    return paper_psf(), Scene(registration_resampling=False)
