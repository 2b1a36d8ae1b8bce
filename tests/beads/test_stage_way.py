"""A stage that goes aside and a spot that walks with defocus, told apart by planes that focus on different slices."""

import numpy as np
import pytest

from planeloc.beads.stage_way import uneven_way

SLICES = 41
TRAVEL = np.linspace(-3.5, 3.5, SLICES)  # in depths of focus
FOCI = (-2.0, -0.7, 0.7, 2.0)
BEADS = 8
SD_NM = 3.0
TOL_WAY_NM = 3.0


def seen(way_nm: np.ndarray, walk_nm: np.ndarray, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Positions, deviations, defocus and what is usable; `walk_nm` (2,) at one depth of focus, of second power."""
    random = np.random.default_rng(seed)
    defocus = np.repeat(np.subtract.outer(FOCI, TRAVEL), BEADS, axis=0)
    place = random.uniform(0, 1e4, (len(defocus), 1, 2))
    position = place + way_nm + defocus[..., None] ** 2 * walk_nm
    position += random.normal(0, SD_NM, position.shape)
    return position, np.full(defocus.shape, SD_NM), defocus, np.abs(defocus) < 1.6


def even_part(way: np.ndarray) -> np.ndarray:
    at = np.arange(SLICES)
    return np.stack([np.polyval(np.polyfit(at, w, 1), at) for w in way.T], axis=1)


@pytest.mark.parametrize("walk", [(0.0, 0.0), (25.0, -10.0)])
def test_an_uneven_way_is_found_whatever_the_spot_does(walk: tuple[float, float]) -> None:
    steps = np.random.default_rng(3).normal(0, 8, (SLICES, 2)).cumsum(axis=0)
    way = steps - even_part(steps)
    assert np.sqrt(np.mean(way**2)) > 3 * TOL_WAY_NM
    found = uneven_way(*seen(way, np.array(walk)))
    assert np.sqrt(np.mean((found - way) ** 2)) < TOL_WAY_NM


def test_a_walk_alone_and_an_even_slide_are_no_uneven_way() -> None:
    slide = np.linspace(-60, 60, SLICES)[:, None] * np.array([1.0, 0.3])
    for way, walk in ((np.zeros((SLICES, 2)), (25.0, -10.0)), (slide, (0.0, 0.0))):
        assert np.sqrt(np.mean(uneven_way(*seen(way, np.array(walk))) ** 2)) < TOL_WAY_NM


def test_one_wrong_bead_and_slices_without_beads() -> None:
    position, sd, defocus, usable = seen(np.zeros((SLICES, 2)), np.zeros(2))
    position[3, 20:] += 80.0
    usable[:, :5] = False
    found = uneven_way(position, sd, defocus, usable)
    assert np.ptp(found[:5], axis=0).max() == 0
    assert np.sqrt(np.mean(found**2)) < TOL_WAY_NM
    assert (uneven_way(position, sd, defocus, np.zeros_like(usable)) == 0).all()
