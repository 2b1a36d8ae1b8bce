"""Drift of the cameras through a movie, known from all frames instead of from each alone: errors and bounds.

    python -m benchmarks.accuracy.camera_drift

Movies of the paper's microscope (background 4, read noise 3; 1,628 to 5,425 photons per molecule, all planes together)
whose planes 1… drift:

- `per frame`: in every frame by up to two voxels of 24 nm either way;
- `walk`: from frame to frame by steps with a standard deviation of 1.5 nm;
- `none`: not at all;
- `jumps`: one camera after the other by 150 nm, from one side of its place to the other, every hundred frames;
- `jumps away`: the same, from its place to 150 nm beside it: three times as far as the network was trained for.

The movie is localized with the default network, refined. `today`: every frame on its own, with the drift of the
network's training as its prior. `movie`: with the drift that the whole movie tells, all of whose strengths are
estimated. `bound`: the Cramér–Rao bound of the true molecules, as if none overlapped, with the process that made the
drift as its prior; where there is no drift, it is known. Molecules are matched within 250 nm laterally and 500 nm
axially, and lie at least two pixels from the border. The errors of molecules within ten frames of a jump stand beside
those of the others.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from benchmarks.support.drawn_movies import CAMERA, FILES, Frames
from benchmarks.support.record import Record, add_json_option
from benchmarks.tables import ROOT, Column
from numpy.typing import NDArray

from planeloc.cameras.microscope import Microscope
from planeloc.cameras.noise import PixelNoise
from planeloc.localization.camera_drift import DriftOfMovie, estimate_drift, follow
from planeloc.localization.context import InputPaths
from planeloc.localization.drift_model import FrameInformation, Process, posterior
from planeloc.localization.localize_frames import Job, Localizer, compute_frames
from planeloc.localization.settings import LocalizeSettings
from planeloc.movie.writer import write_movie
from planeloc.psf import PSF, Emitters, paper_psf, write_psf
from planeloc.psf.fisher_information import plane_information
from planeloc.scenes.scene import PAPER_BACKGROUND, PAPER_PHOTONS
from planeloc.transforms.camera_transform import Registration

Array = NDArray[np.float64]

DEPTH_NM, BORDER_PX, WINDOW_PX = 800.0, 2, 25
WALK_NM, JUMP_NM, JUMP_FRAMES, NEAR_FRAMES = 1.5, 150.0, 100, 10
STEPS_NM = 24.0 * np.arange(-2, 3)
MATCH_NM = (250.0, 500.0)


@dataclass(frozen=True)
class Case:
    name: str
    side_px: int
    molecules: int
    frames: int
    light: float = 1.0


CASES = (
    Case("1 in 64×64", 64, 1, 600),
    Case("3 in 64×64", 64, 3, 400),
    Case("10 in 64×64", 64, 10, 200),
    Case("50 in 256×256", 256, 50, 40),
    Case("1 in 64×64, light ×¼", 64, 1, 600, 0.25),
)
DRIFTS = ("per frame", "walk", "none", "jumps", "jumps away")


@dataclass(frozen=True)
class Truth:
    frame: NDArray[np.int64]  # (n,)
    position: Array  # (n, 3) nm
    photons: Array  # (n,)
    drift_nm: Array  # (frames, planes, 2)


def drift_of(kind: str, frames: int, random: np.random.Generator) -> Array:
    """(frames, 4, 2) nm"""
    drift = np.zeros((frames, 4, 2))
    if kind == "per frame":
        drift[:, 1:] = random.choice(STEPS_NM, (frames, 3, 2))
    if kind == "walk":
        drift[:, 1:] = random.normal(0, WALK_NM, (frames, 3, 2)).cumsum(axis=0)
    if "jumps" in kind:
        for number, frame in enumerate(range(JUMP_FRAMES // 2, frames, JUMP_FRAMES)):
            plane = 1 + number % 3
            drift[frame:, plane, 0] = JUMP_NM if not drift[frame - 1, plane, 0] else 0.0
    if kind == "jumps":
        drift[:, 1:, 0] -= JUMP_NM / 2
    return drift


def draw(psf: PSF, case: Case, kind: str, folder: Path, seed: int) -> Truth:
    """Write a movie and its calibration."""
    random = np.random.default_rng(seed)
    drift, n = drift_of(kind, case.frames, random), case.frames * case.molecules
    edge = BORDER_PX * psf.pixel_size_nm
    lateral = random.uniform(edge, case.side_px * psf.pixel_size_nm - edge, (n, 2))
    position = np.column_stack((lateral, random.uniform(-DEPTH_NM, DEPTH_NM, n)))
    photons = random.uniform(*PAPER_PHOTONS, n) * case.light
    truth = Truth(np.repeat(np.arange(case.frames), case.molecules), position, photons, drift)
    counts = np.empty((case.frames, psf.planes, case.side_px, case.side_px), np.uint16)
    for frame in range(case.frames):
        expected = images(psf, truth, truth.frame == frame, case.side_px) + PAPER_BACKGROUND[0]
        counts[frame] = np.stack([CAMERA.expose(plane, random) for plane in expected])
    write_movie(
        Frames(counts),
        folder / "movie.zarr",
        folder / FILES[0],
        Microscope("benchmark", psf.pixel_size_nm, cameras=(CAMERA,) * psf.planes),
    )
    Registration.identity(psf.planes).write(folder / FILES[1])
    write_psf(folder / FILES[2], psf)
    return truth


def images(psf: PSF, truth: Truth, here: NDArray[np.bool_], side: int) -> Array:
    """(planes, side, side) photons of some molecules, on cameras that have drifted."""
    shifts = truth.position[here, None, :2] + truth.drift_nm[truth.frame[here]]
    z, photons = (torch.from_numpy(values[here]) for values in (truth.position[:, 2], truth.photons))
    emitters = Emitters(torch.zeros_like(z), torch.zeros_like(z), z, photons, torch.from_numpy(shifts))
    return psf.expected_photons(emitters, (side, side)).sum(dim=0).numpy()


def localized(folder: Path, frames: int) -> tuple[dict[str, pd.DataFrame], DriftOfMovie | None]:
    """The table with every frame on its own, and with the drift of the movie."""
    settings = LocalizeSettings(threshold=0.3, device="cpu")
    paths = InputPaths(*(folder / name for name in FILES), ROOT / "resources" / "regression.safetensors")
    block = compute_frames(Localizer(Job(paths, settings)), 0, frames)
    columns, arrays = block.parts()
    drift = estimate_drift(FrameInformation(block.precision, block.moment))
    moved = columns if drift is None else follow(columns, arrays, drift)
    return {"today": pd.DataFrame(columns), "movie": pd.DataFrame(moved)}, drift


def bound_nm(psf: PSF, truth: Truth, kind: str) -> float:
    """Lateral, of molecules that do not overlap; their images are taken to lie in the middle of a pixel."""
    middle = WINDOW_PX * psf.pixel_size_nm / 2
    z, photons = torch.from_numpy(truth.position[:, 2]), torch.from_numpy(truth.photons)
    place = torch.full_like(z, middle)
    level = torch.full((len(z), psf.planes), PAPER_BACKGROUND[0], dtype=torch.float64)
    noise = PixelNoise.of([CAMERA] * psf.planes)
    parts = torch.arange(len(z)).split(200)
    emitters = Emitters(place, place, z, photons, background=level)
    known = [plane_information(psf, emitters[part], noise, (WINDOW_PX, WINDOW_PX)) for part in parts]
    information = torch.cat(known).numpy()
    alone = np.linalg.inv(information.sum(axis=1))
    if kind == "none":
        return float(np.sqrt(np.einsum("nii->ni", alone)[:, :2].sum(axis=1).mean()))
    planes, frames = psf.planes - 1, len(truth.drift_nm)
    cross = np.moveaxis(information[:, 1:, :, :2], 1, 2).reshape(len(z), 4, 2 * planes)
    own = np.einsum("npab,pr->nparb", information[:, 1:, :2, :2], np.eye(planes)).reshape(-1, 2 * planes, 2 * planes)
    gain = alone @ cross
    precision = np.zeros((frames, 2 * planes, 2 * planes))
    np.add.at(precision, truth.frame, own - cross.transpose(0, 2, 1) @ gain)
    tiny = 1e-9
    step = np.full((frames - 1, 2 * planes), WALK_NM**2 if kind == "walk" else tiny)
    white = np.full((frames, 2 * planes), STEPS_NM.var() if kind == "per frame" else tiny)
    if "jumps" in kind:
        step[(abs(np.diff(truth.drift_nm, axis=0)) > 0)[:, 1:].reshape(step.shape)] = 1e6
    of_drift = posterior(FrameInformation(precision, np.zeros((frames, 2 * planes))), Process(step, white)).covariance
    covariance = alone + gain @ of_drift[truth.frame] @ gain.transpose(0, 2, 1)
    return float(np.sqrt(np.einsum("nii->ni", covariance)[:, :2].sum(axis=1).mean()))


def errors(table: pd.DataFrame, truth: Truth) -> tuple[Array, Array, NDArray[np.int64]]:
    """Errors (n, 3), the same over the stated deviation, and frames, of localizations that match a molecule."""
    found, scaled, frames = [], [], []
    for frame, rows in table.groupby("frame"):
        here = truth.position[truth.frame == frame]
        position = rows[["x", "y", "z"]].to_numpy()
        apart = np.hypot(*(position[:, None, :2] - here[None, :, :2]).transpose(2, 0, 1))
        own = apart.argmin(axis=1)
        error = position - here[own]
        matched = (apart.min(axis=1) < MATCH_NM[0]) & (abs(error[:, 2]) < MATCH_NM[1])
        found.append(error[matched])
        scaled.append((error / rows[["x_sd", "y_sd", "z_sd"]].to_numpy())[matched])
        frames.append(np.full(matched.sum(), frame))
    return np.concatenate(found), np.concatenate(scaled), np.concatenate(frames)


def near_a_jump(frame: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n,) whether frames are among the last before a jump, or the first after it."""
    place = (frame - JUMP_FRAMES // 2 + NEAR_FRAMES) % JUMP_FRAMES
    return place < 2 * NEAR_FRAMES


def row(tables: dict[str, pd.DataFrame], truth: Truth, kind: str) -> dict[str, float]:
    """Errors of both tables."""
    values = {}
    for name, table in tables.items():
        error, scaled, frame = errors(table, truth)
        square = (error[:, :2] ** 2).sum(axis=1)
        values[f"{name}_lateral_nm"] = float(np.sqrt(square.mean()))
        values[f"{name}_axial_nm"] = float(np.sqrt((error[:, 2] ** 2).mean()))
        values[f"{name}_recall"] = len(error) / len(truth.frame)
        for axis, rms in zip("xyz", np.sqrt((scaled**2).mean(axis=0)), strict=True):
            values[f"{name}_normalised_error_{axis}"] = float(rms)
        # in the middle half of a normal distribution: without molecules beside one that was missed
        middle = np.median(abs(scaled), axis=0) / 0.6745
        values[f"{name}_normalised_error_of_most"] = float(np.sqrt((middle[:2] ** 2).mean()))
        if "jumps" in kind:
            near = near_a_jump(frame)
            values[f"{name}_near_jump_nm"] = float(np.sqrt(square[near].mean()))
            values[f"{name}_far_from_jump_nm"] = float(np.sqrt(square[~near].mean()))
    return values


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_json_option(parser)
    parser.add_argument("--cases", type=int, nargs="*", default=range(len(CASES)), help="numbers of the cases")
    parser.add_argument("--extend", action="store_true", help="keep the rows of earlier runs at the same commit")
    parser.add_argument("--drifts", nargs="*", default=DRIFTS, choices=DRIFTS)
    arguments = parser.parse_args()
    record, psf = Record("camera_drift", arguments.json, extend=arguments.extend), paper_psf()
    for case in (CASES[number] for number in arguments.cases):
        for kind in arguments.drifts:
            if "jumps" in kind and case.frames < 2 * JUMP_FRAMES:
                continue
            with tempfile.TemporaryDirectory() as folder:
                truth = draw(psf, case, kind, Path(folder), seed=1)
                tables, drift = localized(Path(folder), case.frames)
            found = drift.record() if drift else {}
            record.add(
                molecules=case.name,
                drift=kind,
                frames=case.frames,
                bound_lateral_nm=bound_nm(psf, truth, kind),
                **row(tables, truth, kind),
                jumps=len(found.get("jumps", ())),
                loose_frames=len(found.get("loose_frames", ())),
                walk_nm=float(np.sqrt(np.mean(np.square(found["walk_nm"])))) if found else None,
                white_nm=float(np.sqrt(np.mean(np.square(found["white_nm"])))) if found else None,
            )
    record.show(
        Column("molecules", "molecules"),
        Column("drift", "drift"),
        Column("bound, nm", "bound_lateral_nm", ".1f"),
        Column("every frame alone, nm", "today_lateral_nm", ".1f"),
        Column("movie, nm", "movie_lateral_nm", ".1f"),
        Column("normalised errors x, y", "movie_normalised_error_x movie_normalised_error_y", ".2f"),
        Column("of most", "movie_normalised_error_of_most", ".2f"),
    )


if __name__ == "__main__":
    main()
