"""The `simulate` stage: camera files as a multi-camera microscope writes them, with their ground truth.

Labelled filaments (`filaments`) blink (`blinking`) and are imaged (`imaging`) by cameras that are rotated, stretched,
shifted, perhaps mirrored, and drift against the reference camera (`microscope`). Beads are scanned through focus before
the movie. Optional movies without and with steady illumination serve the camera calibration. Output:

=======================  =========================================================================================
movie_camera{p}.ome.tif  raw counts of camera p, one page per frame
beads_camera{p}.ome.tif  the bead scan of camera p, one page per position of the stage
dark_camera{p}.ome.tif   with `camera_movies`: without illumination; `bright_…` with steady illumination, and for
                         EMCCDs `bright_without_em_…` with the same illumination and no EM gain
microscope.yaml          what a user knows from the data sheets
truth.csv                frame, x_nm, y_nm, z_nm, photons of every emitting dye, in the reference camera's nm, with
                         the sample at its mean position, where `correct-drift` leaves it
sample_drift.csv         frame, x_nm, y_nm, z_nm: displacement of the sample; only if the settings move it
inter_camera_drift.csv   frame, plane, x_nm, y_nm: displacement of each camera's image, in the reference camera's nm
simulation.json          the settings and the true transforms between the cameras
=======================  =========================================================================================

No other stage reads the last four, except that `evaluate` compares with the ground truth.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from planeloc import __version__
from planeloc.cameras.camera import Camera
from planeloc.core import marks
from planeloc.core.files import atomic_path, write_json
from planeloc.core.progress import progress_bar
from planeloc.io.ome_tiff import OmeTiffWriter, physical_sizes
from planeloc.simulation.microscope import SimulatedMicroscope, build_microscope, lamp_illumination
from planeloc.simulation.scenes import (
    SimulatedScene,
    bead_scene,
    blinking_scene,
    inter_camera_drift,
    sample_drift,
    scan_positions,
)
from planeloc.simulation.settings import SimulationSettings, read_settings
from planeloc.transforms.camera_transform import Affine

_BLOCK_FRAMES = 32
_RECORD = "simulation.json"


def simulate(settings_file: Path, output: Path) -> None:
    """Write a simulated acquisition into the folder `output`; the same settings give the same bytes.

    Raises
    ------
    PlanelocError : the settings are wrong, or the folder holds anything but an earlier simulation.
    """
    settings = read_settings(settings_file)
    marks.refuse_foreign(output, marks.SIMULATION)
    microscope = build_microscope(settings)
    structure, blinking, drifting, beads, noise, moving = np.random.SeedSequence(settings.seed).spawn(6)
    bead_noise, movie_noise, *camera_noise = noise.spawn(5)
    random = np.random.default_rng
    scan_nm = scan_positions(settings)
    scan = bead_scene(settings, scan_nm, random(beads))
    movie = blinking_scene(settings, random(structure), random(blinking))
    drift_nm = inter_camera_drift(settings, random(drifting))
    sample_nm = sample_drift(settings, random(moving))
    with atomic_path(output, marks.SIMULATION) as folder:
        folder.mkdir()
        step = physical_sizes(Z=settings.beads.z_step_nm)
        _record(folder, "beads", scan, len(scan_nm), microscope, None, bead_noise, "ZYX", step)
        step = _time_step(settings)
        _record(
            folder, "movie", movie.moved(sample_nm), settings.frames, microscope, drift_nm, movie_noise, "TYX", step
        )
        _record_camera_movies(folder, settings, microscope, camera_noise)
        _write_ground_truth(folder / "truth.csv", movie, settings.truth_least_photons)
        _write_inter_camera_drift(folder / "inter_camera_drift.csv", drift_nm)
        if sample_nm.any():
            _write_sample_drift(folder / "sample_drift.csv", sample_nm)
        _write_microscope(folder / "microscope.yaml", settings)
        write_json(folder / _RECORD, _describe(settings, microscope.transforms), marks.SIMULATION_RECORD)


def _record(
    folder: Path,
    stem: str,
    scene: SimulatedScene,
    length: int,
    microscope: SimulatedMicroscope,
    drift_nm: NDArray[np.float64] | None,
    seed: np.random.SeedSequence,
    axes: str,
    step: dict[str, Any],
) -> None:
    """Record a scene with all cameras, block by block; `step` describes the first axis for OME."""
    randoms = [np.random.default_rng(child) for child in seed.spawn(len(microscope.cameras))]
    shape = (length, *microscope.background.shape[1:])
    with ExitStack() as stack:
        writers = []
        for plane, camera in enumerate(microscope.cameras):
            description = {"Name": f"{stem} {camera.name}", "Channel": {"Name": [camera.name]}, **step}
            description |= physical_sizes(X=microscope.pixel_size_nm, Y=microscope.pixel_size_nm)
            path = folder / f"{stem}_camera{plane}.ome.tif"
            writers.append(stack.enter_context(OmeTiffWriter(path, shape, axes, description)))
        progress = stack.enter_context(progress_bar(length, f"simulate {stem}", "frame"))
        for start in range(0, length, _BLOCK_FRAMES):
            stop = min(start + _BLOCK_FRAMES, length)
            expected = microscope.expected(scene, start, stop, drift_nm)
            for plane, (camera, writer) in enumerate(zip(microscope.cameras, writers, strict=True)):
                writer.append(camera.expose(expected[:, plane], randoms[plane]))
            progress.update(stop - start)


def _record_camera_movies(
    folder: Path, settings: SimulationSettings, microscope: SimulatedMicroscope, seeds: list[np.random.SeedSequence]
) -> None:
    """Movies for the camera calibration, if the settings ask for them: dark, and of a lamp."""
    frames = settings.camera_movies.frames
    if not frames:
        return
    empty = SimulatedScene(np.zeros(0, dtype=np.int64), np.zeros((0, 3)), np.zeros(0))
    lamp = replace(microscope, background=lamp_illumination(settings))
    movies = {"dark": replace(microscope, background=np.zeros_like(lamp.background)), "bright": lamp}
    if any(camera.em_gain > 1 for camera in microscope.cameras):
        without_em = tuple(replace(camera, em_gain=1.0) for camera in lamp.cameras)
        movies["bright_without_em"] = replace(lamp, cameras=without_em)
    for (stem, scope), seed in zip(movies.items(), seeds, strict=False):
        _record(folder, stem, empty, frames, scope, None, seed, "TYX", _time_step(settings))


def _time_step(settings: SimulationSettings) -> dict[str, Any]:
    return {"TimeIncrement": settings.exposure_s, "TimeIncrementUnit": "s"}


def _write_ground_truth(path: Path, scene: SimulatedScene, least_photons: float) -> None:
    listed = scene.photons >= least_photons
    columns = dict(zip(("x_nm", "y_nm", "z_nm"), scene.positions_nm[listed].T, strict=True))
    table = pd.DataFrame({"frame": scene.frame[listed], **columns, "photons": scene.photons[listed]})
    table.to_csv(path, index=False, float_format="%.2f", lineterminator="\n")


def _write_inter_camera_drift(path: Path, drift_nm: NDArray[np.float64]) -> None:
    frames, planes, _ = drift_nm.shape
    frame, plane = np.divmod(np.arange(frames * planes), planes)
    x_nm, y_nm = drift_nm.reshape(-1, 2).T
    table = pd.DataFrame({"frame": frame, "plane": plane, "x_nm": x_nm, "y_nm": y_nm})
    table.to_csv(path, index=False, float_format="%.3f", lineterminator="\n")


def _write_sample_drift(path: Path, drift_nm: NDArray[np.float64]) -> None:
    table = pd.DataFrame(drift_nm, columns=["x_nm", "y_nm", "z_nm"]).rename_axis("frame")
    table.to_csv(path, float_format="%.3f", lineterminator="\n")


def _write_microscope(path: Path, settings: SimulationSettings) -> None:
    content = {
        "name": "simulated microscope",
        "pixel_size_nm": settings.pixel_size_nm,
        "layout": "files",
        "cameras": [asdict(_as_declared(camera.sensor, settings)) for camera in settings.cameras],
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _as_declared(camera: Camera, settings: SimulationSettings) -> Camera:
    """The camera as its data sheet describes it, with the errors that the settings give."""
    movies = settings.camera_movies
    return replace(
        camera,
        offset_counts=camera.offset_counts + movies.sheet_offset_counts,
        electrons_per_count=camera.electrons_per_count * movies.sheet_gain,
    )


def _describe(settings: SimulationSettings, transforms: tuple[Affine, ...]) -> dict[str, Any]:
    """Content of simulation.json; transforms as in registration.json."""
    return {
        "format": "planeloc simulation 1",
        "planeloc": __version__,
        "settings": asdict(settings),
        "maps": [{"matrix": m.matrix.tolist(), "shift_px": m.shift_px.tolist()} for m in transforms],
    }
