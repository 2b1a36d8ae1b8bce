"""Wrong simulation files are named."""

import pytest

from planeloc.core.errors import PlanelocError
from planeloc.simulation.settings import read_settings
from support.acquisitions import write_settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame": 3}, "unknown key 'frame'"),
        ({"drift": {"largest_nm": 0}}, "drift is now inter_camera_drift; rename it"),
        ({"frames": 0}, "frames: 0 is below its minimum"),
        ({"frames": "many"}, "frames is 'many', but must be a whole number"),
        ({"frames": True}, "frames is True"),
        ({"exposure_s": "1e-3"}, "exposure_s is '1e-3', but must be a finite number"),
        ({"blinking": {"mean_on": 1}}, "blinking: unknown key 'mean_on'"),
        ({"camera_movies": {"dimmest": 2}}, "camera_movies: setting dimmest: 2.0 is above its maximum"),
        ({"beads": {"scan": "up"}}, "beads: setting scan: 'up' is not one of objective, sample"),
        ({"sensor": {"gain": 1}}, ": sensor: unknown key 'gain'"),
        ({"sensor": None}, "sensor: expected keys and values"),
        ({"cameras": [{"focus_nm": 0}]}, "at least 2"),
        ({"cameras": [{"focus_nm": 0}, 7]}, r"cameras\[1\]: expected keys"),
        ({"cameras": [{"focus_nm": 100}, {"focus_nm": 200}]}, "opposite values"),
        ({"cameras": [{"view": {"mirrored": True}}, {}]}, "first camera is the reference"),
        ({"cameras": [{}, {"view": {"shift_px": [1]}}]}, r"cameras\[1\]: view: shift_px must be a list of 2"),
        ({"border_px": 20}, "leaves nothing of the field"),
        ({"psf": {"model": "stack"}}, "psf: file is missing"),
        ({"beads": {"photons_least": 1e9}}, "photons_least is above photons"),
    ],
)
def test_wrong_settings_are_named(tmp_path, changes, message):
    path = write_settings(tmp_path, **changes)
    with pytest.raises(PlanelocError, match=message) as caught:
        read_settings(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_unreadable_settings_are_named(tmp_path):
    with pytest.raises(PlanelocError, match="No such file"):
        read_settings(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("frames: [1", encoding="utf-8")
    with pytest.raises(PlanelocError, match="not valid YAML"):
        read_settings(broken)
    broken.write_text("", encoding="utf-8")
    with pytest.raises(PlanelocError, match="expected keys and values"):
        read_settings(broken)
