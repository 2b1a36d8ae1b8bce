"""Density and dimension of known structures."""

import numpy as np
import pytest

from planeloc.resolution.spacing import spacing

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("axes", [2, 3])
def test_evenly_filled_fields_have_their_own_dimension_and_spacing(axes: int) -> None:
    rows, side = 20_000, 5_000.0
    found = spacing(RANDOM.uniform(0, side, (rows, axes)), 100)
    assert found.dimension == pytest.approx(axes, abs=0.15)
    assert found.nyquist_nm == pytest.approx(2 * side / rows ** (1 / axes), rel=0.06)


@pytest.mark.parametrize("axes", [2, 3])
def test_a_line_has_one_dimension(axes: int) -> None:
    line = np.zeros((5_000, axes))
    line[:, 0] = RANDOM.uniform(0, 50_000, 5_000)
    found = spacing(line, 100)
    assert found.dimension == pytest.approx(1, abs=0.06)
    assert found.nyquist_nm == pytest.approx(20, rel=0.06)


def test_empty_parts_of_the_field_do_not_count() -> None:
    cluster = RANDOM.uniform(0, 1_000, (5_000, 2))
    far = cluster + 1e6
    found = spacing(np.concatenate([cluster, far]), 100)
    assert found.nyquist_nm == pytest.approx(spacing(cluster, 100).nyquist_nm, rel=0.02)


@pytest.mark.parametrize("rows", [0, 1, 20, 99])
def test_few_rows_tell_nothing(rows: int) -> None:
    assert np.isnan(spacing(RANDOM.uniform(0, 100, (rows, 2)), 100).nyquist_nm)


def test_a_point_tells_nothing() -> None:
    assert np.isnan(spacing(np.full((500, 2), 3.0), 100).nyquist_nm)
