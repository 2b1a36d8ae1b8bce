"""Brightness of a movie's molecules, and its background."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import NoiseModel
from planeloc.core.errors import PlanelocError
from planeloc.fitting.gaussian_2d import GaussianFits, fit_gaussians
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
    peak = _peak_in_focus(psf)
    for stretch, cameras in ((s, movie.microscope.cameras) for movie in movies for s in stretches(movie)):
        background.append(np.median(stretch.background, axis=(1, 2)))
        for plane, camera in enumerate(cameras):
            residual = stretch.photons[:, plane] - stretch.background[plane]
            spots, height = find_spots(residual)
            least.append(height / (peak[plane] * psf.brightness[plane]))
            fits = fit_spots(windows_around(residual, *spots), stretch.background[plane], camera)
            photons.append(photons_in_focus(fits, psf) / psf.brightness[plane])
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
    smooth = ndimage.gaussian_filter(residual, (0, _SMOOTHING_PX, _SMOOTHING_PX))
    height = _DETECTION_SIGMAS * 1.4826 * float(np.median(np.abs(smooth - np.median(smooth))))
    side, half = WINDOW_PX, WINDOW_PX // 2
    maximum = ndimage.maximum_filter(smooth, (0, side, side)) if len(smooth) else smooth
    frame, y, x = np.nonzero((smooth == maximum) & (smooth > height))
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


def fit_spots(windows: NDArray[np.float32], background: NDArray[np.float32], camera: Camera) -> GaussianFits:
    """Fit round Gaussians to windows (n, side, side) of photons above a background, by least squares.

    Least squares follow the core of a spot: rings do not widen it. Standard deviations follow from the camera's noise,
    with the median of `background` under every spot.
    """
    noise = NoiseModel.of(camera)
    noise = replace(noise, read_variance=float(noise.variance(float(np.median(background)))))
    return fit_gaussians(windows, noise=noise, estimator="least_squares")


def photons_in_focus(fits: GaussianFits, psf: PSF) -> NDArray[np.float64]:
    """Photons on their plane of those spots that are about as narrow as the PSF in focus."""
    waist = (psf.gaussian.waist_nm / psf.pixel_size_nm) ** 2
    width = fits.squared_width_px2[:, 0]
    good = fits.converged & (width > 0.6 * waist) & (width < 1.5 * waist)
    if not good.any():
        return np.empty(0)
    return (2 * np.pi * width * fits.peak)[good] / _gaussian_share(psf)


def _gaussian_share(psf: PSF) -> float:
    """Share of a focused spot's photons under the Gaussian that is fitted to it; its rings hold the rest."""
    fits = fit_gaussians(1000 * _in_focus(psf), estimator="least_squares")
    return float(np.median(2 * np.pi * fits.squared_width_px2[:, 0] * fits.peak)) / 1000


def _peak_in_focus(psf: PSF) -> NDArray[np.float64]:
    """(planes,) peak of a focused spot of one photon, smoothed as in `find_spots`."""
    return ndimage.gaussian_filter(_in_focus(psf), (0, _SMOOTHING_PX, _SMOOTHING_PX)).max(axis=(1, 2))


def _in_focus(psf: PSF) -> NDArray[np.float64]:
    """(planes, side, side) focused spot of one photon on every plane, in the middle of a pixel."""
    z = torch.tensor(psf.plane_depths_nm, dtype=torch.float64)
    emitters = Emitters.in_middle(WINDOW_PX * psf.pixel_size_nm, z, 1 / torch.tensor(psf.brightness).double())
    images = psf.expected_photons(emitters, (WINDOW_PX, WINDOW_PX))
    return images[torch.arange(psf.planes), torch.arange(psf.planes)].numpy()
