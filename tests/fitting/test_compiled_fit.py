"""The compiled multi-emitter fit, against the one in PyTorch."""

import logging

import numpy as np
import pytest
import torch

from planeloc.cameras.camera import Camera
from planeloc.cameras.expected_deviance import expected_deviances
from planeloc.cameras.noise import PixelNoise
from planeloc.core.errors import PlanelocError
from planeloc.fitting import compiled_fit, compiled_library
from planeloc.fitting.multi_emitter import MultiEmitterFit
from planeloc.fitting.windows import InitialMolecules, window_side
from planeloc.psf import Emitters, GaussianPSF, SplinePSF
from planeloc.psf.cubic_spline import Knots
from planeloc.transforms.camera_transform import Affine

SIDE = 40
LEVEL = 4.0
QUIET, MULTIPLIED = Camera(read_noise_electrons=1.0), Camera(em_gain=100.0, read_noise_electrons=30.0)
MIRRORED = Affine(np.diag([-1.0, 1.0]), np.array([SIDE + 0.4, 0.2]))
TURNED = Affine(np.array([[1.0, 0.02], [-0.02, 1.0]]), np.array([-0.7, 0.9]))


def _gaussian(planes: int, pixel_nm: float, integrated: bool = True) -> GaussianPSF:
    depths = tuple(np.linspace(-600, 600, planes))
    shares = tuple(np.linspace(1, 1.4, planes) / np.linspace(1, 1.4, planes).sum())
    return GaussianPSF(pixel_nm, depths, shares, 133.0, 302.0, 0.03, 0.02, integrated)


def _spline(planes: int, pixel_nm: float, per_pixel: int, lateral: int = 13) -> SplinePSF:
    """Smaller than the windows, with few depths, so that molecules leave its knots on all sides."""
    knots = Knots(lateral, pixel_nm / per_pixel, axial=7, axial_nm=150.0, first_nm=-450.0)
    random = np.random.default_rng(per_pixel)
    shape = (2, knots.axial, lateral, lateral)
    sets = tuple(plane % 2 for plane in range(planes))
    return SplinePSF(_gaussian(planes, pixel_nm), knots, torch.from_numpy(random.normal(0, 1e-3, shape)), sets)


MODELS = {
    "sampled Gaussian": _gaussian(4, 192.0, integrated=False),
    "integrated Gaussian": _gaussian(4, 192.0),
    "two planes": _spline(2, 140.0, 1),
    "a knot per pixel": _spline(4, 120.0, 1),
    "two knots per pixel": _spline(4, 192.0, 2),
    "three knots per pixel": _spline(3, 165.0, 3, lateral=25),
    "small pixels": _spline(2, 60.0, 1, lateral=21),
    "five planes": _spline(5, 192.0, 2),
}


class Problem:
    """Molecules, some beside others or at the edge of a camera; one frame is empty, and some pixels are broken."""

    def __init__(self, psf, per_frame=9, frames=4, drift_nm=30.0, seed=0):
        random, planes, pixel = np.random.default_rng(seed), psf.planes, psf.pixel_size_nm
        self.psf, self.planes = psf, planes
        frame = np.repeat([f for f in range(frames) if f != 1], per_frame)
        lateral, z = random.uniform(0, SIDE * pixel, (len(frame), 2)), random.uniform(-700, 700, len(frame))
        lateral[1::3] = lateral[::3] + random.normal(0, 1.5 * pixel, lateral[::3].shape)
        photons, drift = random.uniform(800, 5000, len(frame)), random.normal(0, drift_nm, (frames, planes, 2))
        drift[:, 0] = 0
        self.maps = [Affine.identity(), MIRRORED, TURNED, Affine.identity(), TURNED][:planes]
        mapped, axes = self._on_planes(lateral)
        shifts = mapped * pixel + np.einsum("npab,npb->npa", axes, drift[frame])
        zero = torch.zeros(len(frame), dtype=torch.float64)
        emitters = Emitters(zero, zero, torch.from_numpy(z), torch.from_numpy(photons), torch.from_numpy(shifts))
        expected = torch.full((frames, planes, SIDE, SIDE), LEVEL, dtype=torch.float64)
        expected.index_add_(0, torch.from_numpy(frame), psf.expected_photons(emitters, (SIDE, SIDE)).clamp(min=0))
        self.images = torch.from_numpy(random.poisson(expected) + random.normal(0, 3, expected.shape)) - LEVEL
        self.images[0, 0, 5, 7], self.images[2, -1, 20:22, 9], self.images[2, 0, 3, 3] = 1e5, torch.nan, torch.inf
        self.level = torch.full((planes, SIDE, SIDE), LEVEL, dtype=torch.float64)
        start = lateral + random.normal(0, 30, lateral.shape)
        position = np.column_stack((start, z + random.normal(0, 50, len(z))))
        arrays = (frame, position, photons * random.uniform(0.7, 1.3, len(z)), *self._on_planes(start))
        self.start = InitialMolecules(*map(torch.from_numpy, arrays))
        self.noise = PixelNoise(torch.linspace(1, 2, planes).double(), torch.linspace(9, 1, planes).double())
        self.ceiling = torch.full((planes,), 900.0, dtype=torch.float64)

    def _on_planes(self, lateral):
        lateral = lateral / self.psf.pixel_size_nm
        mapped = np.stack([camera(lateral) for camera in self.maps], axis=1)
        return mapped, np.stack([camera.jacobian(lateral) for camera in self.maps], axis=1)

    def fit(self, compiled, dtype=torch.float64, iterations=6, drift_sd_nm=30.0):
        images, level = self.images.to(dtype), self.level.to(dtype)
        expected = expected_deviances([QUIET, MULTIPLIED, QUIET, MULTIPLIED, QUIET][: self.planes])
        fit = MultiEmitterFit(
            self.psf, self.noise, images, level, self.start, drift_sd_nm, self.ceiling, expected, compiled=compiled
        )
        return fit, fit.fit(iterations)


def _same(one, other, tolerance):
    """Whether all numbers of two results are equal within a tolerance relative to the largest of their kind."""
    for name, left, right in zip(one._fields, one, other, strict=True):
        if isinstance(left, tuple):
            _same(left, right, max(tolerance, 0.01))  # solved by conjugate gradients
            continue
        assert left.shape == right.shape, name
        if left.dtype == torch.bool:
            assert (left == right).all(), name
        elif left.numel():
            scale = right[right.isfinite()].abs().max().clamp(min=1e-9) if right.isfinite().any() else 1
            difference = torch.nan_to_num((left - right) / scale)
            assert (left.isfinite() == right.isfinite()).all(), name
            assert difference.abs().max() <= tolerance, f"{name}: {difference.abs().max():.1e}"


@pytest.fixture(autouse=True)
def built():
    """These tests are about the compiled fit: without it they would compare PyTorch with itself."""
    assert compiled_fit.is_available(MODELS["two planes"], torch.device("cpu")), "the compiled fit was not built"


@pytest.mark.parametrize("name", MODELS)
def test_every_number_is_that_of_pytorch_in_double_precision(name):
    problem = Problem(MODELS[name])
    (compiled, fits), (reference, expected) = problem.fit(True), problem.fit(False)
    assert expected.fitted.sum() > len(expected.fitted) / 2
    _same(fits, expected, 1e-8)
    rows = torch.arange(len(problem.start.frame))
    left = [fit.residuals(rows) for fit in (compiled, reference)]
    _same(*[values._replace(residual=values.residual * (values.weight > 0)) for values in left], 1e-8)
    assert (compiled._found.cost[[0, 2, 3]] - reference._found.cost[[0, 2, 3]]).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["sampled Gaussian", "a knot per pixel", "two knots per pixel"])
def test_single_precision_differs_by_rounding(name):
    """By a hundredth of the standard deviation, at the steps at which molecules are accepted alike."""
    problem = Problem(MODELS[name])
    exact, rounded = problem.fit(False)[1], problem.fit(True, torch.float32)[1]
    both = exact.fitted & rounded.fitted
    deviation = torch.diagonal(exact.covariance, dim1=1, dim2=2)[both, :3].sqrt()
    error = (rounded.position - exact.position)[both].abs() / deviation
    assert both.sum() >= exact.fitted.sum() - 1
    assert error.median() < 1e-3
    assert (error.amax(dim=1) < 0.01).sum() >= both.sum() - 2


@pytest.mark.parametrize("iterations", [0, 1, 2, 3, 12])
def test_every_step_is_that_of_pytorch(iterations):
    problem = Problem(MODELS["two knots per pixel"], per_frame=15, seed=1)
    _same(problem.fit(True, iterations=iterations)[1], problem.fit(False, iterations=iterations)[1], 1e-7)


def test_planes_that_do_not_drift_and_planes_of_their_own():
    problem = Problem(MODELS["integrated Gaussian"], drift_nm=0.0)
    for drift_sd_nm in (0.0, (5.0, 0.0, 80.0)):
        _same(problem.fit(True, drift_sd_nm=drift_sd_nm)[1], problem.fit(False, drift_sd_nm=drift_sd_nm)[1], 1e-8)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30, -1e300])
def test_molecules_that_cannot_be_fitted_change_nothing(value):
    problem = Problem(MODELS["two knots per pixel"])
    before = problem.fit(True)[1]
    lost = torch.zeros(len(problem.start.frame), dtype=torch.bool)
    lost[[3, 20]] = True
    far = torch.full((2, problem.planes, 2), value, dtype=torch.float64)
    added = InitialMolecules(
        torch.cat((problem.start.frame, torch.tensor([3, 3]))),
        torch.cat((problem.start.position, problem.start.position[:2] * value)),
        torch.cat((problem.start.photons, torch.tensor([1000.0, value]).double())),
        torch.cat((problem.start.mapped_px, far.clamp(-1e6, 1e6))),
        torch.cat((problem.start.axes, problem.start.axes[:2])),
    )
    problem.start = added
    after = problem.fit(True)[1]
    assert not after.fitted[-2:].any()
    _same(after.at(slice(None, -2)), before, 1e-9)


def test_a_frame_alone_gives_the_same_bytes():
    problem = Problem(MODELS["two knots per pixel"])
    together = problem.fit(True, torch.float32)[0]._found
    here = problem.start.frame == 2
    problem.start = InitialMolecules(*(values[here] for values in problem.start))
    alone = problem.fit(True, torch.float32)[0]._found
    assert torch.equal(alone.at.molecules, together.at.molecules[here])
    assert torch.equal(alone.residual, together.residual[here])


def test_no_molecules():
    problem = Problem(MODELS["two planes"])
    problem.start = InitialMolecules(*(values[:0] for values in problem.start))
    assert problem.fit(True)[1].position.shape == (0, 3)


def test_libraries_of_all_instructions_of_this_processor_agree(monkeypatch):
    problem = Problem(MODELS["a knot per pixel"])
    expected = problem.fit(False)[1]
    monkeypatch.setattr(compiled_fit, "library", compiled_library.library.__wrapped__)
    capability = torch.backends.cpu.get_cpu_capability()
    names = ["DEFAULT", "AVX2", "AVX512"]
    known = names[: names.index(capability) + 1] if capability in names else ["DEFAULT"]
    for name in known:
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda name=name: name)
        _same(problem.fit(True)[1], expected, 1e-8)


def test_windows_larger_than_the_compiled_fit_knows_are_left_to_pytorch():
    psf = _gaussian(2, 20.0)
    assert window_side(psf) > 64
    assert not compiled_fit.is_available(psf, torch.device("cpu"))


def test_without_a_compiler_pytorch_fits_and_says_so_once(monkeypatch, tmp_path, caplog):
    problem = Problem(MODELS["two planes"])
    expected = problem.fit(False)[1]
    monkeypatch.setattr(compiled_library, "_FOLDER", tmp_path)
    compiled_library.library.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            fits = [problem.fit(True)[1] for _ in range(2)]
    finally:
        compiled_library.library.cache_clear()
    assert torch.equal(fits[0].position, expected.position)
    assert [record.message for record in caplog.records] == [
        "the compiled fit was not built, and refinement takes several times longer: install a C++ compiler "
        "(sudo apt install g++) and planeloc again"
    ]


def test_a_library_of_other_sources_is_refused(monkeypatch, tmp_path):
    sources = tmp_path / "compiled"
    sources.mkdir()
    (sources / "problem.h").write_text("// another layout")
    for built in compiled_library._FOLDER.glob("_frame_fit_*"):
        (tmp_path / built.name).symlink_to(built)
    monkeypatch.setattr(compiled_library, "_FOLDER", tmp_path)
    with pytest.raises(PlanelocError, match="was built from other sources"):
        compiled_library.library.__wrapped__()


def test_a_library_that_cannot_be_loaded_leaves_the_fit_to_pytorch(monkeypatch, tmp_path, caplog):
    problem = Problem(MODELS["two planes"])
    expected = problem.fit(False)[1]
    (tmp_path / "_frame_fit_baseline.so").write_bytes(b"of another system")
    monkeypatch.setattr(compiled_library, "_FOLDER", tmp_path)
    compiled_library.library.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            fits = problem.fit(True)[1]
    finally:
        compiled_library.library.cache_clear()
    assert torch.equal(fits.position, expected.position)
    (record,) = caplog.records
    assert "cannot be loaded (" in record.message and "_frame_fit_baseline.so" in record.message


def test_backgrounds_of_every_frame_are_those_of_pytorch():
    """The compiled fit knows one background for all frames: others are left to PyTorch."""
    problem = Problem(MODELS["two planes"])
    of_frames = torch.arange(4.0, dtype=torch.float64).view(-1, 1, 1, 1) + problem.level
    problem.images, problem.level = problem.images + problem.level - of_frames, of_frames
    (_, found), (_, expected) = problem.fit(True), problem.fit(False)
    assert expected.fitted.any() and torch.equal(found.position, expected.position)


@pytest.mark.parametrize("wrong", ["frames", "order", "background"])
def test_what_lies_beyond_the_arrays_is_refused(wrong):
    """C++ would read and write there."""
    problem = Problem(MODELS["two planes"])
    frame, level = problem.start.frame, problem.level
    if wrong == "background":
        level = level[:, :-1]
    else:
        frame = frame + 1 if wrong == "frames" else frame.flip(0)
    start = problem.start._replace(frame=frame)
    with pytest.raises(ValueError, match="background" if wrong == "background" else "ascend"):
        compiled_fit.fit_frames(problem.psf, problem.noise, problem.images, level, start, 30.0, None, None, 6)


def test_every_limit_reaches_the_library():
    """A structure takes any name, and what it does not know stays 0."""
    fields = {name for name, _ in compiled_library.Problem._fields_}
    assert {name.lower() for name in vars(compiled_fit.limits) if name.isupper()} <= fields
