"""ImageJ's own reader, which knows no OME, gets voxel size and place of a z-stack; OME readers still read theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from planeloc.io import ome_tiff
from planeloc.io.imagej_tiff import add_description
from planeloc.io.ome_tiff import write_z_stack

STACK = np.random.default_rng(0).random((6, 5, 7)).astype(np.float32)
VOXEL, CORNER = (10.0, 20.0, 50.0), (1000.0, 3000.0, -775.0)


def as_imagej_reads(path: Path) -> dict[str, float | str]:
    """What ImageJ's TiffDecoder and FileOpener take from a file: the last description, numbers per unit."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        text = str(page.tags.getall(270)[-1].value)
        assert text.startswith("ImageJ") and page.tags["ResolutionUnit"].value == 1  # no unit: that of the description
        values = dict(line.split("=", 1) for line in text.splitlines())
        (x, x_over), (y, y_over) = page.tags["XResolution"].value, page.tags["YResolution"].value
        assert int(values["slices"]) == len(tiff.pages)
    places = {f"{axis}origin": float(values.get(f"{axis}origin", 0)) for axis in "xyz"}
    return {"unit": values["unit"], "x": x_over / x, "y": y_over / y, "z": float(values["spacing"]), **places}


@pytest.mark.parametrize("big", [False, True])
def test_imagej_and_ome_readers_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, big: bool) -> None:
    if big:
        monkeypatch.setattr(ome_tiff, "_LARGEST_CLASSIC_BYTES", 1)
    path = tmp_path / "a.ome.tif"
    write_z_stack(path, iter(STACK), STACK.shape, "float32", VOXEL, {"Name": "density"}, CORNER)
    read = as_imagej_reads(path)
    assert read["unit"] == "micron"
    assert [read[axis] for axis in "xyz"] == pytest.approx([0.01, 0.02, 0.05])
    # ImageJ's coordinate of pixel i is (i − origin) × size
    assert [-read[f"{axis}origin"] * read[axis] for axis in "xyz"] == pytest.approx([1.0, 3.0, -0.775])
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff == big
        assert tiff.is_ome and tiff.series[0].axes == "ZYX"
        np.testing.assert_array_equal(tiff.asarray(), STACK)
        assert 'PhysicalSizeZ="0.05"' in tiff.ome_metadata and 'PositionZ="-0.525"' in tiff.ome_metadata
        assert str(tiff.pages[0].tags.getall(270)[0].value).startswith("<?xml")
        assert tiff.imagej_metadata["spacing"] == 0.05
        assert tiff.imagej_metadata["max"] == pytest.approx(STACK.max(), rel=1e-6)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"MM\0*" + bytes(20))
    with pytest.raises(ValueError, match="not a little-endian TIFF"):
        add_description(tmp_path / "a.tif", "ImageJ=")
    tifffile.imwrite(tmp_path / "b.tif", STACK[0], metadata=None, description=None, byteorder="<")
    with pytest.raises(ValueError, match="first image has no description"):
        add_description(tmp_path / "b.tif", "ImageJ=")
