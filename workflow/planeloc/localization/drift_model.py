"""The drift of the cameras through a movie as a random process, and what the frames say of it.

Along every axis of every plane but the reference, the drift of frame t is d_t = u_t + w_t. The level u walks: its steps
from frame to frame are normal. w is new in every frame, also normal. Some steps are jumps, and some frames are loose:
their step, or their w, has a variance so large that they are free. A drift that is new in every frame, a walk, a
constant one, none and a single jump are all limits of this model.

The frames are the likelihood exp(−½ dᵀ J d + hᵀ d) of `planeloc.fitting.drift_information`; w is integrated out of it
frame by frame, and the levels are a chain (`planeloc.localization.drift_chain`). All of it is exact.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from planeloc.localization.drift_chain import marginals

Array = NDArray[np.float64]

LEVEL_SD_NM = 50.0
"""Of the first frame, before the movie is seen: the transforms' own error, and what moved since. It matters to movies
with a few molecules in all."""

FREE_SD_NM = 500.0
"""Of jumps and loose frames."""

FARTHEST_NM = 600.0
"""A frame that says that the drift is farther away speaks of no drift."""

_LEAST_INFORMATION = 1e-7  # 1/nm², along a direction of the drift; less is rounding
_UNKNOWN_SD_NM = 200.0


class FrameInformation(NamedTuple):
    """What n frames say of their q numbers of drift; zero where there is nothing."""

    precision: Array  # (n, q, q) J
    moment: Array  # (n, q) h


class Process(NamedTuple):
    """Variances, nm²."""

    step: Array  # (n − 1, q) from each frame to the next
    white: Array  # (n, q)


class Posterior(NamedTuple):
    """The drift, given all frames."""

    drift: Array  # (n, q) nm
    covariance: Array  # (n, q, q)
    level: Array  # (n, q) without the part that is new in every frame
    log_likelihood: float
    step: Array  # (n − 1, q) mean of every step
    step_covariance: Array  # (n − 1, q, q)
    white: Array  # (n, q) mean of the part that is new in every frame
    white_covariance: Array  # (n, q, q)


def sound(frames: FrameInformation) -> FrameInformation:
    """Without directions of which a frame says next to nothing, and without frames that speak of impossible drift."""
    values, axes = np.linalg.eigh(frames.precision)
    kept = np.where(values > _LEAST_INFORMATION, values, 0.0)
    precision = (axes * kept[:, None]) @ axes.transpose(0, 2, 1)
    along = (axes.transpose(0, 2, 1) @ frames.moment[..., None])[..., 0] * (kept > 0)
    drift = (axes @ (along / (kept + _UNKNOWN_SD_NM**-2))[..., None])[..., 0]
    possible = (abs(drift) < FARTHEST_NM).all(axis=1)
    moment = (axes @ along[..., None])[..., 0]
    return FrameInformation(precision * possible[:, None, None], moment * possible[:, None])


def posterior(frames: FrameInformation, process: Process) -> Posterior:
    """The drift of all frames, and how probable what they say is."""
    precision, moment = frames
    q = moment.shape[1]
    each = np.eye(q)
    # (I + J R)⁻¹: what is left of the information when the white part is unknown
    kept = np.linalg.inv(each + precision * process.white[:, None, :])
    of_level = kept @ precision
    of_level = (of_level + of_level.transpose(0, 2, 1)) / 2
    moment_of_level = (kept @ moment[..., None])[..., 0]
    white_given_level = process.white[:, :, None] * kept
    white_given_level = (white_given_level + white_given_level.transpose(0, 2, 1)) / 2
    steps = 1 / process.step
    own = of_level.copy()
    diagonal = np.einsum("nii->ni", own)
    diagonal[0] += LEVEL_SD_NM**-2
    diagonal[:-1] += steps
    diagonal[1:] += steps
    found = marginals(own, -steps[:, :, None] * each, moment_of_level)

    levels, V = found.mean, found.covariance
    step_covariance = V[1:] + V[:-1] - found.with_next - found.with_next.transpose(0, 2, 1)
    residual = moment - (precision @ levels[..., None])[..., 0]
    white = (white_given_level @ residual[..., None])[..., 0]
    follows = white_given_level @ precision  # how the white part follows the level, with the other sign
    white_covariance = white_given_level + follows @ V @ follows.transpose(0, 2, 1)
    rest = each - follows
    covariance = rest @ V @ rest.transpose(0, 2, 1) + white_given_level
    constant = np.linalg.slogdet(kept)[1].sum() + (moment * (white_given_level @ moment[..., None])[..., 0]).sum()
    prior = np.log(steps).sum() - 2 * q * np.log(LEVEL_SD_NM)
    log_likelihood = (constant + prior - found.log_determinant + (moment_of_level * levels).sum()) / 2
    return Posterior(
        levels + white,
        (covariance + covariance.transpose(0, 2, 1)) / 2,
        levels,
        float(log_likelihood),
        np.diff(levels, axis=0),
        step_covariance,
        white,
        white_covariance,
    )
