"""Microtubule-like filaments in three dimensions, with their labels.

A filament is a worm-like chain in the plane of the coverslip: its heading diffuses along the contour, so that
⟨cos Δθ⟩ = exp(−s / 2P) with P the persistence length (the two-dimensional chain of Kratky and Porod 1949; Gittes et al.
1993 for microtubules, which bend more in cells). In depth it is a sine of the contour length, which keeps it smooth and
within the depth range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planeloc.core.settings import setting

Array = NDArray[np.float64]

_STEP_NM = 10.0  # contour step: far below every length that the microscope resolves


@dataclass(frozen=True)
class StructureSettings:
    """Filaments and labels; `structure:` in a simulation file."""

    filaments: int = setting(7, "Filaments that cross the field.", minimum=1)
    length_nm: float = setting(16000.0, "Contour length of a filament.", unit="nm", minimum=100)
    persistence_length_nm: float = setting(20000.0, "Persistence length.", unit="nm", minimum=100)
    depth_range_nm: float = setting(700.0, "Filaments stay within ± this depth.", unit="nm", minimum=0)
    inclination: float = setting(0.2, "Typical slope: depth per length.", minimum=0, maximum=1)
    labels_per_um: float = setting(40.0, "Labels along a filament.", unit="per µm", minimum=1e-3)
    tube_radius_nm: float = setting(12.5, "Radius of the filament; 12.5 for a microtubule.", unit="nm", minimum=0)
    linker_nm: float = setting(
        12.0, "Distance of the dye from the filament's surface (antibodies).", unit="nm", minimum=0
    )


def filament(through_nm: tuple[float, float], settings: StructureSettings, random: np.random.Generator) -> Array:
    """Axis of one filament that passes through (x, y): points (n, 3) in nm, 10 nm of contour apart."""
    half = max(1, round(settings.length_nm / 2 / _STEP_NM))
    turns = random.normal(0.0, np.sqrt(_STEP_NM / settings.persistence_length_nm), 2 * half)
    heading = np.cumsum(turns)
    heading += random.uniform(0, 2 * np.pi) - heading[half]
    depth = _depth(_STEP_NM * np.arange(2 * half + 1), settings, random)
    lateral = np.sqrt(np.clip(_STEP_NM**2 - np.diff(depth) ** 2, 0.0, None))  # keeps the contour length
    steps = lateral[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    plane = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    plane += np.asarray(through_nm) - plane[half]
    return np.column_stack([plane, depth])


def _depth(contour_nm: Array, settings: StructureSettings, random: np.random.Generator) -> Array:
    if settings.depth_range_nm == 0:
        return np.zeros_like(contour_nm)
    slope = np.clip(random.normal(0.0, settings.inclination), -1, 1)
    phase = np.arcsin(random.uniform(-1, 1))  # every depth is equally likely in the middle of the filament
    from_middle = contour_nm - contour_nm.mean()
    return settings.depth_range_nm * np.sin(phase + slope * from_middle / settings.depth_range_nm)


def labels(axis_nm: Array, settings: StructureSettings, random: np.random.Generator) -> Array:
    """Dye positions (n, 3) in nm around a filament's axis: anywhere on its surface, each linker pointing outwards."""
    contour = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(axis_nm, axis=0), axis=1))])
    count = random.poisson(contour[-1] / 1000 * settings.labels_per_um)
    at = random.uniform(0.0, contour[-1], count)
    centre = np.column_stack([np.interp(at, contour, column) for column in axis_nm.T])
    gradient = np.gradient(axis_nm, axis=0)
    tangent = _unit(np.column_stack([np.interp(at, contour, column) for column in gradient.T]))
    sideways = _unit(np.column_stack([-tangent[:, 1], tangent[:, 0], np.zeros(count)]))
    angle = random.uniform(0, 2 * np.pi, (count, 1))
    outwards = np.cos(angle) * sideways + np.sin(angle) * np.cross(tangent, sideways)
    linker = _unit(random.normal(size=(count, 3)))
    linker *= np.where((linker * outwards).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    return centre + settings.tube_radius_nm * outwards + settings.linker_nm * linker


def _unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def emitters(
    field_nm: tuple[float, float, float, float], settings: StructureSettings, random: np.random.Generator
) -> Array:
    """Positions (n, 3) in nm of all dyes of all filaments within the field.

    Parameters
    ----------
    field_nm : (left, top, right, bottom)
        The illuminated rectangle; dyes outside it are left out. Every filament passes through a point of it.
    """
    left, top, right, bottom = field_nm
    dyes = []
    for _ in range(settings.filaments):
        through = (random.uniform(left, right), random.uniform(top, bottom))
        dyes.append(labels(filament(through, settings, random), settings, random))
    positions = np.concatenate(dyes)
    x, y = positions[:, 0], positions[:, 1]
    return positions[(x >= left) & (x < right) & (y >= top) & (y < bottom)]
