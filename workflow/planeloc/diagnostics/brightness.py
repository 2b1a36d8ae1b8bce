"""Brightness of a movie's molecules, and its background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import NoiseModel
from planeloc.core.errors import PlanelocError
from planeloc.core.image_filters import highest_around, smoothed
from planeloc.fitting.gaussian_2d import WELL_CONVERGED, Accuracy, GaussianFits, fit_gaussians
from planeloc.movie.background import stretches
from planeloc.movie.store import Movie
from planeloc.psf import PSF, Emitters

WINDOW_PX = 7
FEWEST_EMITTERS = 30
_SMOOTHING_PX = 1.0
_DETECTION_SIGMAS = 6.0


@dataclass(frozen=True)
class BrightnessAndBackground:
    """Photons of the molecules and of the background of some movies."""

    photons: tuple[float, float]  # of a molecule on all planes, 5th and 95th percentile
    background: tuple[float, float]  # darkest and brightest plane, photons per pixel
    emitters: int
    faintest: float  # photons of a molecule in focus that is just detected on the median plane


def measure_brightness_and_background(movies: list[Movie], psf: PSF) -> BrightnessAndBackground:
    """Measure the photons of molecules and the background in stretches of movies.

    On every plane, bright spots as narrow as in focus are fitted. The photons of a molecule are those of its spot,
    divided by the plane's share.

    Raises
    ------
    PlanelocError : fewer than `FEWEST_EMITTERS` molecules in focus were found.
    """
    photons, background, least = [], [], []
    peak, share = _peak_in_focus(psf), gaussian_share(psf)
    for stretch, cameras in ((s, movie.microscope.cameras) for movie in movies for s in stretches(movie)):
        background.append(np.median(stretch.background, axis=(1, 2)))
        photons_there = stretch.photons()
        windows = []
        for plane in range(len(cameras)):
            residual = photons_there[:, plane] - stretch.background[plane]
            spots, height = find_spots(residual)
            least.append(height / (peak[plane] * psf.brightness[plane]))
            windows.append(windows_around(residual, *spots))
        for plane, fits in enumerate(fit_spots(windows, stretch.background, cameras)):
            photons.append(photons_in_focus(fits, share, psf) / psf.brightness[plane])
    found = np.concatenate(photons)
    if len(found) < FEWEST_EMITTERS:
        names = ", ".join(str(movie.manifest) for movie in movies)
        raise PlanelocError(
            f"{names}: only {len(found)} in-focus molecules were found; measuring photon counts needs "
            f"{FEWEST_EMITTERS}; check offset and gain in the microscope file, or give train: photons and background"
        )
    low, high = np.quantile(found, (0.05, 0.95))
    levels = np.median(background, axis=0)
    return BrightnessAndBackground(
        (float(low), float(high)), (float(levels.min()), float(levels.max())), len(found), float(np.median(least))
    )


def find_spots(residual: NDArray[np.float32]) -> tuple[tuple[NDArray, NDArray, NDArray], float]:
    """Find bright isolated maxima of photons above background (frames, y, x), away from the border.

    Returns
    -------
    spots : frame, row and column, arrays (n,).
    height : detection threshold, photons per pixel of the smoothed image.
    """
    smooth = smoothed(residual, _SMOOTHING_PX)
    height = _DETECTION_SIGMAS * 1.4826 * float(np.median(np.abs(smooth - np.median(smooth))))
    half = WINDOW_PX // 2
    frame, y, x = np.nonzero((smooth == highest_around(smooth, half)) & (smooth > height))
    inside = (y >= half) & (x >= half) & (y < smooth.shape[1] - half) & (x < smooth.shape[2] - half)
    return (frame[inside], y[inside], x[inside]), height


def windows_around(residual: NDArray[np.float32], frame: NDArray, y: NDArray, x: NDArray) -> NDArray[np.float32]:
    """Windows (n, side, side) around pixels.

    Parameters
    ----------
    residual : (frames, rows, columns).
    frame, y, x : (n,) pixels in the middle of the windows.
    """
    half = WINDOW_PX // 2
    steps = np.arange(-half, half + 1)
    return residual[frame[:, None, None], y[:, None, None] + steps[:, None], x[:, None, None] + steps]


def fit_spots(
    windows: Sequence[NDArray[np.float32]],
    background: Sequence[NDArray[np.float32]],
    cameras: Sequence[Camera],
    accuracy: Accuracy = WELL_CONVERGED,
) -> list[GaussianFits]:
    """Fit round Gaussians to windows of photons above a background, by least squares, those of all planes together.

    Least squares follow the core of a spot: rings do not widen it. Standard deviations follow from the camera's noise,
    with the median of the plane's background under every spot.

    Parameters
    ----------
    windows : (n, side, side) of every plane.
    background : of every plane, of any shape.
    cameras : of every plane.
    """
    models = []
    for level, camera in zip(background, cameras, strict=True):
        noise = NoiseModel.of(camera)
        models.append(replace(noise, read_variance=float(noise.variance(float(np.median(level))))))
    noise = NoiseModel.repeated(models, [len(own) for own in windows])
    fits = fit_gaussians(np.concatenate(windows), noise=noise, estimator="least_squares", accuracy=accuracy)
    ends = np.cumsum([0, *map(len, windows)])
    return [fits.rows(slice(*ends[plane : plane + 2])) for plane in range(len(windows))]


def photons_in_focus(fits: GaussianFits, share: float, psf: PSF) -> NDArray[np.float64]:
    """Photons on their plane of spots that are about as narrow as the PSF in focus; `share` is its `gaussian_share`."""
    waist = (psf.gaussian.waist_nm / psf.pixel_size_nm) ** 2
    width = fits.squared_width_px2[:, 0]
    good = fits.converged & (width > 0.6 * waist) & (width < 1.5 * waist)
    if not good.any():
        return np.empty(0)
    return (2 * np.pi * width * fits.peak)[good] / share


def gaussian_share(psf: PSF) -> float:
    """Share of a focused spot's photons under the Gaussian that is fitted to it; its rings hold the rest."""
    fits = fit_gaussians(1000 * _in_focus(psf), estimator="least_squares")
    return float(np.median(2 * np.pi * fits.squared_width_px2[:, 0] * fits.peak)) / 1000


def _peak_in_focus(psf: PSF) -> NDArray[np.float64]:
    """(planes,) peak of a focused spot of one photon, smoothed as in `find_spots`."""
    return smoothed(_in_focus(psf), _SMOOTHING_PX).max(axis=(1, 2))


def _in_focus(psf: PSF) -> NDArray[np.float64]:
    """(planes, side, side) focused spot of one photon on every plane, in the middle of a pixel."""
    z = torch.tensor(psf.plane_depths_nm, dtype=torch.float64)
    emitters = Emitters.in_middle(WINDOW_PX * psf.pixel_size_nm, z, 1 / torch.tensor(psf.brightness).double())
    images = psf.expected_photons(emitters, (WINDOW_PX, WINDOW_PX))
    return images[torch.arange(psf.planes), torch.arange(psf.planes)].numpy()
