"""Does a network fit a microscope?"""

from dataclasses import replace

import numpy as np
import pytest

from planeloc.networks import regression
from planeloc.networks.training_match import disagreements, mistaken_depths, side_by_side
from planeloc.networks.upsampling import Architecture
from planeloc.networks.weight_files import NetworkRecord, load_network
from planeloc.psf import paper_psf
from planeloc.scenes.scene import Scene
from support.repository import REGRESSION_WEIGHTS

DEPTHS = np.arange(-700.0, 701.0, 100.0)


def record():
    return NetworkRecord(Architecture(4, 32), paper_psf(), Scene(), 100.0)


def test_the_same_psf_mistakes_nothing():
    assert mistaken_depths(paper_psf(), paper_psf(), DEPTHS) == pytest.approx(0, abs=0.5)


def test_shifted_planes_shift_every_depth():
    shifted = replace(paper_psf(), plane_depths_nm=tuple(d + 30 for d in paper_psf().plane_depths_nm))
    assert mistaken_depths(shifted, paper_psf(), DEPTHS) == pytest.approx(-30, abs=0.5)


def test_integrating_pixels_with_a_narrower_spot_is_the_paper_s_effective_psf():
    """sqrt(121² + 192²/12) = 133: the network made for Eq. 4 reads real, integrating pixels."""
    real = replace(paper_psf(), waist_nm=121.0, focus_depth_nm=275.0, asymmetry=0.0, pixel_integration=True)
    assert np.abs(mistaken_depths(real, paper_psf(), DEPTHS)).max() < 5


@pytest.mark.parametrize(
    ("psf", "scene", "reason"),
    [
        ({"waist_nm": 160.0}, {}, "depths on this microscope would be wrong"),
        ({"plane_depths_nm": (-800.0, 0.0, 800.0), "brightness": (0.3, 0.3, 0.4)}, {}, "made for 4 planes"),
        ({}, {"upsampling": 4}, "voxels"),
        ({}, {"photons": (300.0, 900.0)}, "molecules have 300 to 900 photons"),
        ({}, {"background": (50.0, 90.0)}, "a pixel's noise"),
        ({}, {"depth_range_nm": (-1000.0, 1000.0)}, "covers depths -800 to 800"),
    ],
)
def test_reasons(psf, scene, reason):
    found = disagreements(record(), replace(paper_psf(), **psf), replace(Scene(), **scene), 25.0)
    assert any(reason in text for text in found), found


def test_no_reason_against_itself():
    assert disagreements(record(), paper_psf(), Scene(), 25.0) == []


def test_both_descriptions_stand_side_by_side():
    """Whoever reads it sees what to mend: every quantity of both, and a mark where they differ."""
    psf = replace(paper_psf(), waist_nm=160.0, plane_depths_nm=(-800.0, 0.0, 800.0), brightness=(0.3, 0.3, 0.4))
    text = side_by_side(record(), psf, replace(Scene(), upsampling=4, depth_range_nm=(-1000.0, 1000.0)))
    marked = {line.removeprefix("  ≠ ")[:21].strip() for line in text.splitlines() if line.startswith("  ≠")}
    assert marked == {"planes", "focal depths", "voxels per pixel", "depth slices", "PSF"}
    assert "32 of 50 nm, -800 to 800 nm" in text and "40 of 50 nm, -1000 to 1000 nm" in text
    assert "w0 133 nm" in text and "w0 160 nm" in text


@pytest.mark.parametrize(
    ("wanted", "fits"), [((0.001, 0.01), True), ((0.0005, 0.02), True), ((0.0001, 0.01), False), ((0.001, 0.03), False)]
)
def test_a_network_that_has_seen_more_densities_fits(wanted, fits):
    seen = replace(Scene(), density=(0.0005, 0.02))
    made_for = NetworkRecord(regression.Architecture(4), paper_psf(), seen, 16.0)
    found = disagreements(made_for, paper_psf(), replace(seen, density=wanted), 25.0, "regression")
    assert bool(found) != fits and all("per 16×16 pixels" in reason for reason in found)


def test_voxels_and_emitters_do_not_matter_to_a_network_without_them():
    seen = replace(Scene(), density=(0.0005, 0.02))
    asked = replace(seen, emitters=5, upsampling=4, voxel_depth_nm=25.0)
    made_for = NetworkRecord(regression.Architecture(4), paper_psf(), seen, 16.0)
    assert disagreements(made_for, paper_psf(), asked, 25.0, "regression") == []
    assert len(disagreements(record(), paper_psf(), replace(Scene(), emitters=5, upsampling=4), 25.0)) == 2


def test_the_shipped_regression_network_fits_whatever_emitters_are_given():
    _, shipped = load_network(REGRESSION_WEIGHTS)
    scene = replace(shipped.scene, emitters=5)
    assert disagreements(shipped, shipped.psf, scene, 25.0, "regression") == []
