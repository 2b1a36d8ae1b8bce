"""Files that do not fit together are refused."""

import pytest

from planeloc.core.errors import PlanelocError
from planeloc.localization.localize import localize
from planeloc.localization.settings import LocalizeSettings
from planeloc.transforms.camera_transform import Registration
from support.movies import (
    MAPS,
    write_files,
)
from support.repository import QUADPLANE_WEIGHTS


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A short movie and everything to localize it with."""
    return write_files(tmp_path_factory.mktemp("movie"))


def test_planes_that_disagree_are_named(files, tmp_path):
    Registration.identity(3).write(tmp_path / "r.json")
    with pytest.raises(PlanelocError, match=r"number of planes differs: .*r\.json has 3"):
        localize(files / "m.json", tmp_path / "r.json", files / "psf.h5", QUADPLANE_WEIGHTS, tmp_path / "o.h5",
                 LocalizeSettings(device="cpu"))  # fmt: skip


def test_a_registration_of_another_field_is_refused(files, tmp_path):
    MAPS.write(tmp_path / "r.json", {"height_px": 64, "width_px": 80})
    with pytest.raises(PlanelocError, match=r"r\.json: found from images of 80×64 pixels and the movie has 48×48"):
        localize(files / "m.json", tmp_path / "r.json", files / "psf.h5", QUADPLANE_WEIGHTS, tmp_path / "o.h5",
                 LocalizeSettings(device="cpu"))  # fmt: skip
