"""The whole chain on molecules drawn from a REAL bead's images, not from the Gaussian that is fitted.

The bead (180 nm, 65 nm pixels, 100 nm steps, rings on one side of focus) is interpolated and binned to the camera's
pixels; the microscope is calibrated on beads drawn in the same way, and the network is tuned to what that calibration
says. Emulated: the four planes come from one recording, so this says nothing about differences between cameras.
"""

import json
import os
from pathlib import Path

import pytest
import yaml

from planeloc.calibration.calibrate import calibrate
from planeloc.calibration.settings import CalibrateSettings
from planeloc.cameras.microscope import read_microscope
from planeloc.evaluation.evaluate import evaluate
from planeloc.evaluation.settings import EvaluateSettings
from planeloc.localization.localize import localize
from planeloc.localization.settings import LocalizeSettings
from planeloc.movie.convert import convert
from planeloc.movie.settings import ConvertSettings
from planeloc.postprocessing.filter import filter_localizations
from planeloc.postprocessing.settings import FilterSettings
from planeloc.registration.register import register
from planeloc.registration.settings import RegisterSettings
from planeloc.simulation.simulate import simulate
from planeloc.training.settings import TrainSettings
from planeloc.training.train import train
from support.repository import QUADPLANE_WEIGHTS, REPOSITORY

DATA = os.environ.get("PLANELOC_TEST_DATA")
TUNING_IMAGES = 1200  # half a minute; a user's training is longer (see TrainSettings) and better

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA, reason="PLANELOC_TEST_DATA is not set"),
]


def acquisition(folder):
    """The demo's microscope with the real bead for a PSF, and a shorter movie."""
    settings = yaml.safe_load((REPOSITORY / "config" / "demo" / "simulation.yaml").read_text())
    settings["psf"] = {
        "model": "stack",
        "file": str(Path(DATA) / "beads" / "bead180_oil.tif"),
        "pixel_size_nm": 65,
        "z_step_nm": 100,
        "offset_counts": 104.2,
        "scan": "objective",
    }
    settings["frames"] = 40
    del settings["camera_movies"]
    settings["beads"]["scan_range_nm"] = 1350  # the recording ends soon beyond
    path = folder / "simulation.yaml"
    path.write_text(yaml.safe_dump(settings))
    simulate(path, folder / "acquisition")
    return folder / "acquisition"


def test_the_chain_on_a_real_bead(tmp_path, capsys):
    source = acquisition(tmp_path)
    microscope = read_microscope(source / "microscope.yaml")
    beads = [source / f"beads_camera{p}.ome.tif" for p in range(4)]
    movies = [source / f"movie_camera{p}.ome.tif" for p in range(4)]
    out = {name: tmp_path / name for name in ("psf.h5", "registration.json", "movie.json", "w.safetensors")}
    figure, quality = tmp_path / "registration.png", tmp_path / "quality.json"
    register(beads, microscope, out["registration.json"], figure, quality, RegisterSettings())
    calibrate(
        beads,
        microscope,
        50.0,
        "objective",
        out["psf.h5"],
        tmp_path / "psf.png",
        quality,
        CalibrateSettings(),
        registration=out["registration.json"],
    )
    convert(movies, microscope, tmp_path / "movie.zarr", out["movie.json"], quality, ConvertSettings())
    decision = train(
        out["psf.h5"],
        source / "microscope.yaml",
        [out["movie.json"]],
        QUADPLANE_WEIGHTS,
        out["w.safetensors"],
        tmp_path / "training.json",
        tmp_path / "training.png",
        TrainSettings(network="upsampling", samples=TUNING_IMAGES, validation=16, threads=2, device="cpu"),
        registration=out["registration.json"],
    )
    localize(
        out["movie.json"],
        out["registration.json"],
        out["psf.h5"],
        out["w.safetensors"],
        tmp_path / "all.h5",
        LocalizeSettings(workers=2, device="cpu"),
    )
    exports = [("picasso", tmp_path / "p.hdf5"), ("thunderstorm", tmp_path / "t.csv")]
    filter_localizations(tmp_path / "all.h5", tmp_path / "kept.h5", exports, FilterSettings())
    evaluate(
        tmp_path / "kept.h5", source / "truth.csv", tmp_path / "e.json", tmp_path / "evaluation.png", EvaluateSettings()
    )
    values = json.loads((tmp_path / "e.json").read_text())["values"]
    with capsys.disabled():
        shown = ("recall", "precision", "jaccard", "rmse_lateral_nm", "rmse_axial_nm", "bias_z_nm")
        print(f"\nreal bead, network {decision['decision']}:", ", ".join(f"{key} {values[key]:.3g}" for key in shown))
    assert values["recall"] > 0.6
    assert values["precision"] > 0.9
    assert values["rmse_lateral_nm"] < 45
    assert values["rmse_axial_nm"] < 65
