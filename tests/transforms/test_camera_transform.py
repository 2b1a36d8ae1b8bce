"""Transforms between cameras: inverses, derivatives, uncertainty, and the file that holds them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from planeloc.core.errors import PlanelocError
from planeloc.core.files import read_json, write_json
from planeloc.core.marks import REGISTRATION
from planeloc.registration.transform_fit import fit_transform
from planeloc.transforms.camera_transform import Affine, Registration
from planeloc.transforms.resampling import reference_grid, transform_grid
from support.matched_beads import CURVED, FIELD_PX, random_beads


def test_inverse_of_an_affine():
    rng = np.random.default_rng(0)
    camera = Affine(np.array([[-1.01, 0.02], [0.03, 0.99]]), np.array([60.0, -3.0]))
    points = rng.uniform(0, 64, (20, 2))
    assert camera.inverse()(camera(points)) == pytest.approx(points)
    assert camera.mirrored and not camera.inverse().inverse().matrix[1, 1] < 0


def test_registration_round_trip(tmp_path):
    registration = Registration((Affine.identity(), Affine(np.diag([-1.0, 1.0]), np.array([64.0, 0.5]))), (0.0, 3.5))
    registration.write(tmp_path / "r.json", {"beads": 9})
    read = Registration.read(tmp_path / "r.json")
    assert read.residual_nm == (0.0, 3.5)
    assert read.transforms[1](np.array([1.0, 2.0])) == pytest.approx([63.0, 2.5])


def test_quadratic_transforms_invert_and_have_true_derivatives(tmp_path: Path) -> None:
    points = np.random.default_rng(7).uniform(0, FIELD_PX, (50, 2))
    assert CURVED.mirrored and CURVED.inverse().inverse() is CURVED
    assert CURVED.inverse()(CURVED(points)) == pytest.approx(points, abs=1e-9)
    for axis in range(2):
        step = np.zeros(2)
        step[axis] = 1e-4
        slope = (CURVED(points + step) - CURVED(points - step)) / 2e-4
        assert CURVED.jacobian(points)[..., axis] == pytest.approx(slope, abs=1e-7)
    fit = fit_transform(random_beads(np.random.default_rng(8), 20, 0.01, CURVED)[0])
    registration = Registration(
        (Affine.identity(), fit.transform), (0.0, 2.0), uncertainty=(None, fit.uncertainty), beads=(20, 20)
    )
    registration.write(tmp_path / "r.json", {"height_px": 128, "width_px": 128, "pixel_size_nm": 192.0})
    read = Registration.read(tmp_path / "r.json")
    assert read.transforms[1](points) == pytest.approx(fit.transform(points), abs=1e-9)
    assert read.beads == (20, 20) and read.field_px == (128, 128)
    assert transform_grid(reference_grid(3, 4, 5, 6), read)[1, 2, 1].numpy() == pytest.approx(fit.transform([4.5, 6.5]))
    sd = read.sd_nm(1, points)
    assert sd.shape == (50, 2) and (sd > 0).all() and (read.sd_nm(0, points) == 0).all()
    # Mirrored: the derivative's inverse turns the covariance back onto the reference's axes.
    drawn = np.random.default_rng(9).multivariate_normal(np.zeros(2), fit.uncertainty.covariance_at(points[0]), 20_000)
    moved = read.transforms[1].inverse()(read.transforms[1](points[0]) + drawn) - points[0]
    assert moved.std(axis=0) * 192 == pytest.approx(sd[0], rel=0.05)
    rms, corner = read.transform_sd_nm(1)
    assert 0 < rms < corner


def test_registrations_of_format_1_are_read(tmp_path: Path) -> None:
    plane = {"matrix": [[1.0, 0.0], [0.0, -1.0]], "shift_px": [0.5, 64.0], "residual_nm": 3.0}
    details = {"height_px": 64, "width_px": 64, "pixel_size_nm": 100.0}
    content = {"format": "planeloc registration 1", "planes": [plane, plane], "details": details}
    write_json(tmp_path / "old.json", content, REGISTRATION)
    old = Registration.read(tmp_path / "old.json")
    assert (
        old.transforms[1].mirrored
        and np.isnan(old.sd_nm(1, np.zeros((3, 2)))).all()
        and np.isnan(old.transform_sd_nm(1)[0])
    )
    old.write(tmp_path / "new.json")
    assert read_json(tmp_path / "new.json")["planes"][1]["uncertainty"] is None
    for change in ({"format": "planeloc registration 9"}, {"planes": []}, {"planes": [{**plane, "model": "spline"}]}):
        write_json(tmp_path / "bad.json", {**content, **change}, REGISTRATION)
        with pytest.raises(PlanelocError, match=r"bad\.json: not a planeloc registration"):
            Registration.read(tmp_path / "bad.json")
    assert torch.equal(
        transform_grid(reference_grid(0, 0, 2, 2), old)[0], transform_grid(reference_grid(0, 0, 2, 2), old)[1]
    )
