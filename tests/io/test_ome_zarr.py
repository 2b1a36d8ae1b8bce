"""OME-Zarr volumes: what NGFF 0.5 asks for, the same light in every resolution, places of the table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from planeloc.io.ome_zarr import write_pyramid

SHAPE, VOXEL, CORNER = (3, 1100, 700), (10.0, 10.0, 50.0), (2000.0, 3000.0, -75.0)


def volume() -> np.ndarray:
    random = np.random.default_rng(0)
    image = np.zeros(SHAPE, np.float32)
    image[:, 600:800, 100:300] = random.random((3, 200, 200))  # most chunks stay empty
    return image


def write(path: Path, image: np.ndarray) -> None:
    with write_pyramid(path, SHAPE, VOXEL, CORNER, "density") as add:
        for each in image:
            add(each)


def test_every_resolution_holds_the_same_at_the_same_place(tmp_path: Path) -> None:
    image = volume()
    write(tmp_path / "v.ome.zarr", image)
    group = zarr.open_group(tmp_path / "v.ome.zarr", mode="r")
    ome = group.attrs["ome"]
    (multiscale,) = ome["multiscales"]
    assert ome["version"] == "0.5"
    assert [(a["name"], a["type"], a["unit"]) for a in multiscale["axes"]] == [
        (n, "space", "micrometer") for n in "zyx"
    ]
    assert [d["path"] for d in multiscale["datasets"]] == ["0", "1", "2"]
    np.testing.assert_array_equal(group["0"][:], image)
    centres = []
    for dataset in multiscale["datasets"]:
        scale, place = (t[t["type"]] for t in dataset["coordinateTransformations"])
        array = group[dataset["path"]]
        assert array.metadata.dimension_names == ("z", "y", "x")
        values = array[:].astype(np.float64)
        axes = [np.arange(n) * s + p for n, s, p in zip(values.shape, scale, place, strict=True)]
        grid = np.meshgrid(*axes, indexing="ij", sparse=True)
        centres.append([float((values * each).sum() / values.sum()) for each in grid])
        assert values.mean() * values.size * scale[1] * scale[2] == pytest.approx(image.sum() * 1e-4, rel=1e-5)
    np.testing.assert_allclose(centres, [centres[0]] * 3, atol=1e-5)
    np.testing.assert_allclose(centres[0], [-0.025, 10.0, 4.0], atol=0.01)  # µm, of the table
    window = ome["omero"]["channels"][0]["window"]
    assert window["end"] == pytest.approx(image.max())


def test_empty_parts_have_no_files_and_equal_volumes_are_equal(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, volume())
    contents = [
        {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in (tmp_path / "a", tmp_path / "b")
    ]
    assert contents[0] == contents[1]
    write(tmp_path / "c", np.zeros(SHAPE, np.float32))
    assert sorted(p.name for p in (tmp_path / "c").rglob("*") if p.is_file()) == ["zarr.json"] * 4
    assert json.loads((tmp_path / "c" / "zarr.json").read_text())["node_type"] == "group"


def test_slices_must_be_complete(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="1 slices of 3 were written"),
        write_pyramid(tmp_path / "d", SHAPE, VOXEL, CORNER, "density") as add,
    ):
        add(volume()[0])
    assert not (tmp_path / "d").exists()
