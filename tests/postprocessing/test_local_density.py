"""The local density is the number of neighbours over the area, whatever the strips it is counted in."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from planeloc.postprocessing import local_density as module
from planeloc.postprocessing.local_density import local_density

RADIUS_NM = 250.0


def places(count=6000, seed=0):
    random = np.random.default_rng(seed)
    spread, cluster = random.uniform(0, 10_000, (2, count)), random.normal(5000, 120, (2, count // 4))
    return np.concatenate((spread, cluster), axis=1).astype(np.float32)


def test_it_is_that_of_a_search_of_neighbours():
    x, y = places()
    tree = cKDTree(np.column_stack((x, y)))
    searched = tree.query_ball_point(np.column_stack((x, y)), RADIUS_NM, return_length=True) - 1
    exact = searched / (np.pi * (RADIUS_NM / 1000) ** 2)
    found = local_density(x, y, RADIUS_NM)
    assert np.corrcoef(found, exact)[0, 1] > 0.999
    assert found[exact > 100] == pytest.approx(exact[exact > 100], rel=0.25)  # places are rounded
    assert np.abs(found / exact - 1)[exact > 100].mean() < 0.03
    assert found.mean() == pytest.approx(exact.mean(), rel=0.02)


def test_strips_change_nothing(monkeypatch):
    x, y = places()
    whole = local_density(x, y, RADIUS_NM)
    monkeypatch.setattr(module, "_STRIP_CELLS", 1)
    monkeypatch.setattr(module, "_LEAST_ROWS", 7)
    assert (local_density(x, y, RADIUS_NM) == whole).all()


def test_one_alone_has_none_and_unknown_places_have_no_density():
    x, y = np.array([500, 2000, np.nan, 510], np.float32), np.array([500, 2000, 500, 500], np.float32)
    found = local_density(x, y, RADIUS_NM)
    assert found[0] == found[3] == pytest.approx(1 / (np.pi * 0.25**2), rel=0.02)
    assert found[1] == 0 and np.isnan(found[2])
    nothing = np.empty(0, np.float32)
    assert len(local_density(nothing, nothing, RADIUS_NM)) == 0
    assert np.isnan(local_density(x[2:3], y[2:3], RADIUS_NM)).all()
