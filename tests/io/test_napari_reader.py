"""Localizations and movies as layers of napari; with napari itself where it is installed."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table, napari_reader
from support.conversions import Folder, counts, microscope
from support.exported_tables import METADATA, linked, table
from support.repository import REPOSITORY

MANIFEST = REPOSITORY / "workflow/planeloc/napari.yaml"


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "my table.h5"
    localization_table.write(path, linked(), METADATA)
    return str(path)


@pytest.fixture
def store(tmp_path: Path) -> str:
    folder = Folder(tmp_path, counts())
    folder.convert()
    return str(folder.store)


def test_points_are_in_micrometres_with_all_columns(file: str) -> None:
    ((data, keywords, kind),) = napari_reader.reader(file)(file)
    assert kind == "points" and keywords["units"] == ("micrometer",) * 3
    np.testing.assert_allclose(data, linked()[["z", "y", "x"]] / 1000, atol=1e-6)
    assert list(keywords["features"]) == list(linked())


def test_a_table_without_depths_or_precisions(tmp_path: Path) -> None:
    localization_table.write(tmp_path / "a.h5", table(z=np.nan, x_sd=np.nan, y_sd=np.nan), METADATA)
    ((data, keywords, _),) = napari_reader.read_points(tmp_path / "a.h5")
    assert np.isfinite(data).all() and keywords["face_color"] == "white" and keywords["size"] > 0


def test_points_lie_on_the_pixels_of_the_movie(tmp_path: Path, store: str) -> None:
    """The middle of pixel (row 3, column 5) of frame 2 is half a pixel behind its corner."""
    pixel = microscope().pixel_size_nm
    rows = table().iloc[:1].assign(frame=2, x=5.5 * pixel, y=3.5 * pixel)
    localization_table.write(tmp_path / "a.h5", rows, METADATA)
    ((point,), _, _) = napari_reader.read_points(tmp_path / "a.h5", over_movie=True)[0]
    (image, keywords, kind), *others = napari_reader.reader(store)(store)
    index = (np.asarray(point) - keywords["translate"]) / keywords["scale"]
    np.testing.assert_allclose(index, [2, 3, 5], atol=1e-5)
    assert kind == "image" and len(others) + 1 == counts().shape[1]
    np.testing.assert_array_equal(image[2].compute(), counts()[2, 0])
    assert [layer[1]["visible"] for layer in (others)] == [False] * len(others)


def test_other_files_are_left_to_other_readers(tmp_path: Path, file: str, store: str) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["a"] = 1
    (tmp_path / "text.h5").write_text("colour,size\n")
    (tmp_path / "empty.zarr").mkdir()
    (tmp_path / "image.zarr").mkdir()
    (tmp_path / "image.zarr/zarr.json").write_text('{"attributes": {"ome": {"multiscales": [{"datasets": []}]}}}')
    for name in ("other.h5", "text.h5", "empty.zarr", "image.zarr", "none.h5"):
        assert napari_reader.reader(str(tmp_path / name)) is None, name
    assert napari_reader.reader([file, str(tmp_path / "other.h5")]) is None
    assert len(napari_reader.reader([file, store])([file, store])) == 1 + counts().shape[1]
    with pytest.raises(PlanelocError, match="convert the movie again"):
        (tmp_path / "old.zarr").mkdir()
        (tmp_path / "old.zarr/zarr.json").write_text('{"attributes": {}, "zarr_format": 3, "node_type": "group"}')
        napari_reader.read_movie(tmp_path / "old.zarr")


def test_the_manifest_leads_to_the_reader() -> None:
    content = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    (command,), (reader,) = content["contributions"]["commands"], content["contributions"]["readers"]
    module, _, name = command["python_name"].partition(":")
    assert getattr(import_module(module), name) is napari_reader.reader and reader["command"] == command["id"]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"]["napari.manifest"] == {"planeloc": f"planeloc:{MANIFEST.name}"}
    assert "*.yaml" in project["tool"]["setuptools"]["package-data"]["*"]


def test_napari_opens_both(file: str, store: str) -> None:
    components = pytest.importorskip("napari.components", reason="napari is not installed")
    npe2 = pytest.importorskip("npe2")
    if "planeloc" not in npe2.PluginManager.instance():
        npe2.PluginManager.instance().register(npe2.PluginManifest.from_file(MANIFEST))
    viewer = components.ViewerModel()
    (points,) = viewer.open(file, plugin="planeloc")
    assert len(points.data) == len(linked()) and set(points.features) == set(linked())
    images = viewer.open(store, plugin="planeloc")
    assert [image.visible for image in images] == [True] + [False] * (counts().shape[1] - 1)
    ((data, keywords, _),) = napari_reader.read_points(file, over_movie=True)
    assert len(viewer.add_points(data, **keywords).data) == len(linked())
