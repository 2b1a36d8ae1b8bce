"""Mistakes in a microscope file are named."""

import pytest

from planeloc.cameras.microscope import read_microscope
from planeloc.core.errors import PlanelocError

MICROSCOPE = """
pixel_size_nm: 100
cameras:
  - &left
    name: left
    offset_counts: 100
    electrons_per_count: 0.5
    em_gain: 1
    quantum_efficiency: 0.9
    read_noise_electrons: 1.5
  - {<<: *left, name: right, em_gain: 200}
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("pixel_size_nm: 100", "pixel_size_nm: -1"), "below its minimum"),
        (("em_gain: 200", "em_gian: 200"), r"cameras\[1\]: unknown key 'em_gian'"),
        (("em_gain: 200", "em_gain: '300'"), "not a number"),
        (("  - {<<: *left, name: right, em_gain: 200}\n", ""), "at least 2"),
        (("em_gain: 200", "em_gain: .inf"), "not a number"),
        (("pixel_size_nm: 100\n", ""), "pixel_size_nm is missing; add it: .* e.g. pixel_size_nm: 100"),
        (
            ("    em_gain: 1\n", ""),
            r"cameras\[0\] \(left\): em_gain is missing; add it: .*em_gain: 1 for CCD and sCMOS",
        ),
        (("    read_noise_electrons: 1.5\n", ""), "read_noise_electrons is missing; add it: .*after the EM gain"),
        (("cameras:", "layout: regions\ncameras:"), "one region per camera"),
        (("cameras:", "regions: [{x: 0, y: 0}]\ncameras:"), r"regions\[0\]: width is missing"),
        (("cameras:", "regions: [{x: 0, y: 0, width: 9}]\ncameras:"), r"regions\[0\]: height is missing"),
        (
            ("cameras:", "layout: regions\nregions: [{width: 5, height: 6}, {width: 5, height: 5}]\ncameras:"),
            "regions differ in size",
        ),
        (("cameras:", "cameras: {"), "not valid YAML"),
    ],
)
def test_microscope_mistakes_are_named(tmp_path, change, message):
    path = tmp_path / "scope.yaml"
    path.write_text(MICROSCOPE)
    assert read_microscope(path).cameras[1].em_gain == 200
    path.write_text(MICROSCOPE.replace(*change))
    with pytest.raises(PlanelocError, match=message) as error:
        read_microscope(path)
    assert "scope.yaml" in str(error.value) and "\n" not in str(error.value)
