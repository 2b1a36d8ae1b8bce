"""Width of a movie's spots on every plane, relative to those that a PSF predicts.

A spot is wide because it is out of focus, or because the PSF is wider than assumed. Every spot is fitted on all planes;
its depth is where the PSF's widths fit best, and the median residual of many spots is a plane's excess width. Merged
neighbours, noise and the selection of bright spots bias it: the bias is measured in images simulated from the PSF with
the movie's brightness and background, and subtracted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from planeloc.cameras.camera import Camera
from planeloc.core.robust_fit import huber_loss
from planeloc.diagnostics.brightness import (
    FEWEST_EMITTERS,
    WINDOW_PX,
    find_spots,
    fit_spots,
    gaussian_share,
    photons_in_focus,
    windows_around,
)
from planeloc.fitting.gaussian_2d import Accuracy
from planeloc.movie.background import Stretch
from planeloc.psf import PSF, Emitters
from planeloc.scenes.random_density import draw_dense_scenes
from planeloc.scenes.scene import Scene
from planeloc.transforms.camera_transform import Registration

Array = NDArray[np.float64]

SPOTS, SPOTS_PER_STRETCH = 320, 160  # at most, that are fitted, found on all planes together
_SEARCHED_PX = 50 * 64**2  # of the frames of a stretch, to begin with
_WIDEST_PX2 = 3.0  # squared width that the windows still hold
_LARGEST_SD = 0.3  # of a squared width, relative
_ROUGHLY = Accuracy(1e-3, 25)  # of the fits: ten times better than any width is trusted
_FLOOR_SD = 0.1  # no width is trusted more: pixels, neighbours
_STEP_NM, _BEYOND_NM = 25.0, 200.0
_ROUNDS = 8
_FRAME_PX, _FRAMES_AT_ONCE = 48, 4
_DRAWN, _DRAWN_SPOTS, _MOST_DRAWN_FRAMES = 1000, 640, 96  # molecules; of their spots, as many at most are fitted
_DENSITIES = (0.5 / 16**2, 25 / 16**2)  # that are drawn: sparser, molecules do not touch; denser, all do


@dataclass(frozen=True)
class SpotWidths:
    """Widths of bright spots on every plane; nan where a plane does not show a spot well."""

    log_width: Array  # (n, planes), natural logarithm of the squared width in px²
    sd: Array  # (n, planes)
    photons: tuple[Array, ...]  # per plane: of molecules in focus there, summed over all planes


@dataclass(frozen=True)
class SpotWindows:
    """Windows around n spots of a stretch, on every plane."""

    photons: NDArray[np.float32]  # (n, planes, side, side), above the background
    inside: NDArray[np.bool_]  # (n, planes): entirely on the sensor
    background: NDArray[np.float32]  # (n, planes)
    found_on: NDArray[np.int64]  # (n,) plane


def cut_windows(stretch: Stretch, registration: Registration, most: int) -> SpotWindows:
    """Cut windows around the spots of every plane, at most so many of all planes together."""
    residual, spots = _some_spots(stretch, most)
    half = WINDOW_PX // 2
    last = np.array(residual.shape[:1:-1]) - half - 1  # (x, y) where a whole window fits
    windows, inside, found_on = [], [], []
    for plane, (frame, y, x) in enumerate(spots):
        reference = registration.transforms[plane].inverse()(np.stack((x, y), axis=-1) + 0.5 + stretch.corner_px)
        places = [np.floor(m(reference)).astype(np.int64) - stretch.corner_px for m in registration.transforms]
        inward = [place.clip(half, last) for place in places]
        whole = [(place == near).all(axis=1) for place, near in zip(places, inward, strict=True)]
        own = [windows_around(residual[:, p], frame, near[:, 1], near[:, 0]) for p, near in enumerate(inward)]
        windows.append(np.stack(own, axis=1))
        inside.append(np.stack(whole, axis=1))
        found_on.append(np.full(len(frame), plane))
    found = np.concatenate(found_on)
    levels = np.tile(np.median(stretch.background, axis=(1, 2)), (len(found), 1))
    return SpotWindows(np.concatenate(windows), np.concatenate(inside), levels, found)


def fit_windows(parts: list[SpotWindows], cameras: tuple[Camera, ...], psf: PSF) -> SpotWidths:
    """Fit the spots of some stretches, plane by plane; `psf` defines the width in focus and the planes' shares."""
    names = ("photons", "inside", "background", "found_on")
    windows, inside, levels, found_on = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
    widths, deviations, photons = [], [], []
    background = levels.T if len(levels) else np.zeros((len(cameras), 1))
    share = gaussian_share(psf)
    for plane, fit in enumerate(fit_spots(np.moveaxis(windows, 1, 0), background, cameras, _ROUGHLY)):
        width = fit.squared_width_px2[:, 0]
        sd = fit.deviations[:, 2] / width
        good = inside[:, plane] & fit.converged & (width < _WIDEST_PX2) & (sd < _LARGEST_SD) & (fit.peak > 0)
        widths.append(np.where(good, np.log(width), np.nan))
        deviations.append(np.where(good, sd, np.nan))
        photons.append(photons_in_focus(fit.rows(found_on == plane), share, psf) / psf.brightness[plane])
    return SpotWidths(np.stack(widths, axis=1), np.stack(deviations, axis=1), tuple(photons))


def _some_spots(stretch: Stretch, most: int) -> tuple[NDArray[np.float32], list[tuple[NDArray, NDArray, NDArray]]]:
    """Photons above background of some frames, and the spots of every plane there: frame, row and column.

    In a large field a few frames show enough spots. Where they do not, twice as many are searched; of more than enough,
    every so many are taken.
    """
    wanted, frames = most // len(stretch.background), max(1, round(_SEARCHED_PX / stretch.field_px))
    while True:
        frames = min(frames, stretch.frames)
        chosen = np.linspace(0, stretch.frames - 1, frames).astype(int)
        residual = stretch.photons(chosen) - stretch.background
        found = [find_spots(residual[:, plane])[0] for plane in range(residual.shape[1])]
        if frames == stretch.frames or min(len(frame) for frame, _, _ in found) >= wanted:
            break
        frames *= 2
    some = []
    for spots in found:
        every = np.linspace(0, len(spots[0]) - 1, min(len(spots[0]), wanted)).astype(int)
        some.append(tuple(values[every] for values in spots))
    return residual, some


def excess_widths(spots: SpotWidths, curves: Array) -> Array:
    """(planes,) logarithm of the spots' squared width over those of `width_curves`; nan where spots are too few."""
    enough = np.isfinite(spots.log_width).sum(axis=1) >= 2
    widths, sd = spots.log_width[enough], spots.sd[enough]
    weights = np.where(np.isfinite(widths), 1 / (sd**2 + _FLOOR_SD**2), 0.0)
    known = np.nan_to_num(widths)
    excess = np.zeros(len(curves))
    few = (weights > 0).sum(axis=0) < FEWEST_EMITTERS
    for _ in range(_ROUNDS if not few.all() else 0):
        cost = np.zeros((len(known), curves.shape[1]))
        for plane in range(len(curves)):
            away = known[:, plane, None] - excess[plane] - curves[plane]
            deviations = np.sqrt(weights[:, plane, None]) * np.abs(away)
            cost += huber_loss(deviations, 2.0)
        depth = cost.argmin(axis=1)
        residuals = np.where(weights > 0, known - curves[:, depth].T, np.nan)
        for plane in np.flatnonzero(~few):
            excess[plane] = np.nanmedian(residuals[:, plane])
    return np.where(few, np.nan, excess)


def width_curves(psf: PSF, depth_range_nm: tuple[float, float]) -> Array:
    """(planes, depths) logarithms of the squared widths, px², that the fit finds in noiseless images of the PSF."""
    low, high = depth_range_nm
    z = torch.arange(low - _BEYOND_NM, high + _BEYOND_NM + 1, _STEP_NM, dtype=torch.float64)
    emitters = Emitters.in_middle(WINDOW_PX * psf.pixel_size_nm, z, 1e4)
    images = psf.expected_photons(emitters, (WINDOW_PX, WINDOW_PX)).numpy()
    none, cameras = np.zeros((psf.planes, 1), np.float32), [Camera()] * psf.planes
    fits = fit_spots(np.moveaxis(images, 1, 0), none, cameras)
    return np.log([fit.squared_width_px2[:, 0] for fit in fits])


def relative_widths(spots: SpotWidths, psf: PSF, scene: Scene, density: float, cameras: tuple[Camera, ...]) -> Array:
    """(planes,) width (standard deviation) of the spots over that expected from `psf`; nan where spots are too few.

    `scene` and `density`, molecules per pixel, describe the movie.
    """
    curves = width_curves(psf, scene.depth_range_nm)
    excess = excess_widths(spots, curves)
    if np.isnan(excess).all():
        return excess
    drawn = cut_windows(draw_stretch(psf, scene, density), Registration.identity(psf.planes), _DRAWN_SPOTS)
    expected = excess_widths(fit_windows([drawn], cameras, psf), curves)
    return np.exp((excess - expected) / 2)


def draw_stretch(psf: PSF, scene: Scene, density: float, seed: int = 0) -> Stretch:
    """Simulate a stretch of a movie with `density` molecules per pixel."""
    density = float(np.clip(density, *_DENSITIES))
    background = float(np.mean(scene.background))
    scene = replace(
        scene,
        window_px=_FRAME_PX,
        density=(density, density),
        background=(background, background),
        background_error=0.0,
        registration_resampling=False,
    )
    generator = torch.Generator().manual_seed(seed)
    frames = min(_DRAWN / (density * _FRAME_PX**2), _MOST_DRAWN_FRAMES)
    rounds = int(np.ceil(frames / _FRAMES_AT_ONCE))
    images = torch.cat(
        [draw_dense_scenes(psf, scene, _FRAMES_AT_ONCE, generator).images for _ in range(rounds)]
    ).numpy()
    level = np.full((psf.planes, _FRAME_PX, _FRAME_PX), background, dtype=np.float32)
    return Stretch(images + level, level, (0, 0))
