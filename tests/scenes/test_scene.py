"""Descriptions of training scenes."""

from dataclasses import replace

import pytest

from planeloc.core.errors import PlanelocError
from planeloc.psf import paper_psf
from planeloc.scenes.scene import Scene, natural_depth_range


def test_the_paper_s_planes_cover_the_paper_s_depths():
    """Four planes 400 nm apart: 1,600 nm."""
    psf = replace(paper_psf(), plane_depths_nm=(-600.0, -200.0, 200.0, 600.0))
    assert natural_depth_range(psf) == pytest.approx(1600.0)


def test_transforms_of_other_planes_are_refused():
    assert Scene(registration_sd_nm=(1.0, 2.0, 3.0)).registration_sds_nm(4) == (1.0, 2.0, 3.0)
    with pytest.raises(PlanelocError, match="has 3 values; 3 planes need 2"):
        Scene(registration_sd_nm=(1.0, 2.0, 3.0)).registration_sds_nm(3)
