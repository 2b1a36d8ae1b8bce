"""The regression network: any size and number of planes, files, and what is read from its maps."""

import math
from dataclasses import replace

import pytest
import torch

from planeloc.networks.regression import REACH_PX, Architecture, RegressionNetwork
from planeloc.networks.regression_molecules import Units, find_molecules, window_drift
from planeloc.networks.weight_files import NetworkRecord, load_network, load_tensors, save_network, save_tensors
from planeloc.psf import paper_psf
from planeloc.scenes.scene import Scene

PLANES = 4
UNITS = Units(pixel_size_nm=100.0, depth_range_nm=(-200.0, 600.0), photons=5000.0, drift_sd_px=0.2)
SD_LOGIT = math.log(math.expm1(0.1 - 0.004))  # is read as a deviation of 0.1


def small(planes=4):
    torch.manual_seed(0)
    return RegressionNetwork(Architecture(planes, (8, 8, 8)), 20.0, 0.005).eval()


@pytest.mark.parametrize("planes", [2, 3, 4, 9])
@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (17, 23), (5, 40), (1, 1)])
def test_output_is_on_the_same_pixels(planes, rows, columns):
    maps = small(planes)(torch.randn(2, planes, rows, columns))
    assert maps.shape == (2, Architecture(planes).maps, rows, columns)
    assert window_drift(maps, 0.2).mean.shape == (2, planes - 1, 2)


def test_a_window_does_not_see_the_others_of_its_batch():
    network, images = small(), torch.randn(3, 4, 24, 24) * 50
    assert torch.allclose(network(images)[1], network(images[1:2])[0], atol=1e-5)


def test_round_trip(tmp_path):
    torch.manual_seed(0)
    record = NetworkRecord(Architecture(4, (8, 8, 8)), paper_psf(), Scene(density=(0.001, 0.01)), 20.0, (1.1, 1.3))
    network = record.build().eval()
    save_network(tmp_path / "w.safetensors", network, record)
    loaded, read = load_network(tmp_path / "w.safetensors")
    assert read == record and read.kind == "regression"
    image = torch.rand(1, 4, 16, 16)
    assert torch.equal(loaded(image), network(image))


def test_records_without_a_kind_are_of_the_first():
    record = NetworkRecord(Architecture(4), paper_psf(), Scene(density=(0.001, 0.01)), 20.0)
    values = record.as_dict()
    assert values["kind"] == "regression" and NetworkRecord.from_dict(values, {}) == record
    del values["kind"]
    with pytest.raises((TypeError, KeyError)):
        NetworkRecord.from_dict(values, {})


def test_records_with_former_names_are_read(tmp_path):
    scene = Scene(density=(0.001, 0.01), inter_camera_drift_voxels=5)
    record = NetworkRecord(Architecture(4, (8, 8, 8)), paper_psf(), scene, 20.0)
    save_network(tmp_path / "w.safetensors", record.build(), record)
    tensors, values = load_tensors(tmp_path / "w.safetensors")
    values["scene"]["drift_voxels"] = values["scene"].pop("inter_camera_drift_voxels")
    values["examination"] = [{"pull_x": 1.5}]
    save_tensors(tmp_path / "w.safetensors", tensors, values)
    assert load_network(tmp_path / "w.safetensors")[1] == record
    assert load_tensors(tmp_path / "w.safetensors")[1]["accuracy_table"] == [{"normalised_error_x": 1.5}]


def maps_with(probabilities, rows=8, columns=10):
    """Empty maps but for the given pixels {(image, row, column): probability}."""
    maps = torch.zeros(2, Architecture(PLANES).maps, rows, columns)
    maps[:, 0] = -12.0
    maps[:, 3:5] = SD_LOGIT
    maps[:, 7 + 2 * PLANES :] = SD_LOGIT
    for (image, row, column), p in probabilities.items():
        maps[image, 0, row, column] = math.log(p / (1 - p))
    return maps


def test_numbers_are_read_in_nanometres_and_photons():
    """All planes see the molecule at the same place, each with a deviation of 10 nm; the drift's prior is 20 nm."""
    maps = maps_with({(1, 3, 6): 0.9})
    maps[1, 1:3, 3, 6] = torch.tensor([0.5, 0.25])
    maps[1, 5, 3, 6] = -0.7
    maps[1, 7 : 7 + PLANES, 3, 6], maps[1, 7 + PLANES : 7 + 2 * PLANES, 3, 6] = 0.2, -0.3
    found = find_molecules(maps, UNITS, 0.5)
    x, y = (100 * (centre + REACH_PX * math.tanh(o / REACH_PX)) for centre, o in ((6.5, 0.2), (3.5, -0.3)))
    # plane 0 alone knows the place to 10 nm, each other to √(10² + 20²), independently; and it exists but to 90 %
    lateral_sd = (1 / 10**2 + 3 / (10**2 + 20**2)) ** -0.5
    assert found.image.tolist() == [1]
    assert found.position_nm[0].tolist() == pytest.approx([x, y, 200 + 0.5 * 400], rel=1e-5)
    assert found.position_sd_nm[0].tolist() == pytest.approx([lateral_sd, lateral_sd, 40.0], rel=0.02)
    corrected = find_molecules(maps, replace(UNITS, deviation_factors=(1.5, 2.0)), 0.5).position_sd_nm
    assert torch.allclose(corrected, found.position_sd_nm * torch.tensor([1.5, 1.5, 2.0]))
    assert found.photons.item() == pytest.approx(1250) and found.photons_sd.item() == pytest.approx(500, rel=1e-4)
    assert found.background.item() == pytest.approx(-0.7)
    assert found.probability.item() == pytest.approx(0.9, abs=1e-3)


def test_molecules_of_an_image_tell_each_other_of_the_drift():
    """One on all planes sees plane 3 moved; another that only plane 3 sees is put back."""
    maps = maps_with({(0, 2, 2): 0.999, (0, 5, 6): 0.999, (1, 5, 6): 0.999})
    maps[0, 10, 2, 2] = maps[:, 10, 5, 6] = 0.15  # x on plane 3
    maps[:, 7 + 2 * PLANES : -1, 5, 6] = 3.0  # the other planes do not know
    maps[0, 7 + 2 * PLANES :, 2, 2] = -5.0
    together, alone = find_molecules(maps, UNITS, 0.5).position_nm[1:, 0].tolist()
    assert together == pytest.approx(650, abs=2.0)
    assert alone > 655


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ({}, []),
        ({(0, 4, 4): 0.45}, []),
        ({(0, 4, 4): 0.4, (0, 4, 5): 0.35}, [(0, 4, 4)]),  # one molecule on the border of two pixels
        ({(0, 4, 4): 0.45, (0, 4, 5): 0.45}, [(0, 4, 4)]),
        ({(0, 4, 4): 0.95, (0, 4, 5): 0.9}, [(0, 4, 4), (0, 4, 5)]),  # neighbours
        ({(0, 4, 4): 0.9, (0, 5, 6): 0.9}, [(0, 4, 4), (0, 5, 6)]),
        ({(0, 0, 0): 0.9, (0, 7, 9): 0.9, (1, 0, 9): 0.9}, [(0, 0, 0), (0, 7, 9), (1, 0, 9)]),
        ({(0, 3, 9): 0.9, (0, 4, 0): 0.3}, [(0, 3, 9)]),  # the other end of the next row is no neighbour
    ],
)
def test_one_molecule_for_every_maximum(probabilities, expected):
    found = find_molecules(maps_with(probabilities), UNITS, 0.5)
    pixels = (found.position_nm[:, :2] / 100 - 0.5).round().long().tolist()
    assert [(image, row, column) for image, (column, row) in zip(found.image.tolist(), pixels, strict=True)] == expected


def test_probability_is_that_of_a_molecule():
    """On the border of two pixels both have a share; beside another molecule each has its own."""
    shared = find_molecules(maps_with({(0, 4, 4): 0.5, (0, 4, 5): 0.4}), UNITS, 0.5)
    assert shared.probability.tolist() == pytest.approx([0.9], abs=1e-3)
    apart = find_molecules(maps_with({(0, 4, 4): 0.95, (0, 4, 5): 0.8}), UNITS, 0.5)
    assert apart.probability.tolist() == pytest.approx([0.95, 0.8], abs=1e-3)


@pytest.mark.parametrize(("apart_px", "expected"), [(0.0, 1), (0.2, 1), (0.8, 2)])
def test_pixels_that_give_the_same_place_are_one_molecule(apart_px, expected):
    """A deviation of 0.1 px each, in x and y and z: two molecules are farther apart than 0.42 px."""
    maps = maps_with({(1, 4, 4): 0.7, (1, 4, 5): 0.8, (0, 4, 4): 0.8})
    offset = REACH_PX * math.atanh(0.5 / REACH_PX)
    maps[1, 7 : 7 + PLANES, 4, 4] = offset  # to the border of the two
    maps[1, 7 : 7 + PLANES, 4, 5] = -REACH_PX * math.atanh((0.5 - apart_px) / REACH_PX)
    found = find_molecules(maps, UNITS, 0.5)
    here = found.image == 1
    assert int(here.sum()) == expected
    if expected == 1:
        assert found.position_nm[here, 0].item() == pytest.approx(100 * (5.0 + apart_px), abs=0.5)  # the more probable
        assert found.probability[here].item() > 0.99
    else:
        assert found.probability[here].tolist() == pytest.approx([0.7, 0.8], abs=1e-3)
