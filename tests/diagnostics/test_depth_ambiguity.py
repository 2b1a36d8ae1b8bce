"""Depths that a microscope cannot tell are refused before training."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from planeloc.core.errors import PlanelocError
from planeloc.diagnostics.depth_ambiguity import ambiguous_depths, check_depths, image_difference
from planeloc.psf import paper_psf, write_psf
from planeloc.psf.fisher_information import position_bound
from planeloc.scenes.scene import Scene
from planeloc.training.train import train
from planeloc.transforms.camera_transform import Registration
from support.splines import spline_of_a_long_scan
from support.trainings import TINY_UPSAMPLING, outputs

TOL_BOUND = 0.03


def planes_at(*depths_nm):
    share = (1 / len(depths_nm),) * len(depths_nm)
    return replace(paper_psf(), plane_depths_nm=depths_nm, brightness=share, asymmetry=0.0)


def scene(half_nm, photons=(1600.0, 5400.0), background=(4.0, 4.0)):
    return Scene(depth_range_nm=(-half_nm, half_nm), photons=photons, background=background)


def test_near_depths_differ_by_their_distance_over_the_bound():
    step, depths = 2.0, np.array([-500.0, -300.0, 130.0, 700.0])
    light = scene(800.0)
    each = [image_difference(paper_psf(), light, np.array([z, z + step]))[0, 1] for z in depths]
    places = np.column_stack((np.full((4, 2), 96.0), depths))
    levels = (np.full(4, np.mean(light.photons)), np.full(4, 4.0))
    bound = position_bound(paper_psf(), light.pixel_noise(4), places, *levels)[:, 2]
    assert each == pytest.approx(step / bound, rel=TOL_BOUND)


def test_above_and_below_planes_at_one_depth_look_alike():
    assert ambiguous_depths(planes_at(0.0, 0.0), scene(400.0)) == (-400.0, 400.0)


@pytest.mark.parametrize(
    ("depths", "light", "verdict"),
    [
        ((-600.0, -200.0, 200.0, 600.0), scene(800.0), ""),
        ((-200.0, 200.0), scene(400.0), ""),
        ((-600.0, -200.0, 200.0, 600.0), scene(800.0, (250.0, 1000.0), (50.0, 50.0)), ""),
        ((-800.0, 800.0), scene(1600.0, (250.0, 1000.0), (50.0, 50.0)), "warns"),
        ((100.0, 100.0, 100.0, 100.0), scene(400.0), "stops"),
        ((-25.0, 25.0), scene(400.0, (250.0, 1000.0), (50.0, 50.0)), "stops"),
        ((-1200.0, 1200.0), scene(2400.0, (250.0, 1000.0), (100.0, 100.0)), "stops"),
    ],
    ids=["paper's", "two", "dim", "a gap", "one depth", "one depth nearly", "a wide gap"],
)
def test_planes_without_information_on_depth(depths, light, verdict, capsys):
    if verdict == "stops":
        with pytest.raises(
            PlanelocError, match=r"^b\.h5: with focal planes at .* look alike .* smaller depth_range_nm"
        ):
            check_depths(planes_at(*depths), light, "b.h5", 0.25, 0.5)
        return
    check_depths(planes_at(*depths), light, "b.h5", 0.25, 0.5)
    assert ("warning: b.h5" in capsys.readouterr().err) is bool(verdict)


def test_depths_beyond_the_scan_of_the_beads_are_refused(tmp_path):
    """Of a plane whose scan began at another depth than the others', what all have counts."""
    psf = spline_of_a_long_scan()
    assert psf.measured_depths_nm == pytest.approx((-800.0, 800.0))
    shorter = psf.coefficients.clone()
    shorter[1, :4] = 0  # the plane at −200 nm was scanned from its focus on
    psf = replace(psf, coefficients=shorter, _moved={})
    assert psf.measured_depths_nm == pytest.approx((-800.0, -200.0))
    shorter[1, 2:4] = 0.01  # and now from −700 nm on
    psf = replace(psf, coefficients=shorter, _moved={})
    assert psf.measured_depths_nm == pytest.approx((-800.0, 500.0))
    none = replace(psf, coefficients=torch.zeros_like(psf.coefficients), _moved={})
    check_depths(none, scene(800.0), "b.h5", 0.25, 0.5)  # the Gaussian explains all
    write_psf(tmp_path / "psf.h5", psf)
    settings = replace(TINY_UPSAMPLING, photons="1600-5400", background="4-4")
    with pytest.raises(
        PlanelocError, match=r"psf\.h5: beads were measured from -800 to .* set depth_range_nm: 1000 or less"
    ):
        train(tmp_path / "psf.h5", None, [], None, *outputs(tmp_path), settings)
    assert not list(tmp_path.glob("weights*"))


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (3, "beads were measured from -800 to 150 nm, but the training .*; set depth_range_nm: 300 or less, or record"),
        (4, "beads were measured from -800 to -200 nm, but the training .*; record beads over a longer scan"),
        (6, "no depth of the beads was measured on all planes, but the training .*; record beads over a longer scan"),
    ],
)
def test_what_is_advised_for_a_short_scan_is_possible(first, said):
    """A depth range of 0 would be the automatic one."""
    psf = spline_of_a_long_scan()
    shorter = psf.coefficients.clone()
    shorter[1, :first] = 0  # of the knots, 350 nm apart
    with pytest.raises(PlanelocError, match=f"^b\\.h5: {said}"):
        check_depths(replace(psf, coefficients=shorter, _moved={}), scene(800.0), "b.h5", 0.25, 0.5)


def test_a_registration_of_other_cameras_is_named(tmp_path):
    Registration.identity(3).write(tmp_path / "r.json")
    with pytest.raises(PlanelocError, match=r"r\.json has 3 planes and the paper 4"):
        train(None, None, [], None, *outputs(tmp_path), TINY_UPSAMPLING, registration=tmp_path / "r.json")
