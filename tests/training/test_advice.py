"""How to train for a movie: a command and a configuration that say the same."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from planeloc.networks import regression, upsampling
from planeloc.networks.weight_files import NetworkRecord
from planeloc.psf import paper_psf
from planeloc.scenes.scene import Scene
from planeloc.training.advice import training_advice

FILES = {
    "movie": Path("a movie.json"),
    "registration": Path("r.json"),
    "calibration": Path("psf.h5"),
    "weights": Path("w.safetensors"),
    "output": Path("out/localizations.h5"),
}
DENSE = Scene(density=(0.06 / 256, 4 / 256), window_px=40, background_error=0.5)


def advice(architecture, scene, remedy, differs=False, psf=None):
    record = NetworkRecord(architecture, paper_psf(), scene, 16.0)
    return training_advice(remedy, differs, record, psf or paper_psf(), **FILES)


def test_command_and_configuration_say_the_same() -> None:
    scene = replace(DENSE, window_px=64, registration_resampling=False)
    line = advice(regression.Architecture(4), scene, {"background": "4.0-50.0"})
    command, configuration = line.split("`")[1], line.split("`")[3]
    words = shlex.split(command)
    assert words[:2] == ["planeloc", "train"] and "a movie.json" in words and "out/weights.safetensors" in words
    assert {"--window-px=64", "--no-registration-resampling", "--background=4.0-50.0"} <= set(words)
    assert configuration == (
        "train: {on_mismatch: train, registration_resampling: false, window_px: 64, background: 4.0-50.0}"
    )


def test_a_kind_is_trained_with_its_own_settings() -> None:
    line = advice(upsampling.Architecture(4, 32), Scene(emitters=5), {})
    assert "--network=upsampling" in line and "--emitters=5" in line and "density" not in line


@pytest.mark.parametrize(("waist_nm", "first"), [(133.0, True), (160.0, False)])
def test_beads_come_first_where_the_calibration_is_the_network_s(waist_nm: float, first: bool) -> None:
    psf = replace(paper_psf(), waist_nm=waist_nm)
    line = advice(regression.Architecture(4), DENSE, {}, True, psf)
    assert line.startswith("psf.h5 has the network's spot width: calibrate with beads") is first
