"""Errors of the molecules that a network finds in simulated images, against the ground truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planeloc.networks.regression_molecules import Found
from planeloc.scenes.random_density import DenseScenes
from planeloc.scenes.truth_matching import Points, match

Array = NDArray[np.float64]

_LATERAL_NM, _AXIAL_NM = 250.0, 500.0  # largest error of a molecule that counts as found


@dataclass(frozen=True)
class DetectionErrors:
    """True molecules, and the errors with which they were found."""

    position_nm: Array  # (n, 3) of the true ones as x, y, z
    photons: Array  # (n,)
    error_nm: Array  # (n, 3) found less true; NaN where it was missed
    sd_nm: Array  # (n, 3) stated standard deviation; NaN where it was missed
    false_positives: int

    @property
    def found(self) -> NDArray[np.bool_]:
        """(n,)"""
        return ~np.isnan(self.error_nm[:, 0])

    @classmethod
    def joined(cls, parts: list[DetectionErrors]) -> DetectionErrors:
        """Those of several batches together."""
        names = ("position_nm", "photons", "error_nm", "sd_nm")
        arrays = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
        return cls(*arrays, sum(part.false_positives for part in parts))


def detection_errors(found: Found, truth: DenseScenes) -> DetectionErrors:
    """Match what was found with the ground truth."""
    found_points, true_points = (
        Points(image.cpu().numpy(), position.double().cpu().numpy())
        for image, position in ((found.image, found.position_nm), (truth.image, truth.positions_nm))
    )
    pairs = match(found_points, true_points, _LATERAL_NM, _AXIAL_NM)
    error, sd = (np.full((len(true_points), 3), np.nan) for _ in range(2))
    error[pairs.truth] = found_points.position_nm[pairs.found] - true_points.position_nm[pairs.truth]
    sd[pairs.truth] = found.position_sd_nm.double().cpu().numpy()[pairs.found]
    photons = truth.photons.double().cpu().numpy()
    return DetectionErrors(true_points.position_nm, photons, error, sd, len(found_points) - len(pairs))


def score(errors: DetectionErrors) -> dict[str, float]:
    """Return the Jaccard index, rms errors in nm, and the rms of normalised errors (``normalised_error_x``, …)."""
    found = errors.found
    jaccard = int(found.sum()) / max(len(found) + errors.false_positives, 1)
    if not found.any():  # the worst possible
        return {"jaccard": jaccard, "lateral_nm": _LATERAL_NM, "axial_nm": _AXIAL_NM}
    squares = (errors.error_nm[found] ** 2).mean(axis=0)
    normalised = ((errors.error_nm / errors.sd_nm)[found] ** 2).mean(axis=0)
    return {
        "jaccard": jaccard,
        "lateral_nm": math.sqrt(squares[0] + squares[1]),
        "axial_nm": math.sqrt(squares[2]),
        **{f"normalised_error_{axis}": math.sqrt(value) for axis, value in zip("xyz", normalised, strict=True)},
    }
