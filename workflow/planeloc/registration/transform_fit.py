"""The transform between two cameras from matched beads: affine, quadratic where the beads require it, or a shift.

Generalised least squares with Huber weights. The covariance of the beads' positions has a part of each bead (its noise,
and a common scatter beyond it, found from the residuals: aberrations, bead shape) and a part that the beads share (the
uncertainty of the stage's path). From it follows the covariance of the transform.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from planeloc.beads.point_matching import ORIENTATIONS, Match, fit_affine, orientation_words
from planeloc.core.arrays import Array, Mask
from planeloc.core.robust_fit import common_scatter, huber, irls
from planeloc.registration.matched_beads import MatchedBeads, MatchedPlane
from planeloc.transforms.camera_transform import (
    Affine,
    CameraTransform,
    Quadratic,
    TransformUncertainty,
    polynomial_terms,
)

FEWEST_FOR_QUADRATIC = 12
_CLEARLY = 0.85  # rms leave-one-out error of the quadratic transform over the affine one's
_CHANCE = 1e-4  # that the terms of second order look as large if the true transform is affine
_REWEIGHTINGS = 20
_OUTLIER = 4.0  # standard deviations; 1 good point in 10⁷ is farther
_USUAL_TURN = 0.005  # rms of a camera's rotation (rad), scale and shear where beads do not determine them


@dataclass(frozen=True)
class TransformFit:
    """A fitted transform and the residuals of its beads."""

    transform: CameraTransform
    uncertainty: TransformUncertainty
    residual_px: Array  # (n, 2) target minus transformed source
    left_out_px: Array  # (n, 2) the same under the transform fitted to the others
    kept: Mask  # (n,) False: left out as an outlier
    scatter_px: float  # rms per axis beyond the noise

    @property
    def residual_rms_px(self) -> float:
        """Root mean squared distance (both axes together) of the beads kept."""
        return _rms(self.residual_px[self.kept])

    @property
    def leave_one_out_rms_px(self) -> float:
        """Rms residual of beads that were left out of the fit, each in turn."""
        return _rms(self.left_out_px[self.kept])


@dataclass(frozen=True)
class RegisteredPlane:
    """How a camera's beads were matched to the reference, and the transform that was fitted to them."""

    name: str
    match: Match
    matched: MatchedPlane
    fit: TransformFit

    @property
    def orientation(self) -> str:
        """In words."""
        return orientation_words(self.fit.transform.matrix)

    @property
    def reference_px(self) -> Array:
        """(n, 2) x, y on the reference of the beads that the transform is fitted to."""
        return self.matched.beads.source[self.fit.kept]

    @property
    def camera_px(self) -> Array:
        """(n, 2) the same beads on the camera."""
        return self.matched.beads.target[self.fit.kept]

    @property
    def used(self) -> int:
        """Beads that the transform is fitted to."""
        return int(self.fit.kept.sum())

    @property
    def excluded(self) -> int:
        """Matched beads that do not count: they move, or lie far from where the others say."""
        return self.match.left_out + self.matched.moving + int(np.sum(~self.fit.kept))


def fit_transform(beads: MatchedBeads, model: str = "auto") -> TransformFit:
    """Affine or quadratic transform of matched beads; `auto`: quadratic only where cross-validation requires it.

    It does where at least 12 beads are predicted clearly better when each is left out, and the F-test of the additional
    terms is significant.
    """
    affine = _fit(beads, _Affine(beads.source))
    enough = int(affine.kept.sum()) >= FEWEST_FOR_QUADRATIC
    if model == "affine" or not enough:
        return affine
    quadratic = _fit(beads, _Affine(beads.source, order=2))
    return quadratic if model == "quadratic" or _required(beads, quadratic) else affine


def fit_shift(beads: MatchedBeads) -> TransformFit:
    """The closest of the eight orientations, and a shift: for beads too close together to determine rotation and scale.

    The uncertainty contains the rotation and scale that cameras usually have: 5 ‰ rms.
    """
    rough = fit_affine(beads.source, beads.target).matrix
    nearest = min(ORIENTATIONS, key=lambda orientation: float(np.linalg.norm(orientation - rough)))
    return _fit(beads, _Shift(beads.source, nearest))


class _Affine:
    """Polynomial transforms of first or second order."""

    def __init__(self, source: Array, order: int = 1) -> None:
        self.order = order
        self.centre = source.mean(axis=0)
        self.scale = max(float(np.sqrt(np.mean((source - self.centre) ** 2))), 1e-6)
        self.design = polynomial_terms((source - self.centre) / self.scale, order)
        self.known = np.zeros_like(source)  # part of the image that is not fitted

    def build(self, coefficients: Array) -> CameraTransform:
        if self.order == 2:
            return Quadratic(self.centre, self.scale, coefficients.T)
        matrix = coefficients[1:].T / self.scale
        return Affine(matrix, coefficients[0] - matrix @ self.centre)

    def uncertainty(self, covariance: Array) -> TransformUncertainty:
        return TransformUncertainty(self.centre, self.scale, np.kron(np.eye(2), covariance))


class _Shift:
    """A shift after a given orientation."""

    def __init__(self, source: Array, turn: Array) -> None:
        self.turn, self.centre = turn, source.mean(axis=0)
        self.design = np.ones((len(source), 1))
        self.known = source @ turn.T

    def build(self, coefficients: Array) -> CameraTransform:
        return Affine(self.turn, coefficients[0])

    def uncertainty(self, covariance: Array) -> TransformUncertainty:
        one_axis = np.diag([covariance[0, 0], _USUAL_TURN**2, _USUAL_TURN**2])
        return TransformUncertainty(self.centre, 1.0, np.kron(np.eye(2), one_axis))


def _fit(beads: MatchedBeads, model: _Affine | _Shift) -> TransformFit:
    """Reweighted until it settles; outliers are left out at the end and the transform is fitted once more."""
    n, terms = model.design.shape
    kept = np.ones(n, dtype=bool)

    def fit(weights: Array) -> tuple[tuple[Array, Array, float, Array, Array], Array]:
        coefficients, _ = _solve(beads, model, weights)
        residual = beads.target - model.known - model.design @ coefficients
        squared = np.sum(residual**2, axis=1) / 2
        freedom = max(1 - terms / kept.sum(), 0.1)
        scatter = common_scatter(squared[kept], beads.variance_px2[kept], freedom)
        q = squared / (beads.variance_px2 + scatter)
        factor = np.where(kept, huber(q), 0.0)
        return (coefficients, residual, scatter, q, factor), factor / (beads.variance_px2 + scatter)

    while True:
        (coefficients, residual, scatter, q, factor), _ = irls(fit, kept / beads.variance_px2, _REWEIGHTINGS)
        far = kept & (q > _OUTLIER**2)
        # Where many are far, the right ones cannot be recognized.
        if not far.any() or np.sum(kept & ~far) < max(terms + 2, 0.7 * n):
            break
        kept &= ~far
    weights = np.where(kept, 1 / (beads.variance_px2 + scatter), 0.0)
    # The scatter of few beads is uncertain, too: the variance of Student's distribution, whose scale it is.
    degrees = 2 * (kept.sum() - terms)
    wider = scatter * degrees / max(degrees - 2, 1)
    _, covariance = _solve(beads, model, factor / (beads.variance_px2 + wider))
    return TransformFit(
        model.build(coefficients),
        model.uncertainty(covariance),
        residual,
        _left_out(residual, model.design, weights),
        kept,
        float(np.sqrt(scatter)),
    )


def _solve(beads: MatchedBeads, model: _Affine | _Shift, weights: Array) -> tuple[Array, Array]:
    """Coefficients (terms, 2) and their covariance (terms, terms), which is that of either axis."""
    used = weights > 0
    design, data = model.design[used], (beads.target - model.known)[used]
    covariance = np.diag(1 / weights[used]) + beads.shared_px2[np.ix_(used, used)]
    root = np.linalg.cholesky(covariance)
    whitened = np.linalg.solve(root, np.column_stack((design, data)))
    q, r = np.linalg.qr(whitened[:, : design.shape[1]])
    back = np.linalg.pinv(r, rcond=1e-9)
    return back @ (q.T @ whitened[:, design.shape[1] :]), back @ back.T


def _left_out(residual: Array, design: Array, weights: Array) -> Array:
    """(n, 2) residuals under the transform fitted to the others, from the leverage of each point."""
    q, _ = np.linalg.qr(np.sqrt(weights)[:, None] * design)
    return residual / np.maximum(1 - np.sum(q**2, axis=1), 1e-6)[:, None]


def _required(beads: MatchedBeads, quadratic: TransformFit) -> bool:
    """Whether leave-one-out errors and F-test both say that the quadratic transform is better than the affine one.

    Both are judged on the beads that the quadratic one keeps, since a curved field makes no outliers.
    """
    used = quadratic.kept
    weights = np.where(used, 1 / (beads.variance_px2 + quadratic.scatter_px**2), 0.0)
    squares, errors = [], []
    for model in (_Affine(beads.source), _Affine(beads.source, order=2)):
        coefficients, _ = _solve(beads._replace(shared_px2=np.zeros_like(beads.shared_px2)), model, weights)
        residual = beads.target - model.design @ coefficients
        left_out = _left_out(residual, model.design, weights)
        squares.append(float(np.sum(weights[:, None] * residual**2)))
        errors.append(float(np.sum(weights[:, None] * left_out**2)))
    more, freedom = 6, 2 * (int(used.sum()) - 6)
    # No better than the noise: residuals that happen to be small must not make the rest look large.
    ratio = (squares[0] - squares[1]) / more / max(squares[1] / freedom, 1.0)
    clear = errors[1] < _CLEARLY**2 * errors[0]
    return bool(clear and special.fdtrc(more, freedom, ratio) < _CHANCE)


def _rms(residual: Array) -> float:
    return float(np.sqrt(np.mean(np.sum(residual**2, axis=1))))


def covered_fraction(points: Array, shape: tuple[int, int]) -> float:
    """Area of an ellipse with the points' second moments (twice their rms) over the field's area, at most 1."""
    area = 4 * np.pi * np.sqrt(max(np.linalg.det(np.cov(points.T)), 0.0))
    return min(float(area / (shape[0] * shape[1])), 1.0)
