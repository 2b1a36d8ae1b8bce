"""The `simulate` stage: an acquisition as a multi-camera microscope would leave it on disk, and the truth beside it.

Labelled filaments (`structures`) blink (`blinking`) and are imaged (`imaging`) by cameras that each have their own
view: rotated, stretched, shifted, perhaps mirrored as a beam splitter does, and drifting slowly against the reference
camera during the movie. Before the movie, beads are scanned through focus; if asked for, the cameras also look into the
dark and at steady, uneven light. What is written:

=======================  =========================================================================================
movie_camera{p}.ome.tif  raw counts of camera p, one page per frame
beads_camera{p}.ome.tif  the bead scan of camera p, one page per position of the stage
dark_camera{p}.ome.tif   with `camera_movies`: a movie without any light; `bright_…` one of steady light, and for
                         EMCCDs `bright_without_em_…` the same light without EM gain
microscope.yaml          what a user knows from the data sheets
truth.csv                frame, x_nm, y_nm, z_nm, photons of every dye that shines, in the reference camera's nm
drift.csv                frame, plane, x_nm, y_nm: displacement of each camera's image, in the reference camera's nm
simulation.json          the settings and the true maps between the cameras
=======================  =========================================================================================

No other stage reads the last three, except that `evaluate` compares with the truth.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from scipy import ndimage

from planeloc import __version__
from planeloc.cameras.camera import Camera
from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path, write_json
from planeloc.core.progress import progress_bar
from planeloc.io.ome_tiff import OmeTiffWriter, physical_sizes
from planeloc.psf import PSF, GaussianPSF, read_psf
from planeloc.simulation.blinking import blinks, exposures
from planeloc.simulation.config import AffineSettings, SimulationSettings, read_settings
from planeloc.simulation.filaments import emitters
from planeloc.simulation.imaging import Imaging, MeasuredPSF, PsfImaging, add_windows, read_bead_stack
from planeloc.transforms.camera_transform import Affine

_BLOCK_FRAMES = 32
_TRIES_PER_BEAD = 200  # at random places, before giving up
_BATCH_EMITTERS = 512  # windows drawn at once
_RECORD = "simulation.json"
_OWN_FILE = re.compile(
    r"(movie|beads|dark|bright|bright_without_em)_camera\d+\.ome\.tif|microscope\.yaml|(truth|drift)\.csv|simulation\.json"
)


@dataclass(frozen=True)
class Scene:
    """Light to be recorded: one row per emitter and frame, ordered by frame."""

    frame: NDArray[np.int64]
    positions_nm: NDArray[np.float64]  # (n, 3) as x, y, z, in the reference camera
    photons: NDArray[np.float64]  # on all planes together, expected


@dataclass(frozen=True)
class Instrument:
    """Cameras and the light's way to them."""

    cameras: tuple[Camera, ...]
    maps: tuple[Affine, ...]  # reference camera → camera, pixels
    imaging: Imaging
    background: NDArray[np.float64]  # (planes, rows, columns), photons
    pixel_size_nm: float

    def expected(
        self, scene: Scene, start: int, stop: int, drift_nm: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """Expected photons of frames start … stop−1, (frames, planes, rows, columns).

        `drift_nm` (frames of the movie, planes, 2) displaces every camera's image, in nm of the reference camera.
        """
        expected = np.repeat(self.background[None], stop - start, axis=0)
        first, last = np.searchsorted(scene.frame, (start, stop))
        for batch in range(first, last, _BATCH_EMITTERS):
            rows = slice(batch, min(batch + _BATCH_EMITTERS, last))
            points_nm = np.repeat(scene.positions_nm[rows, None, :2], len(self.maps), axis=1)
            if drift_nm is not None:
                points_nm += drift_nm[scene.frame[rows]]
            points_px = points_nm / self.pixel_size_nm
            points_px = np.stack([to_camera(points_px[:, p]) for p, to_camera in enumerate(self.maps)], axis=1)
            images, corners = self.imaging.windows(points_px, scene.positions_nm[rows, 2], scene.photons[rows])
            add_windows(expected, scene.frame[rows] - start, images, corners)
        return expected


def simulate(settings_file: Path, output: Path) -> None:
    """Write a simulated acquisition into the folder `output`; the same settings give the same bytes.

    Progress goes to stderr. Raises `PlanelocError` for settings that are wrong (naming file and key) and for an output
    folder that holds anything other than an earlier simulation; nothing half-written is left.
    """
    settings = read_settings(settings_file)
    _check_output(output)
    instrument = build_instrument(settings)
    structure, blinking, drifting, beads, noise = np.random.SeedSequence(settings.seed).spawn(5)
    bead_noise, movie_noise, *camera_noise = noise.spawn(5)
    random = np.random.default_rng
    scan_nm = scan_positions(settings)
    scan = bead_scene(settings, scan_nm, random(beads))
    movie = blinking_scene(settings, random(structure), random(blinking))
    drift_nm = camera_drift(settings, random(drifting))
    with atomic_path(output) as folder:
        folder.mkdir()
        step = physical_sizes(Z=settings.beads.z_step_nm)
        _record(folder, "beads", scan, len(scan_nm), instrument, None, bead_noise, "ZYX", step)
        step = {"TimeIncrement": settings.exposure_s, "TimeIncrementUnit": "s"}
        _record(folder, "movie", movie, settings.frames, instrument, drift_nm, movie_noise, "TYX", step)
        _record_camera_movies(folder, settings, instrument, camera_noise)
        _write_truth(folder / "truth.csv", movie, settings.truth_least_photons)
        _write_drift(folder / "drift.csv", drift_nm)
        _write_microscope(folder / "microscope.yaml", settings)
        write_json(folder / _RECORD, _describe(settings, instrument.maps))


def build_instrument(settings: SimulationSettings) -> Instrument:
    """Cameras, maps, point spread function and background as the settings ask."""
    size = (settings.width_px, settings.height_px)
    maps = tuple(camera_map(camera.view, size) for camera in settings.cameras)
    brightness = np.array([camera.brightness for camera in settings.cameras])
    imaging = _imaging(settings, tuple(brightness / brightness.sum()), maps)
    if isinstance(imaging, PsfImaging):  # a calibrated one brings its own
        brightness = np.array(imaging.psf.brightness)
    return Instrument(
        cameras=tuple(camera.sensor for camera in settings.cameras),
        maps=maps,
        imaging=imaging,
        background=_background(settings, brightness / brightness.mean(), maps),
        pixel_size_nm=settings.pixel_size_nm,
    )


def camera_map(view: AffineSettings, size_px: tuple[int, int]) -> Affine:
    """Reference camera → camera: scaled and turned about the middle of the sensor, mirrored left to right, shifted."""
    angle = view.rotation_mrad / 1000
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scale = np.diag(1 + np.asarray(view.stretch_permille) / 1000)
    mirror = np.diag([-1.0 if view.mirrored else 1.0, 1.0])
    matrix = mirror @ turn @ scale
    middle = np.asarray(size_px) / 2
    return Affine(matrix, middle - matrix @ middle + np.asarray(view.shift_px))


def blinking_scene(
    settings: SimulationSettings, structure: np.random.Generator, blinking: np.random.Generator
) -> Scene:
    """The movie's light: filaments whose dyes blink, each blink with its own brightness."""
    border = settings.border_px * settings.pixel_size_nm
    right, bottom = (size * settings.pixel_size_nm - border for size in (settings.width_px, settings.height_px))
    dyes_nm = emitters((border, border, right, bottom), settings.structure, structure)
    events = blinks(len(dyes_nm), settings.frames * settings.exposure_s, settings.blinking, blinking)
    brightness = settings.blinking.photons * blinking.uniform(settings.blinking.dimmest, 1.0, len(events.emitter))
    event, frame, share = exposures(events, settings.frames, settings.exposure_s)
    return Scene(frame, dyes_nm[events.emitter[event]], brightness[event] * share)


def scan_positions(settings: SimulationSettings) -> NDArray[np.float64]:
    """Positions of the scanned stage, nm, symmetric about 0."""
    steps = round(settings.beads.scan_range_nm / settings.beads.z_step_nm)
    return np.arange(-steps, steps + 1) * settings.beads.z_step_nm


def bead_scene(settings: SimulationSettings, scan_nm: NDArray[np.float64], random: np.random.Generator) -> Scene:
    """The bead scan's light: beads on a slightly tilted cover slip, some of them off the edge of the sensor."""
    beads = settings.beads
    xy_nm = _scattered(settings, random) * settings.pixel_size_nm
    photons = random.uniform(beads.photons_least, beads.photons, len(xy_nm))
    rest_nm = beads.tilt_nm * (xy_nm[:, 0] / (settings.width_px * settings.pixel_size_nm) - 0.5)
    direction = -1.0 if beads.scan == "objective" else 1.0
    depth_nm = rest_nm + direction * scan_nm[:, None]
    slices, count = len(scan_nm), len(xy_nm)
    positions = np.column_stack([np.tile(xy_nm, (slices, 1)), depth_nm.reshape(-1)])
    return Scene(np.repeat(np.arange(slices), count), positions, np.tile(photons, slices))


def camera_drift(settings: SimulationSettings, random: np.random.Generator) -> NDArray[np.float64]:
    """(frames, planes, 2) nm: a smoothed random walk per axis from 0 at the first frame; plane 0 is the reference.

    Each walk is scaled so that its farthest point lies between half and all of `drift.largest_nm`.
    """
    drift = np.zeros((settings.frames, len(settings.cameras), 2))
    smoothing = settings.drift.smoothing_s / settings.exposure_s
    for plane in range(1, drift.shape[1]):
        for axis in range(2):
            walk = np.cumsum(random.normal(size=settings.frames))
            walk = ndimage.gaussian_filter1d(walk, smoothing, mode="nearest")
            walk -= walk[0]
            farthest = np.abs(walk).max()
            reach = settings.drift.largest_nm * random.uniform(0.5, 1.0)
            drift[:, plane, axis] = walk * (reach / farthest if farthest > 0 else 0.0)
    return drift


def _imaging(settings: SimulationSettings, brightness: tuple[float, ...], maps: tuple[Affine, ...]) -> Imaging:
    psf = settings.psf
    depths = tuple(camera.focus_nm for camera in settings.cameras)
    reach = max(settings.structure.depth_range_nm + 100, settings.beads.scan_range_nm + abs(settings.beads.tilt_nm))
    if psf.model == "gaussian":
        gaussian = GaussianPSF(
            pixel_size_nm=settings.pixel_size_nm,
            plane_depths_nm=depths,
            brightness=brightness,
            waist_nm=psf.waist_nm,
            focus_depth_nm=psf.focus_depth_nm,
            asymmetry=psf.asymmetry,
            quartic=psf.quartic,
            pixel_integration=True,
        )
        return PsfImaging.reaching(gaussian, reach)
    file = Path(psf.file)
    if psf.model == "calibrated":
        return PsfImaging.reaching(_calibrated(file, settings), reach)
    measured = MeasuredPSF.from_stack(
        read_bead_stack(file),
        offset_counts=psf.offset_counts,
        fine_pixel_nm=psf.pixel_size_nm,
        slice_nm=psf.z_step_nm if psf.scan == "objective" else -psf.z_step_nm,
        pixel_size_nm=settings.pixel_size_nm,
        plane_depths_nm=depths,
        brightness=brightness,
        mirrored=tuple(to_camera.mirrored for to_camera in maps),
    )
    low, high = measured.defocus_range_nm
    if min(depths) - reach < low or max(depths) + reach > high:
        raise PlanelocError(
            f"{file}: covers a defocus of {low:.0f} to {high:.0f} nm, but {min(depths) - reach:.0f} to "
            f"{max(depths) + reach:.0f} nm is needed; lower beads: scan_range_nm or structure: depth_range_nm"
        )
    return measured


def _calibrated(file: Path, settings: SimulationSettings) -> PSF:
    """The PSF of a calibration, with its own depths and brightness, which must be those of the settings' microscope."""
    psf = read_psf(file)
    pixel = settings.pixel_size_nm
    if psf.planes != len(settings.cameras) or abs(psf.pixel_size_nm - pixel) > 1e-3 * pixel:
        raise PlanelocError(
            f"{file}: {psf.planes} planes and pixels of {psf.pixel_size_nm:g} nm, but the simulation has "
            f"{len(settings.cameras)} and {pixel:g} nm; give the PSF of the same microscope"
        )
    return psf


def _background(
    settings: SimulationSettings, brightness: NDArray[np.float64], maps: tuple[Affine, ...]
) -> NDArray[np.float64]:
    """(planes, rows, columns) photons: a slope across the diagonal of the sample, on every camera where it sees it."""
    size = np.array([settings.width_px, settings.height_px])
    rows, columns = np.mgrid[: size[1], : size[0]] + 0.5
    pixels = np.stack([columns, rows], axis=-1)
    slopes = [(to_camera.inverse()(pixels) / size).mean(axis=-1) - 0.5 for to_camera in maps]
    relative = np.clip(1 + settings.background_gradient * np.stack(slopes), 0.0, None)
    return settings.background_photons * brightness[:, None, None] * relative


def _scattered(settings: SimulationSettings, random: np.random.Generator) -> NDArray[np.float64]:
    """Bead positions (n, 2) in reference pixels, apart from each other, a little beyond the sensor's edge too."""
    beads = settings.beads
    low = np.full(2, -float(beads.beyond_px))
    high = np.array([settings.width_px, settings.height_px]) + float(beads.beyond_px)
    placed = np.zeros((0, 2))
    for _ in range(_TRIES_PER_BEAD * beads.count):
        if len(placed) == beads.count:
            break
        point = random.uniform(low, high)
        if not len(placed) or np.hypot(*(placed - point).T).min() >= beads.apart_px:
            placed = np.vstack([placed, point])
    if len(placed) < beads.count:
        raise PlanelocError(
            f"setting beads: count: only {len(placed)} of {beads.count} beads fit {beads.apart_px:g} px apart; "
            "lower count or apart_px"
        )
    return placed


def _record(
    folder: Path,
    stem: str,
    scene: Scene,
    length: int,
    instrument: Instrument,
    drift_nm: NDArray[np.float64] | None,
    seed: np.random.SeedSequence,
    axes: str,
    step: dict[str, Any],
) -> None:
    """Expose all cameras to a scene and write a stack for each, block by block; `step` describes the first axis."""
    randoms = [np.random.default_rng(child) for child in seed.spawn(len(instrument.cameras))]
    shape = (length, *instrument.background.shape[1:])
    with ExitStack() as stack:
        writers = []
        for plane, camera in enumerate(instrument.cameras):
            description = {"Name": f"{stem} {camera.name}", "Channel": {"Name": [camera.name]}, **step}
            description |= physical_sizes(X=instrument.pixel_size_nm, Y=instrument.pixel_size_nm)
            path = folder / f"{stem}_camera{plane}.ome.tif"
            writers.append(stack.enter_context(OmeTiffWriter(path, shape, axes, description)))
        progress = stack.enter_context(progress_bar(length, f"simulate {stem}", "frame"))
        for start in range(0, length, _BLOCK_FRAMES):
            stop = min(start + _BLOCK_FRAMES, length)
            expected = instrument.expected(scene, start, stop, drift_nm)
            for plane, (camera, writer) in enumerate(zip(instrument.cameras, writers, strict=True)):
                writer.append(camera.expose(expected[:, plane], randoms[plane]))
            progress.update(stop - start)


def _record_camera_movies(
    folder: Path, settings: SimulationSettings, instrument: Instrument, seeds: list[np.random.SeedSequence]
) -> None:
    """Movies to measure the cameras by, if asked for: nothing but a background, of no light or of a lamp."""
    frames = settings.camera_movies.frames
    if not frames:
        return
    nothing = Scene(np.zeros(0, dtype=np.int64), np.zeros((0, 3)), np.zeros(0))
    lamp = replace(instrument, background=lamp_light(settings))
    without_em = replace(lamp, cameras=tuple(replace(camera, em_gain=1.0) for camera in lamp.cameras))
    movies = {"dark": replace(instrument, background=np.zeros_like(lamp.background)), "bright": lamp}
    if any(camera.em_gain > 1 for camera in instrument.cameras):
        movies["bright_without_em"] = without_em
    step = {"TimeIncrement": settings.exposure_s, "TimeIncrementUnit": "s"}
    for (stem, seen), seed in zip(movies.items(), seeds, strict=False):
        _record(folder, stem, nothing, frames, seen, None, seed, "TYX", step)


def lamp_light(settings: SimulationSettings) -> NDArray[np.float64]:
    """(planes, rows, columns) photons of a lamp that is brightest off the middle of the field, as most are."""
    movies = settings.camera_movies
    rows, columns = np.mgrid[: settings.height_px, : settings.width_px] + 0.5
    squared = (rows / settings.height_px - 0.45) ** 2 + (columns / settings.width_px - 0.55) ** 2
    beam = movies.dimmest + (1 - movies.dimmest) * np.exp(-squared / (2 * 0.3**2))
    tops = []
    for camera in (entry.sensor for entry in settings.cameras):
        half_full = 0.5 * (min(camera.saturation_counts, 65535) - camera.offset_counts) * camera.photons_per_count
        tops.append(min(movies.photons, half_full))
    return np.array(tops)[:, None, None] * beam


def _check_output(output: Path) -> None:
    """Refuse to replace anything but an earlier simulation, since a folder is replaced as a whole."""
    if not output.exists():
        return
    names = {path.name for path in output.iterdir()} if output.is_dir() else {output.name}
    if names and (_RECORD not in names or not all(_OWN_FILE.fullmatch(name) for name in names)):
        raise PlanelocError(f"{output}: holds other files; give an empty or new folder for the simulation")


def _write_truth(path: Path, scene: Scene, least_photons: float) -> None:
    listed = scene.photons >= least_photons
    columns = dict(zip(("x_nm", "y_nm", "z_nm"), scene.positions_nm[listed].T, strict=True))
    table = pd.DataFrame({"frame": scene.frame[listed], **columns, "photons": scene.photons[listed]})
    table.to_csv(path, index=False, float_format="%.2f", lineterminator="\n")


def _write_drift(path: Path, drift_nm: NDArray[np.float64]) -> None:
    frames, planes, _ = drift_nm.shape
    frame, plane = np.divmod(np.arange(frames * planes), planes)
    table = pd.DataFrame(
        {"frame": frame, "plane": plane, "x_nm": drift_nm[..., 0].ravel(), "y_nm": drift_nm[..., 1].ravel()}
    )
    table.to_csv(path, index=False, float_format="%.3f", lineterminator="\n")


def _write_microscope(path: Path, settings: SimulationSettings) -> None:
    content = {
        "name": "simulated microscope",
        "pixel_size_nm": settings.pixel_size_nm,
        "layout": "files",
        "cameras": [asdict(_as_declared(camera.sensor, settings)) for camera in settings.cameras],
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _as_declared(camera: Camera, settings: SimulationSettings) -> Camera:
    """What the camera's data sheet says, if it is not quite right."""
    movies = settings.camera_movies
    return replace(
        camera,
        offset_counts=camera.offset_counts + movies.sheet_offset_counts,
        electrons_per_count=camera.electrons_per_count * movies.sheet_gain,
    )


def _describe(settings: SimulationSettings, maps: tuple[Affine, ...]) -> dict[str, Any]:
    """What simulation.json holds; maps as in registration.json."""
    return {
        "format": "planeloc simulation 1",
        "planeloc": __version__,
        "settings": asdict(settings),
        "maps": [{"matrix": m.matrix.tolist(), "shift_px": m.shift_px.tolist()} for m in maps],
    }
