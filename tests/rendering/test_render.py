"""Light is conserved and lies where it should, files open with the right sizes, pictures show what they say."""

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table
from planeloc.rendering import colours
from planeloc.rendering import render as render_module
from planeloc.rendering.grid import Grid
from planeloc.rendering.render import RenderedFiles, render
from planeloc.rendering.settings import RenderSettings
from support.rendered_tables import DEPTHS_NM, METADATA, table

OUTPUTS = ("depth.png", "voxels.png", "depth.ome.tif", "voxels.ome.tif")
MORE = ("depth.ome.zarr", "projections.png", "slices.png")


def files(folder, names=OUTPUTS):
    return RenderedFiles(*(folder / name for name in names))


def run(folder, rows, names=OUTPUTS, **changes):
    localization_table.write(folder / "t.h5", rows, METADATA)
    render(folder / "t.h5", files(folder, names), RenderSettings(depth_slices=8, **changes))
    return [folder / name for name in names]


def test_files_open_with_their_sizes(tmp_path):
    paths = run(tmp_path, table())
    for path, sizes, dtype, shape in (
        (paths[2], ("0.01", "0.01", "0.1"), "float32", (8, 160, 200)),
        (paths[3], ("0.025", "0.025", "0.05"), "uint16", (16, 64, 80)),
    ):
        with tifffile.TiffFile(path) as tiff:
            assert tiff.is_ome
            assert tiff.series[0].axes == "ZYX"
            assert (tiff.series[0].shape, tiff.series[0].dtype) == (shape, dtype)
            for axis, size in zip("XYZ", sizes, strict=True):
                assert f'PhysicalSize{axis}="{size}"' in tiff.ome_metadata
                assert f'PhysicalSize{axis}Unit="µm"' in tiff.ome_metadata
    for path in paths[:2]:
        assert min(matplotlib.image.imread(path).shape[:2]) > 800


def test_same_table_same_bytes(tmp_path):
    contents = []
    for name in "ab":
        (tmp_path / name).mkdir()
        paths = [each for path in run(tmp_path / name, table(), OUTPUTS + MORE) for each in (path, *path.rglob("*"))]
        contents.append({path.name: path.read_bytes() for path in paths if path.is_file()})
        assert len(paths) > 7
    assert contents[0] == contents[1]


def test_an_empty_table_gives_black_pictures(tmp_path):
    paths = run(tmp_path, localization_table.empty())
    assert tifffile.imread(paths[2]).max() == 0
    picture = matplotlib.image.imread(paths[0])
    assert picture[10:200, 10:200, :3].max() == 0


def test_a_large_field_is_drawn_with_larger_pixels(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(render_module, "_LARGEST_IMAGE_PX", 4000)  # asked for: 200 × 160 and 80 × 64
    monkeypatch.setattr(render_module, "_LARGEST_STACK_BYTES", 8 * 4 * 500)
    rows = table()
    localization_table.write(tmp_path / "t.h5", rows, METADATA)
    paths = [tmp_path / name for name in OUTPUTS]
    sizes = render(tmp_path / "t.h5", files(tmp_path), RenderSettings(depth_slices=8))
    assert sizes == {
        "depth_image_pixel_nm": 30, "tiff_pixel_nm": 90, "voxel_image_pixel_nm": 50, "voxel_tiff_pixel_nm": 100
    }  # fmt: skip
    with tifffile.TiffFile(paths[2]) as tiff:
        assert 'PhysicalSizeX="0.09"' in tiff.ome_metadata and "pixels of 90 nm instead of 10 nm" in tiff.ome_metadata
        density = tiff.asarray()
    assert density.shape == (8, 18, 23)
    assert density.sum() * 0.09**2 == pytest.approx(len(rows), rel=1e-3)
    counts = tifffile.imread(paths[3])
    assert counts.shape == (16, 16, 20)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and "depth.png: the field is large; pixels of 30 nm instead of 10 nm" in lines[0]


def test_a_picture_that_is_reduced_states_its_own_pixels(tmp_path, monkeypatch, capsys):
    """The stack keeps the pixels that were asked; the picture is reduced to a size that can be viewed."""
    monkeypatch.setattr(colours, "_LONGEST_SIDE_PX", 100)  # asked for: 200 × 160 and 80 × 64
    notes = []
    monkeypatch.setattr(render_module, "write_picture", lambda *given: notes.append(given[3]))
    localization_table.write(tmp_path / "t.h5", table(), METADATA)
    sizes = render(tmp_path / "t.h5", files(tmp_path), RenderSettings(depth_slices=8))
    assert sizes == {
        "depth_image_pixel_nm": 20, "tiff_pixel_nm": 10, "voxel_image_pixel_nm": 25, "voxel_tiff_pixel_nm": 25
    }  # fmt: skip
    assert notes[0].endswith("frames · pixels of 20 nm") and "pixels of" not in notes[1]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "depth.png: the field is large; pixels of 20 nm instead of 10 nm" in lines[0]
    picture, pixel_nm = colours.sensible_size(np.zeros((160, 200, 3), np.uint8), 10.0)
    assert picture.shape == (80, 100, 3) and pixel_nm == 20


def test_default_settings_fit_a_large_sensor():
    fine = Grid.cover((2304 * 100.0, 2304 * 100.0), DEPTHS_NM, (10.0, 10.0, 25.0))
    drawn = fine.limited(render_module._LARGEST_IMAGE_PX)
    assert drawn.voxel_nm == (30.0, 30.0, 25.0) and drawn.shape[1] * 30 >= 2304 * 100
    assert fine.limited(fine.shape[1] * fine.shape[2]) == fine


def test_missing_metadata_are_named(tmp_path):
    localization_table.write(tmp_path / "t.h5", table(), {"frames": 1})
    with pytest.raises(PlanelocError, match=r"t\.h5: the table's metadata lack pixel_size_nm"):
        render(tmp_path / "t.h5", files(tmp_path), RenderSettings())


def test_a_field_of_49_um_has_the_pixels_that_were_asked():
    fine = Grid.cover((256 * 192.0, 256 * 192.0), DEPTHS_NM, (10.0, 10.0, 25.0))
    drawn = fine.limited(render_module._LARGEST_IMAGE_PX)
    assert drawn.limited(render_module._LARGEST_STACK_BYTES // (4 * drawn.shape[0])) == fine


def test_the_zarr_volume_is_the_tiff_volume_also_where_the_field_is_large(tmp_path, monkeypatch):
    monkeypatch.setattr(render_module, "_LARGEST_STACK_BYTES", 8 * 4 * 500)
    localization_table.write(tmp_path / "t.h5", table(), METADATA)
    render(tmp_path / "t.h5", files(tmp_path, OUTPUTS + MORE), RenderSettings(depth_slices=8))
    group = zarr.open_group(tmp_path / "depth.ome.zarr", mode="r")
    np.testing.assert_array_equal(group["0"][:], tifffile.imread(tmp_path / "depth.ome.tif"))


def test_linked_molecules_are_called_so_and_count_with_their_frames(tmp_path, monkeypatch):
    notes = []
    monkeypatch.setattr(render_module, "write_picture", lambda *given: notes.append(given[3]))
    rows = table(3, x=500.0, y=500.0, z=0.0, frames=[1, 4, 2], last_frame=9)
    paths = run(tmp_path, rows)
    assert notes[0].startswith("3 blinks ·")
    assert tifffile.imread(paths[3]).max() == 7


def test_a_part_with_and_without_drift(tmp_path):
    drift = pd.DataFrame({"frame": range(10), "x_nm": np.linspace(-200, 200, 10), "y_nm": 0.0, "z_nm": 0.0})
    panels = {}
    for name, factor in (("moved", 1), ("still", 0)):
        (drift * [1, factor, factor, factor]).to_csv(tmp_path / f"{name}.csv", index=False)
        made = RenderedFiles(
            *(tmp_path / n for n in OUTPUTS), drift=tmp_path / f"{name}.csv", drift_image=tmp_path / f"{name}.png"
        )
        localization_table.write(tmp_path / "t.h5", table(), METADATA)
        render(tmp_path / "t.h5", made, RenderSettings())
        panels[name] = matplotlib.image.imread(made.drift_image).shape
    assert panels["moved"][1] > 1.5 * panels["still"][1]  # two columns
    short = tmp_path / "short.csv"
    drift[:5].to_csv(short, index=False)
    made = RenderedFiles(*(tmp_path / n for n in OUTPUTS), drift=short, drift_image=tmp_path / "d.png")
    with pytest.raises(PlanelocError, match=r"short\.csv: 5 frames do not fit localizations up to frame 9"):
        render(tmp_path / "t.h5", made, RenderSettings())
    short.write_text("frame,x\n")
    with pytest.raises(PlanelocError, match=r"short\.csv: not a table of sample drift"):
        render(tmp_path / "t.h5", made, RenderSettings())
    with pytest.raises(PlanelocError, match="--drift and --drift-image belong together"):
        render(tmp_path / "t.h5", RenderedFiles(*(tmp_path / n for n in OUTPUTS), drift=short), RenderSettings())
