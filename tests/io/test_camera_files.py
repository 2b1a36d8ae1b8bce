"""Every camera format gives its frames back; what is wrong with a file, or odd, is said in one line."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import yaml
import zarr

from planeloc.core.errors import PlanelocError
from planeloc.io.camera_files import andor_sif, nikon_nd2
from planeloc.io.camera_formats import CameraStack, open_camera_file

DATA = os.environ.get("PLANELOC_TEST_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="PLANELOC_TEST_DATA is not set: no real files to read")
SIZE = (12, 16)


def movie(frames: int = 9, channels: int | None = None, dtype: str = "uint16") -> np.ndarray:
    shape = (frames, *SIZE) if channels is None else (frames, channels, *SIZE)
    return np.random.default_rng(7).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def assert_reads(path: Path, expected: np.ndarray, channels: int | None = None) -> CameraStack:
    stack = open_camera_file(path, channels)
    expected = expected.reshape(len(expected), -1, *SIZE)
    assert (stack.frames, stack.channels, stack.height, stack.width) == expected.shape
    whole = stack.read(0, stack.frames)
    assert whole.dtype == np.uint16 and whole.dtype.isnative
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(stack.read(2, 5), expected[2:5])
    assert stack.read(3, 3).shape == (0, *expected.shape[1:])
    assert all(file.is_file() for file in stack.files)
    stack.close()
    return stack


def message(path: Path, channels: int | None = None) -> str:
    with pytest.raises(PlanelocError) as caught:
        open_camera_file(path, channels)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text
    return text


@pytest.mark.parametrize("channels", [None, 2])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2"])
def test_arrays_of_numpy(tmp_path: Path, channels: int | None, dtype: str) -> None:
    counts = movie(channels=channels, dtype=np.dtype(dtype).name)
    np.save(tmp_path / "a.npy", counts.astype(dtype))
    stack = assert_reads(tmp_path / "a.npy", counts, channels)
    assert stack.largest_count == np.iinfo(dtype).max
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-3])
    assert "cut short" in message(tmp_path / "cut.npy", channels)


def test_an_array_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[[{"a": 1}]]], dtype=object), allow_pickle=True)
    assert "pixels are object" in message(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.asfortranarray(movie()))
    assert "Fortran" in message(tmp_path / "b.npy")


@pytest.mark.parametrize("channels", [None, 3])
def test_hdf5(tmp_path: Path, channels: int | None) -> None:
    counts = movie(channels=channels)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("entry/data", data=counts, chunks=(2, *counts.shape[1:]), compression="gzip")
        file["dark"] = np.zeros(SIZE)  # an image, not a movie
    assert_reads(tmp_path / "a.h5", counts, channels)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["other"] = counts
    assert "2 arrays of images (/entry/data" in message(tmp_path / "a.h5", channels)


def test_floats_that_are_whole_counts_are_counts(tmp_path: Path) -> None:
    counts = movie()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = counts.astype(np.float32)
    assert_reads(tmp_path / "a.h5", counts)
    for wrong in (0.5, -1.0, 65536.0, np.nan):
        with h5py.File(tmp_path / "b.h5", "w") as file:
            file["data"] = np.where(np.arange(SIZE[1]) == 3, wrong, counts)
        with pytest.raises(PlanelocError, match="not whole numbers from 0 to 65535"):
            open_camera_file(tmp_path / "b.h5").read(0, 2)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("channels", [None, 2])
def test_zarr_arrays_and_ome_zarr(tmp_path: Path, version: int, channels: int | None) -> None:
    counts = movie(channels=channels)
    zarr.save_array(tmp_path / "a.zarr", counts, zarr_format=version)
    assert_reads(tmp_path / "a.zarr", counts, channels)
    group = zarr.open_group(tmp_path / "b.zarr", mode="w", zarr_format=version)
    axes = [{"name": name} for name in ("tcyx" if channels else "tyx")]
    scales = [{"datasets": [{"path": "0"}, {"path": "1"}], "axes": axes}]
    group.attrs.update({"ome": {"multiscales": scales}} if version == 3 else {"multiscales": scales})
    for name, level in (("0", counts), ("1", counts[..., ::2, ::2])):
        group.create_array(name, data=level, chunks=(2, *level.shape[1:]))
    assert_reads(tmp_path / "b.zarr", counts, channels)


@pytest.mark.parametrize("order", ["big", "little"])
def test_dax(tmp_path: Path, order: str) -> None:
    counts = movie()
    counts.astype(">u2" if order == "big" else "<u2").tofile(tmp_path / "a.dax")

    def describe(frames: int) -> None:
        (tmp_path / "a.inf").write_text(
            f"frame dimensions = {SIZE[1]} x {SIZE[0]}\nnumber of frames = {frames}\n"
            f"data type = 16 bit integers (binary, {order} endian)\n"
        )

    describe(9)
    assert not assert_reads(tmp_path / "a.dax", counts).remarks
    describe(4)  # written before the recording ended
    assert "announces 4 frames, the file holds 9: all are used" in assert_reads(tmp_path / "a.dax", counts).remarks[0]
    describe(10)
    assert "9 images" in message(tmp_path / "a.dax") and "of 10 announced" in message(tmp_path / "a.dax")
    (tmp_path / "a.inf").unlink()
    with pytest.raises(PlanelocError, match=r"a\.inf: no such file"):
        open_camera_file(tmp_path / "a.dax")


@needs_data
def test_a_real_dax_file() -> None:
    path = Path(DATA) / "formats" / "test_bg_sub.dax"
    stack = open_camera_file(path)
    np.testing.assert_array_equal(stack.read(0, 5)[:, 0], np.fromfile(path, ">u2").reshape(5, 256, 256))


def test_raw_files_of_picasso(tmp_path: Path) -> None:
    counts = movie()
    counts.tofile(tmp_path / "a.raw")
    described = {"Byte Order": "<", "Data Type": "uint16", "Frames": 9, "Height": SIZE[0], "Width": SIZE[1]}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump_all([described]))
    assert_reads(tmp_path / "a.raw", counts)
    for broken in ("Height: 12", "!!python/object/apply:os.system [true]", "a: [", "", "- 1"):
        (tmp_path / "a.yaml").write_text(broken)
        with pytest.raises(PlanelocError, match=r"a\.yaml: does not describe a\.raw"):
            open_camera_file(tmp_path / "a.raw")


def test_a_tiff_for_every_frame(tmp_path: Path) -> None:
    counts = movie(11)
    for number, frame in enumerate(counts):
        tifffile.imwrite(tmp_path / f"cam0_{number + 3}.tif", frame)  # 3 … 13: not the order of the alphabet
    assert_reads(tmp_path, counts)
    assert_reads(tmp_path / "cam0_*.tif", counts)
    assert_reads(tmp_path, counts[:10].reshape(5, 2, *SIZE), 2) if len(counts) % 2 == 0 else None
    tifffile.imwrite(tmp_path / "cam1_3.tif", counts[0])
    assert "more than one series" in message(tmp_path)
    assert_reads(tmp_path / "cam0_*.tif", counts)
    (tmp_path / "cam0_7.tif").unlink()
    assert "missing between cam0_6.tif and cam0_8.tif" in message(tmp_path / "cam0_*.tif")
    assert "no file fits this pattern" in message(tmp_path / "cam2_*.tif")


def test_a_dot_in_the_names_of_many_files_hides_no_number(tmp_path: Path) -> None:
    counts = movie(12)
    for number in np.random.default_rng(1).permutation(12):  # folders are listed in the order of writing, at times
        tifffile.imwrite(tmp_path / f"exp_25.5ms_{number:04d}.ome.TIF", counts[number], metadata=None)
    assert_reads(tmp_path, counts)
    (tmp_path / "exp_25.5ms_0004.ome.TIF").unlink()
    assert "missing between exp_25.5ms_0003.ome.TIF and exp_25.5ms_0005.ome.TIF" in message(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ["background.tif", "cam0_1.tif", "cam0_2.tif"],
        ["cam0.tif", "cam1_2.tif"],
        ["cam0.tif", "cam01_2.tif"],
        ["movie.tif", "movie.ome.tif"],
        ["cam0_1.tif", "cam0_1.tiff"],
        ["cam0_1.tif", "cam0_01.tif", "cam0_2.tif"],
    ],
)
def test_files_that_do_not_continue_each_other_are_no_movie(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        tifffile.imwrite(tmp_path / name, movie(1)[0])
    assert "more than one series" in message(tmp_path)


def test_frames_of_another_size_among_many_files_are_named(tmp_path: Path) -> None:
    for number in range(4):
        tifffile.imwrite(tmp_path / f"{number}.tif", np.zeros((6, 8 + (number == 2)), np.uint16))
    with pytest.raises(PlanelocError, match=r"2\.tif: 1 image\(s\) of 6 × 9"):
        open_camera_file(tmp_path).read(0, 4)
    tifffile.imwrite(tmp_path / "2.tif", np.zeros((2, 6, 8), np.uint16))
    with pytest.raises(PlanelocError, match=r"2\.tif: 2 image\(s\)"):
        open_camera_file(tmp_path).read(0, 4)


def test_a_movie_in_parts_by_a_pattern(tmp_path: Path) -> None:
    counts = movie(9)
    for name, part in (("run.tif", counts[:4]), ("run_2.tif", counts[4:8]), ("run_3.tif", counts[8:])):
        tifffile.imwrite(tmp_path / name, part, metadata=None)
    assert_reads(tmp_path / "run*.tif", counts)
    tifffile.imwrite(tmp_path / "run_3.tif", np.zeros((2, 6, 8), np.uint16))
    assert "name files of one movie" in message_of_part(tmp_path / "run*.tif")


def message_of_part(path: Path) -> str:
    with pytest.raises(PlanelocError) as caught:
        open_camera_file(path)
    return str(caught.value)


def write_ome_parts(folder: Path, parts: list[np.ndarray], stem: str = "run_MMStack_Pos0", channels: int = 1) -> Path:
    """Files as Micro-Manager writes them: the header in the first, the others say where it is."""
    names = [f"{stem}{f'_{k}' if k else ''}.ome.tif" for k in range(len(parts))]
    ids = [f"urn:uuid:00000000-0000-0000-0000-{k:012d}" for k in range(len(parts))]
    where = [(k, page) for k, part in enumerate(parts) for page in range(len(part))]
    planes = "".join(
        f'<TiffData FirstC="{n % channels}" FirstT="{n // channels}" FirstZ="0" IFD="{page}" PlaneCount="1">'
        f'<UUID FileName="{names[k]}">{ids[k]}</UUID></TiffData>'
        for n, (k, page) in enumerate(where)
    )
    head = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="'
    for k, part in enumerate(parts):
        xml = head + (
            f'{ids[k]}"><BinaryOnly MetadataFile="{names[0]}" UUID="{ids[0]}"/></OME>'
            if k
            else f'{ids[0]}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" '
            f'SizeX="{SIZE[1]}" SizeY="{SIZE[0]}" SizeC="{channels}" SizeT="{len(where) // channels}" SizeZ="1" '
            f'PhysicalSizeX="0.16" PhysicalSizeXUnit="µm">{planes}</Pixels></Image></OME>'
        )
        tifffile.imwrite(folder / names[k], part, photometric="minisblack", description=xml.encode(), metadata=None)
    return folder / names[0]


@pytest.mark.parametrize("channels", [1, 2])
def test_ome_in_several_files(tmp_path: Path, channels: int) -> None:
    counts = movie(12)
    first = write_ome_parts(tmp_path, [counts[:5], counts[5:10], counts[10:]], channels=channels)  # 5: within a frame
    expected = counts.reshape(-1, channels, *SIZE)
    stack = assert_reads(first, expected, channels if channels > 1 else None)
    assert len(stack.files) == 3 and stack.pixel_size_nm == 160
    later = tmp_path / "run_MMStack_Pos0_1.ome.tif"
    assert "a later part of run_MMStack_Pos0.ome.tif" in message(later)
    later.rename(tmp_path / "elsewhere.tif")
    assert "continued in run_MMStack_Pos0_1.ome.tif, which is not beside it" in message(first)


def test_ome_parts_that_were_renamed_together(tmp_path: Path) -> None:
    counts = movie(12)
    write_ome_parts(tmp_path, [counts[:5], counts[5:10], counts[10:]])
    for path in tmp_path.iterdir():
        path.rename(tmp_path / path.name.replace("run_MMStack_Pos0", "cell 1 left"))
    assert_reads(tmp_path / "cell 1 left.ome.tif", counts)
    write_ome_parts(tmp_path, [movie(3), movie(3)])  # others, under the old name
    assert_reads(tmp_path / "cell 1 left.ome.tif", counts)


def test_a_part_of_ome_that_lost_frames_is_named(tmp_path: Path) -> None:
    counts = movie(12)
    first = write_ome_parts(tmp_path, [counts[:5], counts[5:10], counts[10:]])
    part = tmp_path / "run_MMStack_Pos0_1.ome.tif"
    tifffile.imwrite(part, counts[5:9], photometric="minisblack", metadata=None)
    with pytest.raises(PlanelocError, match=r"Pos0_1\.ome\.tif: holds 4 images .* wants 5"):
        open_camera_file(first)


def test_pages_of_a_part_that_the_header_does_not_name(tmp_path: Path) -> None:
    """At the end of the movie they are left out, and said; within it, frames would be missing."""
    counts = movie(12)
    first = write_ome_parts(tmp_path, [counts[:5], counts[5:10]])
    part = tmp_path / "run_MMStack_Pos0_1.ome.tif"
    tifffile.imwrite(part, counts[5:12], photometric="minisblack", metadata=None)
    assert "its last part holds 2 pages that its header does not name" in assert_reads(first, counts[:10]).remarks[0]
    header = write_ome_parts(tmp_path, [counts[:4], counts[5:10]])
    xml = tifffile.TiffFile(header).ome_metadata
    tifffile.imwrite(header, counts[:5], photometric="minisblack", description=xml.encode(), metadata=None)
    assert "frames within the movie would be left out" in message(header)


def test_a_part_without_its_header_says_that_it_may_be_a_part(tmp_path: Path) -> None:
    counts = movie(12)
    write_ome_parts(tmp_path, [counts[:5], counts[5:]]).unlink()
    stack = assert_reads(tmp_path / "run_MMStack_Pos0_1.ome.tif", counts[5:])
    assert "one part of it" in stack.remarks[0]


def test_pages_that_the_header_does_not_know_are_used_and_reported(tmp_path: Path) -> None:
    counts = movie(12)
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        f'DimensionOrder="XYCZT" Type="uint16" SizeX="{SIZE[1]}" SizeY="{SIZE[0]}" SizeC="1" SizeT="1" SizeZ="1">'
        '<Channel ID="Channel:0:0"/><TiffData/></Pixels></Image></OME>'
    )
    with tifffile.TiffWriter(tmp_path / "ome.tif") as writer:
        for number, frame in enumerate(counts):
            writer.write(frame, contiguous=False, metadata=None, description=xml if number == 0 else None)
    with tifffile.TiffWriter(tmp_path / "imagej.tif") as writer:
        for number, frame in enumerate(counts):
            description = "ImageJ=1.53\nimages=6\nframes=6\n" if number == 0 else None
            writer.write(frame, contiguous=False, metadata=None, description=description)
    for name, announced in (("ome.tif", 1), ("imagej.tif", 6)):
        stack = assert_reads(tmp_path / name, counts)
        assert f"its header names {announced} images, the file holds 12: all are used" in stack.remarks[0]


def write_dcimg(path: Path, counts: np.ndarray) -> None:
    """The newer version of the format, with the four pixels of line 1023 − y0 kept beside the image."""
    frames, rows, columns = counts.shape
    header, session, line = 128, 760, 5
    image_bytes = 2 * rows * columns
    content = bytearray(header + session + frames * (image_bytes + 32))
    struct.pack_into("<8sI", content, 0, b"DCIMG", 0x1000000)
    struct.pack_into("<II", content, 0x24, frames, header)
    struct.pack_into("<Q", content, 0x30, len(content))
    values = (frames, 2, 0, columns, rows, 2 * columns, image_bytes, 0, 0, session)
    struct.pack_into("<Q13I7IIIQ", content, header, len(content) - header, *[0] * 13, *values)
    struct.pack_into("<I", content, header + 124, 32)  # bytes after every image
    struct.pack_into("<4H", content, header + 712, 0, columns, 1023 - line, rows)
    for number, image in enumerate(counts):
        start, stored = header + session + number * (image_bytes + 32), image.copy()
        stored[line, :4] = 0
        content[start : start + image_bytes] = stored.astype("<u2").tobytes()
        struct.pack_into("<III4H", content, start + image_bytes, number, number, 0, *image[line, :4].tolist())
    path.write_bytes(content)


def test_dcimg(tmp_path: Path) -> None:
    counts = movie()
    write_dcimg(tmp_path / "a.dcimg", counts)
    assert_reads(tmp_path / "a.dcimg", counts)
    (tmp_path / "cut.dcimg").write_bytes((tmp_path / "a.dcimg").read_bytes()[:-500])
    assert "cut short" in message(tmp_path / "cut.dcimg")
    content = bytearray((tmp_path / "a.dcimg").read_bytes())
    for footer in (16, 512):  # as other cameras have: their second image begins elsewhere
        struct.pack_into("<I", content, 128 + 124, footer)
        (tmp_path / "other.dcimg").write_bytes(content)
        assert f"with {footer} bytes after every image" in message(tmp_path / "other.dcimg")
    (tmp_path / "odd.dcimg").write_bytes(b"DCIMG\0\0\0" + bytes(200))
    assert "another version" in message(tmp_path / "odd.dcimg")


@needs_data
def test_real_ndtiff() -> None:
    """Eight times, two channels and sixteen depths: no single movie, but the images are found."""
    folder = Path(DATA) / "formats" / "ndtiff3.2_multichannel"
    assert "axes TZCYX, 8 × 16 × 2" in message(folder, 2)


def test_ndtiff_in_several_files(tmp_path: Path) -> None:
    counts = movie(9, 2)
    content, index = [bytearray(b"head"), bytearray(b"longer head")], b""
    for frame, channel in np.ndindex(9, 2):
        file = int(frame >= 4)
        axes = f'{{"time": {frame}, "channel": "{("red", "blue")[channel]}"}}'.encode()
        name = (b"a_NDTiffStack.tif", b"a_NDTiffStack_1.tif")[file]
        index += struct.pack("<I", len(axes)) + axes + struct.pack("<I", len(name)) + name
        index += struct.pack("<IiiiiIii", len(content[file]), SIZE[1], SIZE[0], 1, 0, 0, 0, 0)
        content[file] += counts[frame, channel].astype("<u2").tobytes()
    (tmp_path / "NDTiff.index").write_bytes(index)
    (tmp_path / "a_NDTiffStack.tif").write_bytes(content[0])
    (tmp_path / "a_NDTiffStack_1.tif").write_bytes(content[1])
    assert_reads(tmp_path, counts, 2)
    assert_reads(tmp_path / "NDTiff.index", counts, 2)
    (tmp_path / "a_NDTiffStack_1.tif").unlink()
    assert "a_NDTiffStack_1.tif of the dataset is missing" in message(tmp_path, 2)


@needs_data
def test_real_sif_files() -> None:
    sif_parser = pytest.importorskip("sif_parser", reason="sif-parser is not installed")
    folder = Path(DATA) / "formats"
    path = folder / "sif_parser_issue27_DU897_256.sif"
    stack = andor_sif.open(path)
    assert (stack.frames, stack.height, stack.width) == (1, 256, 256)
    np.testing.assert_array_equal(stack.read(0, 1)[0], sif_parser.np_open(str(path))[0].astype(np.uint16))
    assert "sif-parser cannot read it (IndexError" in message(folder / "sifreader_test_sequence.sif")


@needs_data
def test_real_nd2_file() -> None:
    nd2 = pytest.importorskip("nd2", reason="nd2 is not installed")
    path = Path(DATA) / "formats" / "pims_nd2_cluster.nd2"
    assert "axes TZCYX, 3 × 10 × 2" in message(path, 2)
    with nd2.ND2File(path) as file:
        images = nikon_nd2._images(path, file)
        expected = nd2.imread(path).reshape(-1, 31, 38)
        numbers = np.array([5, 6, 7, 0, 59])
        np.testing.assert_array_equal(images.read(numbers), expected[numbers])
        assert images.pixel_size_nm == pytest.approx(167.81, abs=0.01)


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "nd2", None)
    (tmp_path / "a.nd2").write_bytes(b"\xda\xce\xbe\n" + bytes(100))
    assert re.search(r"takes the package nd2 .*pip install nd2", message(tmp_path / "a.nd2"))


@pytest.mark.parametrize("compression", ["lzw", "zstd", "lzma", "packbits", "zlib", "jpeg2000", "lerc"])
def test_compressed_tiff(tmp_path: Path, compression: str) -> None:
    pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    counts = movie()
    tifffile.imwrite(tmp_path / "a.tif", counts, compression=compression, metadata=None)
    assert_reads(tmp_path / "a.tif", counts)
