"""The pixels around beads: cut out of the images once, and all that every user needs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planeloc.beads.bead_stack import BeadStack, field_background
from planeloc.beads.detection import Beads
from planeloc.calibration.calibrate import calibrate
from planeloc.calibration.settings import CalibrateSettings
from planeloc.cameras.camera import Camera
from planeloc.io.camera_source import CameraSource
from planeloc.registration.register import register
from support.bead_scans import PSF, gaussian_spots, microscope_of, scattered, write_scan

CAMERA = Camera(offset_counts=100, electrons_per_count=0.5)
SIDE = 7


def beads_at(*places: tuple[int, int], others: tuple[tuple[int, int], ...] = (), hot=None) -> Beads:
    columns, rows = np.array(places).T
    return Beads(columns, rows, np.array((*places, *others), dtype=float), {}, False, hot)


def test_windows_are_the_pixels_around_the_beads() -> None:
    counts = np.random.default_rng(0).integers(100, 1000, (5, 20, 30)).astype(np.uint16)
    stack = BeadStack.cut(counts, CAMERA, beads_at((4, 5), (20, 12)), SIDE)
    assert stack.photons.shape == (2, 5, SIDE, SIDE) and stack.own.all()
    assert stack.corner_px.tolist() == [[1, 2], [17, 9]]
    np.testing.assert_array_equal(stack.photons[1], CAMERA.photons(counts[:, 9:16, 17:24]))
    (alone,) = stack.only(np.array([False, True])).photons
    np.testing.assert_array_equal(alone, stack.photons[1])
    joined = BeadStack.joined([stack, stack.only(np.array([True, False]))])
    np.testing.assert_array_equal(joined.centre_px, [(4, 5), (20, 12), (4, 5)])


def test_pixels_of_neighbours_of_nothing_and_bad_ones_do_not_count() -> None:
    counts, hot = np.full((1, 20, 30), 100, dtype=np.uint16), np.zeros((20, 30), dtype=bool)
    hot[6, 1] = True
    own = BeadStack.cut(counts, CAMERA, beads_at((1, 5), others=((6, 5),), hot=hot), SIDE).own[0]
    assert not own[:, :2].any(), "left of the sensor"
    assert not own[4, 3], "the hot pixel"
    assert not own[3, 6] and own[3, 5], "closer to the neighbour than to the bead"
    assert own.sum() == np.count_nonzero(own[:, 2:6])


def test_brightness_is_what_is_above_the_background() -> None:
    random, shape = np.random.default_rng(1), (6, 40, 40)
    expected = np.full(shape, 20.0)
    expected[:, 19:22, 19:22] += 1000.0
    beads = beads_at((20, 20))
    counts = CAMERA.expose(expected, random)
    background = field_background(counts, CAMERA, beads, SIDE)
    assert background == pytest.approx(np.full(6, 20.0), abs=1.0)
    photons, deviation = BeadStack.cut(counts, CAMERA, beads, SIDE).brightness(background)
    assert (np.abs(photons - 9000) < 5 * deviation).all()
    assert deviation == pytest.approx(np.full((1, 6), np.sqrt(9000 + SIDE**2 * 20)), rel=0.05)


@pytest.fixture
def scan(tmp_path: Path):
    """Files of a scan of two cameras, and the microscope."""
    random, microscope = np.random.default_rng(2), microscope_of(2)
    psf = replace(PSF, plane_depths_nm=(-200.0, 200.0), brightness=(0.5, 0.5))
    beads = scattered(random, 5, (64, 64), 12, 8)
    z = -80.0 * (np.arange(25) - 12)
    return write_scan(tmp_path, gaussian_spots(psf), [beads, beads], z, microscope, random, photons=3e4), microscope


def test_every_image_is_read_once_and_its_beads_are_cut_once(tmp_path: Path, scan, monkeypatch) -> None:
    """Once the beads are cut out, the images may be gone: with blank ones instead, the PSF is the same to the byte."""
    files, microscope = scan
    outputs = [tmp_path / name for name in ("psf.h5", "psf.png", "psf.quality.json")]
    run = lambda: calibrate(files, microscope, 80.0, "objective", *outputs, CalibrateSettings())  # noqa: E731
    run()
    found = outputs[0].read_bytes()
    frames, cuts = [], []
    read, cut = CameraSource.read, BeadStack.cut

    def counted_read(source: CameraSource, start: int, stop: int) -> np.ndarray:
        frames.extend(range(start, stop))
        return read(source, start, stop)

    def counted_cut(counts: np.ndarray, camera: Camera, beads: Beads, window_px: int) -> BeadStack:
        cuts.append(camera.name)
        stack = cut(counts, camera, beads, window_px)
        field = field_background(counts, camera, beads, window_px)
        monkeypatch.setattr("planeloc.calibration.measure_beads.field_background", lambda *_: field)
        counts[:] = 0
        return stack

    monkeypatch.setattr(CameraSource, "read", counted_read)
    monkeypatch.setattr(BeadStack, "cut", counted_cut)
    run()
    assert frames == list(range(25)) and cuts == ["camera 0", "camera 1"]
    assert outputs[0].read_bytes() == found
    frames.clear(), cuts.clear()
    registered = [tmp_path / name for name in ("r.json", "r.png", "r.quality.json")]
    register(files, microscope, *registered)
    assert frames == list(range(25)) and cuts == ["camera 0", "camera 1"]
