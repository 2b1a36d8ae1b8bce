"""OME-TIFF stacks: equal pixels give equal files, and what the header announces is read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from planeloc.io.ome_tiff import OmeHeader, OmeTiffWriter, physical_sizes, write_z_stack

STACK = np.random.default_rng(0).integers(0, 999, (6, 5, 7), dtype=np.uint16)


def test_frames_are_appended_and_equal_stacks_are_equal_files(tmp_path: Path) -> None:
    description = {"Name": "movie", **physical_sizes(X=100, Y=100)}
    for name in "ab":
        with OmeTiffWriter(tmp_path / name, STACK.shape, "TYX", description) as writer:
            writer.append(STACK[:4])
            writer.append(STACK[4:])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with tifffile.TiffFile(tmp_path / "a") as tiff:
        np.testing.assert_array_equal(tiff.asarray(), STACK)
        assert 'PhysicalSizeX="0.1"' in tiff.ome_metadata and 'PhysicalSizeXUnit="µm"' in tiff.ome_metadata
        header = OmeHeader.parse(tiff.ome_metadata)
    assert (header.frames, header.channels) == (6, 1)


def test_a_stack_must_be_filled_and_not_more(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="5 frames of 6 were never written"),
        OmeTiffWriter(tmp_path / "a", STACK.shape, "TYX", {}) as writer,
    ):
        writer.append(STACK[:1])
    with (
        pytest.raises(ValueError, match="do not fit a stack"),
        OmeTiffWriter(tmp_path / "b", STACK.shape, "TYX", {}) as writer,
    ):
        writer.append(np.concatenate([STACK, STACK]))


def test_a_z_stack_is_written_from_a_generator(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        images = (image for image in STACK)
        write_z_stack(tmp_path / name, images, STACK.shape, "float32", (10.0, 10.0, 50.0), {"Name": "density"})
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert (tiff.series[0].axes, tiff.series[0].dtype) == ("ZYX", np.float32)
        np.testing.assert_array_equal(tiff.asarray(), STACK)
        assert 'PhysicalSizeZ="0.05"' in tiff.ome_metadata


def test_a_header_without_pixels_announces_nothing() -> None:
    assert OmeHeader.parse(None) is None
    data = '<TiffData><UUID FileName="a.tif"/></TiffData>'
    header = OmeHeader.parse(f'<OME><Pixels SizeT="3" SizeZ="2" SizeC="4">{data}</Pixels></OME>')
    assert (header.frames, header.channels, header.files) == (6, 4, {"a.tif"})
    assert header.planes[2, 1, 3] == ("a.tif", 23) and len(header.planes) == 24  # XYZCT: z runs fastest
