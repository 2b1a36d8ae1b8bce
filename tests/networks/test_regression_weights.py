"""The shipped regression network finds molecules of the paper's microscope in drifting planes, and knows how well."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from planeloc.networks.regression_molecules import find_molecules
from planeloc.networks.weight_files import load_network
from planeloc.scenes.draw import draw_batch
from planeloc.scenes.scene import PAPER_BACKGROUND, PAPER_PHOTONS
from planeloc.scenes.truth_matching import Points, match
from planeloc.training.accuracy_table import accuracy_table, calibrate_deviations
from planeloc.training.settings import TrainSettings
from support.repository import REGRESSION_WEIGHTS

FRAMES, MOLECULES = 40, 10
LEAST_JACCARD = 0.97  # 0.994 on more frames
MOST_LATERAL_NM, MOST_AXIAL_NM = 17.0, 30.0  # 14.0 and 25.2
PULL = 0.2
PULL_OF_ROW, PULL_OF_ALL = 0.2, 0.05


@torch.inference_mode()
def test_ten_molecules_in_a_field_that_drifts():
    network, record = load_network(REGRESSION_WEIGHTS)
    light = {"photons": PAPER_PHOTONS, "background": PAPER_BACKGROUND, "background_error": 0.0}
    scene = replace(record.scene, window_px=64, emitters=MOLECULES, **light)
    batch = draw_batch(record.psf, scene, FRAMES, torch.Generator().manual_seed(5))
    found = find_molecules(network(batch.images), record.units, 0.3)
    place, truth = found.position_nm.double().numpy(), batch.positions_nm.flatten(0, 1).double().numpy()
    frame = np.repeat(np.arange(FRAMES), MOLECULES)
    pairs = match(Points(found.image.numpy(), place), Points(frame, truth), 250.0, 500.0)
    assert len(pairs) / (len(found) + len(truth) - len(pairs)) > LEAST_JACCARD
    error = place[pairs.found] - truth[pairs.truth]
    x, y, z = np.sqrt((error**2).mean(axis=0))
    assert np.hypot(x, y) < MOST_LATERAL_NM and z < MOST_AXIAL_NM
    pull = error / found.position_sd_nm.double().numpy()[pairs.found]
    assert np.sqrt((pull**2).mean(axis=0)) == pytest.approx([1.0] * 3, abs=PULL)


@pytest.mark.slow
def test_deviations_are_true_at_all_depths_for_dim_and_bright_molecules():
    """On images of neither training nor the measurement of their factors; whatever factors there were before."""
    network, record = load_network(REGRESSION_WEIGHTS)
    settings = TrainSettings(network="regression", device="cpu").resolved()
    anew = calibrate_deviations(network, replace(record, deviation_factors=(5.0, 0.2)), settings)
    # Other processors round otherwise.
    assert anew.deviation_factors == pytest.approx(record.deviation_factors, rel=0.02)
    rows = accuracy_table(network, record, replace(settings, seed=7))
    pulls = np.array([[row[f"normalised_error_{axis}"] for axis in "xyz"] for row in rows])
    assert pulls == pytest.approx(np.ones_like(pulls), abs=PULL_OF_ROW)
    assert np.sqrt((pulls**2).mean(axis=0)) == pytest.approx([1.0] * 3, abs=PULL_OF_ALL)
