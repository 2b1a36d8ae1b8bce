"""Raw frames with localizations: frames and parts that are drawn, transforms, mean spots, files that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table
from planeloc.movie.writer import write_movie
from planeloc.rendering import overlay as stage
from planeloc.rendering.mean_spot import MeanSpot, mean_spot
from planeloc.rendering.overlay import chosen_frames, densest_region, offset_checks, offset_values, overlay
from planeloc.rendering.settings import OverlaySettings
from planeloc.transforms.camera_transform import Registration
from support.movies import MAPS, MICROSCOPE, SIDE, Source, expose

DEPTHS = [-600.0, -200.0, 200.0, 600.0]
FRAMES = 12
PIXEL = 192.0


def molecules(seed: int = 1) -> np.ndarray:
    """(n, 5) frame, x, y, z, photons: three per frame, in three columns of the field, all in focus somewhere."""
    random = np.random.default_rng(seed)
    rows = []
    for frame in range(FRAMES):
        for column in range(3):
            x, y = (13 + 11 * column + random.uniform(-1, 1)) * PIXEL, random.uniform(10, 38) * PIXEL
            rows.append((frame, x, y, DEPTHS[(frame + column) % 4], 4000.0))
    return np.array(rows)


@pytest.fixture
def sample(tmp_path: Path) -> dict[str, Path]:
    """Movie, transforms and table of one sample."""
    found = molecules()
    files = {name: tmp_path / file for name, file in {
        "movie": "movie.manifest.json", "registration": "registration.json", "localizations_file": "localizations.h5",
    }.items()}  # fmt: skip
    write_movie(Source(expose(found, FRAMES)), tmp_path / "movie.zarr", files["movie"], MICROSCOPE)
    MAPS.write(files["registration"])
    write_table(files["localizations_file"], found)
    return files


def write_table(path: Path, found: np.ndarray, **metadata: object) -> None:
    columns = dict(zip(("frame", "x", "y", "z", "photons"), found.T, strict=True))
    columns["frame"] = columns["frame"].astype(np.int64)
    about = {"frames": FRAMES, "height_px": SIDE, "width_px": SIDE, "pixel_size_nm": PIXEL, "plane_depths_nm": DEPTHS}
    localization_table.write(path, columns, {**about, **metadata})


def test_a_typical_and_a_crowded_frame_are_drawn() -> None:
    counts = [0, 2, 2, 2, 9, 1, 3, 0, 0, 2]
    frame = np.repeat(np.arange(len(counts)), counts)
    assert chosen_frames(frame, 10) == [3, 4]  # of the four with two molecules, the third
    assert chosen_frames(np.array([5]), 10) == [5]
    assert chosen_frames(np.empty(0, dtype=np.int64), 10) == [5]


def test_few_frames_of_a_large_sensor_are_read() -> None:
    assert stage.stretch_frames(4 * 512 * 512) == 50
    assert 2 * stage.stretch_frames(4 * 2048 * 2048) * 4 * 2048 * 2048 * 2 <= 1 << 29
    assert stage.stretch_frames(10**12) == 1


def test_of_a_large_field_the_part_with_most_molecules_is_drawn() -> None:
    points = np.array([[10.0, 10.0], [300.0, 420.0], [310.0, 430.0]])
    x, y = densest_region(points, (512, 512), 64)
    assert x <= 300 and x + 64 > 310 and y <= 420 and y + 64 > 430
    assert densest_region(points, (512, 512), 600) == (0, 0)
    assert densest_region(np.array([[511.0, 511.0]]), (512, 512), 64) == (448, 448)


def test_molecules_are_drawn_where_the_cameras_show_them(sample: dict[str, Path], monkeypatch, tmp_path: Path) -> None:
    """Within a pixel of the brightest pixel around them, on turned and mirrored cameras; and at the right depth."""
    seen = {}
    monkeypatch.setattr(stage.figures, "write_overlay", lambda _, rows, *others: seen.update(rows=rows))
    overlay(**sample, figure=tmp_path / "overlay.png", quality=tmp_path / "q.json", settings=OverlaySettings())
    for panels in seen["rows"]:
        assert len(panels) == 4
        drawn = 0
        for panel in panels:
            assert panel.photons.shape == (SIDE, SIDE) and len(panel.points_px) == 3
            for x, y in panel.points_px[panel.sharp]:
                left, top = int(x) - 3, int(y) - 3
                around = panel.photons[top : top + 7, left : left + 7]
                row, column = np.unravel_index(around.argmax(), around.shape)
                assert abs(left + column + 0.5 - x) < 1 and abs(top + row + 0.5 - y) < 1
                drawn += 1
        assert drawn == 3  # each is sharp on one plane


def test_a_wrong_transform_is_an_offset_of_the_mean_spot() -> None:
    found = np.concatenate([molecules(seed) for seed in range(6)])
    found = found[found[:, 3] == DEPTHS[0]]  # in focus on camera 0
    found[:, 0] = frame = np.arange(len(found))  # each alone
    points = found[:, 1:3] / PIXEL
    counts = expose(found, len(found))[:, 0]
    for shift in ((0.0, 0.0), (0.4, -0.25)):
        spot = mean_spot(counts, frame, points - shift, MICROSCOPE.cameras[0].photons)
        assert spot.molecules == len(found)
        assert np.abs(np.subtract(spot.offset_px, shift)).max() < 4 * max(spot.offset_sd_px)
        assert max(spot.offset_sd_px) < 0.03
        row, column = np.unravel_index(spot.photons.argmax(), spot.photons.shape)
        assert np.abs(np.array((column, row)) - 7.5 - 2 * np.array(shift)).max() <= 1


def test_a_camera_that_moved_is_a_warning() -> None:
    image = np.ones((16, 16))
    still, moved = (MeanSpot(image, offset, (0.01, 0.02), 30) for offset in ((0.1, -0.1), (0.4, -0.4)))
    unknown = MeanSpot(None, None, None, 3)
    (check,) = offset_checks([still, unknown, moved], ["a", "b", "c"], OverlaySettings())
    assert check.verdict == "warn" and check.value == pytest.approx(0.32**0.5) and "molecules on c " in check.advice
    (check,) = offset_checks([still, unknown], ["a", "b"], OverlaySettings())
    assert check.verdict == "pass"
    values = offset_values([still, unknown], 100.0)
    assert values["camera_0_offset_y_nm"] == pytest.approx(-10) and values["camera_0_offset_y_sd_nm"] == pytest.approx(
        2
    )
    assert [name for name in values if name.startswith("camera_1")] == ["camera_1_molecules_in_focus"]


def test_too_few_molecules_have_no_mean_spot() -> None:
    none = mean_spot(np.zeros((1, 40, 40), np.uint16), np.zeros(3, int), np.full((3, 2), 20.0), np.asarray)
    assert none.photons is None and none.offset_px is None and none.molecules == 3
    dark = mean_spot(np.full((1, 40, 40), 9, np.uint16), np.zeros(30, int), np.full((30, 2), 20.0), np.asarray)
    assert dark.photons is not None and dark.offset_px is None


def test_equal_files_give_equal_figures(sample: dict[str, Path], tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    records = [
        overlay(**sample, figure=path, quality=path.with_suffix(".json"), settings=OverlaySettings(region_px=24))
        for path in paths
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert records[0] == records[1] and len(records[0]["frames"]) <= 2
    assert Image.open(paths[0]).width == 1950


def test_a_table_without_rows_is_drawn(sample: dict[str, Path], tmp_path: Path) -> None:
    write_table(sample["localizations_file"], np.empty((0, 5)))
    record = overlay(**sample, figure=tmp_path / "overlay.png", quality=tmp_path / "q.json", settings=OverlaySettings())
    assert record["frames"] == [FRAMES // 2]
    content = json.loads((tmp_path / "q.json").read_text())
    assert content["checks"] == [] and content["values"] == {f"camera_{p}_molecules_in_focus": 0 for p in range(4)}
    assert (tmp_path / "overlay.png").is_file()


def test_files_that_do_not_fit_are_refused(sample: dict[str, Path], tmp_path: Path) -> None:
    def refused() -> str:
        with pytest.raises(PlanelocError) as error:
            overlay(**sample, figure=tmp_path / "overlay.png", quality=tmp_path / "q.json", settings=OverlaySettings())
        assert not (tmp_path / "overlay.png").exists()
        return str(error.value)

    write_table(sample["localizations_file"], molecules(), sample_drift={"corrected": True})
    assert "give the table as it was localized" in refused()
    write_table(sample["localizations_file"], molecules(), frames=FRAMES + 1)
    assert "give the files of one sample" in refused()
    write_table(sample["localizations_file"], molecules())
    Registration.identity(3).write(sample["registration"])
    assert "3 transforms" in refused()
