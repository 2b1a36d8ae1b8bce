"""Detections by the paper's network, in tiles of voxels.

A matched filter finds candidates; the network computes the tiles of voxels around them (mode ``dense``: all tiles);
maxima of the probability become detections; least squares gives their photons.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from planeloc.core.memory import AdaptiveBatch
from planeloc.localization.candidates import CandidateSearch, candidate_pixels
from planeloc.localization.context import LocalizationContext
from planeloc.localization.detections import Detections, background_at
from planeloc.networks.tiled_upsampling import TiledUpsamplingNetwork
from planeloc.networks.tiles import TiledVolume, TileGrid
from planeloc.networks.voxel_peaks import NOWHERE, REACH_ROWS, find_peaks
from planeloc.psf import PSF, Emitters

_TILE_PX = {"sparse": 4, "dense": 8}
_REACH_PX = 1  # around a candidate, beyond what its tile contains
_BATCH_PX = {"cpu": 512, "cuda": 1 << 16}  # camera pixels that the network computes at once
# Camera pixels of the tiles that are kept at once, unless a single frame has more.
_PIXELS_AT_ONCE = {"cpu": 1 << 12, "cuda": 1 << 18}
_PIXELS_AT_MOST = 1 << 17  # of one frame: 0.5 GB of voxels in bfloat16, and as much again to search them
_PHOTONS_WINDOW_PX = 7
_FRAMES_SEARCHED = {"cpu": 1, "cuda": 20}  # for candidates at once: what a CPU's cache holds


class UpsamplingFinder:
    """A `Finder` with the paper's network.

    Attributes
    ----------
    regions : number of tiles that the network has computed.
    batch : tiles that it computes at once.
    """

    def __init__(self, context: LocalizationContext) -> None:
        """The threshold of the settings is a voxel's probability."""
        self._context, self._settings, self._device = context, context.settings, context.device
        mode, device, depths_nm = context.settings.mode, context.device, context.record.scene.depth_range_nm
        self.grid = TileGrid(_TILE_PX[mode], context.field_px)
        self.network = TiledUpsamplingNetwork(
            context.network, self.grid.side_px, context.field_px, device, context.precision
        )
        self.regions = 0
        size = _BATCH_PX[device.type] // self.grid.side_px**2
        remedy = "localize in mode sparse" if mode == "dense" else "use fewer workers"
        self.batch = AdaptiveBatch(size, device, "localizing", remedy, "tile")
        self.search = CandidateSearch(context.reference_psf, depths_nm, context.drift_sd_nm, device)

    def __call__(self, images: Tensor, registered: Tensor, background: Tensor) -> list[Detections]:
        """Return the molecules in frames; see `Finder`."""
        with self._context.stopwatch("candidates"):
            marks = self._marked_tiles(registered, background).cpu()
            windows = self._windows(registered)
        detections = []
        for frames, rows in self._batches(marks):
            if marks[frames, rows].any():
                found = self._find(windows[frames], marks[frames], rows, images[frames], background)
                detections.append(found._replace(frame=found.frame + frames.start))
        return detections

    def _marked_tiles(self, registered: Tensor, background: Tensor) -> Tensor:
        """(frames, rows, columns) Whether the network computes a tile."""
        if self._settings.mode == "dense":
            return self.grid.everywhere(len(registered))
        variance = self._context.variance(background)
        noise = self.search.noise(variance)
        found = []
        step = _FRAMES_SEARCHED[self._device.type]
        for number, frames in enumerate(registered.split(step)):
            points = candidate_pixels(
                self.search.test_values(frames, variance, noise), self._settings.candidate_threshold
            )
            points[:, 0] += number * step
            found.append(points)
        return self.grid.around(torch.cat(found), _REACH_PX, len(registered))

    def _windows(self, registered: Tensor) -> Tensor:
        """Input of the network for every tile: (frames, rows, columns, planes, window, window), without copying."""
        side, margin = self.grid.side_px, self.network.margin_px
        beyond = [n * side - size for n, size in zip(self.grid.shape, self.grid.field_px, strict=True)]
        padded = nn.functional.pad(registered, (margin, margin + beyond[1], margin, margin + beyond[0]))
        window = side + 2 * margin
        return padded.unfold(2, window, side).unfold(3, window, side).permute(0, 2, 3, 1, 4, 5)

    def _batches(self, marks: Tensor) -> Iterator[tuple[slice, slice]]:
        """Frames, and rows of tiles, that fit into memory together: some frames, or a band of a large one."""
        most = _PIXELS_AT_ONCE[self._device.type] // self.grid.side_px**2
        too_many = _PIXELS_AT_MOST // self.grid.side_px**2
        start = total = 0
        for number, count in enumerate(marks.sum(dim=(1, 2)).tolist()):
            if total and total + count > most:
                yield slice(start, number), slice(0, self.grid.shape[0])
                start, total = number, 0
            if count > too_many:
                step = max(1, too_many // self.grid.shape[1])
                for first in range(0, self.grid.shape[0], step):
                    yield slice(number, number + 1), slice(first, first + step)
                start = number + 1
            else:
                total += count
        yield slice(start, len(marks)), slice(0, self.grid.shape[0])

    def _find(self, windows: Tensor, marks: Tensor, rows: slice, images: Tensor, background: Tensor) -> Detections:
        """Molecules whose maxima lie in some rows of the marked tiles of some frames."""
        context = self._context
        voxels = self.grid.side_px * self.network.architecture.upsampling
        first = max(0, rows.start - math.ceil(REACH_ROWS / voxels))
        tiles = marks[:, first : rows.stop + math.ceil(REACH_ROWS / voxels)].nonzero()
        tiles[:, 1] += first
        with context.stopwatch("network"):
            volume = self._volume(windows, tiles, len(images))
        with context.stopwatch("maxima"):
            peaks = find_peaks(volume, self._settings.threshold, (rows.start * voxels, rows.stop * voxels))
        scene = context.record.scene
        voxel_nm = scene.voxel_nm(context.psf.pixel_size_nm)
        voxel = torch.tensor(voxel_nm, dtype=torch.float64, device=context.device)
        position = peaks.position.flip(1).double() * voxel
        position[:, 2] += scene.depth_range_nm[0]
        with context.stopwatch("candidates"):
            mapped = context.on_planes(position)
            photons, plane, excess = fit_photons(images, context.psf, mapped, position[:, 2], peaks.image)
            level = excess + background_at(background, plane, mapped)
        deviation = peaks.deviation.flip(1) * voxel
        return Detections(peaks.image, position, deviation, peaks.probability, photons, level)

    def _volume(self, windows: Tensor, tiles: Tensor, images: int) -> TiledVolume:
        """Logits in tiles (n, 3) of the frames; `tiles` are on the CPU."""
        scale = self.network.architecture.upsampling
        side = self.grid.side_px * scale
        shape = (len(tiles) + 1, side, side, self.network.architecture.depth_slices)
        values = torch.empty(shape, dtype=self.network.precision, device=self._device)
        values[-1] = NOWHERE
        start = 0
        while start < len(tiles):
            logits = self.batch.retry(partial(self._logits, windows, tiles, start))
            values[start : start + len(logits)] = logits
            start += len(logits)
        self.regions += len(tiles)
        rows, columns = self.grid.field_px
        return TiledVolume.from_tiles(
            values, tiles.to(self._device), images, self.grid.shape, (rows * scale, columns * scale)
        )

    def _logits(self, windows: Tensor, tiles: Tensor, start: int) -> Tensor:
        """Logits of one batch of tiles, from `start` on."""
        some = tiles[start : start + self.batch.size]
        return self.network(windows[some.to(self._device).unbind(-1)], some[:, 1:] * self.grid.side_px)


def fit_photons(
    residual: Tensor, psf: PSF, positions_px: Tensor, z_nm: Tensor, image: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Photons of molecules at known positions, by linear least squares over a window on every plane.

    Parameters
    ----------
    residual : (batch, planes, rows, columns) photons above background.
    positions_px : (n, planes, 2) as (x, y) of every molecule on every camera, px.
    z_nm, image : (n,) depth, and index in the batch.

    Returns
    -------
    photons : (n,) of all planes.
    brightest : (n,) the plane on which the molecule's peak is highest.
    offset : (n,) photons per pixel on that plane that the background does not account for.
    """
    n, planes = positions_px.shape[:2]
    rows, columns = residual.shape[-2:]
    side = min(_PHOTONS_WINDOW_PX, rows, columns)
    corner = (positions_px - side / 2).round().long()
    limit = torch.tensor([columns - side, rows - side], device=residual.device)
    corner = corner.clamp(min=torch.zeros_like(limit), max=limit)
    steps = torch.arange(side, device=residual.device)
    index_y = (corner[..., 1, None] + steps)[..., :, None]
    index_x = (corner[..., 0, None] + steps)[..., None, :]
    plane = torch.arange(planes, device=residual.device)[None, :, None, None]
    data = residual[image[:, None, None, None], plane, index_y, index_x]
    shift_nm = (positions_px - corner).to(z_nm.dtype) * psf.pixel_size_nm
    zero = torch.zeros_like(z_nm)
    emitters = Emitters(zero, zero, z_nm, torch.ones_like(z_nm), shift_nm)
    model = psf.expected_photons(emitters, (side, side)).to(data.dtype)
    mean_model, mean_data = model.mean(dim=(2, 3), keepdim=True), data.mean(dim=(2, 3), keepdim=True)
    centred = model - mean_model
    photons = (centred * (data - mean_data)).sum(dim=(1, 2, 3)) / (centred**2).sum(dim=(1, 2, 3)).clamp(min=1e-12)
    offset = (mean_data - photons[:, None, None, None] * mean_model)[..., 0, 0]
    brightest = model.amax(dim=(2, 3)).argmax(dim=1)
    return photons, brightest, offset[torch.arange(n, device=offset.device), brightest]
