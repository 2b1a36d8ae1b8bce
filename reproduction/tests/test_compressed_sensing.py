"""Compressed sensing against brute force, scikit-learn, proximal gradient and scenes with a known answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Lasso

from planeloc.core.errors import PlanelocError
from planeloc.psf import Emitters, SplinePSF
from planeloc.scenes.draw import draw_batch
from planeloc.scenes.scene import paper_scene
from planeloc_reproduction import compressed_sensing, drift_alternation, matching_pursuit
from planeloc_reproduction.compressed_sensing import Sparse, default_penalty, solve_lasso, strongest_groups
from planeloc_reproduction.drift_alternation import alternate, best_drift
from planeloc_reproduction.forward_operator import Observation, noise_variance

PSF, PAPER = paper_scene()
SMALL = replace(PAPER, window_px=8, upsampling=4, voxel_depth_nm=100.0, emitters=1)
TINY = replace(SMALL, upsampling=2, voxel_depth_nm=200.0)
SHIFTS_NM = np.array([[0.0, 0.0], [24.0, -48.0], [-11.0, 5.0], [96.0, 30.0]])

TOL_REFERENCE = 1e-6  # relative difference of the objective from other solvers
TOL_OPTIMAL = 1e-9  # duality gap over the objective


def images_of(scene, count, seed=1):
    batch = draw_batch(PSF, scene, count, torch.Generator().manual_seed(seed))
    return batch, batch.images.double().numpy()


def dense(observation):
    """(n, voxels) Ĥ, written down."""
    voxels = np.stack(np.unravel_index(np.arange(np.prod(observation.grid)), observation.grid), axis=-1)
    return observation.columns(voxels).T


def expected(psf, scene, voxels, photons, shifts_nm):
    """(k, planes, rows, columns) by the PSF itself, positions from the definition of a voxel."""
    depth, row, column = torch.tensor(voxels, dtype=torch.float64).T
    size = psf.pixel_size_nm / scene.upsampling
    z = scene.depth_range_nm[0] + (depth + 0.5) * scene.voxel_depth_nm
    shape = (scene.window_px, scene.window_px)
    shifts, light = torch.tensor(shifts_nm), torch.tensor(photons, dtype=torch.float64)
    return psf.expected_photons(Emitters((column + 0.5) * size, (row + 0.5) * size, z, light, shifts), shape).numpy()


@pytest.mark.parametrize("integrated", [False, True])
def test_the_operator_is_the_sum_of_the_psf_over_the_voxels(integrated):
    psf = replace(PSF, pixel_integration=integrated, brightness=(0.1, 0.2, 0.3, 0.4), asymmetry=0.2)
    observation = Observation.of(psf, SMALL, SHIFTS_NM)
    voxels, photons = np.array([[0, 0, 31], [7, 12, 3], [15, 31, 0], [8, 16, 17]]), np.array([700.0, 20.0, 3.0, 1.0])
    weights = np.zeros(observation.grid)
    weights[tuple(voxels.T)] = photons
    truth = expected(psf, SMALL, voxels, photons, SHIFTS_NM)
    np.testing.assert_allclose(observation.apply(weights), truth.sum(axis=0), atol=1e-12)
    columns = observation.columns(voxels)
    np.testing.assert_allclose(photons[:, None] * columns, truth.reshape(4, -1), atol=1e-12)
    np.testing.assert_allclose(observation.norms[tuple(voxels.T)], np.linalg.norm(columns, axis=1), rtol=1e-12)


def test_the_adjoint_is_the_adjoint():
    observation, random = Observation.of(PSF, SMALL, SHIFTS_NM), np.random.default_rng(1)
    weights, images = random.normal(size=observation.grid), random.normal(size=observation.image_shape)
    forward = np.sum(observation.apply(weights) * images)
    assert forward == pytest.approx(np.sum(weights * observation.adjoint(images)), rel=1e-12)


def test_a_drifted_plane_sees_a_molecule_where_another_voxel_is():
    """Eq. 7: a drift of plane p is a move of the molecules on plane p and on no other."""
    still = Observation.of(PSF, SMALL)
    drifted = still.drifted([[0, 0], [2, -1], [0, 0], [0, 0]])
    here, there = still.columns([[5, 10, 12]]), still.columns([[5, 9, 14]])
    seen = drifted.columns([[5, 10, 12]]).reshape(4, 8, 8)
    np.testing.assert_allclose(seen[1], there.reshape(4, 8, 8)[1], atol=1e-15)
    np.testing.assert_allclose(seen[[0, 2, 3]], here.reshape(4, 8, 8)[[0, 2, 3]], atol=1e-15)


def test_lasso_agrees_with_scikit_learn():
    observation = Observation.of(PSF, TINY)
    matrix = dense(observation)
    for image in images_of(replace(TINY, emitters=2, inter_camera_drift_voxels=0), 3)[1]:
        # The larger the penalty, the sooner coordinate descent ends on these nearly parallel columns.
        penalty = 5 * default_penalty(observation)
        ours = solve_lasso(observation, image, penalty)
        # Columns over their largest norm, or scikit-learn's own tolerance is never met.
        scale = observation.norms.max()
        model = Lasso(
            alpha=penalty / scale / (2 * matrix.shape[0]),
            fit_intercept=False,
            positive=True,
            tol=1e-13,
            max_iter=200_000,
        ).fit(matrix / scale, image.ravel())
        theirs = model.coef_ / scale
        objective = np.sum((image.ravel() - matrix @ theirs) ** 2) + penalty * theirs.sum()
        assert ours.objective == pytest.approx(objective, rel=TOL_REFERENCE)
        weights = np.zeros(observation.grid)
        weights[tuple(ours.voxels.T)] = ours.photons
        fit = observation.apply(weights).ravel()
        assert np.linalg.norm(fit - matrix @ theirs) < TOL_REFERENCE * np.linalg.norm(fit)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    emitters=st.integers(1, 5),
    factor=st.floats(0.1, 8.0),
    photons=st.floats(300.0, 20_000.0),
)
def test_the_conditions_of_optimality_hold(seed, emitters, factor, photons):
    scene = replace(SMALL, emitters=emitters, photons=(photons, photons))
    observation = Observation.of(PSF, scene)
    image = images_of(scene, 1, seed)[1][0]
    penalty = factor * default_penalty(observation)
    found = solve_lasso(observation, image, penalty)
    weights = np.zeros(observation.grid)
    weights[tuple(found.voxels.T)] = found.photons
    rest = image - observation.apply(weights)
    slope = observation.adjoint(rest) / (penalty / 2)
    assert (found.photons > 0).all() and len(found.photons) == np.count_nonzero(weights)
    assert slope.max() <= 1 + 1e-6
    assert np.abs(slope[tuple(found.voxels.T)] - 1).max(initial=0.0) <= 1e-6
    assert found.objective == pytest.approx(np.sum(rest**2) + penalty * weights.sum(), rel=1e-12)
    assert abs(found.gap) <= TOL_OPTIMAL * found.objective


def test_proximal_gradient_does_not_get_lower():
    observation = Observation.of(PSF, TINY)
    matrix = dense(observation)
    step = 1 / np.linalg.norm(matrix, 2) ** 2
    image = images_of(replace(TINY, emitters=3), 1)[1][0]
    penalty, target = default_penalty(observation), image.ravel()
    ahead = now = np.zeros(matrix.shape[1])
    momentum = 1.0
    for _ in range(5000):
        slope = matrix.T @ (matrix @ ahead - target) + penalty / 2
        after = np.maximum(ahead - step * slope, 0.0)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        if np.sum((ahead - after) * (after - now)) > 0:  # restart of O'Donoghue and Candès (2015)
            following = momentum = 1.0
        ahead = after + (momentum - 1) / following * (after - now)
        now, momentum = after, following
    reference = np.sum((target - matrix @ now) ** 2) + penalty * now.sum()
    found = solve_lasso(observation, image, penalty)
    assert found.objective <= reference * (1 + 1e-12)
    assert found.objective == pytest.approx(reference, rel=1e-4)  # and the reference has come near


def test_a_start_changes_nothing_but_the_way():
    observation = Observation.of(PSF, SMALL)
    first, second = images_of(replace(SMALL, emitters=3), 2)[1]
    penalty = default_penalty(observation)
    cold = solve_lasso(observation, first, penalty)
    warm = solve_lasso(observation, first, penalty, solve_lasso(observation, second, penalty))
    assert warm.objective == pytest.approx(cold.objective, rel=TOL_OPTIMAL)
    np.testing.assert_array_equal(warm.voxels, cold.voxels)
    np.testing.assert_allclose(warm.photons, cold.photons, rtol=1e-4)


def test_no_molecule_is_worth_the_largest_penalty():
    observation = Observation.of(PSF, SMALL)
    image = images_of(SMALL, 1)[1][0]
    largest = 2 * observation.adjoint(image).max()
    empty = solve_lasso(observation, image, largest * 1.0001)
    assert len(empty.photons) == 0 and empty.objective == pytest.approx(np.sum(image**2))
    assert len(solve_lasso(observation, image, largest * 0.99).photons) == 1
    nothing = compressed_sensing.locate(image[None], PSF, SMALL, 1, penalty=largest * 1.0001)
    assert nothing.voxel.shape == (0, 3) and nothing.position_nm.shape == (0, 3)


def test_the_default_penalty_keeps_noise_out():
    scene = replace(PAPER, photons=(0.0, 0.0), emitters=1)
    observation = Observation.of(PSF, scene)
    images = images_of(scene, 100)[1]
    assert images.var() == pytest.approx(noise_variance(scene), rel=0.02)
    largest = [2 * observation.adjoint(image).max() for image in images]
    assert np.mean(np.array(largest) > default_penalty(observation)) < 0.2  # measured: one in ten
    assert np.mean(largest) > 0.6 * default_penalty(observation)  # nor is it much higher than it need be


def test_noise_variance_follows_the_camera():
    assert noise_variance(PAPER) == pytest.approx(13.0)
    emccd = replace(PAPER, em_multiplication=True, quantum_efficiency=0.5, background=(2.0, 4.0), window_px=16)
    empty = replace(emccd, photons=(0.0, 0.0), background=(3.0, 3.0))
    assert images_of(empty, 100)[1].var() == pytest.approx(noise_variance(emccd), rel=0.05)


def test_groups_are_one_spot_each_and_the_strongest_come_first():
    observation = Observation.of(PSF, PAPER)
    voxels = np.array([[10, 20, 20], [11, 23, 20], [10, 20, 40], [10, 90, 90], [12, 90, 90]])
    sparse = Sparse(voxels, np.array([300.0, 100.0, 350.0, 250.0, 200.0]), 0.0, 0.0, 0.0, 1)
    found = strongest_groups(observation, sparse, 2)
    np.testing.assert_allclose(found.photons, [450.0, 400.0])
    assert found.voxel.tolist() == [[11, 90, 90], [10, 21, 20]]
    assert found.heaviest.tolist() == [[10, 90, 90], [10, 20, 20]]
    np.testing.assert_allclose(found.position_nm[1], [20.5 * 24, 21.25 * 24, -800 + 10.75 * 50])
    np.testing.assert_allclose(strongest_groups(observation, sparse, 9).photons, [450.0, 400.0, 350.0])


@pytest.mark.parametrize("method", [compressed_sensing, matching_pursuit])
def test_molecules_at_the_centres_of_voxels_are_found_without_noise(method):
    scene = replace(PAPER, emitters=3)
    observation = Observation.of(PSF, scene)
    truth = np.array([[4, 30, 30], [16, 64, 100], [27, 100, 40]])
    image = (np.array([4000.0, 3000.0, 2000.0]) @ observation.columns(truth)).reshape(1, 4, 16, 16)
    options = {"penalty": 1e-3} if method is compressed_sensing else {}
    found = method.locate(torch.tensor(image), PSF, scene, [3], **options)
    np.testing.assert_array_equal(found.voxel, truth)
    np.testing.assert_array_equal(found.heaviest, truth)
    np.testing.assert_allclose(found.photons, [4000.0, 3000.0, 2000.0], rtol=1e-2)
    np.testing.assert_allclose(found.position_nm, observation.positions_nm(truth), atol=5.0)
    assert found.image.tolist() == [0, 0, 0]


@pytest.mark.parametrize("method", [compressed_sensing, matching_pursuit])
def test_known_shifts_are_taken_into_account(method):
    shifts_nm = SHIFTS_NM + 48.0
    observation = Observation.of(PSF, PAPER, shifts_nm)
    truth = np.array([[20, 50, 60]])
    image = (3000.0 * observation.columns(truth)).reshape(1, 4, 16, 16)
    assert method.locate(image, PSF, PAPER, 1, shifts_nm=shifts_nm).voxel.tolist() == truth.tolist()
    assert method.locate(image, PSF, PAPER, 1).voxel.tolist() != truth.tolist()


def test_matching_pursuit_takes_the_voxel_that_explains_most():
    observation = Observation.of(PSF, TINY)
    matrix = dense(observation)
    for image in images_of(TINY, 20)[1]:
        voxels, photons = matching_pursuit.pursue(observation, image, 1)
        each = np.maximum(matrix.T @ image.ravel(), 0.0) ** 2 / np.sum(matrix**2, axis=0)
        best = int(each.argmax())  # in float64: single precision chooses no other
        assert np.ravel_multi_index(tuple(voxels[0]), observation.grid) == best
        assert photons[0] == pytest.approx(matrix[:, best] @ image.ravel() / np.sum(matrix[:, best] ** 2))


@pytest.mark.parametrize("method", [compressed_sensing, matching_pursuit])
def test_one_molecule_without_drift_is_found_near_the_limit(method):
    """About 1.6 times the bound of 6.0 nm laterally and 9 to 10 nm axially, with voxels of 24 and 50 nm."""
    batch, images = images_of(replace(PAPER, emitters=1, inter_camera_drift_voxels=0), 60)
    found = method.locate(images, PSF, PAPER, 1)
    assert found.image.tolist() == list(range(60))
    error = found.position_nm - batch.positions_nm[:, 0].numpy()
    assert np.hypot(error[:, 0], error[:, 1]).mean() < 16.0
    assert np.abs(error[:, 2]).mean() < 30.0
    assert np.median(found.photons / batch.photons[:, 0].numpy()) == pytest.approx(1.0, abs=0.1)


def test_the_best_drift_is_the_best_of_all():
    """Against the misfit of every combination of drift and translation, by the operator."""
    scene = replace(SMALL, inter_camera_drift_voxels=1)
    still = Observation.of(PSF, scene)
    images = images_of(scene, 2)[1]
    weights = [(np.array([[5, 1, 14], [9, 20, 31]]), np.array([900.0, 500.0])), (np.array([[2, 8, 9]]), np.ones(1))]
    weights[1] = (weights[1][0], np.array([2000.0]))
    start = np.array([[0, 0], [1, 0], [0, -1], [0, 0]])
    steps = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    lowest = np.inf
    for tx, ty in steps:
        if tx == 1:
            continue  # one molecule would leave the grid
        moved = [(voxels + np.array((0, ty, tx)), photons) for voxels, photons in weights]
        misfits = np.zeros((9, 4))
        for i, step in enumerate(steps):
            observation = still.drifted([[0, 0], step, step, step])
            for image, (voxels, photons) in zip(images, moved, strict=True):
                model = (photons @ observation.columns(voxels)).reshape(image.shape)
                misfits[i] += np.sum((image - model) ** 2, axis=(1, 2))
        lowest = min(lowest, misfits.min(axis=0).sum())
    drift, moved = best_drift(still, images, weights, start, 1)
    assert (drift[0] == 0).all() and np.abs(drift).max() <= 1 and moved[0] == 0
    observation = still.drifted(drift)
    reached = sum(
        np.sum((image.ravel() - photons @ observation.columns(voxels + moved)) ** 2)
        for image, (voxels, photons) in zip(images, weights, strict=True)
    )
    assert reached == pytest.approx(lowest, rel=1e-12)


def test_the_objective_of_the_alternation_never_rises():
    scene = replace(SMALL, inter_camera_drift_voxels=2)
    still, turns = Observation.of(PSF, scene), 0
    penalty = default_penalty(still)
    for image in images_of(scene, 12)[1]:
        run = alternate(still, image[None], penalty, np.zeros((4, 2), dtype=np.int64), 2)
        assert (np.diff(run.objectives) <= TOL_OPTIMAL * run.objectives[0]).all()
        assert run.objectives[-1] <= solve_lasso(still, image, penalty).objective * (1 + TOL_OPTIMAL)
        assert np.abs(run.drift_voxels).max() <= 2 and (run.drift_voxels[0] == 0).all()
        check = solve_lasso(still.drifted(run.drift_voxels), image, penalty)
        assert run.objectives[-1] == pytest.approx(check.objective, rel=TOL_OPTIMAL)
        turns += len(run.objectives) - 1
    assert turns >= 6  # drifts did change


def test_images_that_share_a_drift_tell_it():
    """Six bright molecules in six images: the drift is known better than half a voxel, so it is found exactly."""
    scene = replace(PAPER, upsampling=4, voxel_depth_nm=100.0, emitters=1)
    drift = np.array([[0, 0], [2, -1], [-2, 2], [1, 0]])
    observation = Observation.of(PSF, scene).drifted(drift)
    random = np.random.default_rng(3)
    truth = np.column_stack((np.linspace(2, 13, 6), random.integers(10, 54, (6, 2)))).astype(np.int64)
    signal = 5000.0 * observation.columns(truth).reshape(6, 4, 16, 16)
    images = random.poisson(signal + 4.0) + random.normal(0.0, 3.0, signal.shape) - 4.0
    found = drift_alternation.locate(images, PSF, scene, 1, images_per_drift=6)
    np.testing.assert_array_equal(found.drift_voxels, drift[None])
    assert np.abs(found.molecules.voxel - truth)[:, 1:].mean() < 0.7
    alone = compressed_sensing.locate(images, PSF, scene, 1)
    assert np.abs(found.molecules.voxel - truth)[:, 1:].sum() < np.abs(alone.voxel - truth)[:, 1:].sum()
    again = drift_alternation.locate(images, PSF, scene, 1, images_per_drift=6)
    np.testing.assert_array_equal(again.molecules.photons, found.molecules.photons)


def test_groups_of_images_have_their_own_drifts():
    scene = replace(SMALL, inter_camera_drift_voxels=1)
    found = drift_alternation.locate(images_of(scene, 5)[1], PSF, scene, 1, images_per_drift=2, max_shift_voxels=1)
    assert found.drift_voxels.shape == (3, 4, 2) and found.objective.shape == (3,)
    assert found.molecules.image.tolist() == list(range(5))
    assert np.abs(found.drift_voxels).max() <= 1


@pytest.mark.parametrize("method", [compressed_sensing, matching_pursuit, drift_alternation])
@pytest.mark.parametrize(
    ("images", "molecules", "message"),
    [
        (np.zeros((2, 4, 8, 8)), 0, "at least 1"),
        (np.zeros((2, 4, 8, 8)), [1], "2 images"),
        (np.zeros((2, 4, 8, 8)), [1, 1.5], "whole number"),
        (np.zeros((2, 4, 16, 16)), 1, r"\(n, 4, 8, 8\)"),
        (np.zeros((2, 3, 8, 8)), 1, r"\(n, 4, 8, 8\)"),
        (np.zeros((4, 8, 8)), 1, r"\(n, 4, 8, 8\)"),
        (np.full((1, 4, 8, 8), np.nan), 1, "not finite"),
    ],
)
def test_input_that_does_not_fit_is_refused(method, images, molecules, message):
    with pytest.raises(PlanelocError, match=message) as refusal:
        method.locate(images, PSF, SMALL, molecules)
    assert "\n" not in str(refusal.value)


def test_other_bad_input_is_refused():
    image = np.zeros((1, 4, 8, 8))
    with pytest.raises(PlanelocError, match="SplinePSF"):
        compressed_sensing.locate(image, object.__new__(SplinePSF), SMALL, 1)
    with pytest.raises(PlanelocError, match="penalty"):
        compressed_sensing.locate(image, PSF, SMALL, 1, penalty=0.0)
    with pytest.raises(PlanelocError, match="4 pairs"):
        compressed_sensing.locate(image, PSF, SMALL, 1, shifts_nm=np.zeros((3, 2)))
    with pytest.raises(PlanelocError, match="images_per_drift"):
        drift_alternation.locate(image, PSF, SMALL, 1, images_per_drift=0)


@pytest.mark.parametrize("method", [compressed_sensing, matching_pursuit])
def test_empty_input_and_empty_images_give_no_molecules(method):
    assert len(method.locate(np.zeros((0, 4, 8, 8)), PSF, SMALL, 1).photons) == 0
    assert len(method.locate(np.zeros((2, 4, 8, 8)), PSF, SMALL, 1).photons) == 0
    negative = -np.ones((1, 4, 8, 8))
    assert len(method.locate(negative, PSF, SMALL, 1).photons) == 0
