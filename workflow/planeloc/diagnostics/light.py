"""How much light there is: background under the molecules, and photons in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import NoiseModel
from planeloc.core.errors import PlanelocError
from planeloc.fitting.gaussian_2d import GaussianFits, fit_gaussians
from planeloc.movie.store import Movie
from planeloc.psf import PSF

BACKGROUND_FRAMES = 100
_BACKGROUND_SAMPLES = 25
_BACKGROUND_SMOOTHING_PX = 2.0
_FEWEST_FRAMES = 16  # with fewer, a molecule that stays on looks like background
WINDOW_PX = 7
FEWEST_EMITTERS = 30
_SMOOTHING_PX = 1.0
_DETECTION_SIGMAS = 6.0
_STRETCHES = 8
_FRAMES_PER_STRETCH = 50
_LARGEST_PX = 512  # of larger fields, the middle is looked at, so that memory does not grow with them

Region = tuple[slice, slice]  # rows and columns
_WHOLE: Region = (slice(None), slice(None))


def background_photons(movie: Movie, frame: int, region: Region = _WHOLE) -> NDArray[np.float32]:
    """Background (planes, y, x) of the stretch of `BACKGROUND_FRAMES` frames that `frame` belongs to, in photons.

    The median over some frames of the stretch, smoothed: blinking molecules are dark most of the time, and background
    varies slowly in time and in the field. A movie of very few frames has each plane's median. Stretches begin at
    multiples of their length, whatever the chunks on disk; a short last one reaches back.
    """
    start = frame - frame % BACKGROUND_FRAMES
    stop = min(start + BACKGROUND_FRAMES, movie.frames)
    start = max(0, stop - BACKGROUND_FRAMES)
    frames = np.unique(np.linspace(start, stop - 1, _BACKGROUND_SAMPLES).astype(int))
    counts = np.concatenate([movie.read(f, f + 1)[..., *region] for f in frames])
    planes = []
    for plane, camera in enumerate(movie.microscope.cameras):
        if len(counts) < _FEWEST_FRAMES:
            level = np.full(counts.shape[2:], np.median(counts[:, plane]))
        else:
            median = np.median(counts[:, plane], axis=0)
            level = ndimage.gaussian_filter(median, _BACKGROUND_SMOOTHING_PX, mode="nearest")
        planes.append(camera.photons(level))
    return np.stack(planes)


@dataclass(frozen=True)
class Stretch:
    """Some frames in a row of a movie, or of the middle of its field."""

    photons: NDArray[np.float32]  # (frames, planes, y, x)
    level: NDArray[np.float32]  # (planes, y, x), photons of the background that localization would subtract
    corner_px: tuple[int, int]  # (x, y) of the first pixel


def stretches(movie: Movie) -> Iterator[Stretch]:
    """A few stretches, spread over the movie, one at a time in memory."""
    rows, columns = (_middle(size) for size in movie.shape[2:])
    starts = range(0, movie.frames, BACKGROUND_FRAMES)
    for start in [starts[i] for i in np.unique(np.linspace(0, len(starts) - 1, _STRETCHES).astype(int))]:
        stop = min(start + _FRAMES_PER_STRETCH, movie.frames)
        counts = np.concatenate([movie.read(f, f + 1)[..., rows, columns] for f in range(start, stop)])
        cameras = movie.microscope.cameras
        photons = np.stack([camera.photons(counts[:, p]) for p, camera in enumerate(cameras)], axis=1)
        yield Stretch(photons, background_photons(movie, start, (rows, columns)), (columns.start, rows.start))


def _middle(size: int) -> slice:
    first = max(0, (size - _LARGEST_PX) // 2)
    return slice(first, min(first + _LARGEST_PX, size))


def fit_photons(
    residual: Tensor, psf: PSF, positions_px: Tensor, z_nm: Tensor, image: Tensor, window_px: int = WINDOW_PX
) -> tuple[Tensor, Tensor, Tensor]:
    """Photons of molecules at known places, by linear least squares over a window on every plane.

    Parameters
    ----------
    residual : (batch, planes, rows, columns), photons above background.
    positions_px : (n, planes, 2): where each molecule is on every camera, (x, y) px.
    z_nm, image : (n,): depth, and index in the batch.

    Returns
    -------
    photons (n,), summed over all planes; brightest (n,), the plane on which the molecule's peak is highest; excess
    (n,), photons per pixel beside the molecule above the background on that plane.
    """
    n, planes = positions_px.shape[:2]
    rows, columns = residual.shape[-2:]
    side = min(window_px, rows, columns)
    corner = (positions_px - side / 2).round().long()
    limit = torch.tensor([columns - side, rows - side], device=residual.device)
    corner = corner.clamp(min=torch.zeros_like(limit), max=limit)
    steps = torch.arange(side, device=residual.device)
    index_y = (corner[..., 1, None] + steps)[..., :, None]
    index_x = (corner[..., 0, None] + steps)[..., None, :]
    plane = torch.arange(planes, device=residual.device)[None, :, None, None]
    data = residual[image[:, None, None, None], plane, index_y, index_x]
    shift_nm = (positions_px - corner).to(z_nm.dtype) * psf.pixel_size_nm
    zero = torch.zeros_like(z_nm)
    model = psf.expected_photons(zero, zero, z_nm, torch.ones_like(z_nm), (side, side), shift_nm).to(data.dtype)
    mean_model, mean_data = model.mean(dim=(2, 3), keepdim=True), data.mean(dim=(2, 3), keepdim=True)
    centred = model - mean_model
    photons = (centred * (data - mean_data)).sum(dim=(1, 2, 3)) / (centred**2).sum(dim=(1, 2, 3)).clamp(min=1e-12)
    offset = (mean_data - photons[:, None, None, None] * mean_model)[..., 0, 0]
    brightest = model.amax(dim=(2, 3)).argmax(dim=1)
    return photons, brightest, offset[torch.arange(n, device=offset.device), brightest]


@dataclass(frozen=True)
class Light:
    """What a network must expect: photons of a molecule (5th to 95th percentile, all planes together) and the
    background.
    """

    photons: tuple[float, float]
    background: tuple[float, float]  # darkest and brightest plane, photons per pixel
    emitters: int
    faintest: float  # photons of a molecule in focus that just shows on the median plane


def measure_light(movies: list[Movie], psf: PSF) -> Light:
    """Measure photons and background from some stretches of the movies.

    On every plane, bright spots as narrow as in focus are fitted; the flux in focus over the plane's share of the light
    is the molecule's photons. Raises `PlanelocError` where there are too few to tell.
    """
    photons, background, least = [], [], []
    peak = _peak_in_focus(psf)
    for stretch, cameras in ((s, movie.microscope.cameras) for movie in movies for s in stretches(movie)):
        background.append(np.median(stretch.level, axis=(1, 2)))
        for plane, camera in enumerate(cameras):
            residual = stretch.photons[:, plane] - stretch.level[plane]
            spots, height = find_spots(residual)
            least.append(height / (peak[plane] * psf.brightness[plane]))
            fits = fit_spots(windows_around(residual, *spots), stretch.level[plane], camera)
            photons.append(flux_in_focus(fits, psf) / psf.brightness[plane])
    found = np.concatenate(photons)
    if len(found) < FEWEST_EMITTERS:
        names = ", ".join(str(movie.manifest) for movie in movies)
        raise PlanelocError(
            f"{names}: only {len(found)} molecules in focus found to measure the light from, {FEWEST_EMITTERS} are"
            " needed; check offset and gain in the microscope file, or give train: photons and background"
        )
    low, high = np.quantile(found, (0.05, 0.95))
    levels = np.median(background, axis=0)
    return Light(
        (float(low), float(high)), (float(levels.min()), float(levels.max())), len(found), float(np.median(least))
    )


def find_spots(residual: NDArray[np.float32]) -> tuple[tuple[NDArray, NDArray, NDArray], float]:
    """Frame, row and column of bright isolated maxima of (frames, y, x) photons above background, off the border.

    And how high, smoothed, a spot must be.
    """
    smooth = ndimage.gaussian_filter(residual, (0, _SMOOTHING_PX, _SMOOTHING_PX))
    height = _DETECTION_SIGMAS * 1.4826 * float(np.median(np.abs(smooth - np.median(smooth))))
    side, half = WINDOW_PX, WINDOW_PX // 2
    maximum = ndimage.maximum_filter(smooth, (0, side, side)) if len(smooth) else smooth
    frame, y, x = np.nonzero((smooth == maximum) & (smooth > height))
    inside = (y >= half) & (x >= half) & (y < smooth.shape[1] - half) & (x < smooth.shape[2] - half)
    return (frame[inside], y[inside], x[inside]), height


def windows_around(residual: NDArray[np.float32], frame: NDArray, y: NDArray, x: NDArray) -> NDArray[np.float32]:
    """Windows (n, side, side) of (frames, y, x), each with its pixel in the middle."""
    half = WINDOW_PX // 2
    steps = np.arange(-half, half + 1)
    return residual[frame[:, None, None], y[:, None, None] + steps[:, None], x[:, None, None] + steps]


def fit_spots(windows: NDArray[np.float32], background: NDArray[np.float32], camera: Camera) -> GaussianFits:
    """Round Gaussians in windows of photons above a background, by least squares: rings do not widen them."""
    noise = NoiseModel(camera.excess_noise, camera.read_noise_photons() ** 2)
    noise = replace(noise, read_variance=float(noise.variance(float(np.median(background)))))
    return fit_gaussians(windows, noise=noise, estimator="least_squares")


def flux_in_focus(fits: GaussianFits, psf: PSF) -> NDArray[np.float64]:
    """Photons, on their plane, of the spots that are about as narrow as the PSF in focus."""
    waist = (psf.gaussian.waist_nm / psf.pixel_size_nm) ** 2
    width = fits.squared_width_px2[:, 0]
    good = fits.converged & (width > 0.6 * waist) & (width < 1.5 * waist)
    if not good.any():
        return np.empty(0)
    return (2 * np.pi * width * fits.peak)[good] / _share_of_gaussian(psf)


def _share_of_gaussian(psf: PSF) -> float:
    """Of the photons of a spot in focus, those under the Gaussian that is fitted to it: rings hold the rest."""
    own = _in_focus(psf)
    fits = fit_gaussians(1000 * own, estimator="least_squares")
    return float(np.median(2 * np.pi * fits.squared_width_px2[:, 0] * fits.peak)) / 1000


def _peak_in_focus(psf: PSF) -> NDArray[np.float64]:
    """(planes,) height, smoothed as `find_spots` does, of a spot in focus of one photon."""
    return ndimage.gaussian_filter(_in_focus(psf), (0, _SMOOTHING_PX, _SMOOTHING_PX)).max(axis=(1, 2))


def _in_focus(psf: PSF) -> NDArray[np.float64]:
    """(planes, side, side) spot of one photon on every plane, in its focus and in the middle of a pixel."""
    z = torch.tensor(psf.plane_depths_nm, dtype=torch.float64)
    centre = torch.full_like(z, 0.5 * WINDOW_PX * psf.pixel_size_nm)
    images = psf.expected_photons(centre, centre, z, 1 / torch.tensor(psf.brightness).double(), (WINDOW_PX, WINDOW_PX))
    return images[torch.arange(psf.planes), torch.arange(psf.planes)].numpy()
