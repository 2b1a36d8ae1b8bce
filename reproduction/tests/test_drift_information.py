"""Bounds with unknown drift: against dense matrices, enumeration, analytic values and the table."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from planeloc.psf import Emitters, paper_psf
from planeloc.psf.fisher_information import plane_information
from planeloc.scenes.scene import paper_scene
from planeloc_reproduction.drift_information import (
    covariance_with_drift,
    lateral_precision,
    least_error_of_steps,
    mean_axial_error,
    mean_lateral_error,
)
from planeloc_reproduction.drift_limit import scene_limit

PSF = replace(paper_psf(), brightness=(0.3, 0.25, 0.25, 0.2))
SCENE = paper_scene()[1]
NOISE = SCENE.pixel_noise(4)
SHAPE = (16, 16)
DRIFT_SD_NM = SCENE.drift_sd_nm(192.0)
TOL_DENSE = 1e-5  # relative; numerical derivatives
TOL_SAMPLES = 0.02  # relative; 40,000 samples
TOL_TABLE_NM = 0.5  # of what was derived elsewhere, with draws of its own
TOL_ONE_BY_ONE = 0.01  # of mean errors
TOL_STEPS = 0.03  # relative; of the posterior's grid and draws


def some_molecules(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(number, 4) x, y, z, photons and a drift (planes, 2) that they share."""
    random = np.random.default_rng(seed)
    shifts = np.vstack(([[0.0, 0.0]], random.normal(0, DRIFT_SD_NM, (3, 2))))
    columns = (random.uniform(700, 2300, (number, 2)), random.uniform(-700, 700, number), np.full(number, 3000.0))
    return np.column_stack(columns), shifts


def dense_covariance(molecules: np.ndarray, shifts: np.ndarray, known: bool, drift_sd_nm: float | tuple) -> np.ndarray:
    """(molecules, 4, 4): one large matrix with every background a parameter, by central differences."""
    number, sds = len(molecules), np.repeat(np.broadcast_to(drift_sd_nm, 3), 2)
    start = np.concatenate((molecules.ravel(), shifts[1:].ravel(), np.full(4 * number, 4.0)))

    def expected(parameters: np.ndarray) -> np.ndarray:
        each = torch.from_numpy(parameters[: 4 * number].reshape(number, 4))
        moved = torch.zeros(number, 4, 2, dtype=torch.float64)
        moved[:, 1:] = torch.from_numpy(parameters[4 * number : 4 * number + 6].reshape(3, 2))
        level = torch.from_numpy(parameters[4 * number + 6 :].reshape(number, 4))
        return PSF.expected_photons(Emitters(*each.unbind(1), moved, level), SHAPE).numpy().ravel()

    jacobian = np.empty((len(expected(start)), len(start)))
    for index, step in enumerate(np.maximum(1e-5 * np.abs(start), 1e-3)):
        ends = [start.copy(), start.copy()]
        ends[0][index] -= step
        ends[1][index] += step
        jacobian[:, index] = (expected(ends[1]) - expected(ends[0])) / (2 * step)
    information = jacobian.T @ (jacobian / (expected(start) + 9.0)[:, None])
    information[range(4 * number, 4 * number + 6), range(4 * number, 4 * number + 6)] += sds**-2.0
    if known:
        information = information[: 4 * number + 6, : 4 * number + 6]
    covariance = np.linalg.inv(information)
    return np.array([covariance[4 * m : 4 * m + 4, 4 * m : 4 * m + 4] for m in range(number)])


def of_planes(molecules: np.ndarray, shifts: np.ndarray, known: bool = True) -> torch.Tensor:
    level = torch.full((len(molecules), 4), 4.0, dtype=torch.float64)
    moved = torch.from_numpy(shifts).expand(len(molecules), 4, 2)
    emitters = Emitters(*torch.from_numpy(molecules).unbind(1), moved, level)
    return plane_information(PSF, emitters, NOISE, SHAPE, known)


@pytest.mark.parametrize("known", [True, False], ids=["background known", "background unknown"])
@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("sd_nm", [DRIFT_SD_NM, (5.0, 20.0, 60.0)], ids=["planes alike", "of each plane"])
def test_elimination_gives_what_the_dense_matrix_gives(number: int, known: bool, sd_nm: float | tuple) -> None:
    molecules, shifts = some_molecules(number)
    found = covariance_with_drift(of_planes(molecules, shifts, known), sd_nm).numpy()
    expected = dense_covariance(molecules, shifts, known, sd_nm)
    scale = np.sqrt(np.einsum("mi,mj->mij", *[np.diagonal(expected, axis1=1, axis2=2)] * 2))
    np.testing.assert_allclose(found / scale, expected / scale, atol=TOL_DENSE)


def test_drift_of_no_width_is_known_and_one_without_end_leaves_x_to_plane_0() -> None:
    molecules, shifts = some_molecules(20)
    planes = of_planes(molecules, shifts)[:, None]
    known = covariance_with_drift(planes, 0.0)
    np.testing.assert_allclose(covariance_with_drift(planes, 1e-3), known, rtol=1e-3, atol=1e-3)
    lost = covariance_with_drift(planes, 1e6)[:, 0, 0, 0].sqrt()
    alone = planes[:, 0, 0, 0, 0].rsqrt()
    np.testing.assert_allclose(lost, alone, rtol=0.05)  # of plane 0; z and the photons are not quite independent
    assert (known[:, 0, 2, 2] <= covariance_with_drift(planes, DRIFT_SD_NM)[:, 0, 2, 2] * (1 + 1e-9)).all()


def test_many_molecules_together_know_the_drift() -> None:
    molecules, shifts = some_molecules(400)
    together = covariance_with_drift(of_planes(molecules, shifts), DRIFT_SD_NM)
    known = covariance_with_drift(of_planes(molecules, shifts), 0.0)
    np.testing.assert_allclose(mean_lateral_error(together), mean_lateral_error(known), rtol=0.08)


def test_mean_errors_are_those_of_a_normal_variable() -> None:
    covariance = torch.tensor([[400.0, 90.0, 0], [90.0, 50.0, 0], [0, 0, 81.0]], dtype=torch.float64)
    samples = np.random.default_rng(0).multivariate_normal(np.zeros(3), covariance.numpy(), 40_000)
    assert mean_lateral_error(covariance) == pytest.approx(np.hypot(*samples.T[:2]).mean(), rel=TOL_SAMPLES)
    assert mean_axial_error(covariance) == pytest.approx(np.abs(samples[:, 2]).mean(), rel=TOL_SAMPLES)
    assert mean_lateral_error(4 * torch.eye(2).double()) == pytest.approx(2 * np.sqrt(np.pi / 2))
    assert mean_lateral_error(torch.diag(torch.tensor([9.0, 0.0]).double())) == pytest.approx(3 * np.sqrt(2 / np.pi))


def test_one_step_is_a_known_drift_and_steps_far_apart_are_told_apart() -> None:
    precision = torch.tensor([10.0, 8, 12, 30], dtype=torch.float64).pow(-2)[None, :, None].expand(4000, 4, 2)
    known = np.sqrt(np.pi / 2 / precision[0, :, 0].sum().item())
    for steps in ([0.0], [-200.0, 0.0, 200.0]):
        errors = least_error_of_steps(precision, torch.tensor(steps), torch.Generator().manual_seed(0))
        assert errors.mean() == pytest.approx(known, rel=TOL_STEPS)


def test_error_with_steps_is_the_one_of_all_drifts_enumerated() -> None:
    """The posterior is a mixture of 5³ normal ones an axis; its mean is nearly as good an estimate as its median."""
    steps, sigma = 24.0 * np.arange(-2, 3), np.array([40.0, 11.0, 7.0, 25.0])
    random = np.random.default_rng(1)
    drifts = np.array([(0.0, *combination) for combination in itertools.product(steps, repeat=3)])
    seen = np.column_stack((np.zeros(8000), random.choice(steps, (8000, 3)))) + sigma * random.normal(size=(8000, 4))
    places = seen[:, None] - drifts  # of the planes, each drift granted
    weight = sigma**-2 / (sigma**-2).sum()
    centre = places @ weight
    chance = np.exp(-0.5 * ((places - centre[..., None]) ** 2 / sigma**2).sum(axis=2))
    estimate = (chance * centre).sum(axis=1) / chance.sum(axis=1)
    of_mean = np.hypot(*estimate.reshape(2, -1)).mean()
    precision = torch.from_numpy(sigma**-2)[None, :, None].expand(4000, 4, 2)
    errors = least_error_of_steps(precision, torch.from_numpy(steps), torch.Generator().manual_seed(0))
    assert errors.mean() == pytest.approx(of_mean, rel=TOL_STEPS)


def test_planes_one_by_one_tell_what_they_tell_together() -> None:
    """On what the limit for steps rests, tried with a normal prior, near the window's edge and with drifted planes."""
    random = np.random.default_rng(0)
    molecules, shifts = some_molecules(300)
    molecules[:, :2] = random.uniform(50, 3022, (300, 2))
    information = of_planes(molecules, shifts)
    variance = 1 / lateral_precision(information)
    for sd in (0.0, DRIFT_SD_NM):
        together = covariance_with_drift(information[:, None], sd)[:, 0, :2, :2]
        spread = variance + sd**2 * torch.tensor([0.0, 1, 1, 1])[:, None]
        one_by_one = torch.diag_embed(1 / (1 / spread).sum(dim=1))
        expected = mean_lateral_error(together)
        np.testing.assert_allclose(mean_lateral_error(one_by_one).mean(), expected.mean(), rtol=TOL_ONE_BY_ONE)


def test_table_of_the_papers_scene() -> None:
    psf, scene = paper_scene()
    known = scene_limit(psf, scene, "known")
    assert known.mean_lateral_nm == pytest.approx(6.0, abs=TOL_TABLE_NM)
    assert known.mean_axial_nm == pytest.approx(9.7, abs=TOL_TABLE_NM)
    for molecules, lateral in ((1, 15.6), (3, 10.8), (10, 7.9), (50, 6.3)):
        limit = scene_limit(psf, scene, molecules=molecules)
        assert limit.mean_lateral_nm == pytest.approx(lateral, abs=TOL_TABLE_NM)
        assert limit.mean_axial_nm == pytest.approx(known.mean_axial_nm, abs=0.1)
    lateral, axial = scene_limit(psf, scene).by_depth(np.array([-700.0, -500.0, 500.0, 700.0, 900.0, 1000.0]))
    assert 6 < lateral[0] < 8
    assert 22 < lateral[2] < 26
    assert np.isfinite(axial[:4]).all()
    assert np.isnan(lateral[4])


def test_steps_tell_more_than_their_variance_and_less_than_a_known_drift() -> None:
    psf, scene = paper_scene()
    limits = [scene_limit(psf, scene, drift, draws=1500).mean_lateral_nm for drift in ("known", "steps", "normal")]
    assert limits == sorted(limits)
    assert limits[2] - limits[1] > 0.8  # nm


def test_whole_window_is_worse_than_its_middle_and_no_drift_is_a_known_one() -> None:
    psf, scene = paper_scene()
    middle, window = (scene_limit(psf, scene, draws=1500, central_px=side).mean_lateral_nm for side in (1.0, None))
    assert middle + 0.5 < window < middle + 3
    still = replace(scene, inter_camera_drift_voxels=0)
    assert scene_limit(psf, still, draws=500).mean_lateral_nm == pytest.approx(
        scene_limit(psf, still, "known", draws=500).mean_lateral_nm
    )


def test_what_has_no_limit_is_refused() -> None:
    psf, scene = paper_scene()
    with pytest.raises(ValueError, match="known, normal, steps"):
        scene_limit(psf, scene, "unknown")
    with pytest.raises(ValueError, match="single molecules"):
        scene_limit(psf, scene, "steps", molecules=3)
