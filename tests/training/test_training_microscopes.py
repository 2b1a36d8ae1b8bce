"""The training stage for microscopes of many kinds: it runs, and the network learns something."""

import json
from dataclasses import replace

import pytest
import torch

from planeloc.core.files import read_json
from planeloc.networks.regression_molecules import find_molecules
from planeloc.networks.weight_files import load_network
from planeloc.psf import paper_psf, write_psf
from planeloc.training.train import train
from support.splines import spline_of_a_long_scan
from support.trainings import TINY_REGRESSION, outputs

CAMERA = {
    "offset_counts": 100, "electrons_per_count": 4.0, "em_gain": 1, "quantum_efficiency": 0.9,
    "read_noise_electrons": 2.0,
}  # fmt: skip
# The rate rises over 200 steps, of which there are few.
SETTINGS = replace(
    TINY_REGRESSION,
    samples=320,
    learning_rate=0.02,
    validation=16,
    validate_every=320,
    photons="1000-5000",
    background="5-20",
)
UNTRAINED = replace(SETTINGS, samples=8, learning_rate=1e-12)


def planes_at(*depths_nm, pixel_size_nm=192.0):
    share = (1 / len(depths_nm),) * len(depths_nm)
    return replace(paper_psf(), plane_depths_nm=depths_nm, brightness=share, pixel_size_nm=pixel_size_nm)


@pytest.mark.parametrize(
    ("psf", "camera"),
    [
        (planes_at(-200.0, 200.0, pixel_size_nm=110.0), CAMERA),
        (planes_at(-500.0, -100.0, 400.0), {**CAMERA, "em_gain": 200, "read_noise_electrons": 40.0}),
        (spline_of_a_long_scan(), CAMERA),
    ],
    ids=["two planes, small pixels", "three uneven planes, EM gain", "a measured PSF"],
)
def test_training_for_a_microscope(psf, camera, tmp_path):
    write_psf(tmp_path / "psf.h5", psf)
    microscope = {"pixel_size_nm": psf.pixel_size_nm, "cameras": [camera] * psf.planes}
    (tmp_path / "microscope.yaml").write_text(json.dumps(microscope))
    losses = []
    for name, settings in (("untrained", UNTRAINED), ("trained", SETTINGS)):
        folder = tmp_path / name
        folder.mkdir()
        train(tmp_path / "psf.h5", tmp_path / "microscope.yaml", [], None, *outputs(folder), settings)
        losses.append(read_json(folder / "training.json")["history"][-1]["validation_loss"])
    assert losses[1] < losses[0] - 1  # an image is e times as likely
    network, record = load_network(tmp_path / "trained" / "weights.safetensors")
    assert record.scene.em_multiplication is (camera["em_gain"] > 1)
    with torch.inference_mode():
        maps = network(torch.zeros(2, psf.planes, 21, 34))  # neither square nor a multiple of four
    assert maps.shape == (2, 7 + 3 * psf.planes, 21, 34)
    found = find_molecules(maps, record.units, 1e-4)
    assert found.position_nm.shape[1] == 3
