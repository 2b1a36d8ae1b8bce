"""Cameras that were moved after the beads were recorded are found in the movie, and their transforms are updated."""

import json
from dataclasses import replace

import numpy as np
import pytest

from planeloc.core.errors import PlanelocError
from planeloc.diagnostics.registered_changes import moved
from planeloc.movie.writer import write_movie
from planeloc.registration.displacement_quality import displacement_checks, displacement_values
from planeloc.registration.movie_displacement import Displacement, measure_displacements
from planeloc.registration.settings import UpdateRegistrationSettings
from planeloc.registration.update_registration import update_registration
from planeloc.transforms.camera_transform import Affine, Quadratic, Registration
from support.movies import MICROSCOPE, Source
from support.shared_light import SIDE, Recorded, blinking_counts, out_of_step, transforms

NONE = np.zeros((2, 2))
MIDDLE = np.full(2, SIDE / 2)


@pytest.fixture(scope="module")
def movie() -> Recorded:
    """Four molecules of 4,000 photons in a frame, on for two frames, seen through `transforms`."""
    return out_of_step(blinking_counts(340, 4, 4, 4000, 2, seed=1), {})


def displaced(plane: int, shift, slope=NONE) -> Registration:
    """Transforms that say the camera `plane` is elsewhere: it sees x where they put x + shift + slope (x − middle)."""
    registration = transforms(4)
    matrix = np.linalg.inv(np.eye(2) + slope)
    back = -matrix @ np.asarray(shift, float)
    changed = list(registration.transforms)
    changed[plane] = moved(changed[plane], back, matrix - np.eye(2), MIDDLE)
    return replace(registration, transforms=tuple(changed))


def test_cameras_in_place_are_not_displaced(movie):
    found = measure_displacements(movie, transforms(4))
    for own in found[1:]:
        assert np.abs(own.shift_px).max() < 0.1
        assert own.significance > 30


@pytest.mark.parametrize("plane", [1, 3])
@pytest.mark.parametrize("shift", [(0.7, -0.4), (3, 0), (-9.3, 12.2)])
def test_a_displaced_camera_is_found(movie, plane, shift):
    found = measure_displacements(movie, displaced(plane, shift))
    assert found[plane].shift_px == pytest.approx(shift, abs=0.12)
    assert np.abs(np.array([own.shift_px for own in found[1:] if own is not found[plane]])).max() < 0.1


def test_a_turned_camera_is_found(movie):
    slope = np.array([[0.004, -0.03], [0.03, 0.004]])
    found = measure_displacements(movie, displaced(2, (0.5, 0.2), slope))
    corners = np.array([(0, 0), (SIDE, 0), (0, SIDE), (SIDE, SIDE)], float)
    expected = np.array([0.5, 0.2]) + (corners - MIDDLE) @ slope.T
    assert np.abs(found[2].at(corners) - expected).max() < 0.2


def test_a_moved_reference_displaces_all_others_alike(movie):
    """Positions are those of the reference camera."""
    rolled = replace(movie, counts=movie.counts.copy())
    rolled.counts[:, 0] = np.roll(movie.counts[:, 0], 2, axis=2)
    found = measure_displacements(rolled, transforms(4))
    for own in found[1:]:
        assert own.shift_px == pytest.approx((-2, 0), abs=0.15)


def test_a_quadratic_transform_moves_as_it_should():
    quadratic = Quadratic(
        np.array([20.0, 30.0]), 25.0, np.array([[20, 25, 0.3, 0.2, -0.1, 0.05], [31, -0.2, 25, 0, 0.1, 0.3]])
    )
    shift, slope = np.array([1.5, -0.7]), np.array([[0.01, -0.02], [0.03, 0.0]])
    points = np.random.default_rng(0).uniform(0, 60, (50, 2))
    expected = quadratic(points + shift + (points - MIDDLE) @ slope.T)
    assert moved(quadratic, shift, slope, MIDDLE)(points) == pytest.approx(expected, abs=1e-9)
    affine = Affine(np.array([[1.01, 0.02], [0.0, -0.99]]), np.array([3.0, 50.0]))
    expected = affine(points + shift + (points - MIDDLE) @ slope.T)
    assert moved(affine, shift, slope, MIDDLE)(points) == pytest.approx(expected, abs=1e-9)


@pytest.fixture
def stored(tmp_path, movie):
    write_movie(
        *(Source(movie.counts), tmp_path / "movie.zarr", tmp_path / "movie.json", MICROSCOPE),
        **{"chunk_frames": 50, "compression_level": 1, "threads": 1},
        survey=lambda counts: None,
        report=lambda surveys: {},
    )
    return tmp_path


def run(folder, registration, **changes):
    registration.write(folder / "beads.json", {"height_px": SIDE, "width_px": SIDE, "pixel_size_nm": 192.0})
    return update_registration(
        *(folder / name for name in ("movie.json", "beads.json", "used.json", "figure.png", "quality.json")),
        UpdateRegistrationSettings(**changes),
    )


def checks_of(path):
    return {check["name"]: check for check in json.loads(path.read_text())["checks"]}


def test_the_transform_is_updated(stored):
    found = run(stored, displaced(3, (4, -2)))
    assert found["updated_cameras"] == ["camera 3"]
    used = Registration.read(stored / "used.json")
    assert used.pixel_size_nm == 192
    points = np.random.default_rng(0).uniform(0, SIDE, (20, 2))
    for plane, transform in enumerate(transforms(4).transforms):
        assert used.transforms[plane](points) == pytest.approx(transform(points), abs=0.2)
    check = checks_of(stored / "quality.json")["camera_3_significant_displacement_px"]
    assert check["verdict"] == "warn" and "+4.0" in check["advice"] and "camera 3" in check["advice"]
    first = [(stored / name).read_bytes() for name in ("used.json", "figure.png", "quality.json")]
    run(stored, displaced(3, (4, -2)))
    assert first == [(stored / name).read_bytes() for name in ("used.json", "figure.png", "quality.json")]


def test_a_turned_camera_is_told_by_the_displacement_that_updates_it():
    """Which is at the corners: in the middle there is hardly any."""
    turned = Displacement(
        np.array([0.01, 0.2]), np.full(2, 0.01), np.full((2, 2), 0.01), 1e-3, MIDDLE, 99.0, np.zeros(1)
    )
    still = replace(turned, shift_px=np.zeros(2), slope=NONE)
    values = displacement_values([still, turned], (SIDE, SIDE))
    largest = values["camera_1_displacement_px"]
    assert largest > 0.5
    settings, cameras = UpdateRegistrationSettings(), MICROSCOPE.cameras[:2]
    (_, check) = displacement_checks(values, [False, True], None, cameras, settings)
    assert check.verdict == "warn" and check.value == largest
    assert f"+0.01, +0.20 pixels in the middle of the field, {largest:.2f} pixels at most" in check.advice
    assert "camera camera" not in f"{check.text}: {check.advice}"
    (_, check) = displacement_checks(values, [False, False], None, cameras, settings)
    assert check.verdict == "pass" and "below noise" in check.text


def test_transforms_that_hold_stay_as_they_are(stored):
    assert run(stored, transforms(4))["updated_cameras"] == []
    used, given = (Registration.read(stored / name) for name in ("used.json", "beads.json"))
    for one, other in zip(used.transforms, given.transforms, strict=True):
        assert one.matrix.tolist() == other.matrix.tolist() and one.shift_px.tolist() == other.shift_px.tolist()
    assert {check["verdict"] for check in checks_of(stored / "quality.json").values()} == {"pass"}


def test_check_stops_the_run_and_never_does_nothing(stored):
    with pytest.raises(PlanelocError, match=r"camera 1.*displaced by \+3"):
        run(stored, displaced(1, (3, 0)), mode="check")
    assert not (stored / "used.json").exists()
    assert (stored / "quality.failed.json").exists()
    assert run(stored, displaced(1, (3, 0)), mode="never")["updated_cameras"] == []
    assert not checks_of(stored / "quality.json")


def test_exchanged_cameras_stop_the_run(stored):
    """Two cameras with the same orientation whose transforms were exchanged."""
    registration = displaced(1, (0, 0))
    one, two, three, four = registration.transforms
    other = moved(two, np.array([3.0, 1.0]), NONE, MIDDLE)
    shifted = Registration((one, other, three, four), (0.0,) * 4)  # camera 3 sees what the transform of camera 1 said
    with pytest.raises(PlanelocError, match="exchanged"):
        recorded = replace_camera(stored, plane=3, shift=(3, 1))
        run(recorded, replace(shifted, transforms=(one, other, three, two)))


def replace_camera(folder, plane, shift):
    """The movie with a camera that is displaced by whole pixels."""
    from planeloc.movie.store import Movie

    counts = Movie.open(folder / "movie.json").read(0, 300).copy()
    mirrored = -1 if plane % 2 else 1
    counts[:, plane] = np.roll(counts[:, plane], (shift[1], mirrored * shift[0]), axis=(1, 2))
    write_movie(
        *(Source(counts), folder / "movie.zarr", folder / "movie.json", MICROSCOPE),
        **{"chunk_frames": 50, "compression_level": 1, "threads": 1},
        survey=lambda counts: None,
        report=lambda surveys: {},
    )
    return folder


def test_a_dark_camera_cannot_be_told(movie):
    dark = replace(movie, counts=movie.counts.copy())
    dark.counts[:, 2] = 0
    found = measure_displacements(dark, transforms(4))
    assert found[2].significance == 0
    assert found[1].significance > 30


@pytest.mark.parametrize("frames", [1, 3])
def test_a_movie_of_few_frames_tells_nothing(frames):
    counts = np.random.default_rng(0).poisson(10, (frames, 4, SIDE, SIDE)).astype(np.uint16)
    recorded = Recorded(counts, np.zeros((4, frames), int))
    assert all(own.significance < 10 for own in measure_displacements(recorded, transforms(4)))
