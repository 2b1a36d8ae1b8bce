"""The simulated microscope: cameras, transforms between them, PSF, background and lamp."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planeloc.cameras.camera import Camera
from planeloc.core.errors import PlanelocError
from planeloc.psf import PSF, GaussianPSF, read_psf
from planeloc.psf.single_bead import SingleBeadPSF, read_bead_stack
from planeloc.simulation.imaging import Imaging, PsfImaging, add_windows
from planeloc.simulation.scenes import SimulatedScene
from planeloc.simulation.settings import AffineSettings, SimulationSettings
from planeloc.transforms.camera_transform import Affine

Array = NDArray[np.float64]

_BATCH_EMITTERS = 512  # windows drawn at once


@dataclass(frozen=True)
class SimulatedMicroscope:
    """Everything between the emitters and the counts."""

    cameras: tuple[Camera, ...]
    transforms: tuple[Affine, ...]  # reference camera → camera, pixels
    imaging: Imaging
    background: Array  # (planes, rows, columns), photons
    pixel_size_nm: float

    def expected(self, scene: SimulatedScene, start: int, stop: int, drift_nm: Array | None) -> Array:
        """Expected photons of frames start … stop−1, (frames, planes, rows, columns).

        `drift_nm` (frames of the movie, planes, 2) displaces every camera's image, nm.
        """
        expected = np.repeat(self.background[None], stop - start, axis=0)
        first, last = np.searchsorted(scene.frame, (start, stop))
        for batch in range(first, last, _BATCH_EMITTERS):
            rows = slice(batch, min(batch + _BATCH_EMITTERS, last))
            points_nm = np.repeat(scene.positions_nm[rows, None, :2], len(self.transforms), axis=1)
            if drift_nm is not None:
                points_nm += drift_nm[scene.frame[rows]]
            points_px = points_nm / self.pixel_size_nm
            points_px = np.stack([to_camera(points_px[:, p]) for p, to_camera in enumerate(self.transforms)], axis=1)
            images, corners = self.imaging.windows(points_px, scene.positions_nm[rows, 2], scene.photons[rows])
            add_windows(expected, scene.frame[rows] - start, images, corners)
        return expected


def build_microscope(settings: SimulationSettings) -> SimulatedMicroscope:
    """Build the microscope that the settings describe."""
    size = (settings.width_px, settings.height_px)
    transforms = tuple(camera_transform(camera.view, size) for camera in settings.cameras)
    brightness = np.array([camera.brightness for camera in settings.cameras])
    imaging = _imaging(settings, tuple(brightness / brightness.sum()), transforms)
    if isinstance(imaging, PsfImaging):  # a calibrated one brings its own
        brightness = np.array(imaging.psf.brightness)
    return SimulatedMicroscope(
        cameras=tuple(camera.sensor for camera in settings.cameras),
        transforms=transforms,
        imaging=imaging,
        background=_background(settings, brightness / brightness.mean(), transforms),
        pixel_size_nm=settings.pixel_size_nm,
    )


def camera_transform(view: AffineSettings, size_px: tuple[int, int]) -> Affine:
    """Reference camera → camera: scaled and rotated about the middle of the sensor, mirrored left to right, shifted."""
    angle = view.rotation_mrad / 1000
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scale = np.diag(1 + np.asarray(view.stretch_permille) / 1000)
    mirror = np.diag([-1.0 if view.mirrored else 1.0, 1.0])
    matrix = mirror @ turn @ scale
    middle = np.asarray(size_px) / 2
    return Affine(matrix, middle - matrix @ middle + np.asarray(view.shift_px))


def lamp_illumination(settings: SimulationSettings) -> Array:
    """Photons of a lamp per pixel, (planes, rows, columns); brightest beside the middle of the field."""
    movies = settings.camera_movies
    rows, columns = np.mgrid[: settings.height_px, : settings.width_px] + 0.5
    squared = (rows / settings.height_px - 0.45) ** 2 + (columns / settings.width_px - 0.55) ** 2
    beam = movies.dimmest + (1 - movies.dimmest) * np.exp(-squared / (2 * 0.3**2))
    peaks = []
    for camera in (entry.sensor for entry in settings.cameras):
        half_saturated = 0.5 * (min(camera.saturation_counts, 65535) - camera.offset_counts) * camera.photons_per_count
        peaks.append(min(movies.photons, half_saturated))
    return np.array(peaks)[:, None, None] * beam


def _imaging(settings: SimulationSettings, brightness: tuple[float, ...], transforms: tuple[Affine, ...]) -> Imaging:
    psf = settings.psf
    depths = tuple(camera.focus_nm for camera in settings.cameras)
    axial_drift = abs(settings.sample_drift.distance_nm[2]) + 4 * settings.sample_drift.walk_nm[2]
    depth = settings.structure.depth_range_nm + 100 + axial_drift
    reach = max(depth, settings.beads.scan_range_nm + abs(settings.beads.tilt_nm))
    if psf.model == "gaussian":
        gaussian = GaussianPSF(
            pixel_size_nm=settings.pixel_size_nm,
            plane_depths_nm=depths,
            brightness=brightness,
            waist_nm=psf.waist_nm,
            focus_depth_nm=psf.focus_depth_nm,
            asymmetry=psf.asymmetry,
            quartic=psf.quartic,
            pixel_integration=True,
        )
        return PsfImaging.reaching(gaussian, reach)
    file = Path(psf.file)
    if psf.model == "calibrated":
        return PsfImaging.reaching(_calibrated(file, settings), reach)
    measured = SingleBeadPSF.from_stack(
        read_bead_stack(file),
        offset_counts=psf.offset_counts,
        fine_pixel_nm=psf.pixel_size_nm,
        slice_nm=psf.z_step_nm if psf.scan == "objective" else -psf.z_step_nm,
        pixel_size_nm=settings.pixel_size_nm,
        plane_depths_nm=depths,
        brightness=brightness,
        mirrored=tuple(to_camera.mirrored for to_camera in transforms),
    )
    low, high = measured.defocus_range_nm
    if min(depths) - reach < low or max(depths) + reach > high:
        raise PlanelocError(
            f"{file}: covers a defocus of {low:.0f} to {high:.0f} nm, but {min(depths) - reach:.0f} to "
            f"{max(depths) + reach:.0f} nm is needed; lower beads: scan_range_nm or structure: depth_range_nm"
        )
    return measured


def _calibrated(file: Path, settings: SimulationSettings) -> PSF:
    """The PSF of a calibration, with its own depths and brightness; it must fit the settings' microscope."""
    psf = read_psf(file)
    pixel = settings.pixel_size_nm
    if psf.planes != len(settings.cameras) or abs(psf.pixel_size_nm - pixel) > 1e-3 * pixel:
        raise PlanelocError(
            f"{file}: {psf.planes} planes and pixels of {psf.pixel_size_nm:g} nm, but the simulation has "
            f"{len(settings.cameras)} and {pixel:g} nm; give the PSF of the same microscope"
        )
    return psf


def _background(settings: SimulationSettings, brightness: Array, transforms: tuple[Affine, ...]) -> Array:
    """Photons per pixel, (planes, rows, columns): a slope across the diagonal of the sample, seen by every camera."""
    size = np.array([settings.width_px, settings.height_px])
    rows, columns = np.mgrid[: size[1], : size[0]] + 0.5
    pixels = np.stack([columns, rows], axis=-1)
    slopes = [(to_camera.inverse()(pixels) / size).mean(axis=-1) - 0.5 for to_camera in transforms]
    relative = np.clip(1 + settings.background_gradient * np.stack(slopes), 0.0, None)
    return settings.background_photons * brightness[:, None, None] * relative
