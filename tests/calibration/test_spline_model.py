"""The measured PSF: its derivatives, its light, and what it finds on beads that follow no Gaussian."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from planeloc.calibration.scan_fit import BeadScan, model_residual, relative_residual
from planeloc.calibration.spline_model import (
    centred_on_focus,
    fit_spline,
    join_planes,
    photons_in_focus,
    sharpest_depth,
)
from planeloc.cameras.noise import PixelNoise
from planeloc.core.errors import PlanelocError
from planeloc.fitting.single_emitter import EmitterWindows, fit_emitters
from planeloc.psf import Emitters, SplinePSF, read_psf, write_psf
from planeloc.psf.cubic_spline import cubic_basis, cubic_basis_slope
from support.bead_scans import PSF, gaussian_spots, pupil_spots
from support.splines import random_spline

PIXEL_NM = 192.0
ONE_PLANE = replace(PSF, plane_depths_nm=(0.0,), brightness=(1.0,))
TRAVEL_NM = np.arange(-900.0, 901.0, 75.0)
SIDE = 15
TOL_PHOTONS = 0.02
TOL_ALIGNMENT_NM = 3.0
TOL_BIAS_NM = 6.0  # of molecules of 20,000 photons on one plane, laterally
TOL_CONVENTION_NM = 5.0
TOL_SHARPEST_NM = 3.0
TOL_CHI_SQUARE = 0.2
TOL_GAUSSIAN_BACK = 0.03  # share of the light that a spline may add to beads that are Gaussians


def bead_scan(spot, beads: int = 6, photons: float = 2e4, seed: int = 1, background: float = 4.0) -> BeadScan:
    """One camera's beads at random places within a pixel and heights, with first guesses that are a little wrong."""
    random = np.random.default_rng(seed)
    place = SIDE / 2 + random.uniform(-0.5, 0.5, (beads, 2))
    height = random.uniform(-40, 40, beads)
    light = photons * random.uniform(0.7, 1.3, beads)
    expected = np.stack(
        [light[i] * spot(0, place[i], TRAVEL_NM + height[i], (SIDE, SIDE)) + background for i in range(beads)]
    )
    noise = PixelNoise(torch.ones(1, dtype=torch.float64), torch.full((1,), 2.25, dtype=torch.float64))
    counts = random.poisson(expected) + random.normal(0, 1.5, expected.shape)
    wrong = random.normal(0, 1, (beads, 4)) * (4, 4, 15, 0.03 * photons)
    truth = np.column_stack((place * PIXEL_NM, height, light))
    scan = BeadScan(
        EmitterWindows.of(torch.from_numpy(counts), noise.repeated(0, len(TRAVEL_NM))),
        tuple(TRAVEL_NM),
        (1.0,) * len(TRAVEL_NM),
        torch.from_numpy(truth + wrong),
    )
    return scan, truth


def aberrated(depths=(0.0,)):
    return pupil_spots(depths, PIXEL_NM, astigmatism_rad=0.3, spherical_rad=0.6)


def light_of_a_spot(spot) -> float:
    """Of all its light, what a spot in focus holds in three quarters of the window above the level around it."""
    z = np.array([-90.0, 0.0, 90.0])
    image = spot(0, np.full(2, 40 + SIDE / 2), z, (80 + SIDE, 80 + SIDE)).mean(axis=0)
    distance = np.hypot(*(np.mgrid[: len(image), : len(image)] + 0.5 - (40 + SIDE / 2))) * PIXEL_NM
    radius = 0.75 * SIDE / 2 * PIXEL_NM
    ring = (distance >= radius) & (distance < 1.25 * radius)
    return float((image - image[ring].mean())[distance < radius].sum())


def test_basis_is_a_partition_of_unity_with_its_derivative() -> None:
    at = torch.linspace(0, 1, 101, dtype=torch.float64)
    knots = torch.arange(-2, 4, dtype=torch.float64)
    assert torch.allclose(cubic_basis(at[:, None] - knots).sum(dim=1), torch.ones(101, dtype=torch.float64))
    assert cubic_basis(torch.tensor(0.0)) == pytest.approx(2 / 3)
    step = 1e-6
    away = torch.linspace(-2.5, 2.5, 401, dtype=torch.float64)
    slope = (cubic_basis(away + step) - cubic_basis(away - step)) / (2 * step)
    assert torch.allclose(cubic_basis_slope(away), slope, atol=1e-8)


def test_gradients_in_float64_and_by_autograd() -> None:
    psf = random_spline()
    parameters = [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (650.0, 700.0, 120.0, 900.0)]
    assert torch.autograd.gradcheck(
        lambda *p: psf.expected_photons(Emitters(*p), (7, 7)), parameters, eps=1e-3, atol=1e-5, rtol=1e-4
    )
    values, derivatives = psf.expected_photons_and_derivatives(Emitters(*parameters), (7, 7))
    for k, parameter in enumerate(parameters):
        moved = [p.detach().clone() for p in parameters]
        steps = []
        for sign in (1, -1):
            moved[k] = parameter.detach() + sign * 1e-3
            steps.append(psf.expected_photons(Emitters(*moved), (7, 7)))
        torch.testing.assert_close(derivatives[..., k], (steps[0] - steps[1]) / 2e-3, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(values, psf.expected_photons(Emitters(*parameters), (7, 7)))


def test_float32_and_batches_agree_with_float64() -> None:
    psf = random_spline()
    random = np.random.default_rng(0)
    parameters = [torch.from_numpy(random.uniform(*r, (5, 3))) for r in ((500, 800), (500, 800), (-600, 600), (1, 2))]
    exact = psf.expected_photons(Emitters(*parameters), (9, 8))
    assert exact.shape == (5, 3, 4, 9, 8)
    single = psf.expected_photons(Emitters(*(p.float() for p in parameters)), (9, 8))
    torch.testing.assert_close(single.double(), exact, atol=2e-6, rtol=2e-5)
    one = psf.expected_photons(Emitters(*(p[3, 1] for p in parameters)), (9, 8))
    torch.testing.assert_close(one, exact[3, 1])


def test_outside_its_support_it_is_the_gaussian_smoothly() -> None:
    psf = random_spline()
    x = torch.linspace(-3000, 3000, 1201, dtype=torch.float64)
    z = torch.linspace(-2500, 2500, 1001, dtype=torch.float64)

    def difference(x_nm, z_nm):
        at = torch.full_like(x_nm, 0.5 * PIXEL_NM)
        ones = torch.ones_like(x_nm)
        emitters = Emitters(at - x_nm, at, z_nm, ones)
        return torch.sub(*(m.expected_photons(emitters, (1, 1))[:, 0, 0, 0] for m in (psf, psf.gaussian)))

    across, along = difference(x, torch.zeros_like(x) - 600), difference(torch.zeros_like(z), z)
    assert across[x.abs() > psf.knots.reach_nm].abs().max() == 0
    assert across.abs().max() > 1e-4
    low, high = psf.knots.defocus_range_nm
    defocus = psf.plane_depths_nm[0] - z
    outside = (defocus < low - 2 * psf.knots.axial_nm) | (defocus > high + 2 * psf.knots.axial_nm)
    assert along[outside].abs().max() == 0
    # Second derivatives are continuous: halving the step halves their largest jump.
    jumps = [np.abs(np.diff(across[::k].numpy(), 3)).max() / (5.0 * k) ** 2 for k in (2, 1)]
    assert jumps[1] < 0.6 * jumps[0]


def test_as_scan_is_the_bead_on_one_plane() -> None:
    psf = random_spline()
    scan = psf.as_scan(2, (-100.0, 50.0))
    at = [torch.tensor(v, dtype=torch.float64) for v in (600.0, 700.0, 30.0, 500.0)]
    images = scan.expected_photons(Emitters(*at), (7, 7))
    for image, travel in zip(images, (-100.0, 50.0), strict=True):
        moved = psf.expected_photons(Emitters(at[0], at[1], at[2] + travel, at[3]), (7, 7))[2] / psf.brightness[2]
        torch.testing.assert_close(image, moved)


@pytest.mark.parametrize("matrix", [[[1, 0], [0, 1]], [[-1, 0], [0, 1]], [[0, -1], [1, 0]], [[0, 1], [1, 0]]])
def test_in_reference_frame_a_turned_camera(matrix: list[list[int]]) -> None:
    """An emitter's image on a camera, looked up through the map, is the model's image in the reference frame."""
    psf, turn = random_spline(sets=(0, 0, 0, 0)), np.array(matrix, dtype=float)
    seen = psf.in_reference_frame([turn + 0.02] * 4)
    side = 9
    emitter = np.array([4.5, 4.5]) * PIXEL_NM + (31.0, -52.0)
    z, photons = torch.tensor(80.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    reference = seen.expected_photons(Emitters(*torch.from_numpy(emitter), z, photons), (side, side))
    middle = np.array([4.5, 4.5]) * PIXEL_NM
    turned = torch.from_numpy(turn @ (emitter - middle) + middle)
    camera = psf.expected_photons(Emitters(*turned, z, photons), (side, side))
    y, x = np.mgrid[:side, :side] - 4
    mapped = np.einsum("ij,jrc->irc", turn, np.stack((x, y))).astype(int) + 4
    torch.testing.assert_close(camera[:, mapped[1], mapped[0]], reference)


def test_round_trip_and_damage(tmp_path) -> None:
    psf = random_spline()
    write_psf(tmp_path / "psf.h5", psf)
    back = read_psf(tmp_path / "psf.h5")
    assert back.as_dict() == psf.as_dict()
    assert torch.equal(back.coefficients, psf.coefficients)
    write_psf(tmp_path / "again.h5", back)
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "psf.h5").read_bytes()
    with pytest.raises(ValueError, match="not those that were written"):
        SplinePSF.from_dict(psf.as_dict(), random_spline(seed=1).coefficients)
    (tmp_path / "psf.h5").write_bytes((tmp_path / "psf.h5").read_bytes()[:5000])
    with pytest.raises(PlanelocError, match="not a planeloc PSF"):
        read_psf(tmp_path / "psf.h5")


def test_beads_of_a_pupil_are_aligned_and_explained() -> None:
    scan, truth = bead_scan(aberrated())
    spline = fit_spline(ONE_PLANE, scan)
    fits = scan.fit(spline, 0)
    assert relative_residual([model_residual(spline, 0, scan, fits)], 900) < 0.03
    rough = scan.fit(ONE_PLANE, 0)
    assert relative_residual([model_residual(ONE_PLANE, 0, scan, rough)], 900) > 0.2
    error = fits.parameters.numpy() - truth
    # Where an aberrated spot "is" is a convention: the beads must agree with each other.
    assert (error[:, :3].std(axis=0) < TOL_ALIGNMENT_NM).all()
    assert error[:, 3] / truth[:, 3] == pytest.approx(light_of_a_spot(aberrated()) - 1, abs=TOL_PHOTONS)
    assert photons_in_focus(spline) == pytest.approx(1, abs=1e-3)
    # The convention: on average, beads are where the first guesses say.
    moved = (fits.parameters - scan.start)[:, :3] * scan.start[:, 3:]
    assert (moved.sum(dim=0) / scan.start[:, 3].sum()).abs().max() < TOL_CONVENTION_NM


def test_molecules_fitted_with_the_spline_have_no_bias() -> None:
    """Calibrated on beads of a pupil, then held against other emitters of that pupil, at depths between the slices."""
    scan, _ = bead_scan(aberrated(), beads=8)
    spline = fit_spline(ONE_PLANE, scan)
    random, spot = np.random.default_rng(7), aberrated()
    depths = np.repeat(np.arange(-450.0, 451.0, 150.0), 12)
    place = SIDE / 2 + random.uniform(-0.5, 0.5, (len(depths), 2))
    expected = np.stack([2e4 * spot(0, p, z[None], (SIDE, SIDE)) + 4 for p, z in zip(place, depths, strict=True)])
    noise = PixelNoise(torch.ones(1, dtype=torch.float64), torch.full((1,), 2.25, dtype=torch.float64))
    images = EmitterWindows.of(torch.from_numpy(random.poisson(expected).astype(float)), noise)
    truth = np.column_stack((place * PIXEL_NM, depths, np.full(len(depths), 2e4)))
    fits = fit_emitters(spline, images, torch.from_numpy(truth + np.array([20, -20, 30, 500])))
    assert fits.converged.all()
    error = (fits.parameters.numpy() - truth)[:, :3].reshape(-1, 12, 3)
    bias = np.median(error, axis=1)
    bias -= bias.mean(axis=0)  # where z = 0 and the middle of the spot are is a convention
    assert np.abs(bias[:, :2]).max() < TOL_BIAS_NM
    assert fits.chi_square.median() == pytest.approx(1, abs=TOL_CHI_SQUARE)


def test_dim_beads_of_a_gaussian_give_the_gaussian_back() -> None:
    scan, _ = bead_scan(gaussian_spots(ONE_PLANE), photons=3e3)
    spline = fit_spline(ONE_PLANE, scan)
    at = torch.full((3,), 0.5 * SIDE * PIXEL_NM, dtype=torch.float64)
    depth, ones = torch.tensor([-300.0, 0.0, 300.0], dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    images = [m.expected_photons(Emitters(at, at, depth, ones), (9, 9)) for m in (spline, ONE_PLANE)]
    assert (images[0] - images[1]).norm() / images[1].norm() < TOL_GAUSSIAN_BACK


def test_a_lopsided_curve_is_sharpest_where_it_is_narrowest() -> None:
    lopsided = replace(PSF, asymmetry=0.1, quartic=0.02)
    flat = replace(random_spline(), gaussian=lopsided, coefficients=torch.zeros(4, 9, 13, 13), _moved={})
    for plane, depth in enumerate(PSF.plane_depths_nm):
        assert sharpest_depth(flat, plane) == pytest.approx(depth, abs=TOL_SHARPEST_NM)


def test_zero_is_in_the_middle_whatever_the_order_of_the_planes() -> None:
    mixed = replace(PSF, plane_depths_nm=(-400.0, 400.0, 0.0), brightness=(1 / 3,) * 3)
    flat = replace(random_spline(sets=(0, 0, 0)), gaussian=mixed, coefficients=torch.zeros(1, 9, 13, 13), _moved={})
    assert centred_on_focus(flat).plane_depths_nm == pytest.approx(mixed.plane_depths_nm, abs=TOL_SHARPEST_NM)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_agrees_with_the_cpu() -> None:
    psf, random = random_spline(), np.random.default_rng(0)
    at = [torch.from_numpy(random.uniform(*r, 20)) for r in ((500, 800), (500, 800), (-600, 600), (2000, 3000))]
    here = psf.expected_photons_and_derivatives(Emitters(*at), (9, 9))
    there = psf.expected_photons_and_derivatives(Emitters(*(a.cuda() for a in at)), (9, 9))
    for own, other in zip(here, there, strict=True):
        torch.testing.assert_close(other.cpu(), own, rtol=1e-9, atol=1e-9)
    noise = PixelNoise(torch.ones(4).double(), torch.ones(4).double())
    start = torch.stack(at, dim=1) + torch.tensor([20.0, -20.0, 30.0, 100.0])
    fits = [fit_emitters(psf, EmitterWindows.of(here[0].to(d) + 5, noise), start.to(d)) for d in ("cpu", "cuda")]
    torch.testing.assert_close(fits[1].parameters.cpu(), fits[0].parameters, rtol=1e-4, atol=1e-2)


def test_planes_are_joined_on_common_knots() -> None:
    low, high = random_spline(sets=(0,)), random_spline(seed=3, sets=(0,))
    ones = [replace(s, gaussian=ONE_PLANE) for s in (low, high)]
    ones[1] = replace(ones[1], knots=replace(ones[1].knots, first_nm=-300.0), _moved={})
    two = replace(PSF, plane_depths_nm=(-200.0, 200.0), brightness=(0.5, 0.5))
    joined = join_planes(two, ones)
    at = [torch.tensor(v, dtype=torch.float64) for v in (600.0, 650.0, 90.0, 1.0)]
    images = joined.expected_photons(Emitters(*at), (7, 7))
    for p, (one, depth) in enumerate(zip(ones, two.plane_depths_nm, strict=True)):
        alone = one.expected_photons(Emitters(at[0], at[1], at[2] - depth, at[3]), (7, 7))[0]
        torch.testing.assert_close(images[p], 0.5 * alone, atol=1e-7, rtol=1e-5)
