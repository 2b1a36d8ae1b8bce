"""A camera format is one new module and an entry point, in any package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.core.errors import PlanelocError
from planeloc.io.camera_files.tiff import TiffStack
from planeloc.io.camera_formats import open_camera_file
from planeloc.io.camera_source import open_cameras
from support.plugins import install

TOY = """
import numpy as np

name, suffixes = "toy", (".toy",)

def opens(path):
    return path.read_bytes()[:3] == b"TOY"

def open(path, channels=None):
    return Stack(path, channels or 1)

class Stack:
    largest_count = 65535

    def __init__(self, path, channels):
        self.path, self.channels = path, channels
        self.height, self.width = np.frombuffer(path.read_bytes(), "<u2", 2, 4)
        self.counts = np.frombuffer(path.read_bytes(), "<u2", -1, 8).reshape(-1, channels, self.height, self.width)
        self.frames = len(self.counts)

    def read(self, start, stop):
        return self.counts[start:stop]

    def close(self):
        pass
"""


def write_toy(path: Path, counts: np.ndarray) -> Path:
    path.write_bytes(b"TOY " + np.array(counts.shape[-2:], "<u2").tobytes() + counts.astype("<u2").tobytes())
    return path


def test_a_toy_format_from_outside_is_read_beside_tiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", monkeypatch, "planeloc.camera_formats", "toy", TOY)
    counts = np.random.default_rng(1).integers(0, 999, (5, 2, 6, 8), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", counts[:, 0])
    paths = [tmp_path / "a.tif", write_toy(tmp_path / "b.bin", counts[:, 1])]  # recognized by its first bytes
    cameras = (Camera(name="a"), Camera(name="b"))
    with open_cameras(paths, Microscope("test", layout="files", cameras=cameras)) as source:
        np.testing.assert_array_equal(source.read(0, 5), counts)
    both = write_toy(tmp_path / "both.toy", counts)
    with open_cameras([both], Microscope("test", layout="channels", cameras=cameras)) as source:
        np.testing.assert_array_equal(source.read(1, 4), counts[1:4])


def test_a_format_from_outside_comes_before_tiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 6, 8), np.uint16))
    assert isinstance(open_camera_file(tmp_path / "a.tif"), TiffStack)
    special = TOY.replace('b"TOY"', 'b"II*"').replace("self.height, self.width =", "self.height, self.width = 1, 1 #")
    install(tmp_path / "site", monkeypatch, "planeloc.camera_formats", "special", special)
    assert type(open_camera_file(tmp_path / "a.tif")).__name__ == "Stack"


def test_an_unknown_file_is_one_line_with_the_known_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "movie.dat").write_bytes(b"\x00\x01\x02")
    expected = (
        r"movie\.dat: not a camera format that planeloc can read: TIFF \(\.tif, \.tiff, \.btf\), NDTiff .*; export"
    )
    with pytest.raises(PlanelocError, match=expected) as caught:
        open_camera_file(tmp_path / "movie.dat")
    assert "\n" not in str(caught.value)
    install(tmp_path / "site", monkeypatch, "planeloc.camera_formats", "toy", TOY)
    with pytest.raises(PlanelocError, match=r"toy \(\.toy\), TIFF"):
        open_camera_file(tmp_path / "movie.dat")


def test_a_damaged_file_is_judged_by_the_format_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.TIF").write_bytes(b"")
    with pytest.raises(PlanelocError, match="not a readable TIFF"):
        open_camera_file(tmp_path / "a.TIF")
