"""What the simulated microscope records: blinking dyes, bead scans, the drift of the sample and of the cameras."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from planeloc.core.errors import PlanelocError
from planeloc.simulation.blinking import blinks, exposures
from planeloc.simulation.filaments import emitters
from planeloc.simulation.settings import SimulationSettings

_TRIES_PER_BEAD = 200  # random positions tried before giving up


@dataclass(frozen=True)
class SimulatedScene:
    """Emitters to record: one row per emitter and frame, ordered by frame."""

    frame: NDArray[np.int64]
    positions_nm: NDArray[np.float64]  # (n, 3) as x, y, z, in the reference camera
    photons: NDArray[np.float64]  # on all planes together, expected

    def moved(self, drift_nm: NDArray[np.float64]) -> SimulatedScene:
        """The scene as it is seen while the sample is displaced by `drift_nm` (frames, 3) nm."""
        return replace(self, positions_nm=self.positions_nm + drift_nm[self.frame])


def blinking_scene(
    settings: SimulationSettings, structure: np.random.Generator, blinking: np.random.Generator
) -> SimulatedScene:
    """The movie: filaments with blinking dyes; each blink has its own brightness."""
    border = settings.border_px * settings.pixel_size_nm
    right, bottom = (size * settings.pixel_size_nm - border for size in (settings.width_px, settings.height_px))
    dyes_nm = emitters((border, border, right, bottom), settings.structure, structure)
    events = blinks(len(dyes_nm), settings.frames * settings.exposure_s, settings.blinking, blinking)
    brightness = settings.blinking.photons * blinking.uniform(settings.blinking.dimmest, 1.0, len(events.emitter))
    event, frame, share = exposures(events, settings.frames, settings.exposure_s)
    return SimulatedScene(frame, dyes_nm[events.emitter[event]], brightness[event] * share)


def scan_positions(settings: SimulationSettings) -> NDArray[np.float64]:
    """Positions of the scanned stage, nm, symmetric about 0."""
    steps = round(settings.beads.scan_range_nm / settings.beads.z_step_nm)
    return np.arange(-steps, steps + 1) * settings.beads.z_step_nm


def bead_scene(
    settings: SimulationSettings, scan_nm: NDArray[np.float64], random: np.random.Generator
) -> SimulatedScene:
    """The bead scan: beads on a slightly tilted coverslip, some of them beyond the edge of the sensor."""
    beads = settings.beads
    xy_nm = _random_positions(settings, random) * settings.pixel_size_nm
    photons = random.uniform(beads.photons_least, beads.photons, len(xy_nm))
    rest_nm = beads.tilt_nm * (xy_nm[:, 0] / (settings.width_px * settings.pixel_size_nm) - 0.5)
    direction = -1.0 if beads.scan == "objective" else 1.0
    depth_nm = rest_nm + direction * scan_nm[:, None]
    slices, count = len(scan_nm), len(xy_nm)
    positions = np.column_stack([np.tile(xy_nm, (slices, 1)), depth_nm.reshape(-1)])
    return SimulatedScene(np.repeat(np.arange(slices), count), positions, np.tile(photons, slices))


def inter_camera_drift(settings: SimulationSettings, random: np.random.Generator) -> NDArray[np.float64]:
    """Displacement of every camera's image, (frames, planes, 2) nm; 0 in the first frame and on plane 0.

    A smoothed random walk per axis, scaled so that its largest value is between half and all of
    `inter_camera_drift.largest_nm`.
    """
    drift = np.zeros((settings.frames, len(settings.cameras), 2))
    smoothing = settings.inter_camera_drift.smoothing_s / settings.exposure_s
    for plane in range(1, drift.shape[1]):
        for axis in range(2):
            walk = np.cumsum(random.normal(size=settings.frames))
            walk = ndimage.gaussian_filter1d(walk, smoothing, mode="nearest")
            walk -= walk[0]
            farthest = np.abs(walk).max()
            reach = settings.inter_camera_drift.largest_nm * random.uniform(0.5, 1.0)
            drift[:, plane, axis] = walk * (reach / farthest if farthest > 0 else 0.0)
    return drift


def sample_drift(settings: SimulationSettings, random: np.random.Generator) -> NDArray[np.float64]:
    """Displacement of the sample, (frames, 3) nm; its mean is 0, as that of what `correct-drift` subtracts."""
    drift, frames = settings.sample_drift, settings.frames
    time = np.linspace(0, 1, frames)
    if drift.settling_s > 0:
        time = -np.expm1(-time * frames * settings.exposure_s / drift.settling_s)
        time /= time[-1] if time[-1] > 0 else 1.0
    steps = random.normal(size=(frames, 3)) * np.asarray(drift.walk_nm) / np.sqrt(frames)
    path = time[:, None] * np.asarray(drift.distance_nm) + np.cumsum(steps, axis=0)
    return path - path.mean(axis=0)


def _random_positions(settings: SimulationSettings, random: np.random.Generator) -> NDArray[np.float64]:
    """Bead positions (n, 2) in reference pixels, with their least distance, some slightly beyond the sensor's edge."""
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
