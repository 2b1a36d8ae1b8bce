"""Views: a region is the same as that part of the whole, sides are the right way round, colours show what they say."""

import matplotlib.image
import numpy as np
import pytest
import tifffile

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table
from planeloc.rendering import view as view_module
from planeloc.rendering.colouring import Colouring, limits_of
from planeloc.rendering.scene import Scene, nice_stretch, read_scene
from planeloc.rendering.settings import PROJECTIONS, ViewSettings
from planeloc.rendering.view import view
from support.rendered_tables import METADATA, table


def written(folder, rows, **settings):
    localization_table.write(folder / "t.h5", rows, METADATA)
    files = folder / "v.png", folder / "v.ome.tif"
    used = view(folder / "t.h5", *files, ViewSettings(**settings))
    return used, *files


def test_a_region_is_that_part_of_the_whole(tmp_path):
    rows = table(500, z_sd=30.0, x_sd=np.linspace(6, 60, 500))
    localization_table.write(tmp_path / "t.h5", rows, METADATA)
    for name, region in (("all", ""), ("part", "500,1100,400,900")):
        settings = ViewSettings(region=region, pixel_nm=10, slices=4)
        view(tmp_path / "t.h5", tmp_path / f"{name}.png", tmp_path / f"{name}.tif", settings)
    whole, part = (tifffile.imread(tmp_path / f"{name}.tif") for name in ("all", "part"))
    assert part.shape == (4, 50, 60)
    np.testing.assert_allclose(part, whole[:, 40:90, 50:110], rtol=1e-4, atol=1e-2 * whole.max() * 1e-2)
    with tifffile.TiffFile(tmp_path / "part.tif") as tiff:
        assert tiff.imagej_metadata["xorigin"] == -50 and 'PositionY="0.4"' in tiff.ome_metadata


def test_only_rows_that_reach_into_the_region_are_kept(tmp_path):
    rows = table(2000)
    localization_table.write(tmp_path / "t.h5", rows, METADATA)
    scene, _ = read_scene(tmp_path / "t.h5", {"x": (900.0, 1100.0), "y": (900.0, 1100.0)}, ViewSettings())
    near = rows[["x", "y"]].sub(1000).abs().max(axis=1) <= 100 + 4 * 100
    assert len(scene.rows["x"]) == near.sum() < 2000
    assert scene.within().sum() == (rows[["x", "y"]].sub(1000).abs().max(axis=1) < 100).sum()


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("colour_by", ["depth", "precision", "none"])
def test_every_projection_writes_its_files(tmp_path, projection, colour_by):
    used, picture, tiff = written(tmp_path, table(), projection=projection, colour_by=colour_by, pixel_nm=20, slices=5)
    assert used["localizations"] == 300
    image = matplotlib.image.imread(picture)
    assert min(image.shape[:2]) > 300 and image[..., :3].max() > 0.5
    assert tifffile.imread(tiff).shape == {"xz": (5, 40, 100), "yz": (5, 40, 80)}.get(projection, (5, 80, 100))


def test_depth_points_upwards_in_a_view_from_the_side(tmp_path):
    rows = table(2, x=[510.0, 1510.0], y=[410.0, 1210.0], z=[-310.0, 310.0], z_sd=10.0)
    _, _, tiff = written(tmp_path, rows, projection="xz", pixel_nm=20, slices=2)
    front, behind = tifffile.imread(tiff)  # y of 410 and of 1210 nm
    assert np.unravel_index(front.argmax(), front.shape) == (35, 25)
    assert np.unravel_index(behind.argmax(), behind.shape) == (4, 75)
    _, _, tiff = written(tmp_path, rows, projection="yz", pixel_nm=20, slices=2)
    left, right = tifffile.imread(tiff)
    assert np.unravel_index(left.argmax(), left.shape) == (35, 20)
    assert np.unravel_index(right.argmax(), right.shape) == (4, 60)


def test_a_depth_range_leaves_out_what_is_above_and_below(tmp_path):
    rows = table(3, z=[-390.0, 0.0, 390.0], z_sd=10.0)
    assert written(tmp_path, rows, depth_range="-100,100")[0]["localizations"] == 1
    # without one, depths beyond the table's range are seen from the objective, as in the image of the whole
    used, _, tiff = written(tmp_path, rows.assign(z=[-500.0, 0.0, 500.0]), pixel_nm=20, slices=2)
    assert used["localizations"] == 3
    assert tifffile.imread(tiff).sum() * 0.02**2 == pytest.approx(3, rel=1e-3)


def test_colours_show_the_quantity(tmp_path):
    rows = {name: np.asarray(values) for name, values in table(100, photons=np.arange(100.0)).items()}
    everywhere = np.ones(100, bool)
    depths = (-400.0, 400.0)
    assert limits_of("depth", rows, everywhere, 10, depths) == depths
    assert limits_of("frame", rows, everywhere, 10, depths) == (0, 10)
    assert limits_of("photons", rows, everywhere, 10, depths) == (2.0, 97.0)
    assert limits_of("precision", rows, everywhere, 10, depths) == (12.0, 13.0)  # all alike
    assert limits_of("photons", {**rows, "photons": np.full(100, np.nan)}, everywhere, 10, depths) == (0.0, 1.0)
    box = {"x": (0.0, 2000.0), "y": (0.0, 1600.0), "z": depths}
    two = table(2, x=[500.0, 1500.0], y=800.0, frame=[0, 9])
    scene = Scene({name: np.asarray(values) for name, values in two.items()}, box, ViewSettings())
    colouring = Colouring("frame", (0.0, 10.0), "depth")
    picture = scene.mixture("xy", (10.0, 10.0), colouring).picture(np.ones((160, 200), np.float32))
    np.testing.assert_allclose(picture[80, 50], colouring.colours()[0] * 255, atol=1)
    np.testing.assert_allclose(picture[80, 150], colouring.colours()[28] * 255, atol=1)


def test_unknown_values_have_the_worst_colour():
    rows = {
        "x": np.zeros(2),
        "x_sd": np.array([np.nan, 8.0]),
        "y_sd": np.array([9.0, 8.0]),
        "photons": np.array([np.nan, 5]),
    }
    assert Colouring("precision", (0, 20), "depth").values(rows).tolist() == [20, 8]
    assert Colouring("photons", (1, 20), "depth").values(rows).tolist() == [1, 5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"region": "1,2,3"}, "setting region is '1,2,3'; give 4 numbers, x0,x1,y0,y1"),
        ({"region": "0,900,700,100"}, "y0 is 700 and y1 is 100; give the smaller one first"),
        ({"depth_range": "a,b"}, "setting depth_range is 'a,b'; give 2 numbers, z0,z1"),
        ({"region": "5000,6000,0,900"}, "the region is outside the field, which is 0 to 2000 nm in x and 0 to 1600 nm"),
        (
            {"pixel_nm": 0.1},
            "pixel_nm is 0.1: 2 × 1.6 µm in pixels of 0.1 nm and 32 slices are too many; give pixel_nm 0.4",
        ),
        ({"colour_by": "none", "colour_range": "0,1"}, "colour_range is given, but colour_by is none"),
    ],
)
def test_mistakes_are_named(tmp_path, settings, message):
    with pytest.raises(PlanelocError) as caught:
        written(tmp_path, table(), **settings)
    assert message in str(caught.value)


def test_a_view_without_localizations_is_black(tmp_path):
    used, picture, tiff = written(tmp_path, table(1, x=100.0, y=100.0), region="1000,1500,1000,1500")
    assert used["localizations"] == 0 and tifffile.imread(tiff).max() == 0
    assert matplotlib.image.imread(picture)[40:300, 10:300, :3].max() == 0


def test_equal_views_are_equal_files(tmp_path):
    contents = []
    for name in "ab":
        (tmp_path / name).mkdir()
        _, *files = written(tmp_path / name, table(), projection="orthogonal")
        contents.append([file.read_bytes() for file in files])
    assert contents[0] == contents[1]


def test_linked_tables_have_blinks(tmp_path, monkeypatch):
    notes = []
    monkeypatch.setattr(view_module, "write_picture", lambda *given, **_: notes.append(given[3]))
    written(tmp_path, table(3, frames=2, last_frame=9))
    assert notes[0].startswith("3 blinks · x 0–2 µm")


@pytest.mark.parametrize(
    ("size", "depth", "stretch"), [(2000, 1600, 1), (12_288, 1600, 2), (49_152, 1200, 10), (5e5, 1000, 100)]
)
def test_side_views_are_high_enough(size, depth, stretch):
    assert nice_stretch(size, depth) == stretch


def test_rows_beside_the_picture_are_not_drawn():
    rows = {name: np.asarray(values) for name, values in table(1000, z_sd=20.0).items()}
    box = {"x": (900.0, 1000.0), "y": (0.0, 1600.0), "z": (-400.0, 400.0)}
    scene = Scene(rows, box, ViewSettings(maximum_sigma_nm=50))
    expected = (rows["x"] > 700) & (rows["x"] < 1200)
    assert len(scene.seen("xy")["x"]) == expected.sum() < 500


def test_it_says_what_it_shows_and_warns_of_an_empty_view(tmp_path, caplog):
    with caplog.at_level("INFO", logger="planeloc"):
        written(tmp_path, table())
        written(tmp_path, table(3, x=1500.0), region="0,300,0,300")
    shown, empty = caplog.records
    assert shown.levelname == "INFO" and "300 localizations in the view" in shown.message
    assert empty.levelname == "WARNING" and "0 localizations in the view (x 0 to 300 nm" in empty.message
    assert "which are in nm" in empty.message


def test_a_region_in_micrometres_is_refused(tmp_path):
    with pytest.raises(PlanelocError, match=r"region is 3,6,3\.5,6\.5: 3 nm along x are less than a pixel.*µm"):
        written(tmp_path, table(), region="3,6,3.5,6.5")


def test_the_stack_may_be_left_out_and_rows_of_a_linked_table_are_blinks(tmp_path, caplog):
    rows = table().assign(frames=2, last_frame=5)
    localization_table.write(tmp_path / "t.h5", rows, METADATA)
    with caplog.at_level("INFO", logger="planeloc"):
        view(tmp_path / "t.h5", tmp_path / "v.png", None, ViewSettings())
    assert "300 blinks in the view" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.h5", "v.png"]
