"""Bead scans with known truth in which something went wrong at the microscope, one fault or many at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile
import torch

from planeloc.cameras.microscope import Microscope
from planeloc.psf import Emitters, GaussianPSF
from support.bead_scans import PSF, microscope_of

STEP_NM = 80.0
SLICES = 21
PIXEL_NM = PSF.pixel_size_nm
TRUTH = replace(PSF, plane_depths_nm=(-200.0, 200.0), brightness=(0.45, 0.55))


@dataclass(frozen=True)
class Recording:
    """A scan as it was recorded: everything is as it should be, but for what a test changes."""

    truth: GaussianPSF = TRUTH
    side_px: int = 64
    beads: int = 5
    apart_px: float = 15.0  # least distance of two beads
    rim_px: float = 8.0  # least distance of a bead from the border
    photons: float = 2e4  # of a bead, on all planes together
    spread: float = 0.3  # of their logarithm
    background: float = 4.0
    light_kept: float = 1.0  # at the end of the scan; the rest has bleached
    one_moves_px: float = 0.0  # way of the first bead, from the middle of the scan
    all_move_px: float = 0.0  # rms random walk of every bead by itself
    stage_moves_px: float = 0.0  # way of all beads together, along x
    stage_jumps_nm: float = 0.0  # along z, in the middle of the scan
    stage_returns: int = 0  # slices for which the stage goes back
    off_focus_nm: float = 0.0
    clumps: int = 0  # beads that are two, 1.5 px apart
    hot_pixels: int = 0  # on every camera
    swapped: bool = False
    upside_down: bool = False  # camera 1
    other_field: bool = False  # of camera 1
    empty_camera: int | None = None  # without beads
    dead_camera: int | None = None  # the same number everywhere
    dead_counts: int = 0
    offset_error_counts: float = 0.0  # in the microscope file
    full_counts: int = 65535  # at which the camera clips, which its file does not say
    dtype: str = "uint16"
    seed: int = 0

    def write(self, folder: Path) -> tuple[list[Path], Microscope]:
        """One TIFF per camera, and the microscope file that goes with them; an objective scan in steps of STEP_NM."""
        folder.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(self.seed)
        microscope = microscope_of(self.truth.planes)
        exposing = list(microscope.cameras)
        images = [self._images(p, *beads) for p, beads in enumerate(self._beads(random))]
        files = []
        for p, expected in enumerate(images):
            counts = exposing[p].expose(expected, random)
            counts[:, *self._hot(random)] = 60000
            if p == self.dead_camera:
                counts[:] = self.dead_counts
            counts = np.minimum(counts, min(self.full_counts, np.iinfo(self.dtype).max)).astype(self.dtype)
            files.append(folder / f"beads_{p}.tif")
            tifffile.imwrite(files[-1], counts, photometric="minisblack")
        if self.swapped:
            files.reverse()
        said = tuple(replace(c, offset_counts=max(c.offset_counts + self.offset_error_counts, 0)) for c in exposing)
        return files, replace(microscope, cameras=said)

    def _hot(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return tuple(random.integers(0, self.side_px, (2, self.hot_pixels)))

    def _travel(self) -> np.ndarray:
        travel = -STEP_NM * (np.arange(SLICES) - (SLICES - 1) / 2) + self.off_focus_nm
        middle = SLICES // 2
        travel[middle:] += self.stage_jumps_nm
        back = slice(middle, middle + self.stage_returns)
        travel[back] = travel[back][::-1]
        return travel

    def _beads(self, random: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
        """Per camera, places (beads, slices, 2) in px and light (beads,) in photons."""
        positions = self._scattered(random)
        light = self.photons * np.exp(self.spread * random.uniform(-1, 1, len(positions)))
        way = np.cumsum(random.normal(0, 1, (len(positions), SLICES, 2)), axis=1)
        way -= way.mean(axis=1, keepdims=True)
        way *= self.all_move_px / np.sqrt(max(float(np.mean(way**2)), 1e-18) if len(way) else 1.0)
        way[..., 0] += self.stage_moves_px * np.linspace(-0.5, 0.5, SLICES)
        if len(way):
            way[0, SLICES // 2 :, 0] += self.one_moves_px
        seen = []
        for p in range(self.truth.planes):
            if p == 1 and self.other_field:
                positions = self._scattered(random)
            places = (
                positions[:, None] + way if len(positions) == len(way) else np.repeat(positions[:, None], SLICES, 1)
            )
            if p == 1 and self.upside_down:
                places = self.side_px - places
            none = p == self.empty_camera
            seen.append((places[:0] if none else places, light[:0] if none else light[: len(places)]))
        return seen

    def _scattered(self, random: np.random.Generator) -> np.ndarray:
        """As many places as there is room for."""
        points: list[np.ndarray] = []
        for _ in range(500):
            if len(points) == self.beads:
                break
            point = self.rim_px + random.random(2) * (self.side_px - 2 * self.rim_px)
            if all(np.hypot(*(point - other)) > self.apart_px for other in points):
                points.append(point)
        return np.array(points).reshape(-1, 2)

    def _images(self, plane: int, places: np.ndarray, light: np.ndarray) -> np.ndarray:
        """(slices, rows, columns) expected photons."""
        z = torch.tensor(self._travel())
        kept = torch.linspace(1.0, self.light_kept, SLICES, dtype=torch.float64)
        shape = (self.side_px, self.side_px)
        images = torch.full((SLICES, *shape), self.background, dtype=torch.float64)
        for bead, (place, photons) in enumerate(zip(places, light, strict=True)):
            twins = ((-0.75, 0.5), (0.75, 0.5)) if bead < self.clumps else ((0.0, 1.0),)
            for aside, share in twins:
                x, y = (torch.tensor(at * PIXEL_NM) for at in (place[:, 0] + aside, place[:, 1]))
                images += self.truth.expected_photons(Emitters(x, y, z, share * photons * kept), shape)[:, plane]
        return images.numpy()
