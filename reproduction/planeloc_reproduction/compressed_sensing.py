"""The paper's baseline: molecules as the sparse solution of Eq. 3, a Lasso with non-negative weights.

    minimise ‖y − Ĥc‖² + λ Σ c_j    over c ≥ 0

Solved by an active set. The solution has few voxels, so the small problem on a working set is solved exactly (Lawson
and Hanson's method for non-negative least squares, started from the last solution), and one product with Ĥᵀ tells
which voxels outside of it would lower the objective; they join the working set until there are none. That is the true
optimum, certified by the duality gap, after a handful of products, where proximal-gradient methods need thousands:
neighbouring columns of Ĥ are nearly the same.

The paper takes the number K of molecules as known (section 4.2) and does not say how a solution becomes K molecules. A
molecule between voxels, with the shot noise that a uniform penalty ignores, is spread over several voxels that need not
touch; `strongest_groups` puts them together.

The paper does not print λ either. On 300 images of one molecule of Table 2, voxel to voxel (means in nm, lateral /
axial; `reproduction/benchmarks/compressed_sensing.py --images 300 --penalties`):

    λ over `default_penalty`      1/4          1/2           1            2            4            8
    without drift             10.1 / 20.3  11.0 / 21.5  11.3 / 21.0  12.2 / 26.0  14.7 / 34.8  16.7 / 46.0
    drifted by ±2 voxels      35.5 / 29.5  35.6 / 30.8  35.2 / 31.7  35.1 / 33.0  34.7 / 38.7  35.9 / 46.8

So the choice matters little up to the default; smaller is a little better and slower. The drift decides the lateral
error, whatever λ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from torch import Tensor

from planeloc.core.errors import PlanelocError
from planeloc.psf import PSF
from planeloc.scenes.scene import Scene
from planeloc_reproduction.forward_operator import (
    Array,
    Indices,
    Molecules,
    Observation,
    checked_images,
    molecules_per_image,
    noise_variance,
)

TOLERANCE = 1e-6  # of λ/2: how far the gradient may miss the conditions of optimality
_MOST_PRODUCTS = 200
_MOST_CANDIDATES = 400
_COARSE = (2, 4, 4)  # voxels between those that are tried first where very many would do
_NEIGHBOURS = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


@dataclass(frozen=True)
class Sparse:
    """A solution of Eq. 3, its voxels in the order of the volume, and how sure it is."""

    voxels: Indices  # (k, 3) depth slice, row, column, of weights above zero
    photons: Array  # (k,)
    objective: float  # of Eq. 3
    gap: float  # objective − a lower bound of the optimum
    violation: float  # largest of the conditions of optimality, over λ/2
    products: int  # with Ĥᵀ


def default_penalty(observation: Observation) -> float:
    """λ at which noise of the background alone makes a molecule in about one image in ten.

    Zero is optimal where Ĥᵀy ≤ λ/2 everywhere. For noise of standard deviation σ on n pixels the largest entry of Ĥᵀy
    is below σ √(2 ln n) max‖h_j‖ (the universal threshold of Donoho and Johnstone 1994).
    """
    pixels = np.prod(observation.image_shape)
    deviation = np.sqrt(noise_variance(observation.scene))
    return float(2 * deviation * np.sqrt(2 * np.log(pixels)) * observation.norms.max())


def solve_lasso(
    observation: Observation,
    image: Array,
    penalty: float,
    start: Sparse | None = None,
    tolerance: float = TOLERANCE,
) -> Sparse:
    """Minimise Eq. 3 for one image (planes, rows, columns).

    Parameters
    ----------
    penalty : λ, above 0.
    start : a solution nearby, such as of other shifts; changes the time, not the result.
    tolerance : largest violation of the conditions of optimality, relative to λ/2.
    """
    if not penalty > 0:
        raise PlanelocError(f"penalty: {penalty} must be above 0")
    half, target = penalty / 2, image.ravel()
    voxels = np.zeros((0, 3), dtype=np.int64) if start is None else start.voxels
    weights = np.zeros(0) if start is None else start.photons
    columns = observation.columns(voxels)
    if len(voxels):
        weights = _solve_small(columns, target, half, weights, tolerance)
    for products in range(1, _MOST_PRODUCTS + 1):  # noqa: B007
        kept = weights > 0
        voxels, weights, columns = voxels[kept], weights[kept], columns[kept]
        rest = target - weights @ columns
        slope = observation.adjoint(rest.reshape(image.shape))
        violation = (slope.max() - half) / half
        if violation <= tolerance:
            break
        candidates = _candidates(slope, half * (1 + tolerance), voxels)
        voxels = np.concatenate((voxels, candidates))
        columns = np.concatenate((columns, observation.columns(candidates)))
        weights = _solve_small(columns, target, half, np.append(weights, np.zeros(len(candidates))), tolerance)
    inside = np.abs(slope[tuple(voxels.T)] - half).max(initial=0.0) / half
    objective = float(rest @ rest + penalty * weights.sum())
    order = np.lexsort(voxels.T[::-1])
    return Sparse(
        voxels=voxels[order],
        photons=weights[order],
        objective=objective,
        gap=objective - _lower_bound(target, rest, half, slope.max()),
        violation=float(max(violation, inside)),
        products=products,
    )


def strongest_groups(observation: Observation, sparse: Sparse, count: int) -> Molecules:
    """The `count` molecules of most photons in a solution, fewer where it has no more.

    A group is the heaviest voxel not yet taken with all others not yet taken inside an ellipsoid around it: twice the
    waist w0 laterally, the focus depth d axially, about as far as two molecules are one spot. The position is the
    centroid of the group, its photons the sum. (The voxel of the centroid is nearer to the truth than the heaviest one;
    `reproduction/benchmarks/compressed_sensing.py` prints both.)
    """
    psf = observation.psf
    reach = np.array((psf.focus_depth_nm, 2 * psf.waist_nm, 2 * psf.waist_nm)) / observation.voxel_nm
    left = sparse.photons.copy()
    place, heaviest, photons = [np.zeros((0, 3))], [np.zeros((0, 3), dtype=np.int64)], []
    while left.any():
        first = sparse.voxels[left.argmax()]
        inside = np.sum(((sparse.voxels - first) / reach) ** 2, axis=1) <= 1
        weights = np.where(inside, left, 0.0)
        left[inside] = 0.0
        photons.append(weights.sum())
        heaviest.append(first[None])
        place.append((weights @ sparse.voxels / weights.sum())[None])
    chosen = np.argsort(-np.array(photons), kind="stable")[:count]
    places, voxels = (np.concatenate(parts)[chosen] for parts in (place, heaviest))
    return observation.molecules(places, voxels, np.array(photons)[chosen])


def locate(
    images: Tensor | ArrayLike,
    psf: PSF,
    scene: Scene,
    molecules: Sequence[int] | int,
    *,
    penalty: float | None = None,
    shifts_nm: ArrayLike | None = None,
) -> Molecules:
    """Find the molecules of every image by Eq. 3, K known.

    Parameters
    ----------
    images : (n, planes, rows, columns), photons above the background.
    molecules : K, one number or one for each image.
    penalty : λ; `default_penalty` if left out.
    shifts_nm : (planes, 2), where the planes' drift is known.

    Raises
    ------
    PlanelocError : images that do not fit or are not finite, K below 1, or a PSF that is not Gaussian.
    """
    observation = Observation.of(psf, scene, shifts_nm)
    values = checked_images(images, psf, scene)
    counts = molecules_per_image(molecules, len(values))
    weight = default_penalty(observation) if penalty is None else penalty
    found = [
        strongest_groups(observation, solve_lasso(observation, image, weight), count)
        for image, count in zip(values, counts, strict=True)
    ]
    return Molecules.joined(found)


def _lower_bound(target: Array, rest: Array, half: float, slope: float) -> float:
    """Of Eq. 3: ‖y‖² − ‖y − ν‖² for any ν with Ĥᵀν ≤ λ/2; here the best multiple of the residual."""
    scale = target @ rest / max(rest @ rest, 1e-300)
    if slope > 0:
        scale = min(scale, half / slope)
    return float(target @ target - np.sum((target - max(scale, 0.0) * rest) ** 2))


def _candidates(slope: Array, threshold: float, voxels: Indices) -> Indices:
    """(m, 3) voxels that would lower the objective, of very many those on a coarse grid; and all around `voxels`."""
    violators = slope > threshold
    if np.count_nonzero(violators) > _MOST_CANDIDATES:
        coarse = tuple(slice(step // 2, None, step) for step in _COARSE)
        on_grid = np.zeros_like(violators)
        on_grid[coarse] = violators[coarse]
        violators = on_grid if on_grid.any() else violators
    flat = np.flatnonzero(violators)
    if len(flat) > _MOST_CANDIDATES:
        flat = flat[np.argsort(-slope.ravel()[flat], kind="stable")[:_MOST_CANDIDATES]]
    around = (voxels[:, None] + _NEIGHBOURS).reshape(-1, 3)
    around = around[np.all((around >= 0) & (around < slope.shape), axis=1)]
    near = np.ravel_multi_index(tuple(around.T), slope.shape)
    known = np.ravel_multi_index(tuple(voxels.T), slope.shape)
    flat = np.setdiff1d(np.concatenate((flat, near)), known)
    return np.stack(np.unravel_index(flat, slope.shape), axis=-1)


def _solve_small(columns: Array, target: Array, half: float, weights: Array, tolerance: float) -> Array:
    """Minimise ‖y − cA‖² + 2·half·Σc over c ≥ 0 for the rows A of `columns` (m, n); `weights` are the start.

    The set of free weights grows by the one that lowers the objective fastest; along the way to the optimum of the free
    set, weights that reach zero leave it.
    """
    linear = columns @ target - half
    weights = weights.copy()
    free = np.flatnonzero(weights > 0)
    gram = columns[free] @ columns[free].T
    refused = np.zeros(len(weights), dtype=bool)
    while True:
        while len(free):
            goal = _solve_positive(gram, linear[free])
            if (goal > 0).all():
                weights[free] = goal
                break
            falling = goal <= 0
            now = weights[free]
            step = np.min(now[falling] / (now[falling] - goal[falling]))
            moved = now + step * (goal - now)
            stay = ~(falling & (moved <= 1e-12 * moved.max(initial=0.0)))
            weights[free] = np.where(stay, moved, 0.0)
            # What would fall at once was let in by rounding alone.
            refused[free[~stay & (now == 0)]] = True
            free, gram = free[stay], gram[np.ix_(stay, stay)]
        slope = linear - columns @ (weights[free] @ columns[free])
        slope[free] = 0.0
        slope[refused] = 0.0
        best = int(slope.argmax())
        if slope[best] <= 0.5 * tolerance * half:
            return weights
        free = np.append(free, best)
        gram = columns[free] @ columns[free].T


def _solve_positive(gram: Array, right: Array) -> Array:
    try:
        return cho_solve(cho_factor(gram, check_finite=False), right, check_finite=False)
    except LinAlgError:
        return np.linalg.lstsq(gram, right, rcond=None)[0]
