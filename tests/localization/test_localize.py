"""Localization: the same table however the work is cut, and molecules where they are."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from planeloc.core.errors import PlanelocError
from planeloc.diagnostics.light import background_photons, fit_photons, measure_light
from planeloc.io import localization_table
from planeloc.localization import find_upsampling, scheduler
from planeloc.localization.localize import localize
from planeloc.localization.settings import MODES, LocalizeSettings
from planeloc.localization.worker import localize_frames
from planeloc.movie.store import Movie, write_movie
from planeloc.networks.tiled_upsampling import RegionNetwork
from planeloc.psf import paper_psf
from planeloc.scenes.matching import Points, match
from planeloc.transforms.camera_transform import Affine, Registration
from support.movies import (
    CAMERAS,
    MAPS,
    MICROSCOPE,
    SIDE,
    Source,
    draw_emitters,
    expose,
    localizer_of,
    run,
    write_files,
)
from support.repository import QUADPLANE_WEIGHTS


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A short movie and everything to localize it with."""
    return write_files(tmp_path_factory.mktemp("movie"))


@pytest.fixture(scope="module")
def whole(files):
    """The table of one undisturbed run."""
    run(files, files / "whole.h5")
    return files / "whole.h5"


@pytest.mark.parametrize("settings", [{"block_frames": 7, "workers": 2}, {"block_frames": 40}])
def test_same_bytes_for_any_blocks_and_workers(files, whole, tmp_path, settings):
    run(files, tmp_path / "other.h5", **settings)
    assert len(localization_table.read(whole)[0]) > 50
    assert whole.read_bytes() == (tmp_path / "other.h5").read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["other.h5"]


def test_an_interrupted_run_goes_on(files, whole, tmp_path, monkeypatch):
    real, seen = scheduler.run, []

    def stop_after_two(*arguments):
        for item in real(*arguments):
            seen.append(item[0])
            yield item
            if len(seen) == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(scheduler, "run", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        run(files, tmp_path / "cut.h5")
    assert not (tmp_path / "cut.h5").exists()
    monkeypatch.setattr(scheduler, "run", lambda *a: (seen.append(i[0]) or i for i in real(*a)))
    seen.clear()
    run(files, tmp_path / "cut.h5", block_frames=5)  # finished parts are used, however the rest is cut
    frames = sum(map(len, seen))
    assert 0 < frames < 22  # those that were finished are not computed again
    assert (tmp_path / "cut.h5").read_bytes() == whole.read_bytes()


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


def test_memory_of_the_device_runs_out(files, whole, tmp_path, monkeypatch, capsys):
    """The batch is halved until it fits, and stays so."""
    real, tried = RegionNetwork.__call__, []

    def small(self, windows, corners):
        tried.append(len(windows))
        if len(windows) > 9:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(self, windows, corners)

    monkeypatch.setattr(RegionNetwork, "__call__", small)
    found = localizer_of(files)
    localization_table.write(tmp_path / "o.h5", pd.DataFrame(localize_frames(found, 0, 22)), {})
    assert localization_table.read(tmp_path / "o.h5")[0].equals(localization_table.read(whole)[0])
    assert [n for n in tried if n > 9] == [32, 16]
    assert "going on with 8 regions at once" in capsys.readouterr().err

    monkeypatch.setattr(RegionNetwork, "__call__", lambda *_: (_ for _ in ()).throw(torch.cuda.OutOfMemoryError()))
    with pytest.raises(PlanelocError, match="not enough memory for one region"):
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
    noise = found.finder.search.noise(found.instrument.variance(level))
    assert noise.max() < 1.1 * noise[:, :, SIDE // 2].max()


def test_cameras_without_read_noise_and_background(files, tmp_path):
    """Photon counters in the dark: a pixel without any light has some noise all the same, and molecules are found."""
    ideal = tuple(replace(camera, read_noise_electrons=0.0, offset_counts=0.0) for camera in CAMERAS)
    counts = np.maximum(expose(draw_emitters(20, 3), 20, background=0.0).astype(int) - 100, 0).astype(np.uint16)
    write_movie(Source(counts), tmp_path / "m.zarr", tmp_path / "m.json", replace(MICROSCOPE, cameras=ideal))
    for name in ("registration.json", "psf.h5"):
        (tmp_path / name).write_bytes((files / name).read_bytes())
    run(tmp_path, tmp_path / "o.h5")
    assert (localization_table.read(tmp_path / "o.h5")[0].probability > 0.5).sum() > 50


@pytest.mark.parametrize("mode", MODES)
def test_dark_frames_are_an_empty_table(files, tmp_path, mode):
    write_movie(Source(expose([], 21)), tmp_path / "m.zarr", tmp_path / "m.json", MICROSCOPE, chunk_frames=6)
    for name in ("registration.json", "psf.h5"):
        (tmp_path / name).write_bytes((files / name).read_bytes())
    run(tmp_path, tmp_path / "o.h5", mode=mode)
    table, _ = localization_table.read(tmp_path / "o.h5")
    assert not (table.probability > 0.1).any()


def test_planes_that_disagree_are_named(files, tmp_path):
    Registration.identity(3).write(tmp_path / "r.json")
    with pytest.raises(PlanelocError, match=r"number of planes differs: .*r\.json has 3"):
        localize(files / "m.json", tmp_path / "r.json", files / "psf.h5", QUADPLANE_WEIGHTS, tmp_path / "o.h5",
                 LocalizeSettings(device="cpu"))  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_an_error(files, tmp_path):
    with pytest.raises(PlanelocError, match="device cuda"):
        run(files, tmp_path / "o.h5", device="cuda")


def test_photons_of_known_places():
    """Least squares on the mapped windows: no bias beyond 2 % though pixels integrate, spread as the noise allows."""
    emitters = draw_emitters(60, 1, seed=5)
    counts = expose(emitters, 60, background=0.0)
    images = np.stack([camera.photons(counts[:, p]) for p, camera in enumerate(CAMERAS)], axis=1)
    px = np.stack([m(emitters[:, 1:3] / 192.0) for m in MAPS.maps], axis=1)
    photons, _, excess = fit_photons(
        torch.from_numpy(images), paper_psf(), torch.from_numpy(px), torch.from_numpy(emitters[:, 3]), torch.arange(60)
    )
    ratio = photons.numpy() / emitters[:, 4]
    assert ratio.mean() == pytest.approx(1.0, abs=0.02)
    assert ratio.std() < 0.08
    assert np.abs(excess.mean().item()) < 0.5


def test_light_is_measured_from_a_movie(tmp_path):
    counts = expose(draw_emitters(60, 4, seed=8), 60, background=6.0)
    write_movie(Source(counts), tmp_path / "m.zarr", tmp_path / "m.json", MICROSCOPE, chunk_frames=30)
    light = measure_light([Movie.open(tmp_path / "m.json")], paper_psf())
    assert light.background == pytest.approx((6.0, 6.0), abs=1.0)
    assert 2000 < light.photons[0] < 3200 and 4600 < light.photons[1] < 6500  # drawn from 2,500 to 5,400
    write_movie(Source(counts[:1] * 0 + 100), tmp_path / "d.zarr", tmp_path / "d.json", MICROSCOPE, chunk_frames=30)
    with pytest.raises(PlanelocError, match=r"d\.json: only 0 molecules"):
        measure_light([Movie.open(tmp_path / "d.json")], paper_psf())


def test_background_ignores_blinking_and_chunks(tmp_path):
    counts = np.random.default_rng(0).poisson(210.0, (130, 4, 20, 20)).astype(np.uint16)
    counts[::8, :, 10, 10] += 300
    for chunk in (7, 100):
        write_movie(Source(counts), tmp_path / "m.zarr", tmp_path / "m.json", MICROSCOPE, chunk_frames=chunk)
        movie = Movie.open(tmp_path / "m.json")
        level = background_photons(movie, 110)
        assert level == pytest.approx(55.0, abs=2.0)  # (210 − 100) · 0.5
        if chunk == 7:
            first = level
    assert np.array_equal(first, level)


def test_a_registration_of_another_field_is_refused(files, tmp_path):
    MAPS.write(tmp_path / "r.json", {"height_px": 64, "width_px": 80})
    with pytest.raises(PlanelocError, match=r"r\.json: found from images of 80×64 pixels and the movie has 48×48"):
        localize(files / "m.json", tmp_path / "r.json", files / "psf.h5", QUADPLANE_WEIGHTS, tmp_path / "o.h5",
                 LocalizeSettings(device="cpu"))  # fmt: skip


def test_shipped_network_finds_molecules(whole):
    """End to end on another forward model, with a mirrored camera: 22 frames with 3 molecules each."""
    table, _ = localization_table.read(whole)
    truth = draw_emitters(22, 3)
    found = table[table.probability > 0.1]
    squares = []
    for frame, x, y, z, photons in truth:
        distance = np.hypot(found.x - x, found.y - y)
        near = found[(found.frame == frame) & (distance < 200) & ((found.z - z).abs() < 300)]
        if len(near):
            squares.append(distance[near.index[0]] ** 2)
            assert near.photons.iloc[0] == pytest.approx(photons, rel=0.5)
    assert len(squares) > 0.9 * len(truth) and len(found) < 1.1 * len(truth)
    assert np.sqrt(np.mean(squares)) < 40  # one voxel is 24 nm, the bound with unknown drift about 19 nm rms
