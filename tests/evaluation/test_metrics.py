"""The protocol's counting rules, and the figures of merit by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from planeloc.cameras.camera import Camera
from planeloc.cameras.noise import PixelNoise
from planeloc.evaluation import metrics
from planeloc.evaluation.settings import EvaluateSettings
from planeloc.psf import paper_psf
from planeloc.psf.fisher_information import position_bound
from support.evaluated_tables import SIZE_NM, found, molecules

PROTOCOL = EvaluateSettings(lateral_nm=250.0, axial_nm=500.0, border_nm=450.0, minimum_truth_photons=0.0)


def counts(table, truth, **changes) -> tuple[int, int, int]:
    values = metrics.scores(metrics.compare(table, truth, SIZE_NM, replace(PROTOCOL, **changes)))
    return values["true_positives"], values["false_positives"], values["false_negatives"]


def test_hits_misses_and_false_ones():
    table = found((1000, 1000, 0), (2000, 2000, 0))
    truth = molecules((1010, 1000, 0), (3000, 3000, 0))
    assert counts(table, truth) == (1, 1, 1)


@pytest.mark.parametrize(
    ("x_found", "x_true", "expected"),
    [
        (460, 440, (0, 0, 0)),  # localization just inside, its molecule just outside: neither right nor wrong
        (440, 460, (1, 0, 0)),  # localization just outside, its molecule just inside: found
        (460, 1000, (0, 1, 1)),  # inside and alone
        (440, 1000, (0, 0, 1)),  # outside and alone
        (1000, 440, (0, 1, 0)),  # a molecule outside is not missed
    ],
)
def test_the_border(x_found, x_true, expected):
    assert counts(found((x_found, 2000, 0)), molecules((x_true, 2000, 0))) == expected


def test_dim_molecules_do_not_count():
    table, truth = found((1000, 1000, 0)), molecules((1000, 1000, 0), (3000, 3000, 0), photons=[100.0, 2000.0])
    assert counts(table, truth) == (1, 0, 1)
    assert counts(table, truth, minimum_truth_photons=500.0) == (0, 0, 1)


def test_figures_of_merit_by_hand():
    table = found((1003, 1004, 10), (2000, 2000, -30), (4000, 4000, 0))
    truth = molecules((1000, 1000, 0), (2000, 2000, 0), (3000, 3000, 0))
    values = metrics.scores(metrics.compare(table, truth, SIZE_NM, PROTOCOL))
    lateral, axial = math.sqrt((9 + 16 + 0) / 2), math.sqrt((100 + 900) / 2)
    assert values["recall"] == values["precision"] == pytest.approx(2 / 3)
    assert values["jaccard"] == pytest.approx(1 / 2)
    assert values["rmse_lateral_nm"] == pytest.approx(lateral)
    assert values["rmse_axial_nm"] == pytest.approx(axial)
    assert values["efficiency_lateral"] == pytest.approx(100 - math.sqrt(50**2 + lateral**2))
    assert values["efficiency_axial"] == pytest.approx(100 - math.sqrt(50**2 + (0.5 * axial) ** 2))
    assert [values[f"bias_{axis}_nm"] for axis in "xyz"] == pytest.approx([1.5, 2.0, -10.0])
    assert values["normalised_error_x"] == pytest.approx(math.sqrt(4.5) / 10)


def test_pulls_of_right_uncertainties_are_one():
    random = np.random.default_rng(0)
    truth = random.uniform((1000, 1000, -400), (4000, 4000, 400), (2000, 3))
    frames = np.arange(2000)
    table = found(*(truth + random.normal(0, (12, 12, 24), truth.shape)), frame=frames, sd=12.0)
    values = metrics.scores(metrics.compare(table, molecules(*truth, frame=frames), SIZE_NM, PROTOCOL))
    assert values["recall"] == 1
    assert [values[f"normalised_error_{axis}"] for axis in "xyz"] == pytest.approx([1, 1, 1], abs=0.06)


def test_voxel_errors_leave_out_where_in_the_voxel():
    comparison = metrics.compare(
        found((1001, 1001, 1), (2026, 2001, -1)), molecules((1024, 1024, 49), (2001, 2001, 1)), SIZE_NM, PROTOCOL
    )
    values = metrics.voxel_scores(comparison, (25.0, 25.0, 50.0), -600.0)
    assert values == {"voxel_error_lateral_nm": 12.5, "voxel_error_axial_nm": 25.0}


def test_depth_bins():
    comparison = metrics.compare(
        found((1000, 1000, -100)), molecules((1000, 1000, -110), (1000, 3000, 50)), SIZE_NM, PROTOCOL
    )
    low, high = metrics.by_depth(comparison, np.array([-600.0, 0.0, 600.0]))
    assert (low["molecules"], low["recall"], low["bias_z_nm"]) == (1, 1.0, pytest.approx(10))
    assert (high["molecules"], high["recall"]) == (1, 0.0)
    assert math.isnan(high["rmse_axial_nm"])


def test_errors_as_large_as_the_bound_are_one_times_the_bound():
    """Errors are drawn with the deviations that the image allows, from dim and bright molecules at all depths."""
    random, psf, noise = np.random.default_rng(0), paper_psf(), PixelNoise.of([Camera(read_noise_electrons=2.0)] * 4)
    position = np.column_stack((random.uniform(1000, 4000, (2000, 2)), random.uniform(-600, 600, 2000)))
    photons = random.uniform(500, 5000, 2000)
    limit = position_bound(psf, noise, position, photons, np.full(2000, 4.0))
    assert (np.diff(limit[np.argsort(photons)][[0, -1], 0]) < 0).all()
    table = found(*(position + limit * random.normal(size=limit.shape)), frame=np.arange(2000))
    truth = molecules(*position, frame=np.arange(2000), photons=photons)
    comparison = metrics.compare(table, truth, SIZE_NM, PROTOCOL)
    values = metrics.bound_scores(comparison, limit)
    assert values["rmse_lateral_over_bound"] == pytest.approx(1, abs=0.05)
    assert values["rmse_axial_over_bound"] == pytest.approx(1, abs=0.05)
    doubled = metrics.bound_scores(comparison, limit / 2)
    assert doubled["rmse_lateral_over_bound"] == pytest.approx(2, abs=0.1)
