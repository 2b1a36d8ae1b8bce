"""Precision from neighbouring frames, against the precision with which the positions were drawn."""

import numpy as np
import pandas as pd
import pytest

from planeloc.resolution import neighbouring_frames
from planeloc.resolution.neighbouring_frames import (
    FramePairs,
    Precision,
    axial_precision,
    frame_pairs,
    lateral_precision,
    precision_ratio,
)
from support.filament_tables import blinking_table

FEWEST = 200


def pairs_of(table: pd.DataFrame) -> FramePairs:
    axes = ["x", "y", "z"]
    return frame_pairs(
        table["frame"].to_numpy(), table[axes].to_numpy(), table[[f"{axis}_sd" for axis in axes]].to_numpy()
    )


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.3, 2.0])
def test_the_ratio_is_true_and_so_is_its_uncertainty(scale: float) -> None:
    pairs = pairs_of(blinking_table(4_000, scale=scale).table)
    for axis in range(3):
        found = precision_ratio(pairs, axis, FEWEST)
        assert abs(found.value / scale - 1) < max(5 * found.sd / scale, 0.02)
        assert 0.003 < found.sd / scale < 0.02


def misfit(found: Precision) -> float:
    """Mean square deviation of the histogram from the fit over its variance, where there are pairs enough."""
    enough = found.fit > 5
    return float(((found.counts - found.fit)[enough] ** 2 / found.fit[enough]).mean())


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_precision_in_nm_is_the_rms_of_molecules_of_all_brightnesses(scale: float) -> None:
    """A single width does not follow the histogram, and gives the long distances of dim molecules to the others."""
    pairs = pairs_of(blinking_table(4_000, scale=scale).table)
    lateral = lateral_precision(pairs, FEWEST)
    axial = axial_precision(pairs, lateral.value, FEWEST)
    same = (np.abs(pairs.difference / pairs.sd) < 5 * scale).all(axis=1)
    for found, axis in ((lateral, 0), (axial, 2)):
        true = scale * np.sqrt((pairs.sd[same, axis] ** 2).mean())
        assert found.value == pytest.approx(true, rel=0.025)
        assert found.value > 1.03 * scale * np.median(pairs.sd[same, axis])  # the rms is not the median
        assert found.fit.sum() == pytest.approx(found.counts.sum())
        assert misfit(found) < 1.4


def test_molecules_that_are_all_alike_have_one_width() -> None:
    random = np.random.default_rng(0)
    place = np.repeat(random.uniform(0, 20_000, (2_000, 3)), 2, axis=0)
    pairs = frame_pairs(
        np.tile(np.arange(2), 2_000) + np.repeat(5 * np.arange(2_000), 2),
        place + random.normal(size=place.shape) * 10,
        np.full(place.shape, np.nan),
    )
    found = lateral_precision(pairs, FEWEST)
    assert abs(found.value - 10) < 4 * found.sd
    assert 0.1 < found.sd < 0.25  # 10 nm / √(2 · 2 · 2000) if the width is known to be one
    assert misfit(found) < 1.4


def test_molecules_nearby_do_not_count_as_the_same(monkeypatch) -> None:
    """Some thirty molecules per frame on 3 µm of filament; half of the pairs are of different molecules."""
    made = blinking_table(20_000, field_nm=1_500, filaments=4, frames=2_000)
    pairs = pairs_of(made.table)
    lateral = lateral_precision(pairs, FEWEST)
    assert lateral.background.sum() > 0.3 * lateral.counts.sum()
    axial = axial_precision(pairs, lateral.value, FEWEST)
    for found, name in ((lateral, "x_sd"), (axial, "z_sd")):
        assert found.value == pytest.approx(np.sqrt((made.table[name] ** 2).mean()), rel=0.06)
    assert precision_ratio(pairs, 0, FEWEST).value == pytest.approx(1, abs=0.1)


def test_of_many_pairs_those_that_are_kept_cover_the_movie(monkeypatch) -> None:
    table = blinking_table(2_000).table
    table["z"] = 0.01 * table["frame"]
    every = pairs_of(table)
    monkeypatch.setattr(neighbouring_frames, "_MOST_PAIRS", 200)
    some = pairs_of(table)
    assert 100 <= len(some) <= 200 and some.depth.min() < 0.1 * every.depth.max()
    assert some.depth.max() > 0.9 * every.depth.max()


def test_single_frames_and_few_rows_tell_nothing() -> None:
    for made in (blinking_table(3_000, longest=1), blinking_table(20, longest=5)):
        pairs = pairs_of(made.table)
        assert np.isnan(lateral_precision(pairs, FEWEST).value)
        assert np.isnan(axial_precision(pairs, np.nan, FEWEST).value)
        assert np.isnan(precision_ratio(pairs, 2, FEWEST).value)


def test_precisions_that_are_not_stated_leave_nm_but_no_ratio() -> None:
    table = blinking_table(4_000).table
    known = lateral_precision(pairs_of(table), FEWEST).value
    pairs = pairs_of(table.assign(x_sd=np.nan, y_sd=np.nan, z_sd=np.nan))
    assert lateral_precision(pairs, FEWEST).value == pytest.approx(known, rel=0.03)
    assert np.isnan(precision_ratio(pairs, 0, FEWEST).value)


@pytest.mark.parametrize("frames", [1, 40])
def test_all_rows_at_a_point_are_no_precision(frames: int) -> None:
    rows = 4_000
    position, sd = np.full((rows, 3), 5.0), np.full((rows, 3), 10.0)
    pairs = frame_pairs(np.arange(rows) % frames, position, sd)
    assert np.isnan(lateral_precision(pairs, FEWEST).value)


def test_a_large_table_is_looked_at_in_portions_with_the_same_result(monkeypatch) -> None:
    table = blinking_table(6_000).table
    whole = pairs_of(table)
    monkeypatch.setattr(neighbouring_frames, "_MOST_ROWS", len(table))
    monkeypatch.setattr(neighbouring_frames, "_PORTIONS", 7)
    assert len(pairs_of(table)) == len(whole)  # all portions, none twice
    monkeypatch.setattr(neighbouring_frames, "_MOST_ROWS", 8_000)
    some = pairs_of(table)
    assert 0.3 < len(some) / len(whole) < 0.6
    assert precision_ratio(some, 0, FEWEST).value == pytest.approx(1, abs=0.03)


def test_a_crowd_in_one_frame_stays_within_memory(monkeypatch) -> None:
    monkeypatch.setattr(neighbouring_frames, "_MOST_NEIGHBOURS", 100_000)
    rows = 2_000
    pairs = frame_pairs(np.repeat([0, 1], rows // 2), np.full((rows, 3), 5.0), np.full((rows, 3), 10.0))
    assert 0 < len(pairs) < 100_000
