"""The `cameras` stage: the microscope file it writes, its verdicts, and what it says of unusable movies."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from click.testing import CliRunner

from planeloc.camera_calibration.measure_cameras import measure_cameras
from planeloc.camera_calibration.movie_statistics import CalibrationMovies
from planeloc.camera_calibration.settings import CamerasSettings
from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope, Region, read_microscope
from planeloc.cli.main import planeloc
from planeloc.core.errors import PlanelocError
from support.camera_movies import EMCCD, SCMOS, beam, exposures, write

LIGHT = beam(48, 1500)
FRAMES = 60
TRUE = (replace(SCMOS, name="left"), replace(SCMOS, name="right", offset_counts=104.0, electrons_per_count=0.46))
DECLARED = tuple(replace(camera, offset_counts=101.0, electrons_per_count=0.55) for camera in TRUE)


class Folder:
    """A folder with a microscope file and movies of its cameras, and the paths of the outputs."""

    def __init__(self, path: Path, cameras=TRUE, declared=DECLARED, light: np.ndarray = LIGHT, **microscope) -> None:
        self.path, self.random = path, np.random.default_rng(1)
        self.output, self.figure, self.quality = path / "out.yaml", path / "cameras.png", path / "quality.json"
        self.sheet = path / "sheet.yaml"
        content = {"pixel_size_nm": 110, "cameras": [asdict(camera) for camera in declared], **microscope}
        self.sheet.write_text(yaml.safe_dump(content, sort_keys=False))
        self.cameras, self.light = cameras, light
        self.dark = self.record("dark", 0 * light)
        self.bright = self.record("bright", light)
        self.without_em: list[Path] = []

    def record(self, name: str, light: np.ndarray, frames: int = FRAMES, **change) -> list[Path]:
        cameras = [replace(camera, **change) for camera in self.cameras]
        return [
            write(self.path / f"{name}{p}.tif", exposures(camera, light, frames, self.random))
            for p, camera in enumerate(cameras)
        ]

    def measure(self, **settings) -> Microscope:
        movies = CalibrationMovies(self.dark, self.bright, self.without_em)
        scope = read_microscope(self.sheet)
        measure_cameras(movies, scope, self.sheet, self.output, self.figure, self.quality, CamerasSettings(**settings))
        return read_microscope(self.output)

    def verdicts(self) -> dict[str, str]:
        return {check["name"]: check["verdict"] for check in json.loads(self.quality.read_text())["checks"]}

    def failure(self, **settings) -> str:
        """The one line of a failed run, which leaves nothing but perhaps a figure to look at."""
        with pytest.raises(PlanelocError) as caught:
            self.measure(**settings)
        (line,) = str(caught.value).splitlines()
        assert not any(path.exists() for path in (self.output, self.figure, self.quality))
        return line


def check_measured(found: Camera, true: Camera, values: dict[str, float], plane: int) -> None:
    for name in ("offset_counts", "electrons_per_count", "em_gain", "read_noise_electrons"):
        sd = values.get(f"camera_{plane}_{name}_sd", 0.05) or 1e-9
        assert getattr(found, name) == pytest.approx(getattr(true, name), abs=4.5 * sd), name


def test_the_microscope_file_has_measured_cameras_and_all_the_rest(tmp_path: Path) -> None:
    folder = Folder(tmp_path, name="ours")
    found = folder.measure()
    values = json.loads(folder.quality.read_text())["values"]
    for plane, (camera, true) in enumerate(zip(found.cameras, TRUE, strict=True)):
        check_measured(camera, true, values, plane)
        assert (camera.name, camera.quantum_efficiency) == (true.name, true.quantum_efficiency)
    assert (found.name, found.pixel_size_nm, found.layout, found.regions) == ("ours", 110, "files", ())
    assert set(folder.verdicts().values()) == {"pass"}
    text = folder.output.read_text()
    assert text.startswith("# Made by `planeloc cameras`") and "declared: 0.55" in text and "bright1.tif" in text
    assert folder.figure.stat().st_size > 20_000


def test_the_same_movies_give_the_same_file(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.measure()
    before = folder.output.read_bytes()
    folder.measure()
    assert folder.output.read_bytes() == before


def test_regions_of_one_sensor(tmp_path: Path) -> None:
    regions = [{"x": 2, "y": 0, "width": 20, "height": 40}, {"x": 25, "y": 3, "width": 20, "height": 40}]
    folder = Folder(tmp_path, (TRUE[0],), DECLARED, layout="regions", regions=regions)
    found = folder.measure()
    assert found.regions == tuple(Region(**region) for region in regions)
    assert [camera.electrons_per_count for camera in found.cameras] == pytest.approx([0.5, 0.5], rel=0.04)


def test_cameras_as_channels_of_one_file(tmp_path: Path) -> None:
    folder = Folder(tmp_path, layout="channels")
    for name in ("dark", "bright"):
        counts = np.stack([tifffile.imread(path) for path in getattr(folder, name)], axis=1)
        path = folder.path / f"{name}.tif"
        tifffile.imwrite(path, counts, imagej=True, metadata={"axes": "TCYX"})
        setattr(folder, name, [path])
    found = folder.measure()
    assert [camera.electrons_per_count for camera in found.cameras] == pytest.approx([0.5, 0.46], rel=0.03)


def test_em_gain_with_and_without_the_movie_without_it(tmp_path: Path) -> None:
    declared = replace(EMCCD, electrons_per_count=5.5, em_gain=180.0)
    folder = Folder(tmp_path, (EMCCD, EMCCD), (declared, declared), beam(48, 1000))
    half = folder.measure()
    assert half.cameras[0].electrons_per_count == 5.5
    assert half.cameras[0].em_gain == pytest.approx(200 * 5.5 / 5, rel=0.03)  # only their ratio is known
    folder.without_em = folder.record("without", folder.light, em_gain=1.0)
    both = folder.measure()
    values = json.loads(folder.quality.read_text())["values"]
    for plane, camera in enumerate(both.cameras):
        check_measured(camera, EMCCD, values, plane)
    assert folder.verdicts()["excess_noise_from_expected"] == "pass"
    assert values["camera_0_excess_noise"] == pytest.approx(2, rel=0.1)


def test_light_that_was_not_the_same_is_seen_in_the_excess_noise(tmp_path: Path) -> None:
    folder = Folder(tmp_path, (EMCCD, EMCCD), (EMCCD, EMCCD), beam(48, 1000))
    folder.without_em = folder.record("without", 0.5 * folder.light, em_gain=1.0)
    assert "deviation from expected excess noise" in folder.failure()


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"offset_counts": 130.0}, "offset_from_declared_counts"),
        ({"electrons_per_count": 0.75}, "gain_from_declared"),
        ({"read_noise_electrons": 3.0}, "read_noise_from_declared"),
    ],
)
def test_what_was_declared_wrongly_is_named_and_corrected(tmp_path: Path, change: dict, check: str) -> None:
    folder = Folder(tmp_path, declared=(DECLARED[0], replace(DECLARED[1], **change)))
    found = folder.measure()
    assert folder.verdicts()[check] == "warn"
    (advice,) = [c["advice"] for c in json.loads(folder.quality.read_text())["checks"] if c["name"] == check]
    assert "camera right" in advice and "1.tif" in advice
    assert found.cameras[1].electrons_per_count == pytest.approx(0.46, rel=0.03)


def test_flaws_of_the_movies_warn(tmp_path: Path) -> None:
    folder = Folder(tmp_path, declared=tuple(replace(c, saturation_counts=3000.0) for c in DECLARED))
    random = folder.random
    lamp = exposures(TRUE[0], LIGHT, 40, random, lambda t: 1 + 0.04 * random.normal(size=len(t)))
    write(folder.bright[0], np.minimum(lamp, 3000))
    write(folder.bright[1], np.minimum(exposures(TRUE[1], 1.5 * LIGHT, 40, random), 3000))
    warm = tifffile.imread(folder.dark[1]) + np.linspace(0, 6, FRAMES).round().astype(np.uint16)[:, None, None]
    write(folder.dark[1], warm)
    folder.measure()
    warned = {name for name, verdict in folder.verdicts().items() if verdict == "warn"}
    assert {"frames", "flicker", "saturated_fraction", "offset_drift_counts"} <= warned


def test_unusable_movies_are_one_line_with_file_and_remedy(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    good = folder.bright
    folder.bright = folder.record("short", LIGHT, frames=6)
    assert "short0.tif: the bright movie has 6 frames, at least 10 are needed; record 100" in folder.failure()
    folder.bright = folder.record("small", LIGHT[:30])
    assert "small0.tif: the bright movie has 48 columns and 30 rows, the dark one 48 and 48" in folder.failure()
    folder.bright = folder.record("unlit", 0 * LIGHT)
    assert "unlit0.tif: camera left: the bright movie (100 counts) is no brighter" in folder.failure()
    folder.dark, folder.bright = good, folder.dark
    assert "are not exchanged" in folder.failure()
    folder.dark = folder.bright
    folder.bright = folder.record("averaged", LIGHT)
    for path in folder.bright:
        averaged = tifffile.imread(path).mean(axis=0).round().astype(np.uint16)
        write(path, np.repeat(averaged[None], FRAMES, axis=0))
    assert "averaged0.tif: camera left: the bright movie: its noise does not grow" in folder.failure()
    folder.bright = folder.record("full", LIGHT)
    for path in folder.bright:
        write(path, np.full((FRAMES, 48, 48), 65535, np.uint16))
    assert "full0.tif: camera left: the bright movie is saturated (65535 counts) at every level" in folder.failure()
    folder.bright = folder.record("pulsed", LIGHT)
    for path in folder.bright:
        pulsed = tifffile.imread(path)
        pulsed[1::2] = 100 + (pulsed[1::2] - 100) // 2
        write(path, pulsed)
    assert "pulsed0.tif: camera left: the bright movie: the intensity changes by more than 10 %" in folder.failure()
    folder.bright = good
    folder.without_em = good
    assert "sheet.yaml: em_gain is 1, but a bright movie without EM gain is given" in folder.failure()


def test_a_failed_check_draws_its_figure_and_stops(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.dark = folder.record("leaking", 0.02 * LIGHT)
    line = folder.failure(stray_light_fail_counts=5.0)
    assert "stray light in the dark movie" in line and "leaking" in line and "close the shutter" in line
    assert (tmp_path / "cameras.failed.png").exists()


def test_large_sensors_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planeloc.camera_calibration.measure_cameras._MOST_PIXELS", 600)
    folder = Folder(tmp_path)
    found = folder.measure()
    assert [camera.electrons_per_count for camera in found.cameras] == pytest.approx([0.5, 0.46], rel=0.08)


def test_the_verb_records_what_it_used(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    named = [("--dark", path) for path in folder.dark] + [("--bright", path) for path in folder.bright]
    named += [("--microscope", folder.sheet), ("--output", folder.output), ("--figure", folder.figure)]
    named += [("--quality", folder.quality), ("--provenance", tmp_path / "p.json"), ("--frames-warn", 80)]
    words = ["cameras", *(str(word) for pair in named for word in pair)]
    result = CliRunner().invoke(planeloc, words)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "p.json").read_text())
    assert set(record["inputs"]) == {str(path) for path in (*folder.dark, *folder.bright, folder.sheet)}
    assert record["settings"]["frames_warn"] == 80
    assert folder.verdicts()["frames"] == "warn"
    assert read_microscope(folder.output).cameras[1].electrons_per_count == pytest.approx(0.46, rel=0.03)
