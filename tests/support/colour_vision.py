"""Lightness and colour as the eye sees them, with usual and with deficient colour vision.

CIELAB with the D65 white, from sRGB (IEC 61966-2-1); dichromats by the matrices of Machado, Oliveira and Fernandes,
IEEE Trans. Vis. Comput. Graph. 15, 1291 (2009), which apply to linear RGB.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
DICHROMATS = {
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}


def linear(rgb: NDArray) -> NDArray:
    """sRGB (0 … 1) → linear RGB."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray, seen_by: str = "") -> NDArray:
    """CIELAB of sRGB colours (n, 3), for the one or the other dichromat if named."""
    light = linear(np.asarray(rgb, dtype=np.float64))
    if seen_by:
        light = np.clip(light @ DICHROMATS[seen_by].T, 0, 1)
    ratio = light @ _XYZ.T / _XYZ.sum(axis=1)
    cube = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = cube.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def smallest_chroma_difference(colours: NDArray, apart: float = 0.25, seen_by: str = "") -> float:
    """Of any two colours of a map (n, 3) that are at least that share of it apart; lightness does not count."""
    chroma = lab(colours, seen_by)[:, 1:]
    place = np.linspace(0, 1, len(colours))
    far = np.abs(place[:, None] - place) >= apart - 1e-9
    return float(np.linalg.norm(chroma[:, None] - chroma, axis=2)[far].min())
