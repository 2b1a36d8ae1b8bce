"""Eq. 9 of the paper: molecules and the drift of the planes together, from T images that share the drift.

    minimise Σ_t ‖y_t − Ĥ(Δ') c_t‖² + λ Σ c_t    over c ≥ 0 and whole-voxel Δ'_p of planes 1, 2, …

Plane 0 is the reference. As the paper suggests, the two are optimised in turn. Given Δ', every c_t is a Lasso, solved
exactly from its last solution. Given c, the misfit of plane p depends on Δ'_p alone, so all candidates of all planes
can be tried, and the best combination is known exactly. The objective never rises.

So far the paper. Alone, that stops too early: molecules found with a wrong drift lie between the planes' views and hold
the drift where it is, and a Lasso with many voxels explains a drift by molecules at several depths. Therefore

- the drift's turn also tries every common translation τ of all molecules, at the same price: molecules moved by τ with
  drifts Δ' look on plane p as if it had drifted by τ + Δ'_p;
- when no drift changes any more, the drifts one voxel away on one plane are tried with their own Lasso, and the
  alternation goes on from the first that lowers the objective;
- it starts twice, from no drift and from the drift under which K voxels fit best (the same alternation with matching
  pursuit in the place of the Lasso), and the lower objective is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from planeloc.core.errors import PlanelocError
from planeloc.psf import PSF
from planeloc.scenes.scene import Scene
from planeloc_reproduction.compressed_sensing import Sparse, default_penalty, solve_lasso, strongest_groups
from planeloc_reproduction.forward_operator import (
    Array,
    Indices,
    Molecules,
    Observation,
    checked_images,
    molecules_per_image,
)
from planeloc_reproduction.matching_pursuit import pursue

_CLEARLY = 1e-9  # relative: a drift changes only where the misfit falls by more than rounding

Weights = list[tuple[Indices, Array]]  # (voxels, photons) of every image


@dataclass(frozen=True)
class Alternation:
    """Images that share a drift, explained."""

    drift_voxels: Indices  # (planes, 2) as (x, y); plane 0 is the reference
    solutions: tuple[Sparse, ...]  # of every image
    objectives: tuple[float, ...]  # of Eq. 9 after every turn of the molecules

    @property
    def objective(self) -> float:
        return self.objectives[-1]


@dataclass(frozen=True)
class Located:
    """Molecules of all images and the drifts they were found with."""

    molecules: Molecules
    drift_voxels: Indices  # (groups of images, planes, 2) as (x, y)
    objective: Array  # (groups,) of Eq. 9


def alternate(still: Observation, images: Array, penalty: float, start: Indices, max_shift_voxels: int) -> Alternation:
    """Optimise Eq. 9 for `images` (T, planes, rows, columns) from a first drift (planes, 2) in voxels.

    `still` is the microscope without drift.
    """
    now = _solved(still.drifted(start), images, penalty, start, [None] * len(images))
    objectives = [now.objective]
    while True:
        weights = [(solution.voxels, solution.photons) for solution in now.solutions]
        drift, moved = best_drift(still, images, weights, now.drift_voxels, max_shift_voxels)
        if (drift != now.drift_voxels).any():
            warm = [replace(solution, voxels=solution.voxels + moved) for solution in now.solutions]
            now = _solved(still.drifted(drift), images, penalty, drift, warm)
        else:
            lower = _lower_neighbour(still, images, penalty, now, max_shift_voxels)
            if lower is None:
                return replace(now, objectives=tuple(objectives))
            now = lower
        objectives.append(now.objective)


def _solved(
    observation: Observation, images: Array, penalty: float, drift: Indices, starts: Sequence[Sparse | None]
) -> Alternation:
    """The molecules' turn, and its objective."""
    solutions = tuple(solve_lasso(observation, y, penalty, c) for y, c in zip(images, starts, strict=True))
    return Alternation(drift, solutions, (sum(solution.objective for solution in solutions),))


def _lower_neighbour(
    still: Observation, images: Array, penalty: float, now: Alternation, max_shift_voxels: int
) -> Alternation | None:
    """The first drift of a lower objective among those where one plane has drifted by a voxel more along one axis."""
    for plane in range(1, len(now.drift_voxels)):
        for axis, step in ((0, -1), (0, 1), (1, -1), (1, 1)):
            drift = now.drift_voxels.copy()
            drift[plane, axis] += step
            if abs(drift[plane, axis]) > max_shift_voxels:
                continue
            tried = _solved(still.drifted(drift), images, penalty, drift, now.solutions)
            if tried.objective < now.objective * (1 - _CLEARLY):
                return tried
    return None


def best_drift(
    still: Observation, images: Array, weights: Weights, drift: Indices, max_shift_voxels: int
) -> tuple[Indices, Indices]:
    """The drift (planes, 2) of least misfit for given molecules, and how many voxels (3,) they go with it.

    Exact over all drifts up to `max_shift_voxels` of planes 1, 2, … together with all translations, of all molecules
    alike, up to as much along x and y that leave them on the grid.
    """
    reach, span = max_shift_voxels, 2 * max_shift_voxels + 1
    misfit = sum(_misfits(still, y, *w, 2 * reach) for y, w in zip(images, weights, strict=True))
    place = np.concatenate([voxels for voxels, _ in weights])
    lowest, best, translation = np.inf, drift, (0, 0)
    for ty, tx in _by_distance(reach):
        inside = np.all((place[:, 1:] + (ty, tx) >= 0) & (place[:, 1:] + (ty, tx) < still.grid[1:]))
        if not inside:
            continue
        # Of plane p at translation τ: the square of candidates around τ.
        part = misfit[:, ty + reach : ty + reach + span, tx + reach : tx + reach + span]
        flat = part.reshape(len(part), -1)
        now = part[np.arange(len(part)), drift[:, 1] + reach, drift[:, 0] + reach]
        fixed = flat.min(axis=1) >= now - _CLEARLY * now
        rows, columns = np.unravel_index(flat.argmin(axis=1), (span, span))
        candidate = np.where(fixed[:, None], drift, np.stack((columns, rows), axis=1) - reach)
        candidate[0] = 0
        total = float(part[np.arange(len(part)), candidate[:, 1] + reach, candidate[:, 0] + reach].sum())
        if total < lowest * (1 - _CLEARLY):
            lowest, best, translation = total, candidate, (ty, tx)
    return best, np.array((0, *translation))


def _by_distance(reach: int) -> list[tuple[int, int]]:
    """All (y, x) up to `reach`, from (0, 0) outwards: of equals the least motion wins."""
    steps = range(-reach, reach + 1)
    return sorted(((y, x) for y in steps for x in steps), key=lambda step: (step[0] ** 2 + step[1] ** 2, step))


def _misfits(still: Observation, image: Array, voxels: Indices, photons: Array, reach: int) -> Array:
    """‖y_p − Ĥ_p(s) c‖² of every plane and every shift: (planes, 2·reach + 1 along y, as many along x)."""
    psf = still.psf
    position = torch.tensor(still.positions_nm(voxels))
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64)[:, None] * still.voxel_nm[2]
    defocus = torch.tensor(psf.plane_depths_nm, dtype=torch.float64)[:, None, None] - position[:, 2]
    along_x, along_y = (
        psf.profile((steps + position[:, axis]).expand(psf.planes, -1, -1), defocus, still.scene.window_px).numpy()
        for axis in (0, 1)
    )
    weighted = along_y * (np.asarray(psf.brightness)[:, None, None] * photons)[..., None]
    # (planes, shifts, molecules, pixels) twice → (planes, shifts y, shifts x, rows, columns)
    models = weighted.transpose(0, 1, 3, 2)[:, :, None] @ along_x[:, None]
    return np.sum((models - image[:, None, None]) ** 2, axis=(3, 4))


def _sparse_start(still: Observation, images: Array, counts: Sequence[int], max_shift_voxels: int) -> Indices:
    """The drift (planes, 2) under which K voxels explain every image best, as far as alternation finds it."""
    drift = best = np.zeros((still.psf.planes, 2), dtype=np.int64)
    lowest = np.inf
    while True:
        observation = still.drifted(drift)
        weights = [pursue(observation, image, count) for image, count in zip(images, counts, strict=True)]
        misfit = sum(_misfit(observation, image, *found) for image, found in zip(images, weights, strict=True))
        if misfit >= lowest:
            return best
        lowest, best = misfit, drift
        drift, _ = best_drift(still, images, weights, drift, max_shift_voxels)


def _misfit(observation: Observation, image: Array, voxels: Indices, photons: Array) -> float:
    return float(np.sum((image.ravel() - photons @ observation.columns(voxels)) ** 2))


def locate(
    images: Tensor | ArrayLike,
    psf: PSF,
    scene: Scene,
    molecules: Sequence[int] | int,
    *,
    images_per_drift: int = 1,
    max_shift_voxels: int = 2,
    penalty: float | None = None,
) -> Located:
    """Find the molecules of every image and the drift of the planes by Eq. 9, K known.

    Other parameters, and errors, are those of `compressed_sensing.locate`.

    Parameters
    ----------
    images_per_drift : T; that many images in a row share a drift. The last may be fewer.
    max_shift_voxels : the paper's hyperparameter: no Δ' is larger, along x or y.
    """
    still = Observation.of(psf, scene)
    values = checked_images(images, psf, scene)
    counts = molecules_per_image(molecules, len(values))
    if images_per_drift < 1 or max_shift_voxels < 0:
        raise PlanelocError(
            f"images_per_drift must be at least 1 and max_shift_voxels at least 0, not {images_per_drift} and "
            f"{max_shift_voxels}"
        )
    weight = default_penalty(still) if penalty is None else penalty
    found, drifts, objectives = [], [], []
    for first in range(0, len(values), images_per_drift):
        part = slice(first, first + images_per_drift)
        starts = (
            np.zeros((psf.planes, 2), dtype=np.int64),
            _sparse_start(still, values[part], counts[part], max_shift_voxels),
        )
        tried = {start.tobytes(): start for start in starts}.values()
        runs = [alternate(still, values[part], weight, start, max_shift_voxels) for start in tried]
        best = min(runs, key=lambda run: run.objective)
        observation = still.drifted(best.drift_voxels)
        found += [strongest_groups(observation, c, k) for c, k in zip(best.solutions, counts[part], strict=True)]
        drifts.append(best.drift_voxels)
        objectives.append(best.objective)
    shape = (len(drifts), psf.planes, 2)
    return Located(Molecules.joined(found), np.array(drifts, dtype=np.int64).reshape(shape), np.array(objectives))
