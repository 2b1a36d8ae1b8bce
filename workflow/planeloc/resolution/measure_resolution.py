"""The `measure-resolution` stage: how fine is the picture, how true are the stated precisions, and what limits both.

The resolution is measured on the linked table, in which a molecule that was on for several frames is one row: halves of
the table before linking share the same molecules, and correlate whatever the structure. The table before linking tells
the precision from neighbouring frames, and how much it would have flattered the resolution.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planeloc.core.checks import print_warnings, write_quality
from planeloc.core.errors import PlanelocError
from planeloc.core.files import write_json
from planeloc.core.marks import RESOLUTION
from planeloc.core.settings import check
from planeloc.io import localization_table
from planeloc.resolution.figure import write_resolution
from planeloc.resolution.halves import first_and_second, random_halves, time_block_halves
from planeloc.resolution.neighbouring_frames import (
    FramePairs,
    axial_precision,
    frame_pairs,
    lateral_precision,
    precision_ratio,
)
from planeloc.resolution.quality import limit_of, resolution_checks, resolution_values
from planeloc.resolution.record import resolution_record
from planeloc.resolution.results import Measured, Slice
from planeloc.resolution.ring_sums import mean_of, resolution
from planeloc.resolution.settings import MeasureResolutionSettings
from planeloc.resolution.spacing import spacing
from planeloc.resolution.spectra import planar_sums, volume_sums

_SMALLEST_PIXEL_NM, _LARGEST_PIXEL_NM, _UNKNOWN_PIXEL_NM = 2.0, 20.0, 5.0
_VOXEL_OVER_SD = 0.7  # edge of a voxel over the geometric mean of the three precisions
_MOST_SLICES = 12
_BLINKS_PER_BLOCK = 50  # length of a block of time over the mean length of a blink; of these, 2 % are cut
_AXES, _SDS = ("x", "y", "z"), ("x_sd", "y_sd", "z_sd")


@dataclass(frozen=True)
class Rows:
    """What is needed of a table: rows in the field whose position is known."""

    frame: NDArray[np.int64]
    position: NDArray[np.float64]  # (rows, 3) nm
    sd: NDArray[np.float64]  # (rows, 3) nm, NaN where unknown

    def __len__(self) -> int:
        return len(self.frame)

    def median_sd(self) -> tuple[float, float]:
        """Lateral and axial localization precision, medians; NaN if unknown."""
        lateral, axial = np.sqrt((self.sd[:, :2] ** 2).mean(axis=1)), self.sd[:, 2]
        return tuple(float(np.median(v[np.isfinite(v)])) if np.isfinite(v).any() else np.nan for v in (lateral, axial))


def measure_resolution(
    localizations: Path,
    linked: Path,
    output: Path,
    figure: Path,
    quality: Path,
    settings: MeasureResolutionSettings,
) -> dict[str, Any]:
    """Measure the resolution of a table and write it down; returns the main numbers, for the record.

    Parameters
    ----------
    localizations, linked : tables before and after linking (HDF5).
    output : everything that was measured, with curves (JSON).
    figure, quality : figure (PNG) and quality values (JSON) to write.

    Raises
    ------
    PlanelocError : a table cannot be read, or the linked table was made from another one.
    """
    check(settings)
    columns, metadata = localization_table.read_columns(linked)
    if len(columns["frame"]) and "frames" not in columns:
        raise PlanelocError(f"{linked}: its rows are not linked; create it with `planeloc link`")
    molecules = _rows(linked, columns, metadata)
    measured = measure_molecules(molecules, _slices(molecules, metadata, settings), settings)
    measured.enlarged = _enlarged(metadata)
    measured.linked_rows = metadata.get("link", {}).get("one_row_per_blink", True)
    unlinked, unlinked_metadata = localization_table.read_columns(localizations)
    _check_linked(linked, columns, localizations, unlinked["frame"])
    del columns, molecules
    measure_localizations(measured, _rows(localizations, unlinked, unlinked_metadata), settings)
    del unlinked
    values = resolution_values(measured)
    checks = resolution_checks(values, settings)
    print_warnings(checks)
    write_resolution(figure, measured, values)
    write_json(output, resolution_record(measured, values, settings), RESOLUTION)
    write_quality(quality, values, checks)
    return {"frc_nm": _or_none(values["frc_nm"]), "limited_by": limit_of(values)}


def _check_linked(linked: Path, blinks: Mapping[str, NDArray], localizations: Path, frame: NDArray[np.integer]) -> None:
    """Refuse a linked table that was made from other localizations than those of these frames, where it tells."""
    row = localization_table.linked_row_of(linked)
    if row is None:
        return
    same = len(row) == len(frame)
    if same and len(row):
        first, last = (np.full(len(blinks["frame"]), start) for start in (np.iinfo(np.int64).max, -1))
        np.minimum.at(first, row, frame)
        np.maximum.at(last, row, frame)
        same = np.array_equal(first, blinks["frame"]) and np.array_equal(last, blinks["last_frame"])
    if not same:
        raise PlanelocError(
            f"{linked}: was not made from {localizations} ({len(row):,} localizations were linked, this table has "
            f"{len(frame):,}); give the table that was linked, or link this one"
        )


def measure_molecules(molecules: Rows, slices: list[Slice], settings: MeasureResolutionSettings) -> Measured:
    """Correlations and spacing of the linked table, and of its slices of depth."""
    sd = molecules.median_sd()
    measured = Measured(_pixel_nm(sd[0], settings), len(molecules), linked=sd, slices=slices)
    number = _slice_of(molecules, slices)
    for index, each in enumerate(slices):
        own = Rows(*(a[number == index] for a in (molecules.frame, molecules.position, molecules.sd)))
        each.molecules, each.stated = len(own), own.median_sd()
        each.spacing = spacing(own.position[:, :2], settings.minimum_rows)
    if len(molecules) < settings.minimum_rows:
        return measured
    measured.spacings = {
        "lateral": spacing(molecules.position[:, :2], settings.minimum_rows),
        "3d": spacing(molecules.position, settings.minimum_rows),
    }
    halves = [
        *random_halves(len(molecules), settings.splits),
        *time_block_halves(molecules.frame, settings.time_blocks, settings.splits),
        first_and_second(molecules.frame),
    ]
    flat = planar_sums(
        molecules.position[:, :2],
        measured.pixel_nm,
        slices=number,
        slice_count=len(slices),
        halves=np.array(halves),
    )
    measured.sums["xy"] = flat.whole
    measured.sums["time blocks"] = mean_of(flat.halves[settings.splits : -1])
    measured.sums["time"] = flat.halves[-1]
    measured.splits_nm = [resolution(sums).nm for sums in flat.halves[: settings.splits]]
    voxel = _voxel_nm(sd, measured.pixel_nm)
    if np.ptp(molecules.position[:, 2]) > voxel:  # in one layer of voxels there is nothing to resolve in 3D
        volume = volume_sums(molecules.position, voxel)
        measured.sums |= {"3d": volume.shells, "axial": volume.axial, "xz": volume.xz, "yz": volume.yz}
    measured.resolutions = {name: resolution(sums) for name, sums in measured.sums.items()}
    for each, sums in zip(slices, flat.slices if len(slices) > 1 else [flat.whole], strict=True):
        if each.molecules >= settings.minimum_rows:
            each.frc = resolution(sums)
    return measured


def measure_localizations(measured: Measured, rows: Rows, settings: MeasureResolutionSettings) -> None:
    """Add what the table before linking tells: precision from neighbouring frames, and the flattering correlation."""
    fewest = settings.minimum_rows
    measured.localizations, measured.stated = len(rows), rows.median_sd()
    if "xy" in measured.sums and len(rows) >= fewest:
        halves = time_block_halves(rows.frame, _blocks(measured, rows, settings), settings.splits)
        flat = planar_sums(rows.position[:, :2], measured.pixel_nm, halves=halves)
        measured.sums |= {"naive": flat.whole, "unlinked": mean_of(flat.halves)}
        measured.resolutions |= {name: resolution(measured.sums[name]) for name in ("naive", "unlinked")}
    pairs = frame_pairs(rows.frame, rows.position, rows.sd)
    measured.nena["lateral"] = lateral_precision(pairs, fewest)
    measured.nena["axial"] = axial_precision(pairs, measured.nena["lateral"].value, fewest)
    measured.ratios = dict(zip(("lateral", "axial"), _ratios(pairs, fewest), strict=True))
    for each in measured.slices:
        own = pairs[(pairs.depth >= each.low_nm) & (pairs.depth < each.high_nm)]
        lateral = lateral_precision(own, fewest).value
        each.nena = (lateral, axial_precision(own, lateral, fewest).value)
        each.ratio = tuple(value for value, _ in _ratios(own, fewest))


def _blocks(measured: Measured, rows: Rows, settings: MeasureResolutionSettings) -> int:
    """Blocks of time that are long for a blink, so that few blinks are cut by their ends."""
    blink = measured.localizations / measured.molecules
    most = int((np.ptp(rows.frame) + 1) / (_BLINKS_PER_BLOCK * blink))
    return int(np.clip(most, 2, settings.time_blocks))


def _ratios(pairs: FramePairs, fewest: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Measured over stated precision with its standard deviation, laterally (rms of x and y) and axially."""
    x, y, z = (precision_ratio(pairs, axis, fewest) for axis in range(3))
    lateral = float(np.hypot(x.value, y.value) / np.sqrt(2))
    return (lateral, float(np.hypot(x.sd, y.sd) / 2)), (float(z.value), float(z.sd))


def _rows(path: Path, columns: dict[str, NDArray], metadata: dict[str, Any]) -> Rows:
    position = np.stack([columns[axis] for axis in _AXES], axis=1)
    sd = np.stack([columns[name] for name in _SDS], axis=1)
    width, height = localization_table.field_nm(path, metadata)
    keep = np.isfinite(position).all(axis=1)
    keep &= (position[:, :2] >= 0).all(axis=1) & (position[:, 0] <= width) & (position[:, 1] <= height)
    return Rows(columns["frame"][keep].astype(np.int64), position[keep], np.where(sd > 0, sd, np.nan)[keep])


def _enlarged(metadata: dict[str, Any]) -> float:
    """By which factor `link` has enlarged the stated lateral standard deviations (rms of x and y)."""
    x, y, _ = metadata.get("link", {}).get("sd_factors", (1.0, 1.0, 1.0))
    return float(np.hypot(x, y) / np.sqrt(2))


def _slices(molecules: Rows, metadata: dict[str, Any], settings: MeasureResolutionSettings) -> list[Slice]:
    """Slices over the depth range of the microscope, or of the molecules where it is not stated."""
    stated = metadata.get("depth_range_nm")
    z = molecules.position[:, 2]
    low, high = stated or (np.quantile(z, (0.01, 0.99)) if len(z) else (0.0, 0.0))
    count = int(np.clip(np.round((high - low) / settings.slice_nm), 1, _MOST_SLICES))
    edges = np.linspace(low, high, count + 1)
    return [Slice(float(a), float(b)) for a, b in itertools.pairwise(edges)]


def _slice_of(molecules: Rows, slices: list[Slice]) -> NDArray[np.int64]:
    """Number of every row's slice; depths beyond the ends belong to the outermost slices."""
    edges = [each.low_nm for each in slices[1:]]
    return np.searchsorted(edges, molecules.position[:, 2], side="right")


def _pixel_nm(sd_nm: float, settings: MeasureResolutionSettings) -> float:
    if settings.pixel_nm:
        return settings.pixel_nm
    return float(np.clip(sd_nm / 2, _SMALLEST_PIXEL_NM, _LARGEST_PIXEL_NM)) if sd_nm > 0 else _UNKNOWN_PIXEL_NM


def _voxel_nm(sd_nm: tuple[float, float], pixel_nm: float) -> float:
    mean = float(np.cbrt(sd_nm[0] ** 2 * sd_nm[1]))
    return float(np.clip(_VOXEL_OVER_SD * mean, pixel_nm, 4 * _LARGEST_PIXEL_NM)) if mean > 0 else 2 * pixel_nm


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
