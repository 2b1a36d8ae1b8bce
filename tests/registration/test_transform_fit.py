"""Maps from matched beads: their covariance is true, outliers go, and second order comes only where it is there."""

from pathlib import Path

import numpy as np
import pytest
import torch

from planeloc.beads.point_matching import ORIENTATIONS, orientation_words
from planeloc.beads.stage_path import hold_still
from planeloc.core.errors import PlanelocError
from planeloc.core.files import read_json, write_json
from planeloc.core.robust import common_scatter
from planeloc.registration.transform_fit import Beads, fit_map, fit_shift
from planeloc.transforms.camera_transform import Affine, Quadratic, Registration
from planeloc.transforms.resampling import map_grid, reference_grid

FIELD_PX = 128
GRID = np.stack(np.meshgrid(np.linspace(0, FIELD_PX, 9), np.linspace(0, FIELD_PX, 9)), axis=-1)
TOL_PULL = 0.15
MOST_FALSE_QUADRATIC = 0.01  # of affine truths
BEND = Quadratic(
    np.full(2, 64.0), 64.0, np.array([[66.0, -63.0, 1.0, 0.3, -0.1, 0.0], [61.0, 0.5, 64.0, 0.0, 0.25, -0.2]])
)


def strewn(random: np.random.Generator, number: int, scatter_px: float, truth=None) -> tuple[Beads, object]:
    """Beads anywhere in the field, of various noise, and a scatter that no noise explains."""
    truth = truth or Affine(ORIENTATIONS[random.integers(8)] + random.uniform(-0.02, 0.02, (2, 2)), np.full(2, 64.0))
    source = random.uniform(0, FIELD_PX, (number, 2))
    variance = random.uniform(0.003, 0.008, number) ** 2
    noise = random.normal(0, 1, (number, 2)) * np.sqrt(variance + scatter_px**2)[:, None]
    return Beads(source, truth(source) + noise, variance, np.zeros((number, number))), truth


def pulls(fit, truth) -> np.ndarray:
    covariance = fit.uncertainty.covariance_at(GRID)
    return (fit.camera_map(GRID) - truth(GRID)) / np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))


@pytest.mark.parametrize(("number", "scatter_px"), [(16, 0.0), (16, 0.02), (8, 0.02), (6, 0.0)])
def test_the_covariance_is_true(number: int, scatter_px: float) -> None:
    random = np.random.default_rng(number)
    found = []
    for _ in range(150):
        beads, truth = strewn(random, number, scatter_px)
        found.append(pulls(fit_map(beads, "affine"), truth))
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(1, abs=TOL_PULL)


def test_the_covariance_of_a_quadratic_map_is_true() -> None:
    random = np.random.default_rng(1)
    found = [pulls(fit_map(strewn(random, 20, 0.01, BEND)[0], "quadratic"), BEND) for _ in range(100)]
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(1, abs=TOL_PULL)


def test_second_order_only_where_it_is() -> None:
    random = np.random.default_rng(2)
    scatter = np.tile((0.0, 0.01), 100)
    affine = [fit_map(strewn(random, int(random.integers(4, 40)), s)[0]).camera_map for s in scatter]
    assert np.mean([isinstance(m, Quadratic) for m in affine]) <= MOST_FALSE_QUADRATIC
    bent = [fit_map(strewn(random, 16, 0.01, BEND)[0]).camera_map for _ in range(20)]
    assert all(isinstance(m, Quadratic) for m in bent)
    assert isinstance(fit_map(strewn(random, 11, 0.01, BEND)[0]).camera_map, Affine), "too few beads to ask for it"


def test_leave_one_out_is_the_brute_force_one() -> None:
    beads, _ = strewn(np.random.default_rng(3), 12, 0.0)
    beads = beads._replace(variance_px2=np.full(12, 1e-4))  # so that no bead is held back and all weigh the same
    fit = fit_map(beads, "affine")
    for i in range(12):
        rest = np.arange(12) != i
        others = fit_map(Beads(*(a[rest] for a in beads[:3]), np.zeros((11, 11))), "affine")
        assert fit.left_out_px[i] == pytest.approx(beads.target[i] - others.camera_map(beads.source[i]), abs=1e-6)


def test_outliers_go_and_shared_errors_stay() -> None:
    random = np.random.default_rng(4)
    beads, truth = strewn(random, 16, 0.0)
    beads.target[[2, 9]] += (0.7, -0.4)
    fit = fit_map(beads)
    assert np.nonzero(~fit.kept)[0].tolist() == [2, 9]
    assert np.abs(pulls(fit, truth)).max() < 4
    alike = fit_map(beads._replace(shared_px2=np.full((16, 16), 0.1**2)))
    assert np.sqrt(alike.uncertainty.covariance_at(np.full(2, 64.0))[0, 0]) == pytest.approx(0.1, rel=0.01)


def test_scatter_is_what_noise_does_not_explain() -> None:
    random = np.random.default_rng(5)
    variance = random.uniform(0.5, 2, 4000)
    squared = np.sum(random.normal(0, 1, (4000, 2)) ** 2, axis=1) / 2 * (variance + 1.5)
    assert common_scatter(squared, variance, 1.0) == pytest.approx(1.5, rel=0.1)
    squared[:200] = 1e6  # one in twenty is wrong
    assert common_scatter(squared, variance, 1.0) < 3
    assert common_scatter(squared[200:] * 0.1, variance[200:], 1.0) == 0.0


def test_a_shift_does_not_claim_to_know_the_far_corner() -> None:
    random = np.random.default_rng(6)
    source = random.uniform(60, 64, (30, 2))
    beads = Beads(source, source @ ORIENTATIONS[5].T + (3, 4), np.full(30, 1e-4), np.zeros((30, 30)))
    fit = fit_shift(beads)
    assert np.array_equal(fit.camera_map.matrix, ORIENTATIONS[5])
    near, far = (fit.uncertainty.covariance_at(np.full(2, at))[0, 0] ** 0.5 for at in (62.0, 0.0))
    assert near < 0.02 and far == pytest.approx(0.005 * 62 * 2**0.5, rel=0.1)


def test_the_path_is_found_with_its_error() -> None:
    """Two cameras that see the beads best on slices far apart: what is left of the path is in the covariance."""
    found = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        slices, beads = 20, 8
        path = random.normal(0, 0.05, (slices, 2)).cumsum(axis=0)
        sd = np.stack([np.geomspace(0.01, 0.3, slices)] * beads + [np.geomspace(0.3, 0.01, slices)] * beads)
        place = np.tile(random.uniform(0, 100, (beads, 2)), (2, 1))
        seen = place[:, None] + path + random.normal(0, 1, (2 * beads, slices, 2)) * sd[..., None]
        still = hold_still(seen, sd**2, np.repeat([0, 1], beads), np.ones(2 * beads, dtype=bool))
        assert not still.moves.any()
        first, second = np.arange(beads), beads + np.arange(beads)
        shared = still.shared_px2(first, second)
        own = still.variance_px2[first] + still.variance_px2[second]
        mean = (still.place_px[second] - still.place_px[first]).mean(axis=0)
        found.append(mean / np.sqrt((np.diag(own) + shared).mean()))
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(1, abs=2 * TOL_PULL)


@pytest.mark.parametrize("turn", range(8))
def test_orientations_in_words(turn: int) -> None:
    words = orientation_words(1.02 * ORIENTATIONS[turn] + 0.01)
    assert ("mirrored" in words) == (np.linalg.det(ORIENTATIONS[turn]) < 0)
    pictures = {"upright": [1, 2], "turned by 180°": [-1, -2], "mirrored left to right": [-1, 2]}
    if words in pictures:
        assert ORIENTATIONS[turn] @ (1, 2) == pytest.approx(pictures[words])
    assert words == "upright" or turn > 0


def test_quadratic_maps_invert_and_have_true_derivatives(tmp_path: Path) -> None:
    points = np.random.default_rng(7).uniform(0, FIELD_PX, (50, 2))
    assert BEND.mirrored and BEND.inverse().inverse() is BEND
    assert BEND.inverse()(BEND(points)) == pytest.approx(points, abs=1e-9)
    for axis in range(2):
        step = np.zeros(2)
        step[axis] = 1e-4
        slope = (BEND(points + step) - BEND(points - step)) / 2e-4
        assert BEND.jacobian(points)[..., axis] == pytest.approx(slope, abs=1e-7)
    fit = fit_map(strewn(np.random.default_rng(8), 20, 0.01, BEND)[0])
    registration = Registration(
        (Affine.identity(), fit.camera_map), (0.0, 2.0), uncertainty=(None, fit.uncertainty), beads=(20, 20)
    )
    registration.write(tmp_path / "r.json", {"height_px": 128, "width_px": 128, "pixel_size_nm": 192.0})
    read = Registration.read(tmp_path / "r.json")
    assert read.maps[1](points) == pytest.approx(fit.camera_map(points), abs=1e-9)
    assert read.beads == (20, 20) and read.field_px == (128, 128)
    assert map_grid(reference_grid(3, 4, 5, 6), read)[1, 2, 1].numpy() == pytest.approx(fit.camera_map([4.5, 6.5]))
    sd = read.sd_nm(1, points)
    assert sd.shape == (50, 2) and (sd > 0).all() and (read.sd_nm(0, points) == 0).all()
    # Mirrored: the derivative's inverse turns the covariance back onto the reference's axes.
    drawn = np.random.default_rng(9).multivariate_normal(np.zeros(2), fit.uncertainty.covariance_at(points[0]), 20_000)
    moved = read.maps[1].inverse()(read.maps[1](points[0]) + drawn) - points[0]
    assert moved.std(axis=0) * 192 == pytest.approx(sd[0], rel=0.05)
    rms, corner = read.field_sd_nm(1)
    assert 0 < rms < corner


def test_registrations_of_format_1_are_read(tmp_path: Path) -> None:
    plane = {"matrix": [[1.0, 0.0], [0.0, -1.0]], "shift_px": [0.5, 64.0], "residual_nm": 3.0}
    details = {"height_px": 64, "width_px": 64, "pixel_size_nm": 100.0}
    content = {"format": "planeloc registration 1", "planes": [plane, plane], "details": details}
    write_json(tmp_path / "old.json", content)
    old = Registration.read(tmp_path / "old.json")
    assert old.maps[1].mirrored and np.isnan(old.sd_nm(1, np.zeros((3, 2)))).all() and np.isnan(old.field_sd_nm(1)[0])
    old.write(tmp_path / "new.json")
    assert read_json(tmp_path / "new.json")["planes"][1]["uncertainty"] is None
    for change in ({"format": "planeloc registration 9"}, {"planes": []}, {"planes": [{**plane, "model": "spline"}]}):
        write_json(tmp_path / "bad.json", {**content, **change})
        with pytest.raises(PlanelocError, match=r"bad\.json: not a planeloc registration"):
            Registration.read(tmp_path / "bad.json")
    assert torch.equal(map_grid(reference_grid(0, 0, 2, 2), old)[0], map_grid(reference_grid(0, 0, 2, 2), old)[1])
