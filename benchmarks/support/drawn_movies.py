"""Movies of simulated molecules, in files as the pipeline takes them, with their ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.movie.writer import write_movie
from planeloc.psf import PSF, write_psf
from planeloc.scenes.draw import draw_batch
from planeloc.scenes.scene import Scene
from planeloc.transforms.camera_transform import Registration

CAMERA = Camera("benchmark", offset_counts=100, electrons_per_count=0.5, read_noise_electrons=3.0)
FILES = ("movie.json", "registration.json", "psf.h5")
TRUTH = "truth.csv"


@dataclass
class Frames:
    """Counts in memory, as `write_movie` takes them."""

    counts: np.ndarray
    files: tuple = ()
    all_files: tuple = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.counts.shape

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.counts[start:stop]


def write_drawn_movie(
    folder: Path, psf: PSF, scene: Scene, frames: int, calibrated: PSF | None = None, seed: int = 1
) -> None:
    """A movie of scenes that are drawn for every frame, its calibration, and the ground truth.

    The background is the middle of the scene's range. `calibrated` is the PSF that the pipeline is given, where it is
    not the one that makes the images.
    """
    background = float(np.mean(scene.background))
    generator = torch.Generator().manual_seed(seed)
    counts = np.empty((frames, psf.planes, scene.window_px, scene.window_px), dtype=np.uint16)
    truth = []
    for frame in range(frames):
        batch = draw_batch(psf, scene, 1, generator)
        photons = batch.images[0].numpy() + background
        counts[frame] = np.rint(photons / CAMERA.photons_per_count + CAMERA.offset_counts).clip(0, 65535)
        x, y, z = batch.positions_nm[0].numpy().T
        truth.append(pd.DataFrame({"frame": frame, "x": x, "y": y, "z": z, "photons": batch.photons[0].numpy()}))
    microscope = Microscope("benchmark", psf.pixel_size_nm, cameras=(CAMERA,) * psf.planes)
    write_movie(Frames(counts), folder / "movie.zarr", folder / FILES[0], microscope)
    Registration.identity(psf.planes).write(folder / FILES[1])
    write_psf(folder / FILES[2], calibrated or psf)
    pd.concat(truth).to_csv(folder / TRUTH, index=False)
