"""What a multi-emitter fit finds, whichever implementation ran it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from planeloc.fitting.drift_information import Likelihood
from planeloc.fitting.normal_equations import Unknowns
from planeloc.fitting.windows import OverlappingPairs


class Maximum(NamedTuple):
    """Where the posterior of n molecules of some frames is largest, and what the model leaves there."""

    at: Unknowns
    cost: Tensor  # (frames,) minus twice the logarithm of the posterior
    held: Tensor  # (n,) bool: molecules that were kept at their start
    deviance: Tensor  # (n,) of every window
    used_pixels: Tensor  # (n,) of every window, on all planes
    goodness: Tensor  # (n,) deviance around the molecule over its expectation; NaN without pixels
    covariance: Tensor  # (n, 4 + planes, 4 + planes)
    of_known_drift: Tensor  # (n, 4 + planes, 4 + planes) covariance with the drift known
    pairs: OverlappingPairs
    likelihood: Likelihood
    corner: Tensor  # (n, planes, 2) column and row of every window's first pixel
    residual: Tensor  # (n, planes, pixels) photons
    weight: Tensor  # (n, planes, pixels) inverse variance; 0 for pixels that are not used


class Residuals(NamedTuple):
    """What a model leaves in windows."""

    frame: Tensor  # (n,)
    position: Tensor  # (n, 3) nm of the molecule in the reference camera's frame
    in_window_nm: Tensor  # (n, planes, 2) position of the molecule in its window
    axes: Tensor  # (n, planes, 2, 2)
    residual: Tensor  # (n, planes, pixels) photons
    weight: Tensor  # (n, planes, pixels) inverse variance; 0 for pixels that are not used

    def at(self, rows: Tensor) -> Residuals:
        """Those of some of the n molecules."""
        return Residuals(*(values[rows] for values in self))
