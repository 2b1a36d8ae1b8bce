"""Other methods of estimating sample drift, written from their papers, to compare planeloc's with.

All take frames, positions (nm) and standard deviations (nm), and return the drift at every frame, (frames, 3) nm.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from benchmarks.tables import ROOT
from numpy.typing import NDArray
from scipy.optimize import minimize

from planeloc.io import picasso
from planeloc.postprocessing import pair_likelihood
from planeloc.postprocessing.blinks import Blinks
from planeloc.postprocessing.cross_correlation import coarse_drift
from planeloc.postprocessing.drift_refinement import _interpolation
from planeloc.postprocessing.neighbours import find_pairs, sort_into_grid

Array = NDArray[np.float64]
_PIXEL_NM, _MARGIN_NM = 100.0, 2500.0


def cross_correlation(frame: NDArray[np.int64], position: Array, sd: Array, frames: int) -> Array:
    """Redundant cross-correlation (Wang et al. 2014) of up to 24 parts, in three rounds, interpolated linearly."""
    return coarse_drift(Blinks(frame, position, sd), frames)


def intersections(
    frame: NDArray[np.int64], position: Array, sd: Array, frames: int, segments: int = 100, cell: float = 20.0
) -> Array:
    """Adaptive intersection maximisation (Ma et al. 2024): track segments one after the other, then against the rest.

    The intersections of a segment with shifted others are counted in a small window about the last shift, and the peak
    is the phase of the window's first Fourier component. In the second round the reference is the rest of the movie
    without the segment itself.
    """
    segments = min(segments, frames)
    segment = frame * segments // frames
    rows = [np.flatnonzero(segment == number) for number in range(segments)]
    shift = np.zeros((segments, 3))
    size = np.array([cell, cell, 2 * cell])
    first = next(number for number in range(segments) if len(rows[number]))
    reference = position[rows[first]]
    for number in range(first + 1, segments):
        shift[number] = _follow(position[rows[number]], np.empty((0, 3)), reference, shift[number - 1], size)
    corrected = position - shift[segment]
    for number in range(segments):
        own = corrected[rows[number]]
        shift[number] = _follow(position[rows[number]], own, corrected, shift[number], size)
    time = (np.arange(segments) + 0.5) * frames / segments - 0.5
    return np.column_stack([np.interp(np.arange(frames), time, shift[:, axis]) for axis in range(3)])


def _follow(points: Array, own: Array, reference: Array, start: Array, size: Array) -> Array:
    """The shift of some points against a reference, from which the `own` are left out."""
    found = start.copy()
    if not len(points):
        return found
    for axes, reach in (((0, 1), (3, 3, 0)), ((2,), (0, 0, 3))):
        use = [0, 1] if 2 not in axes else [0, 1, 2]
        keys, counts = np.unique(_key(np.floor(reference / size), use), return_counts=True)
        at = np.searchsorted(keys, _key(np.floor(own / size), use))
        np.subtract.at(counts, at, 1)
        keys = keys[counts > 0]
        cells = np.floor((points - found) / size)
        grids = np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij")
        window = np.array(
            [np.isin(_key(cells + np.array(step), use), keys).sum() for step in zip(*map(np.ravel, grids), strict=True)]
        ).reshape(grids[0].shape)
        for axis in axes:
            width = 2 * reach[axis] + 1
            profile = window.sum(axis=tuple(other for other in range(3) if other != axis)).astype(float)
            phase = np.angle(np.sum((profile - profile.min()) * np.exp(2j * np.pi * np.arange(-3, 4) / width)))
            found[axis] -= phase * width / (2 * np.pi) * size[axis]
    return found


def _key(cells: Array, use: list[int]) -> NDArray[np.int64]:
    """One 64-bit number per cell, which no field overflows."""
    key = np.zeros(len(cells), np.int64)
    for axis in use:
        key = key * (1 << 20) + (cells[:, axis].astype(np.int64) + (1 << 19))
    return key


def entropy(frame: NDArray[np.int64], position: Array, sd: Array, frames: int, per_spline: int = 1000) -> Array:
    """Minimum entropy (Cnossen et al. 2021): all localizations, each with its precision, a trajectory without a prior.

    It begins at the cross-correlation. The bound counts the localization itself and all others equally, so blinks over
    several frames are not merged.
    """
    start = cross_correlation(frame, position, sd, frames)
    points = Blinks(frame, position, sd)
    times = int(np.clip(len(frame) // per_spline, 5, frames))
    between = _interpolation(frames, times)
    reach = 3 * np.sqrt(2) * np.quantile(sd, 0.8, axis=0)
    order = sort_into_grid(position - start[frame], reach)
    points = points[order]
    pairs = find_pairs(points, points.position - start[points.frame], reach, 30, 1)
    still = np.zeros(len(points), np.int64)

    def cost(values: Array) -> tuple[float, Array]:
        drift = start + between @ values.reshape(times, 3)
        shifted = points.position - drift[points.frame]
        found = pair_likelihood.agreement(points, shifted, pairs, np.zeros(3), still, 1)
        by_frame = np.column_stack([np.bincount(points.frame, found.force[:, axis], frames) for axis in range(3)])
        return -found.value.sum(), -(between.T @ by_frame).ravel()

    known = pair_likelihood._BLUR, pair_likelihood._ALONE
    pair_likelihood._BLUR, pair_likelihood._ALONE = 1.0, 1.0
    try:
        found = minimize(cost, np.zeros(3 * times), jac=True, method="L-BFGS-B", options={"maxiter": 60})
    finally:
        pair_likelihood._BLUR, pair_likelihood._ALONE = known
    return start + between @ found.x.reshape(times, 3)


def by_picasso(interpreter: str, table: pd.DataFrame, frames: int) -> tuple[Array, float]:
    """Picasso's AIM with its own settings, in an environment of its own: drift (frames, 3) nm, and CPU seconds."""
    axes = ["x", "y"]
    shifted = table.assign(**dict(zip(axes, (table[axes] - table[axes].min() + _MARGIN_NM).to_numpy().T, strict=True)))
    size = int((shifted[axes].max().max() + _MARGIN_NM) / _PIXEL_NM)
    metadata = {
        **{"frames": frames, "width_px": size, "height_px": size, "pixel_size_nm": _PIXEL_NM},
        **{"voxel_nm": [10.0, 10.0, 25.0], "depth_range_nm": [-3000.0, 3000.0], "plane_depths_nm": [-200.0, 200.0]},
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table.hdf5"
        picasso.write(shifted, metadata, file)
        found = _other(interpreter, "picasso_drift.py", str(file), str(Path(folder) / "corrected.hdf5"))
    return np.column_stack([*(np.array(found[axis]) * _PIXEL_NM for axis in axes), found["z"]]), found["cpu_s"]


def by_comet(interpreter: str, table: pd.DataFrame, frames: int, largest_nm: float) -> tuple[Array, float]:
    """COMET on the CPU, in an environment of its own: drift (frames, 3) nm, and CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        points, drift = str(Path(folder) / "points.npy"), str(Path(folder) / "drift.npy")
        np.save(points, table[["x", "y", "z", "frame"]].to_numpy(np.float64))
        found = _other(interpreter, "comet_drift.py", points, drift, str(frames), str(largest_nm))
        return np.load(drift), found["cpu_s"]


def _other(interpreter: str, script: str, *arguments: str) -> dict:
    """What a script prints in another environment."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [interpreter, str(ROOT / "benchmarks" / "support" / script), *arguments]
    run = subprocess.run(command, check=False, capture_output=True, text=True, env=own)
    if run.returncode:
        raise RuntimeError((run.stderr.splitlines() or ["no message"])[-1])
    return json.loads(run.stdout.splitlines()[-1])
