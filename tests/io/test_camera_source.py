"""Camera files: every layout and dialect gives the same frames back; what is wrong with a file is said in one line."""

from __future__ import annotations

import gc
import os
import shutil
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile

from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope, Region
from planeloc.core.errors import PlanelocError
from planeloc.io.camera_source import open_cameras

NAMES = ("left", "right", "third", "fourth")
DATA = os.environ.get("PLANELOC_TEST_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="PLANELOC_TEST_DATA is not set: no real files to read")


def microscope(planes: int = 2, layout: str = "files", regions: tuple[Region, ...] = ()) -> Microscope:
    cameras = tuple(Camera(name=NAMES[i]) for i in range(planes))
    return Microscope("test", layout=layout, cameras=cameras, regions=regions)


def counts(frames: int = 7, planes: int = 2, height: int = 12, width: int = 16, dtype: str = "uint16") -> np.ndarray:
    high = np.iinfo(dtype).max
    return np.random.default_rng(5).integers(0, high, (frames, planes, height, width), dtype, endpoint=True)


def write_cameras(folder: Path, movie: np.ndarray, **options) -> list[Path]:
    paths = [folder / f"{NAMES[plane]}.tif" for plane in range(movie.shape[1])]
    for plane, path in enumerate(paths):
        tifffile.imwrite(path, movie[:, plane], **options)
    return paths


def assert_reads(paths: list[Path], scope: Microscope, expected: np.ndarray) -> None:
    with open_cameras(paths, scope) as source:
        assert source.shape == expected.shape
        assert source.files == paths
        whole = source.read(0, len(expected))
        assert whole.dtype == np.uint16 and whole.dtype.isnative
        np.testing.assert_array_equal(whole, expected)
        np.testing.assert_array_equal(source.read(2, 5), expected[2:5])
        assert source.read(3, 3).shape == (0, *expected.shape[1:])


def message(paths: list[Path], scope: Microscope) -> str:
    with pytest.raises(PlanelocError) as caught:
        open_cameras(paths, scope)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    "options",
    [
        {"metadata": None},  # plain pages
        {"metadata": None, "rowsperstrip": 5},
        {},  # shape in the description
        {"ome": True, "metadata": {"axes": "TYX"}},
        {"ome": True, "metadata": {"axes": "ZYX"}},  # a bead scan
        {"ome": True, "bigtiff": True, "metadata": {"axes": "TYX"}},
        {"ome": True, "byteorder": ">", "metadata": {"axes": "TYX"}},
        {"imagej": True, "metadata": {"axes": "TYX"}},
        {"imagej": True},  # an ImageJ stack whose only axis is called a channel
        {"compression": "zlib", "metadata": None},
        {"ome": True, "compression": "zlib", "metadata": {"axes": "TYX"}},
        {"tile": (16, 16), "metadata": None},
    ],
    ids=str,
)
def test_one_file_per_camera(tmp_path: Path, options: dict) -> None:
    movie = counts()
    assert_reads(write_cameras(tmp_path, movie, **options), microscope(), movie)


def test_pages_written_one_at_a_time_are_read(tmp_path: Path) -> None:
    movie = counts(9)
    paths = [tmp_path / f"{plane}.tif" for plane in range(2)]
    for plane, path in enumerate(paths):
        with tifffile.TiffWriter(path) as writer:
            for frame in movie[:, plane]:
                writer.write(frame, contiguous=False, metadata=None)
    assert_reads(paths, microscope(), movie)


def test_an_open_movie_keeps_some_bytes_for_a_frame(tmp_path: Path) -> None:
    """The page objects of its files, 0.4 kB each, are given back."""
    paths = write_cameras(tmp_path, counts(1500), ome=True, metadata={"axes": "TYX"})
    open_cameras(paths, microscope()).close()  # what is loaded at the first time does not count
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        with open_cameras(paths, microscope()):
            assert tracemalloc.get_traced_memory()[0] / 1500 < 2 * 40  # bytes, for two cameras
    finally:
        tracemalloc.stop()
        gc.enable()


def test_threads_may_read_together(tmp_path: Path) -> None:
    movie = counts(40)
    with open_cameras(write_cameras(tmp_path, movie), microscope()) as source, ThreadPoolExecutor(4) as pool:
        frames = list(pool.map(lambda i: source.read(i % 40, i % 40 + 1)[0], range(2000)))
    np.testing.assert_array_equal(frames, np.tile(movie, (50, 1, 1, 1)))


def test_eight_bit_counts_are_widened(tmp_path: Path) -> None:
    movie = counts(dtype="uint8")
    assert_reads(write_cameras(tmp_path, movie), microscope(), movie)


def test_a_single_image_per_camera_is_one_frame(tmp_path: Path) -> None:
    movie = counts(1)
    paths = write_cameras(tmp_path, movie)
    with open_cameras(paths, microscope()) as source:
        assert source.shape == (1, 2, 12, 16)
        np.testing.assert_array_equal(source.read(0, 1), movie)


@pytest.mark.parametrize(
    ("axes", "options"),
    [
        ("TCYX", {"ome": True, "metadata": {"axes": "TCYX"}}),
        ("CTYX", {"ome": True, "metadata": {"axes": "CTYX"}}),
        ("CZYX", {"ome": True, "metadata": {"axes": "CZYX"}}),
        ("TCYX", {"imagej": True, "metadata": {"axes": "TCYX"}}),
        ("TCYX", {}),  # an array frames × cameras without names of its axes
        ("TCYX", {"compression": "zlib"}),
    ],
)
@pytest.mark.parametrize("planes", [2, 4])
def test_channel_axis(tmp_path: Path, axes: str, options: dict, planes: int) -> None:
    movie = counts(6, planes)
    path = tmp_path / "all.tif"
    stored = movie if axes == "TCYX" else np.moveaxis(movie, 1, 0)
    tifffile.imwrite(path, np.ascontiguousarray(stored), photometric="minisblack", **options)
    assert_reads([path], microscope(planes, "channels"), movie)


def test_pages_that_take_turns_are_cameras_when_the_file_names_no_axes(tmp_path: Path) -> None:
    movie = counts(6, 3)
    path = tmp_path / "turns.tif"
    tifffile.imwrite(path, movie.reshape(18, 12, 16), metadata=None)
    assert_reads([path], microscope(3, "channels"), movie)
    assert "18" in message([path], microscope(4, "channels"))


def test_regions_of_one_sensor(tmp_path: Path) -> None:
    sensor = counts(6, 1, 20, 40)
    path = tmp_path / "sensor.tif"
    tifffile.imwrite(path, sensor[:, 0], metadata=None)
    regions = (Region(1, 2, 15, 10), Region(22, 7, 15, 10))
    expected = np.stack([sensor[:, 0, 2:12, 1:16], sensor[:, 0, 7:17, 22:37]], axis=1)
    assert_reads([path], microscope(2, "regions", regions), expected)
    text = message([path], microscope(2, "regions", (Region(1, 2, 15, 10), Region(26, 7, 15, 10))))
    assert str(path) in text and "right" in text and "40 columns" in text


def test_an_ome_set_is_not_mixed_between_cameras(tmp_path: Path) -> None:
    """Files of a set name each other in their headers; each camera must still get its own pixels."""
    movie = counts(5)
    paths = [tmp_path / f"{name}.ome.tif" for name in ("a", "b")]
    ids = [f"urn:uuid:00000000-0000-0000-0000-00000000000{i}" for i in range(2)]
    planes = "".join(
        f'<TiffData FirstC="{c}" FirstT="{t}" IFD="{t}" PlaneCount="1">'
        f'<UUID FileName="{paths[c].name}">{ids[c]}</UUID></TiffData>'
        for c in range(2)
        for t in range(5)
    )
    for plane, path in enumerate(paths):
        xml = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{ids[plane]}"><Image ID="Image:0">'
            '<Pixels ID="Pixels:0" DimensionOrder="XYCTZ" Type="uint16" '
            'SizeX="16" SizeY="12" SizeC="2" SizeT="5" SizeZ="1">'
            f'<Channel ID="Channel:0:0"/><Channel ID="Channel:0:1"/>{planes}</Pixels></Image></OME>'
        )
        tifffile.imwrite(path, movie[:, plane], description=xml, metadata=None)
    assert_reads(paths, microscope(), movie)
    tifffile.imwrite(paths[1], movie[:4, 1], photometric="minisblack", description=xml, metadata=None)
    text = message(paths, microscope())
    assert paths[1].name in text and "4 of the 5" in text


def test_ome_header_with_more_frames_than_the_file_is_an_error_not_zeros(tmp_path: Path) -> None:
    path = tmp_path / "aborted.ome.tif"
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" '
        'SizeX="16" SizeY="12" SizeC="1" SizeT="10" SizeZ="1">'
        '<Channel ID="Channel:0:0"/><TiffData/></Pixels></Image></OME>'
    )
    tifffile.imwrite(path, counts(6, 1)[:, 0], description=xml, metadata=None)
    assert "6 of the 10" in message([path, path], microscope())


@pytest.mark.parametrize("pages", ["contiguous", "one by one", "imagej", "shaped", "ome", "zlib"])
def test_every_truncation_is_noticed(tmp_path: Path, pages: str) -> None:
    movie = counts(8, 1, 12, 16)[:, 0]
    whole = tmp_path / "whole.tif"
    if pages == "one by one":
        with tifffile.TiffWriter(whole) as writer:
            for frame in movie:
                writer.write(frame, contiguous=False, metadata=None)
    else:
        options = {
            "contiguous": {"metadata": None},
            "imagej": {"imagej": True, "metadata": {"axes": "TYX"}},
            "shaped": {},
            "ome": {"ome": True, "metadata": {"axes": "TYX"}},
            "zlib": {"compression": "zlib", "metadata": None},
        }[pages]
        tifffile.imwrite(whole, movie, **options)
    content = whole.read_bytes()
    cut = tmp_path / "cut.tif"
    for length in range(0, len(content), 61):
        cut.write_bytes(content[:length])
        try:
            with open_cameras([cut, cut], microscope()) as source:
                read = source.read(0, source.shape[0])
        except PlanelocError as error:
            assert str(cut) in str(error) and "\n" not in str(error)
        else:  # only bytes after the last image are gone
            np.testing.assert_array_equal(read[:, 0], movie)


def test_one_file_for_two_cameras_is_refused(tmp_path: Path) -> None:
    left, _ = write_cameras(tmp_path, counts())
    (tmp_path / "link.tif").symlink_to(left)
    for other in (left, tmp_path / "link.tif", tmp_path / ".." / tmp_path.name / left.name):
        assert "given for two cameras" in message([left, other], microscope())


def test_cameras_of_different_length_are_named(tmp_path: Path) -> None:
    paths = write_cameras(tmp_path, counts(9, 3))
    tifffile.imwrite(paths[1], counts(6, 1)[:, 0])
    text = message(paths, microscope(3))
    assert "left 9, right 6, third 9" in text and "right is the shortest" in text and str(paths[1]) in text


def test_cameras_of_different_size_are_named(tmp_path: Path) -> None:
    paths = write_cameras(tmp_path, counts())
    tifffile.imwrite(paths[1], counts(width=18)[:, 1])
    text = message(paths, microscope())
    assert "right" in text and "18 columns" in text and str(paths[1]) in text


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint32", "float64", "int8"])
def test_other_pixel_types_are_refused_by_name(tmp_path: Path, dtype: str) -> None:
    paths = write_cameras(tmp_path, np.ones((5, 2, 12, 16), dtype))
    text = message(paths, microscope())
    assert dtype in text and str(paths[0]) in text and "16-bit" in text


def test_files_that_are_no_movies(tmp_path: Path) -> None:
    good = write_cameras(tmp_path, counts())
    text_file = tmp_path / "notes.tif"
    text_file.write_text("not a picture")
    assert "not a readable TIFF" in message([good[0], text_file], microscope())
    assert "not found" in message([good[0], tmp_path / "absent.tif"], microscope())
    assert "1 file(s) for 2 cameras (left, right)" in message(good[:1], microscope())
    assert "one file" in message(good, microscope(layout="channels"))
    colour = tmp_path / "colour.tif"
    tifffile.imwrite(colour, np.zeros((5, 12, 16, 3), np.uint8), photometric="rgb")
    assert "grey" in message([colour, colour], microscope())


def test_axes_that_do_not_fit_the_layout_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "hyper.tif"
    tifffile.imwrite(path, counts(6, 2), ome=True, metadata={"axes": "TCYX"})
    assert "layout to 'channels'" in message([path, path], microscope())
    assert "3 cameras" in message([path], microscope(3, "channels"))
    tifffile.imwrite(path, counts(6, 2), ome=True, metadata={"axes": "TZYX"})
    assert "TZYX" in message([path, path], microscope())


def test_frames_outside_the_movie_are_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with open_cameras(write_cameras(tmp_path, counts()), microscope()) as source, pytest.raises(IndexError):
        source.read(0, 8)


@needs_data
def test_real_bead_stack(tmp_path: Path) -> None:
    path = Path(DATA) / "beads" / "bead180_oil.tif"
    other = shutil.copy(path, tmp_path / "other.tif")
    expected = tifffile.imread(path)
    assert_reads([path, other], microscope(), np.stack([expected, expected], axis=1))


@needs_data
def test_real_movies_that_are_no_single_run_of_raw_counts() -> None:
    folder = Path(DATA)
    floats = folder / "sequences" / "SPTnet_SA-AF647_on_SLB.tif"
    assert "float32" in message([floats, floats], microscope())
    ndtiff = folder / "formats" / "ndtiff3.2_multichannel" / "NDTiff3.2_multichannel_NDTiffStack.tif"
    assert "TCZYX" in message([ndtiff], microscope(layout="channels"))
