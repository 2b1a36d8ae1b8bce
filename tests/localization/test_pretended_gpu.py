"""The GPU's path on a pretended GPU (`support.pretended_gpu`): no tensor of the host meets one of the device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from planeloc.localization.context import InputPaths
from planeloc.localization.localize_frames import Job, Localizer, localize_frames
from planeloc.localization.settings import LocalizeSettings
from planeloc.psf import paper_psf, write_psf
from planeloc.scenes.truth_matching import Points, match
from planeloc.training.train import train
from support.movies import FRAMES_OF_FILES, draw_emitters, write_files
from support.pretended_gpu import GPU, pretend
from support.repository import RESOURCES
from support.splines import random_spline, spline_of_a_long_scan
from support.trainings import TINY_REGRESSION, TINY_UPSAMPLING, outputs

FEW = {"samples": 16, "validate_every": 8, "checkpoint_every_s": 1.0, "device": "cuda", "precision": "float32"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = write_files(tmp_path_factory.mktemp("movie"))
    spline = random_spline()
    write_psf(folder / "psf.h5", replace(spline, gaussian=paper_psf(), coefficients=0.01 * spline.coefficients))
    return folder


def test_the_pretence_is_noticed_where_tensors_meet(monkeypatch):
    with pretend(monkeypatch):
        there, here = torch.zeros(3, device="cuda"), torch.zeros(3)
        assert (there + 1).view(3, 1).device == GPU and there.cpu().device == here.device == torch.device("cpu")
        assert here.to(there).device == here.to("cuda").device == GPU and here.device.type == "cpu"
        with pytest.raises(RuntimeError, match="same device"):
            there + here
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert torch.equal(there + torch.tensor(1.0), torch.ones(3, device="cuda"))  # a single number may come along


@pytest.mark.parametrize("weights", ["regression", "quadplane"])
def test_localization(files, weights, monkeypatch):
    paths = InputPaths(
        files / "m.json", files / "registration.json", files / "psf.h5", RESOURCES / f"{weights}.safetensors"
    )
    settings = LocalizeSettings(threshold=0.3 if weights == "regression" else 0.005, device="cuda", precision="float32")
    with pretend(monkeypatch):
        localizer = Localizer(Job(paths, settings))
        assert localizer.context.device == GPU and localizer.group > FRAMES_OF_FILES
        table = pd.DataFrame(localize_frames(localizer, 0, FRAMES_OF_FILES))
    frame, *place, _ = draw_emitters(FRAMES_OF_FILES, 3).T
    truth = Points(frame.astype(int), np.column_stack(place))
    pairs = match(Points(table.frame.to_numpy(), table[["x", "y", "z"]].to_numpy()), truth, 100.0, 200.0)
    assert len(pairs) > 0.9 * len(truth)


@pytest.mark.parametrize("settings", [TINY_REGRESSION, TINY_UPSAMPLING], ids=lambda s: s.network)
def test_training(settings, tmp_path, monkeypatch):
    psf = tmp_path / "psf.h5"
    write_psf(psf, replace(spline_of_a_long_scan(), gaussian=paper_psf()))
    with pretend(monkeypatch):
        used = train(psf, None, [], None, *outputs(tmp_path), replace(settings, **FEW))
    assert used["decision"] == "trained" and used["device"].startswith("cuda: pretended")
