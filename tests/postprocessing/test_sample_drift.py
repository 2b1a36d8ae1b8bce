"""Sample drift: blinks, pairs and likelihood on their own; known drifts are found; never worse than no correction."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planeloc.postprocessing.blinks import Blinks, merge_blinks
from planeloc.postprocessing.neighbours import find_pairs, sort_into_grid
from planeloc.postprocessing.pair_likelihood import agreement
from planeloc.postprocessing.sample_drift import SampleDrift, sample_drift
from planeloc.postprocessing.sample_jumps import follow_jumps, place_jumps
from planeloc.postprocessing.settings import CorrectDriftSettings
from support.drifting_tables import DRIFTS, DriftingTable, drifting_table

SIGNIFICANT = CorrectDriftSettings().minimum_significance
BARELY_NM = 1.0  # of the residual where there is no drift worth a correction


def columns(made: DriftingTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = made.table
    return table["frame"].to_numpy(), table[["x", "y", "z"]].to_numpy(), table[["x_sd", "y_sd", "z_sd"]].to_numpy()


def estimate(made: DriftingTable) -> SampleDrift:
    return sample_drift(*columns(made), len(made.drift_nm))


def residual(found: SampleDrift, made: DriftingTable) -> np.ndarray:
    error = found.trajectory.drift_nm - made.drift_nm
    return error - error.mean(axis=0)


def rms(error: np.ndarray) -> np.ndarray:
    return np.sqrt((error**2).mean(axis=0))


# --- blinks ---


def test_localizations_of_a_blink_become_one() -> None:
    frame = np.array([5, 6, 8, 30, 6])
    position = np.array([[0.0, 0, 0], [3, 0, 0], [-3, 0, 0], [0, 0, 0], [500, 0, 0]])
    sd = np.array([[10.0, 10, 20]] * 5)
    blinks = merge_blinks(frame, position, sd)
    assert len(blinks) == 3  # one dark frame is no end; 22 are, and 500 nm are another molecule
    assert blinks.frame.tolist() == [6, 30, 6] or sorted(blinks.frame.tolist()) == [6, 6, 30]
    longest = blinks.sd[:, 0].argmin()
    assert np.isclose(blinks.sd[longest, 0], 10 / np.sqrt(3)) and np.isclose(blinks.position[longest, 0], 0)


def test_a_molecule_that_is_always_on_stays_many_blinks() -> None:
    frame = np.arange(1000)
    blinks = merge_blinks(frame, np.zeros((1000, 3)), np.full((1000, 3), 10.0))
    assert len(blinks) == 100 and np.ptp(blinks.frame) > 900


@pytest.mark.parametrize("structure", ["filaments", "sparse"])
def test_most_blinks_are_merged_rightly(structure: str) -> None:
    made = drifting_table(structure, "none", 8000, frames=2000)
    blinks = merge_blinks(*columns(made))
    true = len(np.unique(made.blink[made.blink >= 0])) + (made.blink < 0).sum()
    assert 0.95 * true < len(blinks) < 1.25 * true


# --- pairs and likelihood ---


@pytest.fixture(scope="module")
def cloud() -> Blinks:
    random = np.random.default_rng(0)
    count = 400
    return Blinks(random.integers(0, 100, count), random.normal(0, 40, (count, 3)), random.uniform(5, 15, (count, 3)))


REACH = np.array([40.0, 40.0, 60.0])


def test_pairs_are_all_neighbours_that_are_apart_in_time(cloud: Blinks) -> None:
    order = sort_into_grid(cloud.position, REACH)
    blinks = cloud[order]
    pairs = find_pairs(blinks, blinks.position, REACH, 10_000, 5)
    distance = (((blinks.position[:, None] - blinks.position[None]) / REACH) ** 2).sum(axis=2)
    wanted = (distance < 1) & (np.abs(blinks.frame[:, None] - blinks.frame[None]) >= 5)
    one = np.repeat(np.arange(len(blinks)), np.diff(pairs.start))
    found = np.zeros_like(wanted)
    found[one, pairs.other] = True
    assert np.array_equal(found, wanted) and len(one) == wanted.sum()
    assert (pairs.share == 1).all()


def test_few_of_many_neighbours_stand_for_all(cloud: Blinks) -> None:
    order = sort_into_grid(cloud.position, REACH)
    blinks = cloud[order]
    every, some = (find_pairs(blinks, blinks.position, REACH, number, 5) for number in (10_000, 10))
    assert len(some.other) < 0.6 * len(every.other)
    assert np.isclose(some.share.sum(), every.share.sum(), rtol=0.05)


def test_forces_and_curvature_are_derivatives(cloud: Blinks) -> None:
    order = sort_into_grid(cloud.position, REACH)
    blinks = cloud[order]
    pairs = find_pairs(blinks, blinks.position, REACH, 10_000, 5)
    drift = np.random.default_rng(1).normal(size=(len(blinks), 3))

    def at(size: float):
        shifted = blinks.position - size * drift
        return agreement(blinks, shifted, pairs, np.array([5.0, 5.0, 8.0]), blinks.frame // 10, 10)

    found = at(0.0)
    step = 1e-2
    slope = (at(step).value.sum() - at(-step).value.sum()) / (2 * step)
    assert np.isclose(slope, (found.force * drift).sum(), rtol=1e-2)
    assert np.allclose(found.force.sum(axis=0), 0, atol=1e-3)  # a shift of everything changes nothing
    assert np.isclose(found.weight.sum(), found.coupling.sum())
    curvatures = []
    for seed in range(60):
        drift = np.random.default_rng(seed).choice([-1.0, 1.0], (len(blinks), 3)) * [1, 0, 0]
        curvatures.append((2 * found.value.sum() - at(0.5).value.sum() - at(-0.5).value.sum()) / 0.25)
    assert np.isclose(np.mean(curvatures), found.curvature[0, 0], rtol=0.1)


def test_jumps_are_found_in_their_frame() -> None:
    made = drifting_table("filaments", "none", 30_000, frames=2000)
    frame, position, sd = columns(made)
    position = position + np.where(frame[:, None] >= 1203, [400.0, 0.0, 0.0], 0.0)
    start = np.clip((np.arange(2000) - 1153) / 100, 0, 1)[:, None] * [400.0, 0.0, 0.0]  # a ramp about it
    drift = follow_jumps(merge_blinks(frame, position, sd), start)
    assert np.abs(np.flatnonzero(np.diff(drift[:, 0]) > 200) - 1202).max() <= 3
    wrong = np.abs(drift[:, 0] - np.where(np.arange(2000) >= 1203, 400.0, 0.0)) > 100
    assert wrong.sum() <= 6  # of 50 before; what is nearer is found by the refinement


def test_a_smeared_jump_is_put_into_its_frame() -> None:
    made = drifting_table("filaments", "none", 30_000, frames=4000)
    frame, position, sd = columns(made)
    position = position + np.where(frame[:, None] >= 1203, [150.0, -90.0, 0.0], 0.0)
    smeared = np.clip((np.arange(4000) - 1198) / 8, 0, 1)[:, None] * [150.0, -90.0, 0.0]
    drift = place_jumps(merge_blinks(frame, position, sd), smeared)
    assert np.abs(np.flatnonzero(np.diff(drift[:, 0]) > 100) - 1202).tolist() in ([0], [1])
    slow = np.arange(4000)[:, None] * [0.5, 0.2, 0.0]  # 2 µm without a jump
    assert np.array_equal(place_jumps(merge_blinks(frame, position, sd), slow), slow)


# --- the whole ---


@pytest.mark.slow
@pytest.mark.parametrize("drift", [kind for kind in DRIFTS if kind != "none"])
def test_known_drifts_are_found_to_a_nanometre(drift: str) -> None:
    """A random walk of 2 nm per frame to two: the localizations of each frame are not precise enough for more."""
    walk = drift == "random walk"
    made = drifting_table("filaments", drift, 40_000, frames=2000, total_nm=100 if walk else 300)
    found = estimate(made)
    limit = np.array([2.2, 2.2, 4.0]) if walk else np.array([1.0, 1.0, 3.0])
    assert found.significance > SIGNIFICANT
    assert (rms(residual(found, made)) < limit).all()
    assert (rms(residual(found, made) / found.trajectory.sd_nm) < 1.5).all()


@pytest.mark.slow
def test_a_half_that_ends_in_a_lower_maximum_begins_again() -> None:
    """One half alone loses a drift of 2 µm; that must not enlarge the standard deviation of the whole."""
    made = drifting_table("filaments", "linear", 6000, frames=2000, total_nm=2000)
    found = estimate(made)
    assert (rms(residual(found, made)) < 1.5).all()
    assert (found.trajectory.sd_nm.max(axis=0) < 5).all()
    assert (rms(residual(found, made) / found.trajectory.sd_nm) < 1.5).all()
    assert np.sqrt((found.disagreement**2).mean()) < CorrectDriftSettings().halves_disagreement_warn


@pytest.mark.slow
@pytest.mark.parametrize("drift", ["none", "linear"])
def test_random_points_show_nothing(drift: str) -> None:
    found = estimate(drifting_table("random", drift, 15_000, frames=1000, total_nm=200))
    assert not found.beyond_doubt(SIGNIFICANT)
    assert found.detectability < SIGNIFICANT


@pytest.mark.slow
def test_a_still_sample_is_known_to_be_still() -> None:
    found = estimate(drifting_table("filaments", "none", 15_000, frames=1000))
    assert not found.beyond_doubt(SIGNIFICANT) and found.detectability > SIGNIFICANT


@pytest.mark.parametrize(("rows", "frames"), [(150, 1000), (900, 50)])
def test_too_little_shows_nothing(rows: int, frames: int) -> None:
    found = estimate(drifting_table("filaments", "linear", rows, frames=frames))
    assert found.significance == 0 and not found.trajectory.drift_nm.any()


def repeated(count: int, frames: int, spread: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames, positions and standard deviations of 40 molecules in 5 µm, each localized many times."""
    random = np.random.default_rng(0)
    place = random.uniform(0, spread, (40, 3))[random.integers(0, 40, count)]
    sd = np.full((count, 3), [10.0, 10.0, 25.0])
    return np.sort(random.integers(0, frames, count)), place + random.normal(size=(count, 3)) * sd, sd


def test_a_table_without_depth_is_corrected_laterally() -> None:
    frame, position, sd = repeated(900, 5000, 5000.0)
    position[:, 0] += frame / 5000 * 200
    position[:, 2] = 0
    found = sample_drift(frame, position, sd, 5000)
    assert found.significance > SIGNIFICANT
    assert 190 < np.ptp(found.trajectory.drift_nm[:, 0]) < 210
    assert np.ptp(found.trajectory.drift_nm[:, 2]) < 1


def markers(count: int, frames: int, paths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames, positions and standard deviations of markers that are always on, and of molecules seen once.

    `paths` (markers, frames, 3) or (1, frames, 3): how each moves.
    """
    random = np.random.default_rng(0)
    place = random.uniform([0, 0, -300], [2e4, 2e4, 300], (count, 1, 3)) + paths
    frame = np.tile(np.arange(frames), count)
    single = random.integers(0, frames, 150)
    apart = random.uniform([0, 0, -300], [2e4, 2e4, 300], (150, 3)) + paths[0][single]
    position = np.concatenate([place.reshape(-1, 3), apart])
    sd = np.full(position.shape, [5.0, 5.0, 12.0])
    return np.append(frame, single), position + random.normal(size=sd.shape) * sd, sd


def test_six_fiducial_markers_are_enough_if_they_move_alike() -> None:
    path = np.linspace(-50, 50, 600)[:, None] * [1.0, -0.5, 0.3]
    found = sample_drift(*markers(6, 600, path[None]), 600)
    assert found.significance < SIGNIFICANT and found.alike and found.beyond_doubt(SIGNIFICANT)
    assert (np.sqrt(((found.trajectory.drift_nm - path) ** 2).mean(axis=0)) < [0.5, 0.5, 1.5]).all()


@pytest.mark.parametrize("count", [1, 6])
def test_markers_that_move_each_on_its_own_are_not_followed(count: int) -> None:
    paths = np.random.default_rng(2).normal(0, 4, (count, 600, 3)).cumsum(axis=1)
    found = sample_drift(*markers(count, 600, paths), 600)
    assert not found.alike and not found.beyond_doubt(SIGNIFICANT)


def test_a_straight_line_says_nothing_about_the_drift_along_it() -> None:
    frame, position, sd = repeated(900, 5000, 0.0)
    position[:, 0] += np.random.default_rng(1).uniform(0, 9000, 900)
    position[:, 1] += frame / 5000 * 200
    found = sample_drift(frame, position, sd, 5000)
    assert 190 < np.ptp(found.trajectory.drift_nm[:, 1]) < 210
    along, across = found.trajectory.sd_nm[:, 0].mean(), found.trajectory.sd_nm[:, 1].mean()
    assert along > 5 * across
    assert np.abs(found.trajectory.drift_nm[:, 0]).max() < 3 * found.trajectory.sd_nm[:, 0].max()


def test_a_half_of_the_movie_without_localizations_is_no_problem() -> None:
    frame, position, sd = repeated(900, 2500, 5000.0)
    found = sample_drift(frame, position, sd, 5000)
    assert found.significance < SIGNIFICANT and np.isfinite(found.trajectory.drift_nm).all()


@pytest.mark.slow
@pytest.mark.parametrize("total_nm", [60, 300])
def test_a_lattice_is_not_moved_by_its_period(total_nm: float) -> None:
    """Molecules on a square lattice of 200 nm: trajectories a period apart are almost equally likely."""
    random, frames = np.random.default_rng(3), 5000
    sites = np.stack(np.meshgrid(*[np.arange(2000.0, 10_000.0, 200.0)] * 2), axis=-1).reshape(-1, 2)
    site = np.repeat(np.arange(len(sites)), random.poisson(3, len(sites)))
    start, length = random.integers(0, frames, len(site)), random.geometric(1 / 3, len(site))
    blink = np.repeat(np.arange(len(site)), length)
    frame = start[blink] + np.arange(len(blink)) - np.repeat(np.cumsum(length) - length, length)
    keep = frame < frames
    blink, frame = blink[keep], frame[keep]
    drift = np.linspace(-0.5, 0.5, frames)[:, None] * np.array([1.0, -0.6, 0.4]) * total_nm
    sd = np.tile([10.0, 10.0, 25.0], (len(frame), 1))
    position = (
        np.column_stack([sites[site[blink]], np.zeros(len(frame))]) + drift[frame] + random.normal(size=sd.shape) * sd
    )
    found = sample_drift(frame, position, sd, frames)
    corrected = found.beyond_doubt(CorrectDriftSettings().minimum_significance)
    left = drift - (found.trajectory.drift_nm if corrected else 0)
    before, after = (np.sqrt(((path - path[frame].mean(axis=0))[frame] ** 2).mean(axis=0)) for path in (drift, left))
    assert (after <= before + 1).all()


def test_points_without_neighbours_show_nothing() -> None:
    frame, position, sd = repeated(900, 5000, 0.0)
    position = np.random.default_rng(1).uniform(0, 1e5, (900, 3)) * [1, 1, 1e-2]
    found = sample_drift(frame, position, sd, 5000)
    assert abs(found.significance) < SIGNIFICANT and found.detectability < SIGNIFICANT


@pytest.mark.slow
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    structure=st.sampled_from(["filaments", "clusters", "sparse", "random"]),
    drift=st.sampled_from(DRIFTS),
    rows=st.integers(700, 6000),
    total_nm=st.floats(5, 1000),
    seed=st.integers(0, 1000),
)
def test_never_worse_than_no_correction(structure: str, drift: str, rows: int, total_nm: float, seed: int) -> None:
    made = drifting_table(structure, drift, rows, frames=500, total_nm=total_nm, seed=seed)
    found = estimate(made)
    if found.beyond_doubt(SIGNIFICANT):
        before, after = np.linalg.norm(rms(made.drift_nm)), np.linalg.norm(rms(residual(found, made)))
        assert after <= max(before, BARELY_NM)
