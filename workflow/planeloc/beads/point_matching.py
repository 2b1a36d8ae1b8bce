"""Matching beads of two cameras without a first guess.

Two pairs of points determine a similarity (shift, rotation, scale, mirror). Every two candidate pairs whose distances
and directions agree with one of the eight orientations of a camera propose one. Proposals are ranked by the number of
points that they match; the best are refined to affine transforms, of which the least likely to be chance is taken.
Everything is deterministic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln

from planeloc.core.arrays import Array, Indices, Mask
from planeloc.transforms.camera_transform import Affine

# The eight ways to rotate and mirror a camera.
ORIENTATIONS = tuple(
    np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), turns) @ np.diag([1.0, mirror])
    for mirror in (1.0, -1.0)
    for turns in range(4)
)
_ORIENTATION_WORDS = (
    "upright",
    "turned by 90° clockwise",
    "turned by 180°",
    "turned by 90° anticlockwise",
    "mirrored top to bottom",
    "mirrored at the falling diagonal",
    "mirrored left to right",
    "mirrored at the rising diagonal",
)
_CANDIDATES = 1200  # most candidate pairs compared
_PROPOSALS = 3000  # most proposals scored per orientation
_BLOCK = 200  # candidates compared at once with all others: bounds the memory
_ROUNDING = 1e-9  # of logarithms of distances
_REFINED = 80  # proposals refined in all
_RADII = (1.5, 1.0, 0.7, 0.5, 0.5)  # of assignment while refining, in tolerances
_SLACK = 1.5  # by which a refined transform may exceed the limits of rotation and scale
_FINEST_PX = 0.02  # per axis; points that match more closely are no more significant
_FEWEST_KEPT = 0.7  # share of the pairs, all others of which may be wrong
_MOST_LEFT_OUT = 20  # pairs in all: bounds the time
_STRETCH = 0.02  # more than the scale, that the two axes may differ from an orientation


@dataclass(frozen=True)
class MatchLimits:
    """How far the cameras may be from one of the eight exact orientations about the middle of their fields."""

    rotation_deg: float = 5.0
    scale: float = 0.03
    shift_share: float = 0.34  # of the field's longer side, per axis
    tolerance_px: float = 2.0  # at which a proposal matches a point; half of it after refinement


@dataclass(frozen=True)
class Match:
    """Pairs that one affine transform matches, and whether another one, or chance, could do the same."""

    pairs: Indices  # (matched, 2) index of the reference point, of the camera's point
    affine: Affine
    chance_matches: float  # expected number of transforms that match as many points as closely by chance
    left_out: int  # further pairs within the tolerance, that match less closely than chance allows beside the others
    second_best: float  # significance of the best different transform over this one's; 0 to 1


@dataclass(frozen=True)
class _Points:
    """The points of both cameras, and what is known before they are matched."""

    reference: Array
    camera: Array
    allowed: Mask
    shape: tuple[int, int]
    limits: MatchLimits


def match_points(
    reference: Array,
    camera: Array,
    shape: tuple[int, int],
    *,
    allowed: Mask | None = None,
    limits: MatchLimits | None = None,
) -> Match | None:
    """Match points of the reference to points of a camera.

    Parameters
    ----------
    reference, camera : (n, 2) and (m, 2), x and y in pixels, most important first.
    shape : (rows, columns) of the cameras.
    allowed : (n, m) which points may be the same, such as those of equal frames; any by default.

    Returns
    -------
    None if no transform matches at least three points.
    """
    if allowed is None:
        allowed = np.ones((len(reference), len(camera)), dtype=bool)
    points = _Points(reference, camera, allowed, shape, limits or MatchLimits())
    candidates = np.argwhere(allowed)
    if len(candidates) < 3:
        return None
    # The most important points first.
    chosen = candidates[np.argsort(candidates.max(axis=1), kind="stable")][:_CANDIDATES]
    similar = _similar_pairs(points, chosen)
    proposals = [entry for turn in ORIENTATIONS for entry in _proposals(points, chosen, similar, turn)]
    proposals.sort(key=lambda entry: -entry[0])
    found: list[tuple[float, Affine, Indices, int]] = []
    known: set[bytes] = set()
    for _, proposal, orientation in proposals[:_REFINED]:
        pairs = _refine(points, proposal, orientation)
        if pairs is not None and pairs.tobytes() not in known:
            known.add(pairs.tobytes())
            best = _most_significant(points, pairs)
            found.append((*best, len(pairs) - len(best[2])))
    if not found:
        return None
    found.sort(key=lambda entry: -entry[0])
    significance, affine, pairs, left_out = found[0]
    matched = reference[pairs[:, 0]]
    # A transform that agrees on half of the points is the same match, less well refined.
    away = [np.median(np.linalg.norm(other(matched) - affine(matched), axis=1)) for _, other, _, _ in found]
    others = [entry[0] for entry, distance in zip(found, away, strict=True) if distance > points.limits.tolerance_px]
    second_best = max(max(others, default=0.0), 0.0) / significance if significance > 0 else 1.0
    return Match(pairs, affine, float(np.exp(np.clip(-significance, -500.0, 500.0))), left_out, second_best)


def fit_affine(source: Array, target: Array) -> Affine:
    """Least-squares affine transform of points (n, 2) to points (n, 2)."""
    centre = source.mean(axis=0)
    solution, *_ = np.linalg.lstsq(np.column_stack((source - centre, np.ones(len(source)))), target, rcond=None)
    matrix = solution[:2].T
    return Affine(matrix, solution[2] - matrix @ centre)


def orientation_words(matrix: Array) -> str:
    """Which of the eight orientations a transform's matrix is closest to, as seen with y downwards."""
    apart = [float(np.linalg.norm(orientation - matrix)) for orientation in ORIENTATIONS]
    return _ORIENTATION_WORDS[int(np.argmin(apart))]


def _proposals(
    points: _Points, candidates: Indices, similar: tuple[Indices, Indices], orientation: Array
) -> list[tuple[float, Affine, Array]]:
    """The best similarities near one orientation: (score, transform, orientation), without near-duplicates.

    `similar` are the two candidates of every pair that may propose one (`_similar_pairs`).
    """
    shape, limits = points.shape, points.limits
    # As complex numbers a similarity is b = factor · a + shift.
    za, zb = _complex(points.reference[candidates[:, 0]] @ orientation.T), _complex(points.camera[candidates[:, 1]])
    factor, shift = _similarities(za, zb, similar, limits)
    middle = np.array([shape[1], shape[0]]) / 2
    moved = factor * _complex(orientation @ middle) + shift - _complex(middle)
    far = limits.shift_share * max(shape)
    within = np.maximum(np.abs(moved.real), np.abs(moved.imag)) <= far + limits.tolerance_px
    factor, shift = factor[within], shift[within]
    if len(factor) > _PROPOSALS:
        spread = np.linspace(0, len(factor) - 1, _PROPOSALS).astype(int)
        factor, shift = factor[spread], shift[spread]
    scores = _scores(factor, shift, za, zb, candidates, limits.tolerance_px)
    probes = za[[np.argmin(za.real), np.argmax(za.real), np.argmin(za.imag), np.argmax(za.imag)]]
    best: list[tuple[float, Affine, Array]] = []
    seen: list[NDArray] = []
    for k in np.argsort(-scores, kind="stable"):
        if scores[k] < 2.5 or len(best) >= _REFINED:
            break
        image = factor[k] * probes + shift[k]
        if any(np.abs(image - other).max() < limits.tolerance_px for other in seen):
            continue
        seen.append(image)
        turn = np.array([[factor[k].real, -factor[k].imag], [factor[k].imag, factor[k].real]])
        affine = Affine(turn @ orientation, np.array([shift[k].real, shift[k].imag]))
        best.append((float(scores[k]), affine, orientation))
    return best


def _similar_pairs(points: _Points, candidates: Indices) -> tuple[Indices, Indices]:
    """Two candidates each, whose distances on both cameras are long enough and agree with the limits of scale.

    No orientation changes a distance. Rounding is left to `_similarities`, which compares again.
    """
    log_scale = np.log1p(points.limits.scale)
    # Two points that are close together determine the transform of the field poorly.
    shortest = max(4.0, 0.08 * max(points.shape))
    a, b = points.reference[candidates[:, 0]], points.camera[candidates[:, 1]]
    pairs = []
    for start in range(0, len(a), _BLOCK):
        part = slice(start, start + _BLOCK)
        first, second = (np.hypot(*(p[None, start:] - p[part, None]).transpose(2, 0, 1)) for p in (a, b))
        with np.errstate(divide="ignore", invalid="ignore"):
            near = np.abs(np.log(second / first)) < log_scale + 1.0 / first + _ROUNDING
        near &= (first > shortest) & (second > shortest)
        i, j = np.nonzero(np.triu(near, 1))
        pairs.append((i + start, j + start))
    i, j = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    return i, j


def _similarities(
    za: NDArray, zb: NDArray, similar: tuple[Indices, Indices], limits: MatchLimits
) -> tuple[NDArray, NDArray]:
    """Factors and shifts of all similarities within the limits of scale and rotation that two candidates propose."""
    log_scale, angle = np.log1p(limits.scale), np.deg2rad(limits.rotation_deg)
    i, j = similar
    da, db = za[j] - za[i], zb[j] - zb[i]
    factor = db / da
    slack = 1.0 / np.abs(da)  # each position may be wrong by a fraction of a pixel
    near = np.flatnonzero(np.abs(np.angle(factor)) < angle + slack)
    near = near[np.abs(np.log(np.abs(factor[near]))) < log_scale + slack[near]]
    return factor[near], zb[i[near]] - factor[near] * za[i[near]]


def _complex(points: Array) -> NDArray:
    return points[..., 0] + 1j * points[..., 1]


def _scores(
    factor: NDArray, shift: NDArray, za: NDArray, zb: NDArray, candidates: Indices, tolerance_px: float
) -> Array:
    """About the number of points that every similarity matches, closer ones counting more.

    A point counts once, with its closest partner, on either camera: many points with the same partner are no match.
    """
    groups = []
    for side in (0, 1):
        order = np.argsort(candidates[:, side], kind="stable")
        first = np.nonzero(np.diff(candidates[order, side], prepend=-1))[0]
        groups.append((order, first))
    scores = np.zeros(len(factor))
    for start in range(0, len(factor), _BLOCK):
        part = slice(start, start + _BLOCK)
        apart = factor[part, None] * za + shift[part, None] - zb
        closeness = np.sqrt(np.maximum(1 - (apart.real**2 + apart.imag**2) / tolerance_px**2, 0.0))
        both = [np.maximum.reduceat(closeness[:, order], first, axis=1).sum(axis=1) for order, first in groups]
        scores[part] = np.minimum(*both)
    return scores


def _refine(points: _Points, affine: Affine, orientation: Array) -> Indices | None:
    """Pairs, assigned and refitted with a shrinking radius; None where the transform leaves the limits or too few
    points remain.
    """
    limits = points.limits
    pairs = np.empty((0, 2), dtype=np.int64)
    for radius in _RADII:
        pairs = _assign(points, affine, radius * limits.tolerance_px)
        source = points.reference[pairs[:, 0]]
        # Points on a line determine no affine transform.
        if len(pairs) < 3 or np.linalg.matrix_rank(source - source.mean(axis=0), tol=2.0) < 2:
            return None
        affine = fit_affine(source, points.camera[pairs[:, 1]])
    u, stretch, vt = np.linalg.svd(affine.matrix @ orientation.T)
    turn = u @ vt
    angle = abs(np.rad2deg(np.arctan2(turn[1, 0], turn[0, 0])))
    if np.linalg.det(turn) < 0 or angle > _SLACK * limits.rotation_deg:
        return None
    if np.abs(np.log(stretch)).max() > _SLACK * limits.scale + _STRETCH:
        return None
    return pairs


def _most_significant(points: _Points, pairs: Indices) -> tuple[float, Affine, Indices]:
    """Significance (−ln chance), transform and pairs, less those without which the rest is less likely to be chance: a
    wrong pair among few right ones bends their transform.
    """
    best: tuple[float, Affine, Indices] | None = None
    fewest = max(4, round(_FEWEST_KEPT * len(pairs)), len(pairs) - _MOST_LEFT_OUT)
    while True:
        source, target = points.reference[pairs[:, 0]], points.camera[pairs[:, 1]]
        affine = fit_affine(source, target)
        squared = np.sum((target - affine(source)) ** 2, axis=1)
        chance = _log_chance(points, len(pairs), float(squared.sum()))
        if best is None or -chance > best[0]:
            best = (-chance, affine, pairs)
        if len(pairs) <= fewest:
            return best
        q, _ = np.linalg.qr(np.column_stack((source - source.mean(axis=0), np.ones(len(source)))))
        gain = squared / np.maximum(1 - np.sum(q**2, axis=1), 1e-6)  # by which the sum of squares falls without it
        pairs = np.delete(pairs, np.argmax(gain), axis=0)


def _assign(points: _Points, affine: Affine, radius: float) -> Indices:
    """One-to-one pairs within `radius`: as many as possible, with the smallest total squared distance."""
    squared = np.sum((affine(points.reference)[:, None] - points.camera) ** 2, axis=-1)
    possible = points.allowed & (squared <= radius**2)
    rows, columns = np.nonzero(possible.any(axis=1))[0], np.nonzero(possible.any(axis=0))[0]
    if not len(rows):
        return np.empty((0, 2), dtype=np.int64)
    cost = np.where(possible, squared, 4 * radius**2)[np.ix_(rows, columns)]
    i, j = linear_sum_assignment(cost)
    pairs = np.column_stack((rows[i], columns[j]))
    return pairs[possible[pairs[:, 0], pairs[:, 1]]]


def _log_chance(points: _Points, matched: int, squares: float) -> float:
    """Logarithm of the expected number of affine transforms within the limits that match `matched` of the candidate
    pairs as closely, if all points were randomly placed over the field.

    `squares` is the sum of the remaining squared distances.
    The a contrario reasoning of Moisan and Stival (2004, Int. J. Comput. Vision 57): every choice of pairs is a test;
    its first three points have to lie where the limits allow, and the others, given those three, within the ball of
    2 (matched − 3) dimensions that the distances span.
    """
    limits, candidates, area = points.limits, np.count_nonzero(points.allowed), float(np.prod(points.shape))
    angle, stretch = np.deg2rad(_SLACK * limits.rotation_deg), _SLACK * limits.scale + _STRETCH
    # The second point lies in one of four sectors about the first, the third close to one of two mirrored places; a
    # third of the area is the mean squared distance of points of a square.
    second = min(4 * (2 * angle) * (2 * stretch) / 3, 1.0)
    third = min(2 * (2 * stretch) ** 2 / 3, 1.0)
    more = matched - 3
    squares = max(squares, 2 * more * _FINEST_PX**2)
    tests = gammaln(candidates + 1) - gammaln(matched + 1) - gammaln(candidates - matched + 1)
    ball = more * np.log(np.pi * squares / area) - gammaln(more + 1) if more else 0.0
    return float(tests + np.log(second * third) + ball)
