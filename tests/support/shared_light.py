"""Movies of blinking molecules that all cameras see in the same moment, with known lags and slips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.movie.camera_frames import CameraFrames
from planeloc.transforms.camera_transform import Affine, Registration

SIDE = 48
SPARE = 20  # frames before and after the movie, which a camera that is out of step shows


def transforms(planes: int) -> Registration:
    """Cameras of which every second is mirrored and the others are shifted by a pixel."""
    mirrored = Affine(np.diag([-1.0, 1.0]), np.array([float(SIDE), 0.0]))
    shifted = Affine(np.eye(2), np.array([1.0, -1.0]))
    chosen = (Affine.identity(), *(mirrored if plane % 2 else shifted for plane in range(1, planes)))
    return Registration(chosen, (0.0,) * planes)


@dataclass
class Recorded:
    """A movie in memory, as `planeloc.movie.store.Movie`; `moments` (planes, frames) says what every frame shows."""

    counts: np.ndarray
    moments: np.ndarray

    def __post_init__(self):
        self.shape = self.counts.shape
        self.frames, self.planes, self.height, self.width = self.shape
        self.recorded = ()
        self.camera_frames = CameraFrames.in_step(self.frames, self.planes)
        cameras = (Camera(f"camera {p}", 100, 0.5, read_noise_electrons=1) for p in range(self.planes))
        self.microscope = Microscope("test", 192.0, "files", tuple(cameras), ())

    def read(self, start, stop):
        return self.counts[start:stop]


def blinking_counts(frames: int, planes: int, molecules: float, photons: float, on: float, seed: int) -> np.ndarray:
    """(frames, planes, side, side) of molecules that are on for `on` frames in the mean, `molecules` in a frame.

    Every plane sees a third of the light or more, spread over some pixels by its own defocus.
    """
    random = np.random.default_rng(seed)
    light = np.full((frames, planes, SIDE, SIDE), 4.0)
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    registration = transforms(planes)
    for _ in range(round(frames * molecules / on)):
        start = random.uniform(-on, frames)
        stop, place = start + random.exponential(on), random.uniform(4, SIDE - 4, 2)
        share = np.clip(np.minimum(stop, np.arange(frames) + 1) - np.maximum(start, np.arange(frames)), 0, 1)
        lit = np.flatnonzero(share)
        for plane, transform in enumerate(registration.transforms):
            x, y = transform(place)
            width = random.uniform(0.9, 2.5)
            spot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * width**2)) / (2 * np.pi * width**2)
            light[lit, plane] += share[lit, None, None] * (photons / planes) * spot
    return (2 * random.poisson(light) + 100 + random.normal(0, 2, light.shape).round()).clip(0).astype(np.uint16)


def out_of_step(counts: np.ndarray, changes: dict[int, list[tuple[str, int, int]]]) -> Recorded:
    """Cameras with lags and slips: ``{plane: [("lag", frames, 0), ("lost" or "repeated", at, frames)]}``."""
    whole, planes = counts.shape[:2]
    frames = whole - 2 * SPARE
    moments = []
    for plane in range(planes):
        shown = list(range(SPARE, whole))
        for kind, first, second in changes.get(plane, []):
            if kind == "lag":
                shown = list(range(SPARE - first, whole))
            elif kind == "lost":
                del shown[first : first + second]
            else:
                shown[first:first] = shown[first : first + 1] * second
        moments.append(shown[:frames])
    moments = np.array(moments)
    recorded = np.stack([counts[own, plane] for plane, own in enumerate(moments)], axis=1)
    return Recorded(recorded, moments - SPARE)
