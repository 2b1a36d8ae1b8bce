"""Registration against known transforms, and on real beads and a real movie."""

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.io import loadmat

from planeloc.beads.point_matching import ORIENTATIONS
from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope, Region
from planeloc.core.errors import PlanelocError
from planeloc.core.files import read_json
from planeloc.movie.convert import convert
from planeloc.movie.settings import ConvertSettings
from planeloc.movie.store import Movie
from planeloc.registration.matched_beads import MatchedBeads
from planeloc.registration.register import register
from planeloc.registration.settings import RegisterSettings
from planeloc.registration.transform_fit import fit_transform
from planeloc.transforms.camera_transform import Affine, Registration
from support.bead_scans import PSF, gaussian_spots, microscope_of, scattered, write_scan
from support.matched_beads import transform_near

DATA = os.environ.get("PLANELOC_TEST_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="PLANELOC_TEST_DATA is not set")

FIELD = (72, 72)
TOL_TRANSFORM_NM = 4.0  # rms over the field at 5,000 photons per bead and plane
TOL_SPLIT_VIEW_PX = 0.09  # rms along either axis, two colours; as a distance, √2 more
TOL_AUTHORS_PX = 1.5


def error_px(found: Affine, truth: Affine, shape: tuple[int, int]) -> float:
    """Rms distance of the two transforms over the field."""
    grid = np.stack(np.meshgrid(np.linspace(0, shape[1], 9), np.linspace(0, shape[0], 9)), axis=-1)
    return float(np.sqrt(np.mean(np.sum((found(grid) - truth(grid)) ** 2, axis=-1))))


def run(folder: Path, files: list[Path], microscope: Microscope, **settings: object) -> tuple[Registration, dict]:
    outputs = [folder / name for name in ("registration.json", "registration.png", "registration.quality.json")]
    try:
        register(files, microscope, *outputs, RegisterSettings(**settings))
    except PlanelocError as error:
        assert "\n" not in str(error)
        assert not any(path.exists() for path in outputs), "a failed registration leaves nothing but its figure"
        raise
    assert outputs[1].stat().st_size > 10_000
    return Registration.read(outputs[0]), read_json(outputs[2])


def test_mirrored_turned_cameras_with_half_of_the_beads_unmatched(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    microscope = microscope_of(3)
    psf = replace(PSF, plane_depths_nm=(-400.0, 0.0, 400.0), brightness=(1 / 3, 1 / 3, 1 / 3))
    truth = [Affine.identity(), transform_near(ORIENTATIONS[4], random), transform_near(ORIENTATIONS[1], random)]
    beads = scattered(random, 15, FIELD, 9, 5)
    inside = [np.all((m(beads) > 5) & (m(beads) < 67), axis=1) for m in truth]
    common, only = np.arange(10), {0: [10, 11], 1: [12, 13], 2: [14]}
    positions = [m(beads[[i for i in (*common, *only[p]) if inside[p][i]]]) for p, m in enumerate(truth)]
    z = 100.0 * (np.arange(17) - 8)
    files = write_scan(tmp_path, gaussian_spots(psf), positions, z, microscope, random, photons=1.5e4, shape=FIELD)
    found, quality = run(tmp_path, files, microscope)
    for plane in (1, 2):
        assert error_px(found.transforms[plane], truth[plane], FIELD) * 192 < TOL_TRANSFORM_NM
        assert found.residual_nm[plane] < 2 * TOL_TRANSFORM_NM
        assert quality["values"][f"plane_{plane}_matched"] >= 7
    assert found.transforms[1].mirrored and not found.transforms[2].mirrored
    assert np.array_equal(found.transforms[0].matrix, np.eye(2))


def test_one_wrong_point_does_not_bend_the_transform() -> None:
    random = np.random.default_rng(0)
    points = random.uniform(0, 100, (16, 2))
    target = points + random.normal(0, 0.02, points.shape)
    target[3] += 0.8
    fit = fit_transform(MatchedBeads(points, target, np.full(16, 4e-4), np.zeros((16, 16))))
    assert np.nonzero(~fit.kept)[0].tolist() == [3]
    assert error_px(fit.transform, Affine.identity(), (100, 100)) < 0.03


def test_a_grid_of_beads_is_ambiguous(tmp_path: Path) -> None:
    microscope = microscope_of(2)
    grid = np.stack(np.meshgrid(np.arange(12, 64, 12.0), np.arange(12, 64, 12.0)), axis=-1).reshape(-1, 2)
    psf = replace(PSF, plane_depths_nm=(0.0, 0.0), brightness=(0.5, 0.5))
    random = np.random.default_rng(0)
    files = write_scan(tmp_path, gaussian_spots(psf), [grid, grid], np.zeros(1), microscope, random, shape=FIELD)
    with pytest.raises(PlanelocError, match=r"second way.*see .*registration\.failed\.png"):
        run(tmp_path, files, microscope)
    shown = tmp_path / "registration.failed.png"
    assert shown.stat().st_size > 10_000
    run(tmp_path, files, microscope, second_best_match_fail=2.0)
    assert not shown.exists(), "the figure of a fixed failure goes"


def wandering_scan(folder: Path, runout_px: float, focus_nm: float, slices: int = 21) -> tuple[list[Path], Microscope]:
    """Ten beads that go sideways by `runout_px` while they are scanned by 2 µm through two foci at ± `focus_nm`."""
    random, microscope = np.random.default_rng(2), microscope_of(2)
    spot = gaussian_spots(replace(PSF, plane_depths_nm=(-focus_nm, focus_nm), brightness=(0.5, 0.5)))
    beads = scattered(random, 10, FIELD, 12, 8)
    share = np.linspace(-0.5, 0.5, slices)
    images: list[list[np.ndarray]] = [[], []]
    for k in range(slices):
        at = [beads + np.array([runout_px * share[k], 0.0])] * 2
        files = write_scan(folder, spot, at, 2000 * share[k : k + 1], microscope, random, photons=1.5e4, shape=FIELD)
        for plane, file in enumerate(files):
            images[plane].append(tifffile.imread(file))
    for file, camera in zip(files, images, strict=True):
        tifffile.imwrite(file, np.stack(camera).reshape(-1, *FIELD), photometric="minisblack")
    return files, microscope


def test_stage_drift_is_not_in_the_transform(tmp_path: Path) -> None:
    """Foci 1,200 nm apart are seen half a pixel of runout apart: 40 nm, were each camera's best slices compared."""
    files, microscope = wandering_scan(tmp_path, 0.5, 600.0)
    found, quality = run(tmp_path, files, microscope)
    assert error_px(found.transforms[1], Affine.identity(), FIELD) * 192 < TOL_TRANSFORM_NM
    verdicts = {c["name"]: c["verdict"] for c in quality["checks"]}
    assert verdicts["lateral_stage_drift_nm"] == "warn"
    assert verdicts["beads_on_common_slices"] == "pass"
    details = read_json(tmp_path / "registration.json")["details"]
    assert (details["height_px"], details["width_px"], details["pixel_size_nm"]) == (*FIELD, 192.0)


def test_cameras_that_share_no_slice_are_registered_with_a_warning(tmp_path: Path) -> None:
    files, microscope = wandering_scan(tmp_path, 0.0, 600.0)
    for file, clear in zip(files, (slice(0, 8), slice(13, 21)), strict=True):
        counts = tifffile.imread(file)
        dark = np.random.default_rng(8).poisson(8, counts.shape) + 100
        dark[clear] = counts[clear]
        tifffile.imwrite(file, dark.astype(np.uint16), photometric="minisblack")
    found, quality = run(tmp_path, files, microscope)
    assert error_px(found.transforms[1], Affine.identity(), FIELD) * 192 < TOL_TRANSFORM_NM
    assert {c["name"]: c["verdict"] for c in quality["checks"]}["beads_on_common_slices"] == "warn"


def test_the_same_images_twice_are_refused(tmp_path: Path) -> None:
    files, microscope = wandering_scan(tmp_path, 0.0, 0.0, slices=1)
    files[1].write_bytes(files[0].read_bytes())
    with pytest.raises(PlanelocError, match=r"beads_1\.tif: camera 0 and camera 1 have identical images"):
        run(tmp_path, files, microscope)


def test_too_few_beads_and_another_field_say_so(tmp_path: Path) -> None:
    microscope = microscope_of(2)
    psf = replace(PSF, plane_depths_nm=(0.0, 0.0), brightness=(0.5, 0.5))
    random = np.random.default_rng(1)
    beads = scattered(random, 12, FIELD, 9, 5)
    few = write_scan(
        tmp_path / "few", gaussian_spots(psf), [beads, beads[:3]], np.zeros(1), microscope, random, shape=FIELD
    )
    with pytest.raises(PlanelocError, match=r"camera 0: 12 usable beads.*camera 1: 3 usable beads"):
        run(tmp_path, few, microscope)
    other = scattered(np.random.default_rng(9), 5, FIELD, 9, 5)
    files = write_scan(
        tmp_path / "other", gaussian_spots(psf), [beads[:5], other], np.zeros(1), microscope, random, shape=FIELD
    )
    with pytest.raises(PlanelocError, match=r"match between the cameras|second way"):
        run(tmp_path, files, microscope)


@needs_data
def test_real_split_view(tmp_path: Path) -> None:
    image = np.load(Path(DATA) / "registration" / "sdt_bead_img_two_channel.npz")["img"]
    tifffile.imwrite(tmp_path / "split.tif", image, photometric="minisblack")
    regions = (Region(0, 0, 191, 121), Region(230, 0, 191, 121))
    microscope = Microscope("split", 160.0, "regions", (Camera("left"), Camera("right")), regions)
    found, quality = run(tmp_path, [tmp_path / "split.tif"], microscope)
    assert quality["values"]["plane_1_matched"] >= 20
    assert found.residual_nm[1] / 160.0 / np.sqrt(2) < TOL_SPLIT_VIEW_PX
    assert quality["values"]["plane_1_excluded"] == 0
    np.testing.assert_allclose(found.transforms[1](np.zeros(2)), (-0.5, -1.4), atol=0.5)  # of the regions' 230 px


def authors_affine() -> Affine:
    """MATLAB's affine2d inside its opaque file: T (3×3, column-major), for pixel centres counted from 1."""
    raw = loadmat(Path(DATA) / "sequences" / "Fazel_biplane_tform.mat")["__function_workspace__"].tobytes()
    at = raw.index(np.float64(1.0007514029142655).tobytes())
    t = np.frombuffer(io.BytesIO(raw[at : at + 72]).read(), "<f8").reshape(3, 3, order="F")
    assert np.array_equal(t[:, 2], (0, 0, 1))
    matrix, half = t[:2, :2].T, np.full(2, 0.5)  # pixel i's centre: i + 1 there, i + 0.5 here
    return Affine(matrix, matrix @ half + t[2, :2] - half)


@needs_data
@pytest.mark.slow
def test_real_biplane_movie(tmp_path: Path) -> None:
    """One bright, aberrated particle that moves: conversion, then registration frame by frame."""
    photons = loadmat(Path(DATA) / "sequences" / "Fazel_biplane_experimental.mat")["Data"]
    files = []
    for plane in range(2):
        files.append(tmp_path / f"plane_{plane}.tif")
        frames = np.rint(photons[..., plane].transpose(2, 0, 1) + 100).astype(np.uint16)
        tifffile.imwrite(files[-1], frames, photometric="minisblack")
    microscope = Microscope("biplane", 120.0, "files", (Camera("near"), Camera("far")))
    convert(files, microscope, tmp_path / "movie.zarr", tmp_path / "movie.json", tmp_path / "q.json", ConvertSettings())
    movie = Movie.open(tmp_path / "movie.json")
    assert movie.shape == (150, 2, 62, 62)
    found, quality = run(tmp_path, files, microscope, beads_move=True, window_nm=3700.0, isolation_nm=1500.0)
    assert quality["values"]["plane_1_matched"] > 50
    assert error_px(found.transforms[1], authors_affine(), (62, 62)) < TOL_AUTHORS_PX
    verdicts = {c["name"]: c["verdict"] for c in quality["checks"]}
    assert verdicts["covered_area_fraction"] == verdicts["transform_sd_nm"] == "warn"
