"""Simulated movies of cameras: in the dark, of uneven light, and of blinking molecules, with known truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile

from planeloc.cameras.camera import Camera

SCMOS = Camera("scmos", 100.0, 0.5, 1.0, 0.8, 1.6)
EMCCD = Camera("emccd", 200.0, 5.0, 200.0, 0.9, 40.0)


def beam(side: int, top: float, dimmest: float = 0.05) -> np.ndarray:
    """Uneven light (side, side), photons."""
    y, x = np.mgrid[:side, :side] / side
    return top * (dimmest + (1 - dimmest) * np.exp(-((y - 0.45) ** 2 + (x - 0.55) ** 2) / (2 * 0.35**2)))


def exposures(
    camera: Camera,
    light: np.ndarray,
    frames: int,
    random: np.random.Generator,
    brightness: Callable[[np.ndarray], np.ndarray] = np.ones_like,
) -> np.ndarray:
    """Counts (frames, rows, columns); `brightness` gives the lamp's, from the frames' times 0 … 1."""
    factors = brightness(np.arange(frames) / frames)
    return np.concatenate([camera.expose(light[None] * f, random) for f in factors])


def write(path: Path, counts: np.ndarray) -> Path:
    tifffile.imwrite(path, counts, photometric="minisblack", metadata=None)
    return path


def blinking(
    camera: Camera, background: float, molecules: float, frames: int, random: np.random.Generator, side: int = 48
) -> np.ndarray:
    """Counts (frames, side, side) of `molecules` per frame on average, in and out of focus, each for some frames."""
    y, x = np.mgrid[:side, :side] + 0.5
    light = background * (1 + 0.3 * ((x + y) / (2 * side) - 0.5))
    shining: list[np.ndarray] = []
    counts = np.empty((frames, side, side), np.uint16)
    for frame in range(frames):
        shining = [m for m in shining if random.random() > 1 / 3]
        while len(shining) < random.poisson(molecules):
            shining.append(np.array([*random.uniform(0, side, 2), random.uniform(0.3, 1) * 1300, random.uniform(1, 4)]))
        expected = light.copy()
        for cx, cy, photons, width in shining:
            spot = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))
            expected += photons / (2 * np.pi * width**2) * spot
        counts[frame] = camera.expose(expected, random)
    return counts
