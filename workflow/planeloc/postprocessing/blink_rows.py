"""What the localizations of a blink say of the drift: each at its own frame, instead of all at the blink's mean frame.

The mean position of a blink, compared with other blinks, tells the mean drift during the blink. The differences
between its localizations tell how the drift changes during it, whatever the place of the molecule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from planeloc.postprocessing.blinks import Rows, sums

_MOST_LAGS = 12


class BlinkRows:
    """Localizations of blinks, and the times at which they see the drift.

    Parameters
    ----------
    rows : in the order of the blinks, and within a blink of the frames.
    frames, times : the movie's frames, and the number of times into which they are divided.
    """

    def __init__(self, rows: Rows, frames: int, times: int) -> None:
        self._rows, self._times, self._blink = rows, times, rows.blink
        self._time = rows.frame * times // frames
        self._weight = 1 / rows.sd**2
        self._total = sums(self._weight, rows.first)
        self._share = self._weight / self._total[self._blink]
        self._lags = []
        for lag in range(1, min(_MOST_LAGS, len(self._blink))):
            one = np.flatnonzero(self._blink[lag:] == self._blink[:-lag])
            if not len(one):
                break
            self._lags.append((lag, one, self._time[one + lag] - self._time[one]))
        self._reach = max((int(offset.max()) for _, _, offset in self._lags), default=0)
        self._own_bands = [self._within_band(axis) for axis in range(3)]

    def mean_position(self, drift: NDArray[np.float64]) -> NDArray[np.float64]:
        """(blinks, 3) nm, weighted mean of the positions less the drift (frames, 3)."""
        return sums(self._share * (self._rows.position - drift[self._rows.frame]), self._rows.first)

    def spread_out(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(times, columns): what belongs to blinks (blinks, columns), distributed over their localizations."""
        columns = range(values.shape[1])
        spread = [self._share[:, column] * values[self._blink, column] for column in columns]
        return np.stack([np.bincount(self._time, column, self._times) for column in spread], axis=1)

    def of_blinks(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Band of the information on the drift that the mean positions have, (1 + reach, times)."""
        share = self._share[:, 0]
        return self._band(weight[self._blink] * share, share)

    def within(self, drift: NDArray[np.float64]) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """For every axis the information of the differences within blinks, a band, and their score, (times,).

        Where the localizations of a blink scatter more than their precision, the information is less.
        """
        difference = self._rows.position - drift[self._rows.frame]
        difference -= sums(self._share * difference, self._rows.first)[self._blink]
        force = self._weight * difference
        free = len(force) - len(self._total)
        scatter = np.maximum((force * difference).sum(axis=0) / max(free, 1), 1.0)
        score = [np.bincount(self._time, force[:, axis], self._times) / scatter[axis] for axis in range(3)]
        return [(band / scatter[axis], score[axis]) for axis, band in enumerate(self._own_bands)]

    def _within_band(self, axis: int) -> NDArray[np.float64]:
        band = -self._band(self._weight[:, axis], self._share[:, axis])
        band[0] += np.bincount(self._time, self._weight[:, axis], self._times)
        return band

    def _band(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        """Products of the values of two rows of a blink, at the times of both."""
        band = np.zeros((self._reach + 1, self._times))
        band[0] = np.bincount(self._time, one * other, self._times)
        for lag, row, offset in self._lags:
            both = one[row] * other[row + lag]
            place = offset * self._times + self._time[row]
            band += np.bincount(place, np.where(offset, 1.0, 2.0) * both, band.size).reshape(band.shape)
        return band
