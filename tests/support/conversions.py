"""Camera files to convert, and where their movie goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.movie.convert import convert
from planeloc.movie.settings import ConvertSettings
from planeloc.movie.store import Movie

NAMES = ("left", "right", "third")
AS_NOISY = {"read_noise_electrons": 10.0}  # with 20 photons above the offset: the variance of `counts`
WRITTEN = {"movie.zarr", "movie.manifest.json", "movie.quality.json"}


def microscope(planes: int = 2, **camera: float) -> Microscope:
    return Microscope("test", 100.0, "files", tuple(Camera(name=NAMES[i], **camera) for i in range(planes)))


def counts(frames: int = 23, planes: int = 2, height: int = 14, width: int = 18) -> np.ndarray:
    random = np.random.default_rng(frames)
    return random.poisson(120, (frames, planes, height, width)).astype(np.uint16)


class Folder:
    """A folder with camera files and the paths of what is made of them."""

    def __init__(self, path: Path, counts: np.ndarray) -> None:
        self.path = path
        results = path / "results"
        self.store, self.manifest = results / "movie.zarr", results / "movie.manifest.json"
        self.quality = results / "movie.quality.json"
        self.files = [path / f"{NAMES[plane]}.tif" for plane in range(counts.shape[1])]
        for plane, file in enumerate(self.files):
            tifffile.imwrite(file, counts[:, plane], photometric="minisblack", metadata=None)

    def convert(self, scope: Microscope | None = None, **settings: int) -> Movie:
        scope = scope or microscope(len(self.files))
        convert(self.files, scope, self.store, self.manifest, self.quality, ConvertSettings(**settings))
        return Movie.open(self.manifest)

    def chunk(self, index: int) -> Path:
        return self.store / "counts" / "c" / str(index) / "0" / "0" / "0"

    def results(self) -> set[str]:
        results = self.path / "results"
        return {path.name for path in results.iterdir()} if results.is_dir() else set()
