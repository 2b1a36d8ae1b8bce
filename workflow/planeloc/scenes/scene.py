"""What a training scene contains: molecules, cameras, inter-camera drift. Defaults are the paper's Table 2."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import NoiseModel, PixelNoise
from planeloc.core.errors import PlanelocError
from planeloc.psf import PSF, GaussianPSF, paper_psf

# Table 2's weights U[0.3, 1] times the 1,356 photons that a' = 5e7 puts on the 192 nm pixels of each of four planes.
PAPER_PHOTONS = (0.3 * 4 * 5.0e7 / 192.0**2, 4 * 5.0e7 / 192.0**2)
PAPER_BACKGROUND = (4.0, 4.0)  # "rate parameter of Poisson noise"
PAPER_CAMERA = Camera("paper", offset_counts=0, read_noise_electrons=3.0)  # "variance of Gaussian noise" 9


@dataclass(frozen=True)
class Scene:
    """What a training image may contain; also the record of what a network was trained on."""

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
    # Inter-camera drift per image, plane and axis: a whole number of voxels, uniform in ± this; 0: non-robust network.
    inter_camera_drift_voxels: int = 2
    registration_resampling: bool = True  # sample planes 1… at random sub-pixel offsets, as localization does
    # Standard deviation of the transforms of planes 1…, per image, plane and axis; one value, or one of each plane.
    registration_sd_nm: float | tuple[float, ...] = 0.0
    density: tuple[float, float] | None = None  # molecules per pixel, drawn per image; None: always `emitters`
    background_error: float = 0.0  # relative standard deviation of the background that is subtracted
    edges: float = 0.0  # share of the images in which sensors of cameras end; then the network is told where they do

    @property
    def depth_slices(self) -> int:
        """Number of voxels along z."""
        low, high = self.depth_range_nm
        return round((high - low) / self.voxel_depth_nm)

    def voxel_nm(self, pixel_size_nm: float) -> tuple[float, float, float]:
        """Return the size (x, y, z) of voxels for a pixel size, which may differ a little from that of training."""
        lateral = pixel_size_nm / self.upsampling
        return lateral, lateral, self.voxel_depth_nm

    @property
    def drift_variance_voxels(self) -> float:
        """Variance of the drift along an axis, a whole number that is uniform in ± `inter_camera_drift_voxels`."""
        return self.inter_camera_drift_voxels * (self.inter_camera_drift_voxels + 1) / 3

    def drift_sds_nm(self, pixel_size_nm: float, planes: int) -> tuple[float, ...]:
        """Return the sd of the shift of planes 1… along an axis: inter-camera drift and errors of the transform."""
        drift = self.drift_variance_voxels * self.voxel_nm(pixel_size_nm)[0] ** 2
        return tuple(math.sqrt(drift + sd**2) for sd in self.registration_sds_nm(planes))

    def drift_sd_nm(self, pixel_size_nm: float) -> float:
        """Return the rms of `drift_sds_nm` over planes 1…."""
        known = self.registration_sd_nm
        sds = self.drift_sds_nm(pixel_size_nm, 1 + len(known) if isinstance(known, tuple) else 2)
        return sds[0] if len(set(sds)) == 1 else math.sqrt(sum(sd**2 for sd in sds) / len(sds))

    def registration_sds_nm(self, planes: int) -> tuple[float, ...]:
        """Return the standard deviation of the transforms of planes 1…."""
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
        """Return the noise of all planes."""
        return PixelNoise.from_models([self.noise] * planes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for records."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scene:
        """The reverse of `as_dict`."""
        return cls(**with_tuples(values))


def with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Return values of a record with tuples where JSON has lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def natural_depth_range(psf: PSF) -> float:
    """Return the planes' span and half a spacing beyond each end, nm: the slabs of the paper."""
    span = max(psf.plane_depths_nm) - min(psf.plane_depths_nm)
    return span * psf.planes / (psf.planes - 1)


def paper_scene() -> tuple[GaussianPSF, Scene]:
    """Return the paper's microscope and Table 2 to the letter: no resampling."""
    return paper_psf(), Scene(registration_resampling=False)
