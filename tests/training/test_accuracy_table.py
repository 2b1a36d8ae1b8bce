"""A network's errors by depth and brightness: every molecule in one row, errors and bounds of its own kind."""

from dataclasses import replace

import numpy as np
import pytest

from planeloc.psf import paper_psf
from planeloc.psf.fisher_information import position_bound
from planeloc.scenes.scene import Scene
from planeloc.training.accuracy_table import LAYERS, tabulate
from planeloc.training.detection_errors import DetectionErrors

SCENE = Scene(photons=(500.0, 4500.0), background=(4.0, 8.0))
TOL = 0.12  # rms of some hundred normal errors


def drawn_errors(number: int = 4000) -> DetectionErrors:
    """Errors whose deviation grows with depth and falls with photons, a fifth too small along z; a tenth missed."""
    random = np.random.default_rng(3)
    z, photons = random.uniform(-800, 800, number), random.uniform(500, 4500, number)
    true = (20 + 0.02 * (z + 800))[:, None] * np.sqrt(1000 / photons)[:, None] * np.array([1.0, 1.0, 3.0])
    error = random.normal(0, true)
    error[random.random(number) < 0.1] = np.nan
    sd = np.where(np.isnan(error), np.nan, true * [1, 1, 0.8])
    return DetectionErrors(
        np.column_stack((random.uniform(0, 7000, (number, 2)), z)), photons, error, sd, false_positives=7
    )


def test_rows_hold_what_lies_in_them() -> None:
    errors = drawn_errors()
    rows = tabulate(errors, paper_psf(), SCENE)
    assert len(rows) == 2 * LAYERS
    assert sum(row["molecules"] for row in rows) == len(errors.photons)
    dim, bright = rows[:LAYERS], rows[LAYERS:]
    assert dim[0]["photons"] == [500.0, 2500.0] and bright[-1]["depth_nm"] == [600.0, 800.0]
    for row in rows:
        assert row["recall"] == pytest.approx(0.9, abs=0.07)
        assert [row["normalised_error_x"], row["normalised_error_y"], row["normalised_error_z"]] == pytest.approx(
            [1, 1, 1.25], rel=TOL
        )
        own = (errors.position_nm[:, 2] >= row["depth_nm"][0]) & (errors.position_nm[:, 2] < row["depth_nm"][1])
        own &= (errors.photons >= row["photons"][0]) & (errors.photons < row["photons"][1])
        assert row["axial_nm"] == pytest.approx(np.sqrt(np.nanmean(errors.error_nm[own, 2] ** 2)))
        levels = (errors.photons[own], np.full(own.sum(), 6.0))
        bound = position_bound(paper_psf(), SCENE.pixel_noise(4), errors.position_nm[own], *levels)
        assert row["bound_axial_nm"] == pytest.approx(np.sqrt((bound[:, 2] ** 2).mean()), rel=TOL)
        assert row["bound_lateral_nm"] == pytest.approx(np.sqrt((bound[:, :2] ** 2).sum(axis=1).mean()), rel=TOL)


def test_molecules_of_equal_brightness_are_in_the_brighter_half() -> None:
    errors = replace(drawn_errors(), photons=np.full(4000, 900.0))
    rows = tabulate(errors, paper_psf(), replace(SCENE, photons=(900.0, 900.0)))
    assert sum(row["molecules"] for row in rows[LAYERS:]) == 4000 and not any(row["molecules"] for row in rows[:LAYERS])


def test_rows_without_molecules_say_so() -> None:
    nothing = DetectionErrors(np.zeros((1, 3)), np.full(1, 600.0), np.full((1, 3), np.nan), np.full((1, 3), np.nan), 0)
    rows = tabulate(nothing, paper_psf(), SCENE)
    assert [row["molecules"] for row in rows] == [0, 0, 0, 0, 1, 0, 0, 0] + [0] * LAYERS
    assert rows[4]["recall"] == 0.0 and rows[4]["lateral_nm"] is None and rows[0]["recall"] is None
