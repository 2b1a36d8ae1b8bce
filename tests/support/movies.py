"""A short movie of molecules with known truth, behind turned and mirrored cameras, and its localization."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.localization.context import InputPaths
from planeloc.localization.localize import localize
from planeloc.localization.localize_frames import Job, Localizer
from planeloc.localization.settings import LocalizeSettings
from planeloc.movie.writer import write_movie
from planeloc.psf import Emitters, paper_psf, write_psf
from planeloc.transforms.camera_transform import Affine, Registration
from support.repository import QUADPLANE_WEIGHTS, RESOURCES

SIDE = 48
FRAMES_OF_FILES = 22
CAMERAS = tuple(
    Camera(f"camera {p}", offset_counts=100, electrons_per_count=0.5, read_noise_electrons=2) for p in range(4)
)
MICROSCOPE = Microscope("test", 192.0, "files", CAMERAS, ())
# camera 2 is mirrored, camera 3 turned by 5 mrad and shifted
MAPS = Registration(
    (
        Affine.identity(),
        Affine(np.eye(2), np.array([0.6, -0.3])),
        Affine(np.diag([-1.0, 1.0]), np.array([SIDE + 0.4, 0.2])),
        Affine(np.array([[1.0, 0.005], [-0.005, 1.0]]), np.array([-0.7, 0.9])),
    ),
    (0.0,) * 4,
)


@dataclass
class Source:
    counts: np.ndarray
    files: tuple = ()
    all_files: tuple = ()

    @property
    def shape(self):
        return self.counts.shape

    def read(self, start, stop):
        return self.counts[start:stop]


def expose(emitters, frames, seed=0, background=4.0):
    """Counts of emitters (frame, x, y, z, photons), integrated over pixels: not the model that is fitted."""
    psf = replace(paper_psf(), waist_nm=121.0, focus_depth_nm=275.0, asymmetry=0.0, pixel_integration=True)
    light = np.full((frames, 4, SIDE, SIDE), background)
    for frame, x, y, z, photons in emitters:
        for plane, camera in enumerate(MAPS.transforms):
            px = camera(np.array([x, y]) / 192.0) * 192.0
            values = (torch.tensor([v], dtype=torch.float64) for v in (*px, z, photons))
            light[int(frame), plane] += psf.expected_photons(Emitters(*values), (SIDE, SIDE))[0, plane].numpy()
    random = np.random.default_rng(seed)
    return np.stack([camera.expose(light[:, p], random) for p, camera in enumerate(CAMERAS)], axis=1)


def draw_emitters(frames, per_frame, seed=3):
    random = np.random.default_rng(seed)
    n = frames * per_frame
    lateral = random.uniform(900, SIDE * 192 - 900, (n, 2))
    frame = np.repeat(np.arange(frames), per_frame)
    return np.column_stack((frame, lateral, random.uniform(-600, 600, n), random.uniform(2500, 5400, n)))


def write_files(folder):
    write_movie(
        Source(expose(draw_emitters(FRAMES_OF_FILES, 3), FRAMES_OF_FILES)),
        folder / "m.zarr",
        folder / "m.json",
        MICROSCOPE,
        chunk_frames=6,
    )
    MAPS.write(folder / "registration.json")
    write_psf(folder / "psf.h5", paper_psf())
    return folder


def run(files, output, weights=QUADPLANE_WEIGHTS.name, synchronization=None, **settings):
    settings = LocalizeSettings(**{"workers": 1, "device": "cpu", "block_frames": 6, **settings})
    paths = (files / name for name in ("m.json", "registration.json", "psf.h5"))
    return localize(*paths, RESOURCES / weights, output, settings, synchronization=synchronization)


def localizer_of(
    files,
    registration="registration.json",
    weights=QUADPLANE_WEIGHTS.name,
    refine="likelihood",
    inter_camera_drift_nm=-1.0,
    threshold=0.005,
):
    paths = InputPaths(files / "m.json", files / registration, files / "psf.h5", RESOURCES / weights)
    return Localizer(
        Job(
            paths,
            LocalizeSettings(
                threshold=threshold, refine=refine, inter_camera_drift_nm=inter_camera_drift_nm, device="cpu"
            ),
        )
    )
