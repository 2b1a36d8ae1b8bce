"""The stage's sideways motion: its path with covariance, and its separation from a spot that walks with defocus."""

import numpy as np
import pytest

from planeloc.beads.stage_drift import remove_stage_drift, uneven_stage_drift

SLICES = 41
TRAVEL = np.linspace(-3.5, 3.5, SLICES)  # in depths of focus
FOCI = (-2.0, -0.7, 0.7, 2.0)
BEADS = 8
SD_NM = 3.0
TOL_DISPLACEMENT_NM = 3.0
TOL_NORMALISED_ERROR = 0.3


def seen(displacement_nm: np.ndarray, walk_nm: np.ndarray, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Positions, deviations, defocus and what is usable; `walk_nm` (2,) at one depth of focus, of second power."""
    random = np.random.default_rng(seed)
    defocus = np.repeat(np.subtract.outer(FOCI, TRAVEL), BEADS, axis=0)
    place = random.uniform(0, 1e4, (len(defocus), 1, 2))
    position = place + displacement_nm + defocus[..., None] ** 2 * walk_nm
    position += random.normal(0, SD_NM, position.shape)
    return position, np.full(defocus.shape, SD_NM), defocus, np.abs(defocus) < 1.6


def even_part(displacement: np.ndarray) -> np.ndarray:
    at = np.arange(SLICES)
    return np.stack([np.polyval(np.polyfit(at, w, 1), at) for w in displacement.T], axis=1)


@pytest.mark.parametrize("walk", [(0.0, 0.0), (25.0, -10.0)])
def test_an_uneven_displacement_is_found_whatever_the_spot_does(walk: tuple[float, float]) -> None:
    steps = np.random.default_rng(3).normal(0, 8, (SLICES, 2)).cumsum(axis=0)
    displacement = steps - even_part(steps)
    assert np.sqrt(np.mean(displacement**2)) > 3 * TOL_DISPLACEMENT_NM
    found = uneven_stage_drift(*seen(displacement, np.array(walk)))
    assert np.sqrt(np.mean((found - displacement) ** 2)) < TOL_DISPLACEMENT_NM


def test_a_walk_alone_and_an_even_slide_are_no_uneven_displacement() -> None:
    slide = np.linspace(-60, 60, SLICES)[:, None] * np.array([1.0, 0.3])
    for displacement, walk in ((np.zeros((SLICES, 2)), (25.0, -10.0)), (slide, (0.0, 0.0))):
        assert np.sqrt(np.mean(uneven_stage_drift(*seen(displacement, np.array(walk))) ** 2)) < TOL_DISPLACEMENT_NM


def test_one_wrong_bead_and_slices_without_beads() -> None:
    position, sd, defocus, usable = seen(np.zeros((SLICES, 2)), np.zeros(2))
    position[3, 20:] += 80.0
    usable[:, :5] = False
    found = uneven_stage_drift(position, sd, defocus, usable)
    assert np.ptp(found[:5], axis=0).max() == 0
    assert np.sqrt(np.mean(found**2)) < TOL_DISPLACEMENT_NM
    assert (uneven_stage_drift(position, sd, defocus, np.zeros_like(usable)) == 0).all()


def test_the_path_is_found_with_its_error() -> None:
    """Two cameras with the beads in focus on slices far apart: the covariance contains the error of the path."""
    found = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        slices, beads = 20, 8
        path = random.normal(0, 0.05, (slices, 2)).cumsum(axis=0)
        sd = np.stack([np.geomspace(0.01, 0.3, slices)] * beads + [np.geomspace(0.3, 0.01, slices)] * beads)
        place = np.tile(random.uniform(0, 100, (beads, 2)), (2, 1))
        seen = place[:, None] + path + random.normal(0, 1, (2 * beads, slices, 2)) * sd[..., None]
        steady = remove_stage_drift(seen, sd**2, np.repeat([0, 1], beads), np.ones(2 * beads, dtype=bool))
        assert not steady.moves.any()
        first, second = np.arange(beads), beads + np.arange(beads)
        shared = steady.shared_covariance_px2(first, second)
        own = steady.variance_px2[first] + steady.variance_px2[second]
        mean = (steady.position_px[second] - steady.position_px[first]).mean(axis=0)
        found.append(mean / np.sqrt((np.diag(own) + shared).mean()))
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(1, abs=TOL_NORMALISED_ERROR)
