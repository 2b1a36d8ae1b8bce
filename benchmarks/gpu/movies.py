"""Movies for the stages, drawn on the device: the microscope of a network, with new molecules and drift in a frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from benchmarks.support.drawn_movies import CAMERA, FILES, TRUTH, Frames

from planeloc.cameras.microscope import Microscope
from planeloc.localization.context import InputPaths
from planeloc.movie.writer import write_movie
from planeloc.networks.weight_files import load_network
from planeloc.psf import PSF, GaussianPSF, SplinePSF, write_psf
from planeloc.psf.cubic_spline import Knots
from planeloc.scenes.draw import draw_batch
from planeloc.transforms.camera_transform import Registration

_DRAWN_BYTES = {"cpu": 128 << 20, "cuda": 2 << 30}  # of images of single molecules


@dataclass(frozen=True)
class Repeated:
    """Counts that begin again at the end: drawing, not localizing, would else take the time."""

    counts: np.ndarray
    frames: int
    files: tuple = ()
    all_files: tuple = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.frames, *self.counts.shape[1:]

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.counts[np.arange(start, stop) % len(self.counts)]


def as_spline(psf: GaussianPSF) -> SplinePSF:
    """The formula as a spline PSF of the size that `calibrate` gives, whose coefficients are zero."""
    knots = Knots(31, psf.pixel_size_nm / 2, 30, 75.0, -1100.0)
    return SplinePSF(psf, knots, torch.zeros(1, 30, 31, 31, dtype=torch.float64), (0,) * psf.planes)


def draw_movie(
    folder: Path,
    weights: Path,
    device: torch.device,
    side_px: int,
    molecules: int,
    frames: int,
    distinct: int,
    calibrated: PSF | None = None,
    threads: int = 1,
) -> InputPaths:
    """Write a movie of a network's microscope, its calibration and the ground truth of the distinct frames.

    Parameters
    ----------
    molecules : in every frame.
    frames, distinct : of the movie, and of those that are drawn.
    calibrated : PSF that the pipeline is given, where it is not the one that makes the images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _, record = load_network(weights)
    background = float(np.mean(record.scene.background))
    scene = replace(
        record.scene,
        window_px=side_px,
        emitters=molecules,
        background=(background, background),
        read_noise_photons=CAMERA.read_noise_photons(),
        background_error=0.0,
        registration_resampling=False,
    )
    psf, generator = record.psf, torch.Generator(device).manual_seed(1)
    at_once = max(1, _DRAWN_BYTES[device.type] // (4 * molecules * psf.planes * side_px**2))
    counts = np.empty((distinct, psf.planes, side_px, side_px), dtype=np.uint16)
    truth = []
    for first in range(0, distinct, at_once):
        batch = draw_batch(psf, scene, min(at_once, distinct - first), generator)
        photons = (batch.images + background) / CAMERA.photons_per_count + CAMERA.offset_counts
        counts[first : first + len(batch)] = photons.round().clamp(0, 65535).int().cpu().numpy()
        columns = torch.cat((batch.positions_nm, batch.photons[..., None]), dim=2).flatten(0, 1).cpu().numpy()
        own = pd.DataFrame(columns, columns=["x", "y", "z", "photons"])
        own.insert(0, "frame", np.repeat(np.arange(first, first + len(batch)), molecules))
        truth.append(own)
    source = Frames(counts) if frames == distinct else Repeated(counts, frames)
    microscope = Microscope("benchmark", psf.pixel_size_nm, cameras=(CAMERA,) * psf.planes)
    write_movie(source, folder / "movie.zarr", folder / FILES[0], microscope, threads=threads)
    Registration.identity(psf.planes).write(folder / FILES[1])
    write_psf(folder / FILES[2], calibrated or psf)
    pd.concat(truth).to_csv(folder / TRUTH, index=False)
    return InputPaths(*(folder / name for name in FILES), weights)
