"""Regions of a shared sensor: one per camera, all of the same size."""

import subprocess
import sys

import pytest

from planeloc.cameras import region_rules
from planeloc.cameras.region_rules import region_mistake


@pytest.mark.parametrize(
    ("layout", "sizes", "expected"),
    [
        ("files", [], ""),
        ("files", [(5, 6)], ""),
        ("regions", [(5, 6), (5, 6)], ""),
        ("regions", [(5, 6)], "1 regions for 2 cameras; layout regions needs one region per camera"),
        ("regions", [(5, 6), (5, 5)], "the regions differ in size; give all the same width and height"),
    ],
)
def test_regions_fit_the_cameras(layout, sizes, expected):
    assert region_mistake(layout, 2, sizes) == expected


def test_the_file_runs_without_any_installed_package():
    """As the workflow runs it, where the package lives only in a container."""
    subprocess.run([sys.executable, "-I", "-S", region_rules.__file__], check=True)
