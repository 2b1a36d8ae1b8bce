"""The regression network that is told which pixels each camera sees."""

from dataclasses import replace

import pytest
import torch

from planeloc.core.errors import PlanelocError
from planeloc.networks.regression import Architecture, RegressionNetwork, with_coverage
from planeloc.networks.self_test import recorded, run
from planeloc.networks.tiled_regression import maps_on_tiles
from planeloc.networks.training_match import disagreements
from planeloc.networks.weight_files import load_network, save_network
from planeloc.training.loop import inherit_weights
from support.repository import REGRESSION_WEIGHTS as WEIGHTS

FIELD = (40, 48)


def photons(seed=2):
    return 30 * torch.randn(2, 4, *FIELD, generator=torch.Generator().manual_seed(seed)).abs()


def told(start):
    network = RegressionNetwork(replace(start.architecture, coverage=True), 19.0, 0.01).eval()
    inherit_weights(network, start)
    network.input_scale.copy_(start.input_scale)
    return network


def test_weights_from_before_know_no_coverage():
    network, record = load_network(WEIGHTS)
    assert not record.architecture.coverage and network.architecture == record.architecture
    assert with_coverage(record.architecture, photons(), torch.zeros(4, *FIELD)) is not None
    assert with_coverage(record.architecture, photons(), None).shape[1] == 4


def test_a_network_that_begins_with_such_weights_first_ignores_the_coverage():
    start, _ = load_network(WEIGHTS)
    network, images, nothing = told(start), photons(), torch.zeros(4, *FIELD)
    with torch.inference_mode():
        expected = start(images)
        for seen in (None, nothing):
            found = network(with_coverage(network.architecture, images, seen))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_on_tiles_it_is_as_on_whole_frames():
    start, _ = load_network(WEIGHTS)
    network = told(start)
    with torch.no_grad():
        network.entry[0][0].weight[:, 4:] = 0.3 * torch.randn(24, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    seen = torch.ones(4, *FIELD)
    seen[2, :, 30:] = 0
    images = with_coverage(network.architecture, photons(), seen)
    marks = torch.zeros(2, 5, 6, dtype=torch.bool)
    marks[0, 2, 3] = marks[1, 0, 5] = True
    with torch.inference_mode():
        whole, tiled = network(images), maps_on_tiles(network, images, marks)
    for image, row, column in marks.nonzero().tolist():
        y, x = torch.meshgrid(
            torch.arange(8 * row, 8 * row + 8), torch.arange(8 * column, 8 * column + 8), indexing="ij"
        )
        found = tiled.at(torch.full_like(y, image).flatten(), y.flatten(), x.flatten())
        torch.testing.assert_close(found, whole[image, :, y, x].flatten(1).T, rtol=1e-3, atol=1e-3)


def test_weights_without_edges_are_no_answer_to_who_asks_for_them():
    _, record = load_network(WEIGHTS)
    asked = replace(record.scene, edges=0.5)
    reasons = disagreements(record, record.psf, asked, 25.0, "regression")
    assert reasons == ["it was trained without edges of sensors, which are asked for"]
    assert not disagreements(record, record.psf, record.scene, 25.0, "regression")
    assert not disagreements(replace(record, scene=asked), record.psf, record.scene, 25.0, "regression")


def test_a_weight_file_keeps_the_shape(tmp_path):
    start, record = load_network(WEIGHTS)
    architecture = Architecture(4, record.architecture.channels, coverage=True)
    record = replace(record, architecture=architecture, scene=replace(record.scene, edges=0.5))
    save_network(tmp_path / "told.safetensors", told(start), record)
    network, read = load_network(tmp_path / "told.safetensors")
    assert read.architecture.coverage and read.scene.edges == 0.5 and network.architecture.inputs == 8


def test_the_self_test_of_a_weight_file_covers_what_the_coverage_leads_to(tmp_path):
    start, record = load_network(WEIGHTS)
    network = told(start)
    with torch.no_grad():
        network.entry[0][0].weight[:, 4:] = 0.3
    file = tmp_path / "told.safetensors"
    save_network(file, network, replace(record, architecture=network.architecture))
    stored = recorded(network, replace(record, architecture=network.architecture), "told")
    assert stored["images"].shape[1] == 8 and set(stored["images"][:, 4:].unique().tolist()) == {0.0, 1.0}
    run(load_network(file)[0], stored, "told")
    with torch.no_grad():
        network.entry[0][0].weight[:, 4:] = 0.0
    with pytest.raises(PlanelocError, match="self-test"):
        run(network, stored, "told")
