"""A chain of normal variables, each coupled to the next: mean, covariances and determinant, exactly and at linear cost.

The information about the chain is block-tridiagonal. Every second link is eliminated at once, which leaves a chain of
half the length (cyclic reduction; Golub and van Loan, Matrix Computations, section 4.5.4); on the way back each link
follows from its neighbours. The result is that of a Kalman filter and smoother, in a few calls on whole arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Marginals(NamedTuple):
    """Distribution of a chain of n links with q numbers each."""

    mean: Array  # (n, q)
    covariance: Array  # (n, q, q)
    with_next: Array  # (n − 1, q, q) covariance of every link (columns) with the next one (rows)
    log_determinant: float  # of the information


def marginals(own: Array, with_next: Array, moment: Array) -> Marginals:
    """Solve a chain.

    Parameters
    ----------
    own : (n, q, q) information about every link.
    with_next : (n − 1, q, q) between every link (columns) and the next one (rows).
    moment : (n, q) information times mean.
    """
    if len(own) == 1:
        covariance = np.linalg.inv(own)
        mean = (covariance @ moment[..., None])[..., 0]
        return Marginals(mean, covariance, with_next, float(np.linalg.slogdet(own)[1][0]))
    inverse = np.linalg.inv(own[1::2])
    before, after = with_next[0::2], with_next[1::2]  # of every odd link with the one before it, and after it
    from_before = inverse @ before
    from_after = inverse[: len(after)] @ after.transpose(0, 2, 1)
    own_left, moment_left = own[0::2].copy(), moment[0::2].copy()
    own_left[: len(before)] -= before.transpose(0, 2, 1) @ from_before
    own_left[1:] -= after @ from_after
    seen = (inverse @ moment[1::2, :, None])[..., 0]
    moment_left[: len(before)] -= (before.transpose(0, 2, 1) @ _columns(seen))[..., 0]
    moment_left[1:] -= (after @ _columns(seen[: len(after)]))[..., 0]
    left = marginals(own_left, -after @ from_before[: len(after)], moment_left)
    return _with_odd(left, inverse, seen, from_before, from_after)


def _with_odd(left: Marginals, inverse: Array, seen: Array, from_before: Array, from_after: Array) -> Marginals:
    """Put the eliminated links back between those that are left."""
    inner = len(from_after)
    count, q = len(left.mean) + len(inverse), left.mean.shape[1]
    mean, covariance, with_next = np.empty((count, q)), np.empty((count, q, q)), np.empty((count - 1, q, q))
    mean[0::2], covariance[0::2] = left.mean, left.covariance
    odd = seen - (from_before @ _columns(left.mean[: len(inverse)]))[..., 0]
    odd[:inner] -= (from_after @ _columns(left.mean[1:]))[..., 0]
    with_before = -from_before @ left.covariance[: len(inverse)]
    with_before[:inner] -= from_after @ left.with_next
    with_after = -from_before[:inner] @ left.with_next.transpose(0, 2, 1) - from_after @ left.covariance[1:]
    own = inverse - with_before @ from_before.transpose(0, 2, 1)
    own[:inner] -= with_after @ from_after.transpose(0, 2, 1)
    mean[1::2], covariance[1::2] = odd, (own + own.transpose(0, 2, 1)) / 2
    with_next[0::2], with_next[1::2] = with_before, with_after.transpose(0, 2, 1)
    determinant = left.log_determinant - float(np.linalg.slogdet(inverse)[1].sum())
    return Marginals(mean, covariance, with_next, determinant)


def _columns(vectors: Array) -> Array:
    """(n, q) as columns (n, q, 1)."""
    return vectors[..., None]
