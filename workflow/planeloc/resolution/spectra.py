"""Ring and shell sums of a table: of images in x and y, and of volumes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft2, rfftn

from planeloc.resolution.ring_sums import RingSums
from planeloc.resolution.tiles import GROUPS, Tiling, image

_LARGEST_IMAGE = (1024, 1024)
_LARGEST_VOLUME = (256, 192, 192)
_MOST_IMAGES, _MOST_VOLUMES = 100, 24  # tiles; of larger fields as many are drawn
_CONE = np.cos(np.pi / 6)  # least share of a frequency that is axial, in the cone about the z axis


@dataclass
class PlanarSums:
    """Ring sums in x and y.

    Attributes
    ----------
    whole : of all depths, mean over all random divisions.
    slices : of every slice of depth, the same.
    halves : of every given division.
    """

    whole: RingSums
    slices: list[RingSums] = field(default_factory=list)
    halves: list[RingSums] = field(default_factory=list)


def planar_sums(
    position: NDArray[np.float64],
    pixel_nm: float,
    *,
    slices: NDArray[np.int64] | None = None,
    slice_count: int = 1,
    halves: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> PlanarSums:
    """Correlate images of a table with themselves, tile by tile.

    Parameters
    ----------
    position : (rows, 2) x, y in nm, finite.
    slices : (rows,) number of each row's slice of depth, below `slice_count`; none: no slices. Slices may be empty.
    halves : (divisions, rows) which rows are in the first half; none: no divisions but the mean of all random ones.
    seed : random seed of the draw of tiles from a large field.
    """
    place = position[:, ::-1]
    tiling = Tiling.of(place, pixel_nm, _LARGEST_IMAGE)
    window, rings = tiling.window(), _Rings.of(tiling)
    slices = np.zeros(len(place), dtype=np.int64) if slices is None else slices
    halves = np.zeros((0, len(place)), dtype=bool) if halves is None else halves
    parts, divisions = ([rings.empty() for _ in range(number)] for number in (slice_count, len(halves)))
    sums = PlanarSums(rings.empty(), parts, divisions)
    for tile in tiling.tiles(place, _MOST_IMAGES, seed):
        total, total_noise = np.zeros(rings.ring.shape, dtype=np.complex64), 0.0
        of_tile = slices[tile.rows]
        for number in np.unique(of_tile):
            picture, noise = image(tile.pixel[of_tile == number], window)
            transform = rfft2(picture)
            total += transform
            total_noise += noise
            if slice_count > 1:
                power = rings.sum(_power(transform))
                sums.slices[number].add_all_divisions(tile.group, power, noise, rings.count, tile.weight)
        power = rings.sum(_power(total))
        sums.whole.add_all_divisions(tile.group, power, total_noise, rings.count, tile.weight)
        for number, first in enumerate(halves[:, tile.rows]):
            one = rfft2(image(tile.pixel[first], window)[0])
            other = total - one
            cross = one.real * other.real + one.imag * other.imag
            parts = tuple(rings.sum(values) for values in (cross, _power(one), _power(other)))
            sums.halves[number].add_halves(tile.group, parts, rings.count, tile.weight)
    return sums


@dataclass
class VolumeSums:
    """Shell sums of volumes, mean over all random divisions.

    Attributes
    ----------
    shells : all directions.
    axial : frequencies within 30° of the z axis.
    xz, yz : images along y and along x of slabs as thick as a tile.
    """

    shells: RingSums
    axial: RingSums
    xz: RingSums
    yz: RingSums


def volume_sums(position: NDArray[np.float64], pixel_nm: float, *, seed: int = 0) -> VolumeSums:
    """Correlate volumes of a table with themselves, tile by tile.

    Parameters
    ----------
    position : (rows, 3) x, y, z in nm, finite.
    pixel_nm : edge of a voxel.
    seed : random seed of the draw of tiles from a large field.
    """
    place = position[:, ::-1]
    tiling = Tiling.of(place, pixel_nm, _LARGEST_VOLUME)
    window, rings = tiling.window(), _Rings.of(tiling)
    fz = np.abs(np.fft.fftfreq(tiling.shape[0], pixel_nm))[:, None, None]
    everywhere = slice(None)
    sections = {"xz": (everywhere, 0, everywhere), "yz": (everywhere, everywhere, 0)}
    parts = {"shells": rings, "axial": rings.where(fz >= _CONE * rings.radius)}
    parts |= {name: rings.section(index) for name, index in sections.items()}
    sums = VolumeSums(**{name: part.empty() for name, part in parts.items()})
    for tile in tiling.tiles(place, _MOST_VOLUMES, seed):
        volume, noise = image(tile.pixel, window)
        power = _power(rfftn(volume, overwrite_x=True))
        for name, part in parts.items():
            values = part.sum(power[sections[name]] if name in sections else power)
            getattr(sums, name).add_all_divisions(tile.group, values, noise, part.count, tile.weight)
    return sums


def _power(transform: NDArray[np.complex64]) -> NDArray[np.float32]:
    return transform.real**2 + transform.imag**2


@dataclass(frozen=True)
class _Rings:
    """Which ring every Fourier coefficient is in, and sums over them.

    Rings are as wide as one frequency of a tile's side along x; what is beyond the last is left out.
    """

    frequency: NDArray[np.float64]  # (rings,) 1/nm
    radius: NDArray[np.float64]  # of every coefficient, 1/nm
    ring: NDArray[np.int64]  # of every coefficient
    twice: NDArray[np.float32]  # 2 where the transform of a real image leaves out the coefficient of −q

    @classmethod
    def of(cls, tiling: Tiling) -> _Rings:
        side = tiling.shape[-1]
        axes = [np.fft.fftfreq(size, tiling.pixel_nm) for size in tiling.shape[:-1]]
        axes.append(np.fft.rfftfreq(side, tiling.pixel_nm))
        square = sum(values**2 for values in np.meshgrid(*axes, indexing="ij", sparse=True))
        step = 1 / (side * tiling.pixel_nm)
        radius, frequency = np.sqrt(square), np.arange(side // 2) * step
        ring = np.minimum(np.rint(radius / step).astype(np.int64), len(frequency))
        twice = np.full(side // 2 + 1, 2.0, dtype=np.float32)
        twice[[0, -1] if side % 2 == 0 else [0]] = 1
        return cls(frequency, radius, ring, np.broadcast_to(twice, ring.shape))

    def where(self, inside: NDArray[np.bool_]) -> _Rings:
        """These rings without the coefficients that are not `inside`."""
        return replace(self, ring=np.where(inside, self.ring, len(self.frequency)))

    def section(self, index: tuple) -> _Rings:
        """These rings in a plane through the middle of Fourier space."""
        return replace(self, radius=self.radius[index], ring=self.ring[index], twice=self.twice[index])

    @cached_property
    def count(self) -> NDArray[np.float64]:
        """(rings,) number of coefficients."""
        return self.sum(np.ones(self.ring.shape, dtype=np.float32))

    def sum(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Sum over every ring of a quantity that is the same at q and −q."""
        rings = len(self.frequency)
        return np.bincount(self.ring.ravel(), (values * self.twice).ravel(), rings + 1)[:rings]

    def empty(self) -> RingSums:
        """Sums of no tile."""
        return RingSums.empty(self.frequency, GROUPS)
