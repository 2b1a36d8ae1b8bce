"""One line for whatever a text file can do: tags, aliases, endless numbers, depth, frames that are none."""

import sys
import time

import pytest
import yaml

from planeloc.cameras.microscope import read_microscope
from planeloc.core.errors import PlanelocError
from planeloc.core.settings import check
from planeloc.evaluation.ground_truth import read_ground_truth
from planeloc.rendering.settings import RenderSettings, ViewSettings
from planeloc.simulation.settings import read_settings
from support.repository import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "workflow"))

from preflight.errors import ConfigurationError
from preflight.schema import YamlLines

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
STRANGE = {
    "tag": "pixel_size_nm: !!python/object/apply:os.system ['true']\n",
    "itself": "&a\npixel_size_nm: 100\ncameras: [*a]\n",
    "list of itself": "cameras: &a [*a]\npixel_size_nm: 100\n",
    "digits": f"pixel_size_nm: {'1' * 5000}\n",
    "bomb": BOMB,
    "deep": "[" * 5000,
    "no text": "a: \x00",
    "date": "pixel_size_nm: 2026-13-45\n",
}


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("read", [read_microscope, read_settings])
def test_yaml_that_no_one_means(name, read, tmp_path):
    path = tmp_path / "strange.yaml"
    path.write_text(STRANGE[name])
    with pytest.raises(PlanelocError) as error:
        read(path)
    assert "strange.yaml" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("tag", ":1: the tag python/object/apply:os.system has no meaning here; remove it"),
        ("itself", ":1: contains itself by an alias (*); write it out"),
        ("list of itself", ":1: contains itself by an alias (*); write it out"),
        ("digits", ":1: a number of 5,000 digits; correct it"),
        ("bomb", ": grows beyond 100,000 entries by aliases (*); write it out"),
        ("deep", ": nested too deeply"),
        ("no text", ": not a text file in UTF-8"),
    ],
)
def test_configurations_that_no_one_means(name, why, tmp_path):
    path = tmp_path / "strange.yaml"
    path.write_text(STRANGE[name])
    start = time.process_time()
    with pytest.raises(ConfigurationError) as error:
        YamlLines([path])
    assert all(line.startswith(str(path)) for line in str(error.value).splitlines()[:20] if "more" not in line)
    assert why in str(error.value) and time.process_time() - start < 20


def test_aliases_that_someone_means_are_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: &one\n  b: 1\nc: *one\nd: [*one, *one]\n")
    assert YamlLines([path])(("c", "b")) == f"{path}:2" and yaml.safe_load(path.read_text())["d"][1]["b"] == 1


@pytest.mark.parametrize("frame", ["0.5", "-1", "1e30", "nan", "inf", "1" * 5000, "first"])
def test_frames_that_are_none(frame, tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text(f"frame,x_nm,y_nm,z_nm,photons\n0,1,2,3,4\n{frame},1,2,3,4\n")
    with pytest.raises(PlanelocError, match=r"truth\.csv: row 2 of the ground-truth table") as error:
        read_ground_truth(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [RenderSettings, ViewSettings])
def test_limits_that_are_exchanged(kind):
    with pytest.raises(PlanelocError, match="setting minimum_sigma_nm: 200 is above maximum_sigma_nm: 100; exchange"):
        check(kind(minimum_sigma_nm=200.0))
    check(kind(minimum_sigma_nm=100.0))


def test_names_that_are_too_long(tmp_path):
    for read in (read_microscope, read_settings, read_ground_truth):
        with pytest.raises(PlanelocError) as error:
            read(tmp_path / ("x" * 300))
        assert "\n" not in str(error.value)
