"""Detections matched with the ground truth."""

import numpy as np
import pytest
import torch

from planeloc.networks.regression_molecules import Found
from planeloc.scenes.random_density import DenseScenes
from planeloc.training.detection_errors import DetectionErrors, detection_errors, score


def test_every_true_molecule_is_matched_once() -> None:
    truth = DenseScenes(
        torch.zeros(2, 4, 16, 16), torch.tensor([0, 0, 1]),
        torch.tensor([[1000.0, 1000, 0], [2000, 2000, 100], [500, 500, -300]]), torch.tensor([900.0, 800, 700]),
        torch.zeros(2), torch.zeros(2, 4, 2),
    )  # fmt: skip
    place = torch.tensor([[2010.0, 1990, 130], [500, 500, 400], [1000, 1020, 0]])
    one = torch.ones(3)
    found = Found(torch.tensor([0, 1, 1]), place, 10 * torch.ones(3, 3), one, one, one, one)
    errors = detection_errors(found, truth)
    np.testing.assert_allclose(errors.error_nm[1], [10, -10, 30], atol=1e-3)
    assert (
        errors.found.tolist() == [False, True, False] and errors.false_positives == 2
    )  # too far along z; another image
    both = DetectionErrors.joined([errors, errors])
    assert score(both)["jaccard"] == pytest.approx(2 / 10)
    assert score(both)["axial_nm"] == pytest.approx(30) and score(both)["normalised_error_z"] == pytest.approx(3)
