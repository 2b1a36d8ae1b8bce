"""How molecules blink: the law of the next localization of a molecule, and where new molecules appear.

A molecule that was localized in a frame is localized next one frame later, two frames later and so on, or its blink is
over. A localization that continues no molecule is a new one: a molecule that turns on (again), or a false positive. How
often that happens depends on the place, so it is counted around every localization.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CELL_SD, _COARSE = 3.0, 4  # size of a cell in median precisions; of a coarse cell in cells
_TIMES = 50  # intervals of the movie
_FEW = 100  # localizations after the first of their blink, from which the law is estimated without the first
_LEAST, _MOST = 1e-6, 1 - 1e-6  # of a probability that is estimated


@dataclass(frozen=True)
class BlinkLaw:
    """The law of the next localization of a molecule.

    Attributes
    ----------
    next_lag : (lags,) probability that it comes 1, 2, … frames later; that it never comes is the rest.
    lasting : by which factor these are smaller after the first localization: false positives have no next.
    scale : (3,) rms difference of two localizations of a molecule, over its standard deviation as stated.
    """

    next_lag: NDArray[np.float64]
    lasting: float
    scale: NDArray[np.float64]

    @property
    def goes_on(self) -> float:
        """Probability that another localization follows."""
        return float(self.next_lag.sum())

    def log_odds(self) -> NDArray[np.float64]:
        """(2, lags) of being localized in this frame, if not since the last localization; first for first ones."""
        after_any = np.outer([self.lasting, 1.0], self.next_lag)
        missed = 1 - np.cumsum(after_any, axis=1) + after_any
        hazard = np.clip(after_any / np.maximum(missed, _LEAST), _LEAST, _MOST)
        return np.log(hazard / (1 - hazard))

    def lengths(self, most: int) -> NDArray[np.float64]:
        """(most + 1,) probability of a blink of 0, 1, … frames, from its first to its last localization."""
        alive = np.zeros(most + 1)
        alive[1:2] = 1.0
        for frames in range(2, most + 1):
            lags = np.arange(1, min(len(self.next_lag), frames - 1) + 1)
            alive[frames] = self.next_lag[lags - 1] @ alive[frames - lags]
        return self._with_single(alive * (1 - self.goes_on))

    def counts(self, most: int) -> NDArray[np.float64]:
        """(most + 1,) probability of a blink of 0, 1, … localizations."""
        number = np.arange(most + 1)
        return self._with_single((1 - self.goes_on) * self.goes_on ** np.maximum(number - 1.0, 0.0))

    def _with_single(self, probability: NDArray[np.float64]) -> NDArray[np.float64]:
        probability = self.lasting * probability
        probability[:1], probability[1:2] = 0.0, 1 - self.lasting * self.goes_on
        return probability


def first_guess(lags: int) -> BlinkLaw:
    """A blink of some frames, before anything is known of the movie."""
    return BlinkLaw(0.6 * 0.2 ** np.arange(lags), 1.0, np.full(3, 1.2))


def refined(found: NDArray[np.float64], rows: NDArray[np.float64], scale: NDArray[np.float64]) -> BlinkLaw:
    """The law from what was found.

    Parameters
    ----------
    found : (2, lags) number of links by their lag, from first localizations of a blink and from others.
    rows : (2,) number of first localizations, and of others.
    scale : (3,) of the standard deviations.
    """
    lags = found.shape[1]
    every, later = found.sum(axis=0), float(rows[1])
    source, number = (found[1], later) if later > _FEW else (every, float(rows.sum()))
    next_lag = (source + 0.1) / (max(number, source.sum()) + 0.1 * (lags + 1))
    after_first = (found[0].sum() + 0.1) / (max(rows[0], found[0].sum()) + 0.2)
    lasting = min(after_first / next_lag.sum(), 1.0) if later > _FEW else 1.0
    return BlinkLaw(next_lag, lasting, np.clip(scale, 0.3, 3.0))


class Births:
    """Density of new molecules per volume and frame, around every localization.

    Parameters
    ----------
    frame, position, sd : of the localizations: (rows,), (rows, 3), (rows, 3) nm.
    """

    def __init__(self, frame: NDArray[np.int64], position: NDArray[np.float64], sd: NDArray[np.float64]) -> None:
        size = _CELL_SD * np.median(sd, axis=0)
        self._fine, self._coarse = _cells(position, size), _cells(position, _COARSE * size)
        self._volume = float(size.prod())
        self._frames = int(frame[-1] - frame[0]) + 1
        self._time = ((frame - frame[0]) * _TIMES // self._frames).astype(np.int8)

    def uniform(self, births: float) -> NDArray[np.float64]:
        """(rows,) log density, if `births` were spread evenly over the cells with localizations."""
        occupied = int(self._coarse.max()) + 1
        return np.full(len(self._fine), np.log(births / occupied / (_COARSE**3 * self._volume * self._frames)))

    def around(self, origin: NDArray[np.integer]) -> NDArray[np.float64]:
        """(rows,) log density, estimated from the blinks around, other than the localization's own.

        Parameters
        ----------
        origin : (rows,) first row of the blink of every row.
        """
        first = origin == np.arange(len(origin))
        expected = self._posterior(self._coarse, origin, first, None) / _COARSE**3
        expected = self._posterior(self._fine, origin, first, expected)
        activity = np.bincount(self._time[first], minlength=_TIMES) + 1.0
        activity /= activity.mean()
        return np.log(expected / (self._volume * self._frames)) + np.log(activity)[self._time]

    def _posterior(self, cell, origin, first, expected: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Births expected in the cell of every row, by its other births and what is expected (None: the mean)."""
        births = np.bincount(cell[first], minlength=int(cell.max()) + 1)
        if expected is None:
            expected = births.mean()
        others = births[cell] - (cell[origin] == cell)
        return (others + 1.0) / (1.0 + 1.0 / expected)  # a Poisson number with an exponential prior


def _cells(position: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.int32]:
    """(rows,) number of every row's cell, without gaps in the numbers."""
    cell = np.floor((position - position.min(axis=0)) / size).astype(np.int64)
    _, ny, nz = cell.max(axis=0) + 1
    key = (cell[:, 0] * int(ny) + cell[:, 1]) * int(nz) + cell[:, 2]
    return np.unique(key, return_inverse=True)[1].astype(np.int32)
