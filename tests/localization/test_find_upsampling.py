"""Detections by the upsampling network: the same in any mode, batch and band; photons of known positions."""

import numpy as np
import pandas as pd
import pytest
import torch

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table
from planeloc.localization import find_upsampling
from planeloc.localization.find_upsampling import fit_photons
from planeloc.localization.localize_frames import localize_frames
from planeloc.networks.tiled_upsampling import TiledUpsamplingNetwork
from planeloc.psf import Emitters, paper_psf
from planeloc.scenes.truth_matching import Points, match
from planeloc.transforms.camera_transform import Affine, Registration
from support.movies import CAMERAS, MAPS, SIDE, draw_emitters, expose, localizer_of, run, write_files
from support.splines import random_spline


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A short movie and everything to localize it with."""
    return write_files(tmp_path_factory.mktemp("movie"))


@pytest.fixture(scope="module")
def whole(files):
    """The table of one undisturbed run."""
    run(files, files / "whole.h5")
    return files / "whole.h5"


def near(table, other):
    """How many rows of a table have a row of the other in the same frame within half a voxel."""
    points = [Points(t.frame.to_numpy(), t[["x", "y", "z"]].to_numpy()) for t in (table, other)]
    return len(match(*points, 12.0, 25.0))


def test_looking_where_there_is_light_finds_what_looking_everywhere_does(files, whole, tmp_path):
    """The same localizations, but for some that are hardly above the threshold."""
    run(files, tmp_path / "dense.h5", mode="dense")
    dense, sparse = (localization_table.read(path)[0] for path in (tmp_path / "dense.h5", whole))
    assert near(sparse, dense) == len(sparse)
    clear = dense[dense.probability > 0.05]
    assert len(clear) > 50 and near(clear, sparse) == len(clear)


def test_memory_of_the_device_runs_out(files, monkeypatch, capsys):
    """The batch is halved until it fits, and stays so."""
    undisturbed = localize_frames(localizer_of(files), 0, 22)
    real, tried = TiledUpsamplingNetwork.__call__, []

    def small(self, windows, corners):
        tried.append(len(windows))
        if len(windows) > 9:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(self, windows, corners)

    monkeypatch.setattr(TiledUpsamplingNetwork, "__call__", small)
    found = localizer_of(files)
    assert pd.DataFrame(localize_frames(found, 0, 22)).equals(pd.DataFrame(undisturbed))
    assert [n for n in tried if n > 9] == [32, 16]
    assert "continuing with 8 tiles at a time" in capsys.readouterr().err

    monkeypatch.setattr(
        TiledUpsamplingNetwork, "__call__", lambda *_: (_ for _ in ()).throw(torch.cuda.OutOfMemoryError())
    )
    with pytest.raises(PlanelocError, match="not enough memory for one tile"):
        localize_frames(found, 0, 1)


def test_large_frames_are_searched_in_bands(files, whole, tmp_path, monkeypatch):
    """Maxima beside the border of a band are neither lost nor found twice."""
    in_one = localize_frames(localizer_of(files), 0, 20)
    monkeypatch.setattr(find_upsampling, "_PIXELS_AT_MOST", 2 * SIDE * 4)  # two rows of pages
    in_bands = localize_frames(localizer_of(files), 0, 20)
    assert len(in_one["x"]) > 50
    for name, values in in_one.items():
        assert in_bands[name] == pytest.approx(values, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("shift_px", [-0.9, -2.98, -2.9999])
def test_a_sensor_that_ends_within_the_field_blinds_nobody(files, tmp_path, shift_px):
    """Where only a sliver of a pixel is covered, its noise is not that of the sliver."""
    shifted = Affine(np.eye(2), np.array([shift_px, 0.0]))
    Registration((Affine.identity(), shifted, shifted, shifted), (0.0,) * 4).write(files / "shifted.json")
    found = localizer_of(files, "shifted.json")
    level = torch.full((4, SIDE, SIDE), 4.0)
    noise = found.finder.search.noise(found.context.variance(level))
    assert noise.max() < 1.1 * noise[:, :, SIDE // 2].max()


def test_photons_of_known_positions():
    """Least squares on the mapped windows: no bias beyond 2 % though pixels integrate, spread as the noise allows."""
    emitters = draw_emitters(60, 1, seed=5)
    counts = expose(emitters, 60, background=0.0)
    images = np.stack([camera.photons(counts[:, p]) for p, camera in enumerate(CAMERAS)], axis=1)
    px = np.stack([m(emitters[:, 1:3] / 192.0) for m in MAPS.transforms], axis=1)
    photons, _, excess = fit_photons(
        torch.from_numpy(images), paper_psf(), torch.from_numpy(px), torch.from_numpy(emitters[:, 3]), torch.arange(60)
    )
    ratio = photons.numpy() / emitters[:, 4]
    assert ratio.mean() == pytest.approx(1.0, abs=0.02)
    assert ratio.std() < 0.08
    assert np.abs(excess.mean().item()) < 0.5


def test_photons_of_localizations_are_fitted_with_a_measured_psf():
    psf = random_spline()
    position = torch.tensor([[9.3, 10.6], [20.1, 12.2]], dtype=torch.float64)
    z, light = torch.tensor([50.0, -250.0], dtype=torch.float64), torch.tensor([3000.0, 1500.0], dtype=torch.float64)
    at = position * psf.pixel_size_nm
    frame = psf.expected_photons(Emitters(at[:, 0], at[:, 1], z, light), (32, 32)).sum(dim=0, keepdim=True)
    found, _, _ = fit_photons(frame, psf, position[:, None].expand(2, 4, 2), z, torch.zeros(2, dtype=torch.long))
    assert found.numpy() == pytest.approx(light.numpy(), rel=0.02)
    wrong, _, _ = fit_photons(
        frame, paper_psf(), position[:, None].expand(2, 4, 2), z, torch.zeros(2, dtype=torch.long)
    )
    assert np.abs(wrong.numpy() / light.numpy() - 1).max() > np.abs(found.numpy() / light.numpy() - 1).max()
