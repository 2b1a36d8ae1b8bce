"""A movie is an OME-Zarr image: axes, scale in µm from the corner of the field, one channel per camera."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from planeloc.movie import ngff
from support.conversions import Folder, counts, microscope


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = Folder(tmp_path, counts())
    folder.convert()
    return folder.store


def test_the_group_describes_the_array(store: Path) -> None:
    ome = zarr.open_group(store, mode="r").attrs["ome"]
    (multiscale,) = ome["multiscales"]
    (dataset,) = multiscale["datasets"]
    array = zarr.open_group(store, mode="r")[dataset["path"]]
    assert ome["version"] == "0.5"
    assert tuple(axis["name"] for axis in multiscale["axes"]) == array.metadata.dimension_names == ngff.AXES
    assert len(ome["omero"]["channels"]) == array.shape[1]
    scale, translation = dataset["coordinateTransformations"]
    pixel = microscope().pixel_size_nm / 1000
    assert scale == {"type": "scale", "scale": [1, 1, pixel, pixel]}
    assert translation == {"type": "translation", "translation": [0, 0, pixel / 2, pixel / 2]}


def test_every_camera_has_its_contrast() -> None:
    frames = np.zeros((3, 2, 10, 10), np.uint16)
    frames[:, 0] = 100
    frames[:, 1] = np.arange(100).reshape(10, 10)
    first, second = ngff.attributes("counts", "movie", microscope(), frames)["omero"]["channels"]
    assert (first["window"]["start"], first["window"]["end"]) == (100, 101)  # never empty
    assert 0 <= second["window"]["start"] < 3 < 96 < second["window"]["end"] <= 99
    assert [first["active"], second["active"]] == [True, False]
    assert json.dumps(first)


def test_ome_zarrs_own_readers(store: Path) -> None:
    models = pytest.importorskip("ome_zarr_models.v05.image", reason="ome-zarr-models is not installed")
    models.Image.from_zarr(zarr.open_group(store, mode="r"))
    reader = pytest.importorskip("ome_zarr.reader", reason="ome-zarr is not installed")
    from ome_zarr.io import parse_url

    (node,) = reader.Reader(parse_url(str(store)))()
    np.testing.assert_array_equal(node.data[0].compute(), counts())
