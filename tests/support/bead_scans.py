"""Bead scans with known truth for the tests: Gaussian spots, or spots of a pupil, which follow no Gaussian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
import torch

from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.psf import Emitters, GaussianPSF, paper_psf
from planeloc.transforms.camera_transform import Affine

PSF = paper_psf()
Spot = Callable[[int, np.ndarray, np.ndarray, tuple[int, int]], np.ndarray]


def gaussian_spots(psf: GaussianPSF) -> Spot:
    """(plane, position_px (2,), z (slices,), shape) → light (slices, rows, columns) of a bead of one photon."""

    def spot(plane: int, position: np.ndarray, z: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        x, y = (torch.full((len(z),), float(v) * psf.pixel_size_nm, dtype=torch.float64) for v in position)
        z = torch.as_tensor(z, dtype=torch.float64)
        return psf.expected_photons(Emitters(x, y, z, torch.ones_like(z)), shape)[:, plane].numpy()

    return spot


def pupil_spots(
    depths_nm: Sequence[float],
    pixel_nm: float,
    astigmatism_rad: float = 0.0,
    spherical_rad: float = 0.0,
    na: float = 1.4,
    wavelength_nm: float = 670.0,
    index: float = 1.515,
) -> Spot:
    """Scalar diffraction from a pupil with the sine condition's apodization; aberrations as rms radians."""
    side = np.linspace(-1, 1, 64)
    kx, ky = np.meshgrid(side, side)
    rho2, angle = kx**2 + ky**2, np.arctan2(ky, kx)
    inside = rho2 <= 1
    cosine = np.sqrt(np.maximum(1 - rho2 * (na / index) ** 2, 0.05))
    aberration = astigmatism_rad * np.sqrt(6) * rho2 * np.cos(2 * angle + 0.7)
    aberration += spherical_rad * np.sqrt(5) * (6 * rho2**2 - 6 * rho2 + 1)
    pupil = inside / np.sqrt(cosine) * np.exp(1j * aberration)
    oversampling = 3

    def spot(plane: int, position: np.ndarray, z: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        amplitude = []
        for axis, size in ((0, shape[1]), (1, shape[0])):
            fine = ((np.arange(size * oversampling) + 0.5) / oversampling - position[axis]) * pixel_nm
            amplitude.append(np.exp(2j * np.pi * na / wavelength_nm * fine[:, None] * side))
        light = []
        for defocus in depths_nm[plane] - z:
            field = (
                amplitude[1] @ (pupil * np.exp(2j * np.pi * index / wavelength_nm * defocus * cosine)) @ amplitude[0].T
            )
            image = np.abs(field) ** 2
            light.append(image.reshape(shape[0], oversampling, shape[1], oversampling).sum(axis=(1, 3)))
        # Parseval: all the light that passes the pupil, on an endless camera, in these units.
        step = side[1] - side[0]
        total = np.sum(np.abs(pupil) ** 2) * (oversampling * wavelength_nm / (na * step * pixel_nm)) ** 2
        return np.array(light) / total / len(depths_nm)

    return spot


def scattered(
    random: np.random.Generator, number: int, shape: tuple[int, int], apart: float, border: float
) -> np.ndarray:
    """(number, 2) positions x, y in px that keep their distance from each other and from the border."""
    points: list[np.ndarray] = []
    size = np.array([shape[1], shape[0]])
    for _ in range(20000):
        point = border + random.random(2) * (size - 2 * border)
        if all(np.hypot(*(point - other)) > apart for other in points):
            points.append(point)
            if len(points) == number:
                return np.array(points)
    raise AssertionError("no room for the beads")


def write_scan(
    folder: Path,
    spot: Spot,
    positions: Sequence[np.ndarray],
    travel_nm: np.ndarray,
    microscope: Microscope,
    random: np.random.Generator,
    photons: float | Sequence[np.ndarray] = 2e4,
    background: float = 4.0,
    shape: tuple[int, int] = (64, 64),
    height_nm: Sequence[np.ndarray] | None = None,
) -> list[Path]:
    """One TIFF per camera; `positions[p]` (n, 2) in px of camera p, `travel_nm` (slices,) the beads' z.

    `photons` of a bead on all planes together (or per plane and bead), `height_nm` a bead's own offset in z.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for p, camera in enumerate(microscope.cameras):
        expected = np.full((len(travel_nm), *shape), background)
        for i, position in enumerate(positions[p]):
            light = photons if np.isscalar(photons) else photons[p][i]
            height = 0.0 if height_nm is None else height_nm[p][i]
            expected += light * spot(p, position, travel_nm + height, shape)
        files.append(folder / f"beads_{p}.tif")
        tifffile.imwrite(files[-1], camera.expose(expected, random), photometric="minisblack")
    return files


def microscope_of(planes: int, pixel_nm: float = 192.0, camera: Camera | None = None) -> Microscope:
    camera = camera or Camera(offset_counts=100, electrons_per_count=0.5, read_noise_electrons=1.5)
    cameras = tuple(replace(camera, name=f"camera {p}") for p in range(planes))
    return Microscope("test", pixel_nm, "files", cameras)


def turned(matrix: Sequence[Sequence[float]], shift: Sequence[float]) -> Affine:
    return Affine(np.array(matrix, dtype=float), np.array(shift, dtype=float))
