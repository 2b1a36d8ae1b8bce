"""Which beads of a camera are which ones of the reference, and where both are without the stage's motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from planeloc.beads.point_matching import Match, MatchLimits, match_points
from planeloc.beads.positions import BeadPositions
from planeloc.beads.stage_drift import DriftFreeBeads, remove_stage_drift
from planeloc.cameras.camera import Camera
from planeloc.core.arrays import Array, Indices
from planeloc.core.errors import PlanelocError
from planeloc.registration.settings import RegisterSettings

_BRIGHTEST = 150  # beads that are matched; more would add time, not safety


class MatchedBeads(NamedTuple):
    """Positions on both cameras and how well they are known, in px of the camera."""

    source: Array  # (n, 2) on the reference
    target: Array  # (n, 2) on the camera
    variance_px2: Array  # (n,) per axis, both positions together, of each bead independently
    shared_px2: Array  # (n, n) covariance per axis that the beads share


@dataclass(frozen=True)
class MatchedPlane:
    """Matched beads of one camera and the reference without the stage's path."""

    beads: MatchedBeads
    compared: int  # beads that both cameras image well on a common slice
    moving: int  # beads left out, as they move relative to the others
    bead_motion_px: float  # median over the beads of both cameras


def match_beads(
    positions: Sequence[BeadPositions],
    plane: int,
    shape: tuple[int, int],
    cameras: Sequence[Camera],
    file: Path,
    settings: RegisterSettings,
) -> Match:
    """Match the beads of a camera to those of the reference.

    Parameters
    ----------
    positions : beads of every camera; those of the reference first.
    plane : index of the camera to match.
    shape : rows and columns of the cameras.
    file : named in messages.

    Raises
    ------
    PlanelocError : fewer than `minimum_matched` beads are found or matched.
    """
    reference, camera = positions[0], positions[plane]
    seen = f"{cameras[0].name}: {reference.summary}; {cameras[plane].name}: {camera.summary}"
    fewer = min(reference, camera, key=lambda beads: len(beads.label))
    if len(fewer.label) < settings.minimum_matched:
        raise PlanelocError(
            f"{file}: too few beads to register ({seen}), at least {settings.minimum_matched} on both cameras needed; "
            f"{fewer.advice}, or image a denser bead sample"
        )
    limits = MatchLimits(
        settings.maximum_rotation_deg, settings.maximum_scale_change, settings.maximum_shift, settings.tolerance_px
    )
    most = None if settings.beads_move else _BRIGHTEST
    match = match_points(
        reference.position_px[:most],
        camera.position_px[:most],
        shape,
        allowed=reference.label[:most, None] == camera.label[:most],
        limits=limits,
    )
    matched = 0 if match is None else len(match.pairs)
    if match is None or matched < settings.minimum_matched:
        raise PlanelocError(
            f"{file}: only {matched} beads match between the cameras ({seen}), at least {settings.minimum_matched} "
            "needed; check that all files show the same field, or image a denser bead sample"
        )
    return match


def without_stage_drift(
    positions: Sequence[BeadPositions], matches: Sequence[Match], minimum: int
) -> list[MatchedPlane]:
    """Positions of the matched beads on every camera but the reference, without the path that all beads share.

    The path must be the same for all cameras, so it is estimated from the beads of all of them. Cameras with fewer than
    `minimum` beads on common slices with the reference are not connected with it, and keep the path.
    """
    used = np.unique(np.concatenate([match.pairs[:, 0] for match in matches]))
    turns = [np.eye(2), *(match.affine.matrix for match in matches)]
    rows = [used, *(match.pairs[:, 1] for match in matches)]
    camera = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    series = [positions[c].slice_px[row] @ np.linalg.inv(turns[c]).T for c, row in enumerate(rows)]
    noise = [positions[c].slice_variance_px2[row] / abs(np.linalg.det(turns[c])) for c, row in enumerate(rows)]
    compared = [
        int(np.isfinite(noise[0][np.searchsorted(used, match.pairs[:, 0])] + noise[c]).any(axis=1).sum())
        for c, match in enumerate(matches, start=1)
    ]
    connected = np.array([True, *(number >= minimum for number in compared)])[camera]
    position, variance = np.concatenate(series), np.concatenate(noise)
    first = np.cumsum([0, *map(len, rows)])
    steady = remove_stage_drift(position, variance, camera, connected)
    moves = steady.moves
    if moves.any():  # the motion of one bead alone is no path
        steady = remove_stage_drift(position, variance, camera, connected & ~moves)
    planes = []
    for c, match in enumerate(matches, start=1):
        a, b = np.searchsorted(used, match.pairs[:, 0]), first[c] + np.arange(len(match.pairs))
        good = ~moves[a] & ~moves[b]
        if good.sum() < minimum:
            good[:] = True
        # Where the path stays, at least the motion that is seen may lie between the two cameras.
        apart = 0.0 if connected[first[c]] else sum(np.nan_to_num(positions[k].motion_px) ** 2 / 2 for k in (0, c))
        own = float(np.median(steady.bead_motion_px[np.concatenate((a[good], b[good]))]))
        beads = _on_camera(steady, a[good], b[good], turns[c], apart)
        planes.append(MatchedPlane(beads, compared[c - 1], int(np.sum(~good)), own))
    return planes


def _on_camera(steady: DriftFreeBeads, a: Indices, b: Indices, turn: Array, apart_px2: float) -> MatchedBeads:
    """Beads `a` of the reference and `b` of a camera, whose positions are turned onto that camera."""
    enlarged = abs(np.linalg.det(turn))
    variance = steady.variance_px2[a] + steady.variance_px2[b]
    shared = steady.shared_covariance_px2(a, b) + apart_px2
    return MatchedBeads(steady.position_px[a], steady.position_px[b] @ turn.T, enlarged * variance, enlarged * shared)
