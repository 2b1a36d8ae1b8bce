"""Correlation against what is known: analytic curves, explicit halves, no structure, degenerate tables."""

import numpy as np
import pytest
from scipy.optimize import brentq

from planeloc.resolution.halves import first_and_second, random_halves, time_block_halves
from planeloc.resolution.ring_sums import THRESHOLD, mean_of, resolution
from planeloc.resolution.spectra import planar_sums, volume_sums
from support.filament_tables import blinking_table


@pytest.mark.parametrize(("blinks", "longest"), [(3_000, 1), (12_000, 5)])
def test_the_resolution_of_linked_filaments_is_the_analytic_one(blinks: int, longest: int) -> None:
    made = blinking_table(blinks, longest=longest, field_nm=10_000, filaments=30)
    sums = planar_sums(made.linked[["x", "y"]].to_numpy(), 5.0).whole
    found = resolution(sums)
    assert abs(found.nm - made.expected_resolution_nm) < 3 * found.sd_nm
    inside = (sums.frequency > 0.004) & (sums.frequency < 0.05)
    assert np.abs(sums.correlation - made.expected_frc(sums.frequency + 1e-12))[inside].max() < 0.06
    assert 0 < found.sd_nm < 0.2 * found.nm


@pytest.mark.parametrize(("blinks", "longest"), [(4_000, 1), (4_000, 10), (12_000, 5)])
def test_the_standard_deviation_of_the_resolution_is_true_or_cautious(blinks: int, longest: int) -> None:
    errors = []
    for seed in range(8):
        made = blinking_table(blinks, longest=longest, field_nm=10_000, filaments=40, seed=seed)
        position = made.linked[["x", "y"]].to_numpy()
        position = position[((position >= 0) & (position <= 10_000)).all(axis=1)]
        found = resolution(planar_sums(position, 5.0).whole)
        errors.append((found.nm - made.expected_resolution_nm) / found.sd_nm)
    assert 0.4 < np.sqrt(np.mean(np.square(errors))) < 1.6 and np.abs(errors).max() < 3.2


def test_halves_of_single_frames_are_finer_than_the_truth_and_linked_or_blocked_halves_are_not() -> None:
    made = blinking_table(3_000, longest=10, field_nm=10_000, filaments=30)
    frame, position = made.table["frame"].to_numpy(), made.table[["x", "y"]].to_numpy()
    halves = time_block_halves(frame, 20, 4)
    sums = planar_sums(position, 5.0, halves=halves)
    naive, blocked = resolution(sums.whole).nm, resolution(mean_of(sums.halves)).nm
    linked = resolution(planar_sums(made.linked[["x", "y"]].to_numpy(), 5.0).whole).nm
    assert naive < 0.75 * linked
    assert blocked > 0.95 * linked  # single frames are less precise than blinks


def test_the_mean_over_all_divisions_is_that_of_many() -> None:
    position = blinking_table(4_000, longest=1, field_nm=6_000, filaments=15).linked[["x", "y"]].to_numpy()
    sums = planar_sums(position, 6.0, halves=random_halves(len(position), 40))
    many, limit = mean_of(sums.halves), sums.whole
    assert many.correlation[3:] == pytest.approx(limit.correlation[3:], abs=0.02)
    nm = [resolution(half).nm for half in sums.halves]
    assert abs(np.mean(nm) - resolution(limit).nm) < 3 * np.std(nm) / np.sqrt(len(nm)) + 0.5


def test_slices_are_correlated_on_their_own() -> None:
    made = blinking_table(6_000, longest=1, field_nm=8_000, filaments=20)
    number = (made.linked["z"].to_numpy() > 0).astype(int)
    position = made.linked[["x", "y"]].to_numpy()
    sums = planar_sums(position, 6.0, slices=number, slice_count=2)
    for index in (0, 1):
        alone = planar_sums(position[number == index], 6.0).whole
        assert resolution(sums.slices[index]).nm == pytest.approx(resolution(alone).nm, rel=0.03)


def test_the_3d_resolution_of_filaments_is_the_analytic_one() -> None:
    random = np.random.default_rng(0)
    filaments, blinks, sd = 60, 15_000, 15.0
    ends = random.uniform(0, (4_000, 4_000, 1_500), (2, filaments, 3))
    length = np.linalg.norm(ends[1] - ends[0], axis=1)
    of, along = random.choice(filaments, blinks, p=length / length.sum()), random.random((blinks, 1))
    position = ends[0, of] * along + ends[1, of] * (1 - along) + random.normal(0, sd, (blinks, 3))
    sums = volume_sums(position, 10.0)

    def expected(q: float) -> float:  # the power of a line, averaged over all directions, is ρ / 2q
        signal = blinks / length.sum() / (2 * q) * np.exp(-4 * np.pi**2 * sd**2 * q**2)
        return signal / (2 + signal) - THRESHOLD

    nm = 1 / brentq(expected, 1e-4, 0.2)
    assert resolution(sums.shells).nm == pytest.approx(nm, rel=0.07)
    for each in (sums.axial, sums.xz, sums.yz):
        assert resolution(each).nm == pytest.approx(nm, rel=0.5)


def test_the_axial_resolution_is_worse_where_the_axial_precision_is() -> None:
    random = np.random.default_rng(0)
    centre = random.uniform(0, (3_000, 3_000, 1_000), (150, 3))
    position = centre[random.integers(0, 150, 8_000)] + random.normal(size=(8_000, 3)) * (10, 10, 40)
    sums = volume_sums(position, 10.0)
    assert resolution(sums.axial).nm > 1.7 * resolution(sums.shells).nm


def test_randomly_placed_molecules_have_no_resolution() -> None:
    position = np.random.default_rng(0).uniform(0, 10_000, (20_000, 2))
    found = resolution(planar_sums(position, 5.0).whole)
    assert np.isnan(found.nm) and "no structure" in found.reason


@pytest.mark.parametrize("rows", [1, 2, 30, 500])
def test_a_point_has_no_resolution(rows: int) -> None:
    found = resolution(planar_sums(np.full((rows, 2), 700.0), 5.0).whole)
    assert np.isnan(found.nm) and found.reason
    assert np.isnan(resolution(volume_sums(np.full((rows, 3), 700.0), 5.0).shells).nm)


def test_of_a_huge_field_some_tiles_are_drawn_and_tell_the_same(monkeypatch) -> None:
    from planeloc.resolution import spectra

    position = blinking_table(40_000, longest=1, field_nm=20_000, filaments=60).linked[["x", "y"]].to_numpy()
    monkeypatch.setattr(spectra, "_LARGEST_IMAGE", (256, 256))
    whole = resolution(planar_sums(position, 5.0).whole)
    monkeypatch.setattr(spectra, "_MOST_IMAGES", 60)
    drawn = resolution(planar_sums(position, 5.0, seed=3).whole)
    assert drawn.nm == pytest.approx(whole.nm, rel=0.05)
    assert resolution(planar_sums(position, 5.0, seed=3).whole) == drawn


def test_halves_by_time_keep_frames_together_and_are_as_large() -> None:
    frame = np.random.default_rng(0).integers(0, 500, 5_000)
    for half in time_block_halves(frame, 10, 4):
        assert all(len(np.unique(half[frame == f])) == 1 for f in range(500))
        assert 0.4 < half.mean() < 0.6
    first = first_and_second(frame)
    assert first.sum() == 2_500 and frame[first].max() <= frame[~first].min()
