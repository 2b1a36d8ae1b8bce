"""Large groups of frames, as a GPU computes them: on the CPU here, and on a GPU where there is one."""

from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from planeloc.core import devices
from planeloc.fitting.frame_table import FrameTable
from planeloc.fitting.tensor_fit import TensorFit
from planeloc.fitting.windows import InitialMolecules, MoleculeWindows
from planeloc.localization import localize_frames as localize_module
from planeloc.localization.context import InputPaths
from planeloc.localization.localize_frames import Job, Localizer, localize_frames
from planeloc.localization.settings import LocalizeSettings
from planeloc.movie.background import BACKGROUND_FRAMES, background_of_photons, background_photons
from planeloc.movie.store import Movie
from planeloc.movie.writer import write_movie
from planeloc.psf import paper_psf, write_psf
from planeloc.scenes.truth_matching import Points, match
from planeloc.transforms.camera_transform import Affine, Quadratic, Registration
from planeloc.transforms.on_device import TransformsOnDevice
from support.molecule_frames import NOISE, PSF, scene
from support.movies import CAMERAS, MAPS, MICROSCOPE, Source, draw_emitters, expose
from support.repository import REGRESSION_WEIGHTS, REPOSITORY
from support.splines import random_spline

FRAMES, PER_FRAME = 230, 2
MOST_OPERATIONS = 20  # per frame

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=[on_gpu, pytest.mark.gpu])]


@pytest.fixture
def large(monkeypatch):
    """Large groups on the CPU, too."""
    monkeypatch.setitem(devices.LARGE_GROUPS, "cpu", True)


@pytest.fixture
def operations(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY)
    return import_module("benchmarks.support.operations").Operations


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    counts = expose(draw_emitters(FRAMES, PER_FRAME), FRAMES)
    counts[100:] += 3  # photons of background that only the first stretch does not have
    write_movie(Source(counts), folder / "m.zarr", folder / "m.json", MICROSCOPE, chunk_frames=30)
    MAPS.write(folder / "registration.json")
    spline = random_spline()
    write_psf(folder / "psf.h5", replace(spline, gaussian=paper_psf(), coefficients=0.01 * spline.coefficients))
    return folder


def localizer_on(files, device):
    paths = InputPaths(files / "m.json", files / "registration.json", files / "psf.h5", REGRESSION_WEIGHTS)
    settings = LocalizeSettings(threshold=0.3, mode="dense", device=device, precision="float32")
    return Localizer(Job(paths, settings))


@pytest.fixture(scope="module")
def few(files):
    """The table of groups as a CPU computes them."""
    return pd.DataFrame(localize_frames(localizer_on(files, "cpu"), 0, FRAMES))


def points(table):
    return Points(table.frame.to_numpy(), table[["x", "y", "z"]].to_numpy())


@pytest.mark.parametrize("device", DEVICES)
def test_localizations_are_those_of_small_groups(files, few, large, device):
    """All but a few to a fraction of a nanometre: iterations end frame by frame, and not for twenty frames together."""
    localizer = localizer_on(files, device)
    assert localizer.group == 1600
    table = pd.DataFrame(localize_frames(localizer, 0, FRAMES))
    assert len(table) == pytest.approx(len(few), abs=2)
    pairs = match(points(table), points(few), 100.0, 200.0)
    assert len(pairs) >= len(few) - 2
    columns = ["x", "y", "z", "photons", "background", "x_sd", "y_sd", "z_sd", "probability"]
    away = (table[columns].to_numpy()[pairs.found] - few[columns].to_numpy()[pairs.truth]) / few[
        columns
    ].std().to_numpy()
    lateral = np.abs(points(table).position_nm[pairs.found] - points(few).position_nm[pairs.truth])
    assert (np.median(lateral, axis=0) < [0.02, 0.02, 0.05]).all()
    assert (np.quantile(lateral, 0.9, axis=0) < [1.0, 1.0, 2.0]).all()
    assert (np.median(np.abs(away), axis=0) < 1e-3).all()
    goodness = [each.goodness_of_fit.to_numpy()[rows] for each, rows in ((table, pairs.found), (few, pairs.truth))]
    assert np.nanmedian(np.abs(goodness[0] - goodness[1])) < 1e-3 and np.isfinite(goodness[0]).all()


def test_blocks_of_a_movie_are_cut_at_groups(files, few, large, monkeypatch):
    """Smaller groups, blocks that begin and end within them, and the group that is read ahead."""
    monkeypatch.setitem(localize_module._GROUP_FRAMES, "cuda", (200, 100, 50))
    monkeypatch.setitem(localize_module._GROUP_BYTES, "cuda", 100 * 4 * 4 * 48**2)
    localizer = localizer_on(files, "cpu")
    assert localizer.group == 100
    whole = localize_frames(localizer, 0, FRAMES)
    parts = [localize_frames(localizer, *block) for block in ((0, 100), (100, 170), (170, FRAMES))]
    for name, values in whole.items():
        assert np.array_equal(np.concatenate([part[name] for part in parts]), values)
    assert len(match(points(pd.DataFrame(whole)), points(few), 100.0, 200.0)) >= len(few) - 2


def test_a_group_that_needs_too_much_memory_is_halved(files, few, large, monkeypatch):
    localizer, frames = localizer_on(files, "cpu"), []
    refinement = localizer.refinement

    def refine(images, background, found):
        frames.append(len(images))
        if len(images) > 100:
            raise RuntimeError("CUDA error: out of memory")
        return refinement(images, background, found)

    localizer.refinement = refine
    table = pd.DataFrame(localize_frames(localizer, 0, FRAMES))
    assert frames == [230, 100, 130, 100, 30]
    assert len(match(points(table), points(few), 100.0, 200.0)) >= len(few) - 2
    with pytest.raises(RuntimeError, match="something else"):
        monkeypatch.setattr(localizer, "finder", raises("something else"))
        localize_frames(localizer, 0, FRAMES)


def raises(message):
    def function(*arguments):
        raise RuntimeError(message)

    return function


def test_float32_is_not_rounded_whatever_was_set_before():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        localize_module._device("cpu", 0)
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def test_backgrounds_are_those_of_every_stretch(files, large):
    movie = Movie.open(files / "m.json")
    localizer = localizer_on(files, "cpu")
    counts, samples = localizer.read(100, FRAMES)
    assert np.array_equal(counts.numpy(), movie.read(100, FRAMES))
    found = background_of_photons(localizer._photons(samples.flatten(0, 1)).view(samples.shape))
    for number, frame in enumerate(range(100, FRAMES, BACKGROUND_FRAMES)):  # the last stretch reaches back
        assert found[number].numpy() == pytest.approx(background_photons(movie, frame), abs=1e-4)


@pytest.mark.parametrize("samples", [3, 16, 25])
def test_background_of_few_and_of_an_even_number_of_frames(tmp_path, samples):
    random = np.random.default_rng(1)
    counts = random.integers(100, 140, (samples, 4, 20, 28)).astype(np.uint16)
    write_movie(Source(counts), tmp_path / "m.zarr", tmp_path / "m.json", MICROSCOPE)
    expected = background_photons(Movie.open(tmp_path / "m.json"), 0)
    photons = np.stack([camera.photons(counts[:, plane]) for plane, camera in enumerate(CAMERAS)], axis=1)
    assert background_of_photons(torch.from_numpy(photons)[None])[0].numpy() == pytest.approx(expected, abs=1e-4)


def test_transforms_are_those_of_the_registration():
    random = np.random.default_rng(0)
    bent = Quadratic(np.array([100.0, 90.0]), 120.0, random.normal(size=(2, 6)))
    known = Registration(
        (Affine.identity(), Affine(random.normal(size=(2, 2)), random.normal(size=2)), bent), (0.0,) * 3
    )
    place = random.uniform(0, 200, (50, 2))
    device = TransformsOnDevice.of(known, torch.device("cpu"))
    positions, jacobians = device.positions(torch.from_numpy(place)), device.jacobians(torch.from_numpy(place))
    for plane, transform in enumerate(known.transforms):
        assert positions[:, plane].numpy() == pytest.approx(transform(place), abs=1e-9)
        assert jacobians[:, plane].numpy() == pytest.approx(transform.jacobian(place), abs=1e-9)


def test_pairs_in_a_table_are_those_of_a_tree(large, monkeypatch):
    random = np.random.default_rng(2)
    frame = torch.from_numpy(np.sort(random.integers(0, 9, 200)))
    mapped = torch.from_numpy(random.uniform(-5, 53, (200, 4, 2)))
    windows = MoleculeWindows.cut(torch.zeros(9, 4, 48, 48), torch.zeros(4, 48, 48), frame, mapped, 11)
    table = FrameTable.of(frame, 9, torch.from_numpy(random.random(200) < 0.9))
    first, second = windows.pairs(table)
    real = first != second
    monkeypatch.setitem(devices.LARGE_GROUPS, "cpu", False)
    for found, expected in zip((first[real], second[real]), windows.pairs(table), strict=True):
        assert len(found) > 50 and torch.equal(found, expected)


@pytest.mark.parametrize("psf", [PSF, random_spline()], ids=["formula", "spline"])
def test_images_are_those_of_small_groups(psf, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    position = torch.rand(60, 4, 2, generator=generator).double() * 4000 - 1000
    position[0], position[1] = 1e9, -1e7
    defocus = torch.rand(60, 4, generator=generator).double() * 3000 - 1500
    expected = psf.unit_derivatives(position, defocus, (11, 11))
    monkeypatch.setitem(devices.LARGE_GROUPS, "cpu", True)
    found = psf.unit_derivatives(position, defocus, (11, 11))
    for one, other in zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-15)


def crowd(frames, per_frame, seed=3):
    """Frames with molecules that overlap, and a problem of all of them."""
    random = np.random.default_rng(seed)
    number = frames * per_frame
    position = np.column_stack((random.uniform(500, 8500, (number, 2)), random.uniform(-600, 600, number)))
    frame = np.repeat(np.arange(frames), per_frame)
    return scene(frame, position, random.uniform(2000, 5000, number), drift_sd_nm=30.0)


def problem(made, psf, device="cpu"):
    start = InitialMolecules(*(values.to(device) for values in made.start()))
    every = torch.ones_like(start.frame, dtype=torch.bool)
    return TensorFit(psf, NOISE, made.images.to(device), made.level.to(device), start, 30.0, None, None, every)


@pytest.mark.parametrize("psf", [PSF, random_spline()], ids=["formula", "spline"])
def test_an_iteration_waits_for_nothing_and_starts_as_much_for_any_molecules(large, operations, psf):
    started = []
    for frames, per_frame in ((5, 4), (30, 9)):
        fit = problem(crowd(frames, per_frame), psf)
        state = fit.first_state()
        with operations() as counted:
            for number in range(3):
                state = fit.iterate(state, number < 2)
        assert not counted.waits
        started.append(counted.total)
    assert started[0] == started[1] > 100


def test_the_counter_sees_what_waits(operations):
    values = torch.arange(6.0)
    with operations() as counted:
        float(values.sum())
        values[values > 2]
        values.nonzero()
        values.clone()[values > 3] = 0.0
        torch.linalg.inv(torch.eye(2))
    assert sum(counted.waits.values()) >= 5
    with operations() as counted:
        values.view(2, 3)[:, 1].unsqueeze(0)
        torch.einsum("i,i->", values, values)
    assert not counted.waits and 0 < counted.total <= 3


def test_a_frame_stops_when_it_has_converged(large):
    """Whatever other frames do: they may need more iterations."""
    fit = problem(crowd(6, 3), PSF)
    state = fit.first_state()
    for _ in range(12):
        before, state = state, fit.iterate(state, False)
        still = ~before.moving
        assert torch.equal(state.now.at.drift[still], before.now.at.drift[still])
        rows = still[fit._start.frame]
        assert torch.equal(state.now.at.molecules[rows], before.now.at.molecules[rows])
        assert torch.equal(state.held[rows], before.held[rows])
    assert not state.moving.all()


@pytest.mark.slow
def test_operations_of_a_frame(files, large, operations):
    """From counts to molecules, in a group as large as that of 256×256×4 pixels; smaller fields start as many."""
    localizer = localizer_on(files, "cpu")
    group = localize_module.group_frames(SimpleNamespace(shape=(10_000, 4, 256, 256)), torch.device("cpu"))
    emitters = draw_emitters(100, 4)
    twins = emitters[::4].copy()  # the network misses some
    twins[:, 1] += 280.0
    counts = torch.from_numpy(expose(np.concatenate((emitters, twins)), 100))
    with torch.inference_mode(), operations() as counted:
        found = localizer.detect(
            counts.repeat(group // 100, 1, 1, 1), counts[None, ::4].repeat(group // 100, 1, 1, 1, 1)
        )
    assert group == 800 and len(found.detections[0].frame) > 4 * group
    assert counted.started["aten.addcmul"] > 300  # of conjugate gradients, of two fits
    assert 10 < counted.total / group <= MOST_OPERATIONS


@on_gpu
@pytest.mark.gpu
def test_a_gpu_is_not_waited_for_and_captures_an_iteration():
    fit = problem(crowd(30, 9), random_spline(), "cuda")
    with torch.inference_mode():
        state = fit.first_state()
        expected = fit.iterate(state, True)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            fit.iterate(state, True)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = fit.iterate(state, True)
        graph.replay()
        torch.cuda.synchronize()
    assert torch.allclose(captured.now.at.molecules, expected.now.at.molecules, rtol=1e-6, atol=1e-3)
