"""Light is conserved and lies where it should, files open with the right sizes, pictures show what they say."""

import math

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table
from planeloc.rendering import figure as figures
from planeloc.rendering import render as render_module
from planeloc.rendering.render import Grid, count_frames, draw_gaussians, gaussian_slices, render
from planeloc.rendering.settings import RenderSettings

METADATA = {
    "frames": 10,
    "width_px": 20,
    "height_px": 16,
    "pixel_size_nm": 100.0,
    "voxel_nm": [25.0, 25.0, 50.0],
    "depth_range_nm": [-400.0, 400.0],
}
SIZE_NM = (2000.0, 1600.0)
DEPTHS_NM = (-400.0, 400.0)
OUTPUTS = ("depth.png", "voxels.png", "depth.ome.tif", "voxels.ome.tif")


def table(rows: int = 300, seed: int = 0, **columns) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    values = {
        "frame": np.sort(random.integers(0, 10, rows)),
        "x": random.uniform(200, 1800, rows),
        "y": random.uniform(200, 1400, rows),
        "z": random.uniform(-400, 400, rows),
        "x_sd": 12.0,
        "y_sd": 12.0,
    }
    return localization_table.empty().reindex(range(rows)).assign(**{**values, **columns})


def run(folder, rows, **changes):
    localization_table.write(folder / "t.h5", rows, METADATA)
    paths = [folder / name for name in OUTPUTS]
    render(folder / "t.h5", *paths, RenderSettings(depth_slices=8, **changes))
    return paths


def test_a_gaussian_is_integrated_over_the_pixels():
    image = np.zeros((40, 50), np.float32)
    draw_gaussians(image, *(np.array([v]) for v in (20.3, 11.8, 1.5, 0.7)))
    rows, columns = np.mgrid[:40, :50] + 0.5
    assert image.sum() == pytest.approx(1, abs=1e-5)
    assert (image * columns).sum() == pytest.approx(20.3, abs=0.01)
    assert (image * rows).sum() == pytest.approx(11.8, abs=0.01)
    # integrating over a pixel adds 1/12 px² to the variance
    assert (image * (columns - 20.3) ** 2).sum() == pytest.approx(1.5**2 + 1 / 12, rel=0.01)
    assert (image * (rows - 11.8) ** 2).sum() == pytest.approx(0.7**2 + 1 / 12, rel=0.01)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_blocks_equal_a_loop(seed, rows):
    random = np.random.default_rng(seed)
    x, y = random.uniform(-5, 45, (2, rows))
    sigma_x, sigma_y = random.uniform(0.05, 4, (2, rows))
    image, expected = np.zeros((40, 37), np.float32), np.zeros((40, 37))
    draw_gaussians(image, x, y, sigma_x, sigma_y)
    for row in range(rows):
        shares = []
        for position, sigma, size in ((y, sigma_y, 40), (x, sigma_x, 37)):
            scaled = (np.arange(size + 1) - position[row]) / (math.sqrt(2) * sigma[row])
            shares.append(np.diff([math.erf(value) for value in scaled]) / 2)
        expected += np.outer(*shares)
    np.testing.assert_allclose(image, expected, atol=2e-4)


def test_density_is_per_square_micrometre_and_sliced_by_depth():
    rows = table()
    grid = Grid.cover(SIZE_NM, DEPTHS_NM, (10.0, 10.0, 100.0))
    density = np.stack(list(gaussian_slices(rows, grid, RenderSettings())))
    assert density.shape == grid.shape == (8, 160, 200)
    per_slice = density.sum(axis=(1, 2)) * 0.01**2
    np.testing.assert_allclose(per_slice, np.histogram(rows["z"], 8, DEPTHS_NM)[0], rtol=1e-4)


def test_unknown_sd_uses_the_setting():
    grid = Grid.cover(SIZE_NM, DEPTHS_NM, (10.0, 10.0, 800.0))
    rows = table(1, x=1000.0, y=800.0)
    (known,) = gaussian_slices(rows.assign(x_sd=30.0, y_sd=30.0), grid, RenderSettings())
    (unknown,) = gaussian_slices(rows.assign(x_sd=np.nan, y_sd=np.nan), grid, RenderSettings(sigma_nm=30))
    np.testing.assert_array_equal(known, unknown)


def test_frames_are_counted_once_per_voxel():
    rows = table(5, frame=[0, 0, 1, 4, 4], x=[10, 12, 20, 30, 10], y=5.0, z=[0, 10, 49, 10, 1e6])
    grid = Grid.cover(SIZE_NM, DEPTHS_NM, (25.0, 25.0, 50.0))
    stack = np.stack(list(count_frames(rows, grid).slices(grid)))
    assert stack[8, 0, 0] == 2  # frames 0 (twice) and 1
    assert stack[8, 0, 1] == 1
    assert stack[15, 0, 0] == 1  # beyond the last slice
    assert stack.sum() == 4


def test_voxels_outside_the_field_are_left_out():
    grid = Grid.cover(SIZE_NM, DEPTHS_NM, (25.0, 25.0, 50.0))
    rows = table(4, x=[-1, 2001, 100, 100], y=[100, 100, -1, 1601])
    assert len(count_frames(rows, grid).voxels) == 0


def test_grid_covers_a_field_that_voxels_do_not_divide():
    assert Grid.cover((1000.0, 990.0), (-300.0, 310.0), (100.0, 100.0, 100.0)).shape == (7, 10, 10)
    assert Grid.cover((3 * 0.1, 1.0), (0.0, 1.0), (0.1, 0.1, 0.1)).shape == (10, 10, 3)


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
        contents.append([path.read_bytes() for path in run(tmp_path / name, table())])
    assert contents[0] == contents[1]


def test_an_empty_table_gives_black_pictures(tmp_path):
    paths = run(tmp_path, localization_table.empty())
    assert tifffile.imread(paths[2]).max() == 0
    picture = matplotlib.image.imread(paths[0])
    assert picture[10:200, 10:200, :3].max() == 0


def test_colour_is_depth_and_the_mean_where_depths_meet(tmp_path):
    colours = figures.depth_colours("depth", 16)
    mixture = figures.ColourMixture((1, 3))
    mixture.add_voxels(np.array([0, 2 * 3 + 1, 15 * 3, 2 * 3 + 1]), (16, 1, 3), colours)
    picture = mixture.picture((mixture.amount > 0).astype(np.float32))[0]
    np.testing.assert_allclose(picture[0], (colours[0] + colours[15]) / 2 * 255, atol=1)
    np.testing.assert_allclose(picture[1], colours[2] * 255, atol=1)
    assert picture[2].max() == 0


def test_every_depth_colour_is_bright_on_black():
    luminance = figures.depth_colours("depth", 64) ** 2.2 @ [0.2126, 0.7152, 0.0722]
    assert luminance.min() > 0.15


@pytest.mark.parametrize(("about", "nice"), [(2048, 2000), (1999, 1000), (5000, 5000), (99, 50), (100, 100)])
def test_scale_bars_are_round(about, nice):
    assert figures.nice_length(about) == nice


def test_a_large_field_is_drawn_with_larger_pixels(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(render_module, "_LARGEST_IMAGE_PX", 4000)  # asked for: 200 × 160 and 80 × 64
    monkeypatch.setattr(render_module, "_LARGEST_STACK_BYTES", 8 * 4 * 500)
    rows = table()
    localization_table.write(tmp_path / "t.h5", rows, METADATA)
    paths = [tmp_path / name for name in OUTPUTS]
    sizes = render(tmp_path / "t.h5", *paths, RenderSettings(depth_slices=8))
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


def test_default_settings_fit_a_large_sensor():
    fine = Grid.cover((2304 * 100.0, 2304 * 100.0), DEPTHS_NM, (10.0, 10.0, 25.0))
    drawn = fine.limited(render_module._LARGEST_IMAGE_PX)
    assert drawn.voxel_nm == (30.0, 30.0, 25.0) and drawn.shape[1] * 30 >= 2304 * 100
    assert fine.limited(fine.shape[1] * fine.shape[2]) == fine


def test_missing_metadata_are_named(tmp_path):
    localization_table.write(tmp_path / "t.h5", table(), {"frames": 1})
    with pytest.raises(PlanelocError, match=r"t\.h5: the table's metadata lack pixel_size_nm"):
        render(tmp_path / "t.h5", *(tmp_path / name for name in OUTPUTS), RenderSettings())
