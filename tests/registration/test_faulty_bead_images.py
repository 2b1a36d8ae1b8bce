"""Beads that a microscopist may bring to the registration: the right transform comes out, or one line that says what
is wrong. Never a wrong transform.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from planeloc.beads.point_matching import ORIENTATIONS
from planeloc.cameras.camera import Camera
from planeloc.core.errors import PlanelocError
from planeloc.core.files import read_json
from planeloc.registration.register import register
from planeloc.registration.settings import RegisterSettings
from planeloc.transforms.camera_transform import Affine, Registration
from support.bead_scans import PSF, gaussian_spots, microscope_of, scattered, write_scan

FIELD = (96, 96)
TWO_PLANES = replace(PSF, plane_depths_nm=(-200.0, 200.0), brightness=(0.5, 0.5))
SPOT = gaussian_spots(TWO_PLANES)
MICROSCOPE = microscope_of(2)
SCAN_NM = np.linspace(-600, 600, 13)
MOST_DEVIATIONS = 5.0  # of a map's error over the field from what the file says of it
MOST_NM = 60.0  # and in any case, from few dim beads


@dataclass(frozen=True)
class Found:
    registration: Registration
    values: dict
    verdicts: dict


def run(folder: Path, files: list[Path], microscope=MICROSCOPE, **options: object) -> Found:
    outputs = [folder / name for name in ("registration.json", "registration.png", "registration.quality.json")]
    try:
        register(files, microscope, *outputs, RegisterSettings(**options))
    except PlanelocError as error:
        assert "\n" not in str(error) and str(error).startswith(str(folder))
        assert not any(path.exists() for path in outputs)
        raise
    quality = read_json(outputs[2])
    verdicts = {check["name"]: check["verdict"] for check in quality["checks"]}
    return Found(Registration.read(outputs[0]), quality["values"], verdicts)


def error_nm(found: Affine, truth: Affine) -> float:
    grid = np.stack(np.meshgrid(np.linspace(0, FIELD[1], 9), np.linspace(0, FIELD[0], 9)), axis=-1)
    return float(np.sqrt(np.mean(np.sum((found(grid) - truth(grid)) ** 2, axis=-1)))) * PSF.pixel_size_nm


def blind_map(random: np.random.Generator, shift_share: float, orientation: int) -> Affine:
    angle, scale = np.deg2rad(random.uniform(-5, 5)), 1 + random.uniform(-0.03, 0.03)
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = matrix @ ORIENTATIONS[orientation]
    middle = np.full(2, FIELD[0] / 2)
    return Affine(matrix, middle - matrix @ middle + random.uniform(-1, 1, 2) * shift_share * FIELD[0])


def beads_of_both(random: np.random.Generator, truth: Affine, common: int, lonely: tuple[int, int]) -> list[np.ndarray]:
    """Positions on both cameras: `common` beads that both see, as far as there is room, and others."""
    kept: list[list[np.ndarray]] = [[], []]

    def add(points: tuple[np.ndarray | None, np.ndarray | None]) -> bool:
        for seen, point in zip(kept, points, strict=True):
            if point is None:
                continue
            if not all(6 < v < FIELD[0] - 6 for v in point) or any(np.hypot(*(point - p)) < 6.5 for p in seen):
                return False
        for seen, point in zip(kept, points, strict=True):
            if point is not None:
                seen.append(point)
        return True

    wanted = [common, *lonely]
    for k in range(3):
        for _ in range(1500):
            if not wanted[k]:
                break
            point = random.uniform(0, FIELD[0], 2)
            wanted[k] -= add(((point, truth(point)), (point, None), (None, point))[k])
    return [np.array(points).reshape(-1, 2) for points in kept]


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # an example takes too long to shrink it
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    common=st.integers(0, 16),
    lonely=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    shift_share=st.floats(0, 1 / 3),
    orientation=st.integers(0, 7),
    photons=st.floats(800, 40_000),
    background=st.floats(0.5, 30),
    scan=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_the_right_map_or_a_reason(
    common: int,
    lonely: tuple[int, int],
    shift_share: float,
    orientation: int,
    photons: float,
    background: float,
    scan: bool,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    truth = blind_map(random, shift_share, orientation)
    positions = beads_of_both(random, truth, common, lonely)
    travel = np.linspace(-400, 400, 5) if scan else np.zeros(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_scan(folder, SPOT, positions, travel, MICROSCOPE, random, photons, background, FIELD)
        try:
            found = run(folder, files).registration
        except PlanelocError:
            return
        error, expected = error_nm(found.transforms[1], truth), found.transform_sd_nm(1)[0] * np.sqrt(2)
        assert error < MOST_DEVIATIONS * expected and error < MOST_NM


def scan_with_motion(
    folder: Path, random: np.random.Generator, places: list[np.ndarray], **options: object
) -> list[Path]:
    """A scan in which every bead has its own way: `places[p]` (beads, slices, 2) in px of camera p."""
    stacks: list[list[np.ndarray]] = [[], []]
    for k, height in enumerate(SCAN_NM):
        files = write_scan(
            folder, SPOT, [place[:, k] for place in places], np.array([height]), MICROSCOPE, random, 1e4, 4.0, FIELD
        )
        for stack, file in zip(stacks, files, strict=True):
            stack.append(tifffile.imread(file).reshape(FIELD))
    for file, stack in zip(files, stacks, strict=True):
        tifffile.imwrite(file, np.stack(stack), photometric="minisblack")
    return files


def still_beads(random: np.random.Generator, number: int = 10) -> np.ndarray:
    return np.repeat(scattered(random, number, FIELD, 12, 12)[:, None], len(SCAN_NM), axis=1)


@pytest.mark.parametrize("motion", ["drifts", "jumps", "comes off"])
def test_one_bead_that_moves_is_left_out(tmp_path: Path, motion: str) -> None:
    random = np.random.default_rng(3)
    places = still_beads(random)
    if motion == "drifts":
        places[4] += np.linspace(-0.6, 0.6, len(SCAN_NM))[:, None]
    elif motion == "jumps":
        places[4, 6:] += (0.5, 0.3)
    else:
        places[4, 6:] = 500.0
    found = run(tmp_path, scan_with_motion(tmp_path, random, [places, places]))
    assert error_nm(found.registration.transforms[1], Affine.identity()) < 3 * found.registration.transform_sd_nm(1)[0]
    assert found.values["plane_1_excluded"] == (0 if motion == "comes off" else 1)
    assert found.verdicts["bead_motion_nm"] == "pass"


def test_hot_pixels_are_no_beads(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    places = still_beads(random)
    files = scan_with_motion(tmp_path, random, [places, places])
    for file in files:
        counts = tifffile.imread(file)
        rows, columns = random.integers(3, 93, (2, 30))
        counts[:, rows, columns] += random.integers(2000, 9000, 30).astype(np.uint16)
        tifffile.imwrite(file, counts, photometric="minisblack")
    found = run(tmp_path, files)
    assert found.values["plane_1_matched"] >= 8
    assert error_nm(found.registration.transforms[1], Affine.identity()) < 3 * found.registration.transform_sd_nm(1)[0]


def test_a_quadratic_map_needs_beads(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    places = still_beads(random, 8)
    with pytest.raises(PlanelocError, match=r"8 matched beads on camera 1 are too few .* for a quadratic transform"):
        run(tmp_path, scan_with_motion(tmp_path, random, [places, places]), model="quadratic")


def test_beads_that_all_move_are_named(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    places = still_beads(random)
    places += random.normal(0, 0.3, places.shape).cumsum(axis=1)
    with pytest.raises(
        PlanelocError, match=r"motion of individual beads .* nm .* independently of each other: they are loose"
    ):
        run(tmp_path, scan_with_motion(tmp_path, random, [places, places]))


def test_beads_that_all_drift_together_are_no_harm(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    places = still_beads(random) + random.normal(0, 0.15, (1, len(SCAN_NM), 2)).cumsum(axis=1)
    found = run(tmp_path, scan_with_motion(tmp_path, random, [places, places]))
    assert error_nm(found.registration.transforms[1], Affine.identity()) < 3 * found.registration.transform_sd_nm(1)[0]
    assert found.verdicts["bead_motion_nm"] == "pass" and found.verdicts["lateral_stage_drift_nm"] == "warn"


@pytest.mark.parametrize("seed", range(6))
def test_another_field_is_refused(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    fields = [scattered(random, 14, FIELD, 9, 8) for _ in range(2)]
    files = write_scan(tmp_path, SPOT, fields, np.zeros(1), MICROSCOPE, random, shape=FIELD)
    with pytest.raises(PlanelocError, match="same field"):
        run(tmp_path, files)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("close", r"too close to another.*sparser bead sample"),
        ("border", r"too close to the border.*middle of the field"),
        ("saturated", r"saturated.*lower the laser power or the exposure time"),
        ("dim", r"use brighter beads or a longer exposure"),
        ("empty", r"0 usable beads.*use brighter beads"),
    ],
)
def test_beads_that_cannot_be_used_say_why(tmp_path: Path, mistake: str, message: str) -> None:
    random = np.random.default_rng(6)
    beads, photons, microscope = scattered(random, 10, FIELD, 14, 12), 1e4, MICROSCOPE
    if mistake == "close":
        beads = np.concatenate((beads, beads + np.array([3.5, 1.0])))
    elif mistake == "border":
        along = np.linspace(6, 90, 6)
        beads = np.concatenate([np.column_stack((along, np.full(6, edge))) for edge in (0.7, 95.3)])
    elif mistake == "saturated":
        microscope = microscope_of(2, camera=Camera(read_noise_electrons=1.5, saturation_counts=600))
    elif mistake == "dim":
        photons = 60.0
    else:
        beads = beads[:0]
    files = write_scan(tmp_path, SPOT, [beads, beads], np.zeros(1), microscope, random, photons, 4.0, FIELD)
    with pytest.raises(PlanelocError, match=message):
        run(tmp_path, files, microscope)


def test_a_camera_upside_down_and_files_in_another_order(tmp_path: Path) -> None:
    """The map is from the camera that is listed first to that which is listed second, whichever way they stand."""
    random = np.random.default_rng(7)
    truth = blind_map(random, 0.1, 2)
    positions = beads_of_both(random, truth, 10, (2, 2))
    files = write_scan(tmp_path, SPOT, positions, SCAN_NM, MICROSCOPE, random, 1e4, 4.0, FIELD)
    (tmp_path / "there").mkdir()
    (tmp_path / "back").mkdir()
    there = run_in(tmp_path / "there", files)
    back = run_in(tmp_path / "back", files[::-1])
    assert error_nm(there.registration.transforms[1], truth) < 5
    assert error_nm(back.registration.transforms[1], truth.inverse()) < 5
    details = read_json(tmp_path / "there" / "registration.json")["details"]
    assert details["orientation"] == ["reference", "turned by 180°"]


def run_in(folder: Path, files: list[Path]) -> Found:
    copies = [folder / file.name for file in files]
    for copy, file in zip(copies, files, strict=True):
        copy.write_bytes(file.read_bytes())
    return run(folder, copies)
