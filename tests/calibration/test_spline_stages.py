"""The measured PSF in every stage that asks for one: simulation, training, weights, localization."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from planeloc.core.errors import PlanelocError
from planeloc.networks.training_match import mistaken_depths
from planeloc.networks.upsampling import Architecture
from planeloc.networks.weight_files import NetworkRecord, load_network, save_network
from planeloc.psf import Emitters, write_psf
from planeloc.scenes.draw import draw_batch
from planeloc.scenes.scene import Scene
from planeloc.simulation.microscope import build_microscope
from planeloc.simulation.scenes import SimulatedScene
from planeloc.simulation.settings import read_settings
from planeloc.simulation.simulate import simulate
from planeloc.training.train import train
from planeloc.transforms.camera_transform import Affine, Registration
from support.acquisitions import write_settings
from support.splines import random_spline, spline_of_a_long_scan
from support.trainings import TINY_UPSAMPLING, outputs

MIRROR = Affine(np.diag([-1.0, 1.0]), np.array([64.0, 0.0]))


def test_an_acquisition_shows_the_calibrated_psf(tmp_path):
    psf = random_spline()
    write_psf(tmp_path / "psf.h5", psf)
    settings = read_settings(write_settings(tmp_path, psf={"model": "calibrated", "file": "psf.h5"}))
    instrument = replace(build_microscope(settings), background=np.zeros((4, 36, 40)))
    emitter = np.array([[20.3 * 192, 18.6 * 192, 150.0]])
    seen = instrument.expected(SimulatedScene(np.zeros(1, dtype=int), emitter, np.array([5000.0])), 0, 1, None)[0]
    x, y, z, light = (torch.tensor(v, dtype=torch.float64) for v in (*emitter[0], 5000.0))
    shown = psf.expected_photons(Emitters(x, y, z, light), (36, 40)).clamp(min=0)
    np.testing.assert_allclose(seen[0], shown[0], atol=0.02)  # the window ends where little light is left
    simulate(tmp_path / "simulation.yaml", tmp_path / "acquisition")
    gaussian, knots = replace(psf.gaussian, pixel_size_nm=100.0), replace(psf.knots, lateral_nm=50.0)
    other = replace(psf, gaussian=gaussian, knots=knots, _moved={})
    write_psf(tmp_path / "psf.h5", other)
    with pytest.raises(
        PlanelocError, match=r"psf\.h5: 4 planes and pixels of 100 nm, but the simulation has 4 and 192"
    ):
        build_microscope(settings)


def test_training_images_are_made_with_it():
    psf, scene = random_spline(), Scene(registration_resampling=False, background=(4.0, 4.0), read_noise_photons=1.0)
    batch = draw_batch(psf, replace(scene, inter_camera_drift_voxels=0), 200, torch.Generator().manual_seed(3))
    positions = batch.positions_nm.unbind(-1)
    expected = psf.expected_photons(Emitters(*positions, batch.photons), (16, 16)).sum(dim=1)
    left = batch.images - expected
    assert abs(float(left.mean())) < 0.05
    assert float((left**2 / (expected + 5)).mean()) == pytest.approx(1, abs=0.05)
    # What sets the spline apart from its Gaussian is in the images, once.
    gaussian = psf.gaussian.expected_photons(Emitters(*positions, batch.photons), (16, 16)).sum(dim=1)
    apart = expected - gaussian
    assert float(((batch.images - gaussian) * apart).sum() / (apart**2).sum()) == pytest.approx(1, abs=0.05)


def test_weights_remember_it_and_training_sees_it_through_the_maps(tmp_path):
    psf = spline_of_a_long_scan()
    write_psf(tmp_path / "psf.h5", psf)
    maps = Registration((Affine.identity(), MIRROR, Affine.identity(), Affine.identity()), (0.0,) * 4)
    maps.write(tmp_path / "registration.json")
    settings = replace(TINY_UPSAMPLING, photons="1600-5400", background="4-4")
    decided = train(
        tmp_path / "psf.h5", None, [], None, *outputs(tmp_path), settings, registration=tmp_path / "registration.json"
    )
    assert decided["decision"] == "trained"
    _, record = load_network(tmp_path / "weights.safetensors")
    assert torch.equal(record.psf.coefficients[1], psf.coefficients[1].flip(-1))
    assert torch.equal(record.psf.coefficients[2], psf.coefficients[2])
    assert json.loads((tmp_path / "training.json").read_text())["microscope_psf"]["model"] == "spline"
    depths = np.arange(-400.0, 401.0, 100.0)
    assert np.abs(mistaken_depths(record.psf, psf.in_reference_frame(maps.matrices), depths)).max() < 1.0


def test_weights_with_a_spline_round_trip(tmp_path):
    record = NetworkRecord(Architecture(4, 32, (16, 8, 8, 8)), random_spline(), Scene(), 100.0)
    network = record.build().eval()
    save_network(tmp_path / "w.safetensors", network, record)
    loaded, read = load_network(tmp_path / "w.safetensors")
    assert read.as_dict() == record.as_dict()
    assert torch.equal(read.psf.coefficients, record.psf.coefficients)
    image = torch.rand(1, 4, 16, 16)
    assert torch.equal(loaded(image), network(image))
