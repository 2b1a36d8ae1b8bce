"""One emitter in every image: its position, with inter-camera drift ignored, or unknown with a prior.

Both are `fitting.single_emitter`'s and start from `template_search`. The fit that knows the prior reaches the limit of
`drift_limit`; the other shows the cost of ignoring drift.
"""

from __future__ import annotations

import torch
from torch import Tensor

from planeloc.cameras.noise import PixelNoise
from planeloc.core.errors import PlanelocError
from planeloc.fitting.single_emitter import EmitterFits, EmitterWindows, fit_emitters
from planeloc.psf import PSF
from planeloc_reproduction.template_search import first_guess

_LEAST_PHOTONS = 1.0  # to start from
_LEAST_PIXELS = 4  # along each axis: fewer hold no spot


def fit_without_drift(
    images: Tensor,
    psf: PSF,
    noise: PixelNoise,
    *,
    background: float | Tensor | None = None,
    shifts_nm: Tensor | None = None,
) -> EmitterFits:
    """Maximum likelihood, with the planes where they are said to be.

    Parameters
    ----------
    images : (n, planes, rows, columns) photons with their background.
    background : photons per pixel of all images, where it is known: one value, or one a plane (planes,), or one an
        image and plane (n, planes). Every plane's is fitted by default.
    shifts_nm : (n, planes, 2) known shifts (x, y) of the planes, none by default.

    Returns
    -------
    `positions_nm` (n, 3), `photons` (n,) and `converged` (n,) of the fits are what most want. A fit has not converged
    where there are no photons, where it left the image, or where the iterations did not suffice.

    Raises
    ------
    PlanelocError : images that are not finite, are tiny, or whose planes are not those of the point spread function.
    """
    return _fit(images, psf, noise, 0.0, background, shifts_nm)


def fit_with_drift(
    images: Tensor,
    psf: PSF,
    noise: PixelNoise,
    drift_sd_nm: float,
    *,
    background: float | Tensor | None = None,
    shifts_nm: Tensor | None = None,
) -> EmitterFits:
    """Maximum a posteriori, with drifts of planes 1… that are normal about their known shifts.

    `drift_sd_nm` is the standard deviation along each axis, more than 0; everything else is as in `fit_without_drift`.
    `drift_nm` (n, planes, 2) of the fits is what was found.
    """
    if not drift_sd_nm > 0:
        raise PlanelocError(f"the drift's standard deviation is {drift_sd_nm} nm: give one above 0, or ignore drift")
    return _fit(images, psf, noise, drift_sd_nm, background, shifts_nm)


def _fit(
    images: Tensor,
    psf: PSF,
    noise: PixelNoise,
    drift_sd_nm: float,
    background: float | Tensor | None,
    shifts_nm: Tensor | None,
) -> EmitterFits:
    _check(images, psf)
    images = images.double()
    level = None
    if background is not None:
        level = torch.as_tensor(background, dtype=torch.float64, device=images.device).expand(images.shape[:2])
    guess = first_guess(psf, images, noise, level)
    start = guess.clone()
    start[:, 3] = guess[:, 3].clamp(min=_LEAST_PHOTONS)
    windows = EmitterWindows.of(images, noise, shifts_nm=shifts_nm)
    fits = fit_emitters(psf, windows, start, background=level, drift_sd_nm=drift_sd_nm)
    fits.converged.logical_and_(guess[:, 3] > 0)
    return fits


def _check(images: Tensor, psf: PSF) -> None:
    if images.ndim != 4 or images.shape[1] != psf.planes or min(images.shape[2:]) < _LEAST_PIXELS:
        raise PlanelocError(
            f"images of shape {tuple(images.shape)} cannot be fitted: (images, {psf.planes} planes, rows, columns) are"
            f" what the point spread function describes, with at least {_LEAST_PIXELS} rows and columns"
        )
    sound = torch.isfinite(images).flatten(1).all(dim=1)
    if not sound.all():
        first = int(torch.nonzero(~sound)[0, 0])
        raise PlanelocError(
            f"{int((~sound).sum())} of {len(images)} images hold values that are not finite, the first is image {first}"
            " (counted from 0): correct or leave out such pixels before the fit"
        )
