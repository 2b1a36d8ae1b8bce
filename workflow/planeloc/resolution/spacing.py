"""Resolution that the density of molecules allows: twice the distance of neighbours in the structure.

By the sampling theorem, a structure of D dimensions is resolved to 2 / ρ^(1/D) with ρ molecules per volume of that
dimension (Shroff et al. 2008). A field is never evenly filled, and filaments are lines, not areas: density and
dimension are those that a molecule sees in its surroundings, up to its twentieth neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import gammaln

_NEIGHBOURS = 20  # more than blinks of one molecule
_INNER = 10  # the dimension is how the number of neighbours grows from the tenth to the twentieth
_MOST_QUERIES = 50_000  # rows at which the density is looked at; others are only neighbours
_MOST_ROWS = 2_000_000  # of a larger table a part of the field, so that the tree is small


@dataclass(frozen=True)
class Spacing:
    """Density of the molecules where they are.

    Attributes
    ----------
    nyquist_nm : twice the mean distance of neighbours, median over the molecules.
    dimension : of the structure: 1 for a line, 2 for an area, 3 for a volume; in between where it is in between.
    density : molecules per nm^dimension, median.
    """

    nyquist_nm: float
    dimension: float
    density: float


def spacing(position: NDArray[np.float64], fewest: int) -> Spacing:
    """Density and dimension from the distances of the tenth and the twentieth neighbour; NaN for too few rows.

    Parameters
    ----------
    position : (rows, axes) nm, one row per molecule.
    """
    unknown = Spacing(np.nan, np.nan, np.nan)
    if len(position) < max(fewest, _NEIGHBOURS + 1):
        return unknown
    if len(position) > _MOST_ROWS:
        order = np.argsort(position[:, 1], kind="stable")  # a strip of the field keeps its density
        middle = (len(order) - _MOST_ROWS) // 2
        position = position[order[middle : middle + _MOST_ROWS]]
    queries = position[:: -(-len(position) // _MOST_QUERIES)]
    found = cKDTree(position, balanced_tree=False).query(queries, [_INNER + 1, _NEIGHBOURS + 1])[0]  # 1: itself
    inner, outer = found.T
    if np.median(inner) <= 0:
        return unknown
    growth = np.log(np.maximum(outer, 1e-9) / np.maximum(inner, 1e-9))
    dimension = float(np.clip(_log_growth() / np.mean(growth), 0.5, position.shape[1]))
    ball = np.exp(dimension / 2 * np.log(np.pi) - gammaln(dimension / 2 + 1))  # volume of the unit ball
    density = float(np.median(_NEIGHBOURS / (ball * outer**dimension)))
    return Spacing(2 * density ** (-1 / dimension), dimension, density)


def _log_growth() -> float:
    """Mean of log(volume to the outer neighbour / volume to the inner one) for randomly placed molecules."""
    return float(sum(1 / k for k in range(_INNER, _NEIGHBOURS)))
