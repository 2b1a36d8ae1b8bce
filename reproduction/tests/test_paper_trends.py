"""The trends of the paper, on the shipped networks: what drift costs, and what training with it saves."""

from __future__ import annotations

import numpy as np
import pytest

from planeloc.scenes.scene import paper_scene
from planeloc_reproduction.baselines import build
from planeloc_reproduction.images import Recipe, draw_images
from support.repository import RESOURCES

IMAGES = 200
SEED = 77
TOL_MEAN_SD = 4.0  # standard errors of a mean
LATERAL_LIMIT_NM, AXIAL_LIMIT_NM = 15.6, 11.2  # README.md: drift in steps unknown, molecules anywhere in the window


def errors(name, recipe):
    """Voxel to voxel (images, 2): lateral distance and |Δz| in nm."""
    weights = RESOURCES / f"{name}.safetensors" if name in ("robust", "nonrobust") else None
    test = draw_images(recipe, IMAGES, SEED)
    found = build(name, weights, "cpu").locate(test)
    psf, scene = paper_scene()
    x_nm, _, z_nm = scene.voxel_nm(psf.pixel_size_nm)
    step = (found.voxel - test.voxel).double().numpy()
    return np.stack((np.hypot(step[:, 1], step[:, 2]) * x_nm, np.abs(step[:, 0]) * z_nm), axis=1)


def margin(values):
    """The standard error of a mean, times the tolerance."""
    return TOL_MEAN_SD * values.std() / np.sqrt(len(values))


@pytest.fixture(scope="module")
def drifted():
    return {name: errors(name, Recipe()) for name in ("robust", "nonrobust", "matching_pursuit", "fit_with_drift")}


@pytest.fixture(scope="module")
def still():
    return {name: errors(name, Recipe(largest_drift_nm=0.0)) for name in ("robust", "nonrobust")}


def test_training_with_drift_pays_where_there_is_drift(drifted):
    gain = drifted["nonrobust"][:, 0] - drifted["robust"][:, 0]
    assert gain.mean() > margin(gain)


def test_and_costs_where_there_is_none(still):
    loss = still["robust"][:, 0] - still["nonrobust"][:, 0]
    assert loss.mean() > margin(loss)


def test_drift_harms_the_network_that_never_saw_it(drifted, still):
    lateral = drifted["nonrobust"][:, 0].mean() - still["nonrobust"][:, 0].mean()
    assert lateral > margin(drifted["nonrobust"][:, 0])


def test_nothing_is_better_than_the_information_limit(drifted):
    """An error far below it would be an error of the experiment."""
    for name, values in drifted.items():
        assert values[:, 0].mean() > LATERAL_LIMIT_NM - margin(values[:, 0]), name
        assert values[:, 1].mean() > AXIAL_LIMIT_NM - margin(values[:, 1]), name


def test_the_fit_that_knows_the_prior_is_near_the_limit(drifted):
    values = drifted["fit_with_drift"]
    assert values[:, 0].mean() < 1.08 * LATERAL_LIMIT_NM + margin(values[:, 0])
    assert values[:, 1].mean() < AXIAL_LIMIT_NM + margin(values[:, 1])
