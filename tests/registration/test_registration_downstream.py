"""How well the cameras' maps are known: in the uncertainties of molecules, training images and the check of weights."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from planeloc.cameras.microscope import Microscope
from planeloc.core.errors import PlanelocError
from planeloc.core.files import read_json
from planeloc.io import localization_table
from planeloc.localization.localize import localize
from planeloc.localization.settings import LocalizeSettings
from planeloc.localization.transform_uncertainty import PlaneShares
from planeloc.movie.writer import write_movie
from planeloc.networks.training_match import disagreements
from planeloc.networks.upsampling import Architecture
from planeloc.networks.weight_files import NetworkRecord
from planeloc.psf import Emitters, paper_psf, write_psf
from planeloc.scenes.draw import draw_batch, draw_drift
from planeloc.scenes.scene import Scene
from planeloc.training.settings import TrainSettings
from planeloc.training.train import train
from planeloc.transforms.camera_transform import Affine, Registration, TransformUncertainty
from support.bead_scans import microscope_of
from support.repository import QUADPLANE_WEIGHTS

PIXEL_NM = 192.0
SIDE = 48
TOL_SHARE = 0.03


def known_to(*sd_nm: float | None) -> Registration:
    """Planes whose maps are shifts known to these deviations, and the reference."""
    known = [
        None if sd is None else TransformUncertainty(np.zeros(2), 1.0, np.eye(2) * (sd / PIXEL_NM) ** 2) for sd in sd_nm
    ]
    planes = len(sd_nm) + 1
    maps = (Affine.identity(),) * planes
    return Registration(maps, (0.0,) * planes, (SIDE, SIDE), (None, *known), (20,) * planes, PIXEL_NM)


def test_shares_tell_how_far_a_wrong_map_moves_a_molecule() -> None:
    """Against a fit of all planes: one plane displaced by 10 nm moves the best position by its share of 10 nm."""
    psf, photons, background = paper_psf(), 4000.0, 5.0
    shares = PlaneShares.of(psf, (-800.0, 800.0), photons, background)
    assert shares.shares.sum(axis=1) == pytest.approx(1.0)
    for z in (-600.0, 0.0, 450.0):
        at = [torch.tensor([value], dtype=torch.float64) for value in (12.5 * 192, 12.5 * 192, z, photons)]
        for plane in range(4):
            shift = torch.zeros(1, 4, 2, dtype=torch.float64)
            shift[0, plane, 0] = 10.0
            seen = psf.expected_photons(Emitters(*at, shift), (25, 25)) + background

            def mismatch(x: np.ndarray, seen=seen, at=at) -> float:
                model = psf.expected_photons(Emitters(torch.from_numpy(x), *at[1:]), (25, 25)) + background
                return float((model - seen * model.log()).sum())

            best = minimize(mismatch, np.array([12.5 * 192]), method="Nelder-Mead", options={"xatol": 1e-4}).x[0]
            moved = best - 12.5 * 192
            assert moved / 10 == pytest.approx(shares.at(np.array([z]))[0, plane], abs=TOL_SHARE)


def test_a_map_adds_its_share_to_the_uncertainty() -> None:
    shares = PlaneShares.of(paper_psf(), (-800.0, 800.0), 4000.0, 5.0)
    molecules = np.array([[2000.0, 3000.0, z] for z in (-600.0, 600.0)])
    added = shares.transform_sd_nm(known_to(None, None, 12.0), molecules)
    assert added == pytest.approx(12.0 * shares.at(molecules[:, 2])[:, 3:] * np.ones(2))
    assert added[1, 0] > 6 > 1 > added[0, 0], "the deepest plane says most of the deepest molecules"
    assert shares.transform_sd_nm(Registration.identity(4), molecules) == pytest.approx(0)
    assert shares.transform_sd_nm(known_to(9.0, 9.0, 9.0), molecules).max() < 9, "the reference is exact"


def test_localizations_are_as_uncertain_as_their_maps(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    light = np.full((2, 4, SIDE, SIDE), 4.0)
    x, y = (torch.from_numpy(random.uniform(1500, 7500, 12)) for _ in range(2))
    z, photons = torch.from_numpy(random.uniform(-500, 500, 12)), torch.full((12,), 5000.0, dtype=torch.float64)
    images = paper_psf().expected_photons(Emitters(x, y, z, photons), (SIDE, SIDE)).numpy()
    for frame in range(2):
        light[frame] += images[frame::2].sum(axis=0)
    cameras = microscope_of(4).cameras
    counts = np.stack([camera.expose(light[:, p], random) for p, camera in enumerate(cameras)], axis=1)

    class Source:
        files, all_files, shape = (), (), counts.shape

        def read(self, start: int, stop: int) -> np.ndarray:
            return counts[start:stop]

    microscope = Microscope("test", PIXEL_NM, "files", cameras)
    write_movie(Source(), tmp_path / "m.zarr", tmp_path / "m.json", microscope, chunk_frames=2)
    write_psf(tmp_path / "psf.h5", paper_psf())
    details = {"height_px": SIDE, "width_px": SIDE, "pixel_size_nm": PIXEL_NM}
    tables = []
    for name, registration in (("exact", known_to(None, None, None)), ("rough", known_to(15.0, 15.0, 15.0))):
        registration.write(tmp_path / f"{name}.json", details)
        paths = (tmp_path / file for file in ("m.json", f"{name}.json", "psf.h5"))
        # Each frame on its own: a shift of a whole plane is otherwise known from the movie.
        settings = LocalizeSettings(inter_camera_drift_nm=40.0, workers=1, device="cpu")
        localize(*paths, QUADPLANE_WEIGHTS, tmp_path / f"{name}.h5", settings)
        tables.append(localization_table.read(tmp_path / f"{name}.h5"))
    (exact, _), (rough, metadata) = tables
    assert len(exact) == len(rough) > 8
    assert np.array_equal(exact[["x", "y", "z", "z_sd"]], rough[["x", "y", "z", "z_sd"]])
    shares = PlaneShares.of(paper_psf(), (-800.0, 800.0), 3000.0, 4.0)
    added = np.sqrt(rough.x_sd**2 - exact.x_sd**2)
    assert added.to_numpy() == pytest.approx(15 * (1 - shares.at(rough.z.to_numpy())[:, 0]), abs=0.5)
    assert metadata["registration_sd_nm"] == pytest.approx([0.0, 15.0, 15.0, 15.0])


def test_training_images_have_the_error_of_the_maps() -> None:
    """A planted error moves the light of planes 1…, not of the reference; without it, the images are what they were."""
    scene = Scene(
        emitters=1, photons=(1e7, 1e7), background=(0.0, 0.0), inter_camera_drift_voxels=0,
        registration_resampling=False, read_noise_photons=0.0, window_px=48, depth_range_nm=(-100.0, 100.0),
    )  # fmt: skip
    moved = replace(scene, registration_sd_nm=30.0)
    batch = draw_batch(paper_psf(), moved, 300, torch.Generator().manual_seed(3))
    weight = batch.images / batch.images.sum(dim=(-1, -2), keepdim=True)
    grid = (torch.arange(48) + 0.5) * 192
    x = (weight.sum(dim=-2) * grid).sum(dim=-1)
    inside = ((batch.positions_nm[:, 0, :2] > 3000) & (batch.positions_nm[:, 0, :2] < 6000)).all(dim=1)
    away = (x - batch.positions_nm[:, :1, 0])[inside]
    assert inside.sum() > 20 and away[:, 0].abs().max() < 3
    assert away[:, 1:].std().item() == pytest.approx(30, rel=0.25)
    assert Scene.from_dict({k: v for k, v in moved.as_dict().items() if k != "registration_sd_nm"}) == scene


@pytest.mark.parametrize(
    ("inter_camera_drift_voxels", "trained_nm", "sd_nm", "fits"),
    [
        (2, 0.0, 2.0, True),
        (2, 0.0, 11.0, True),
        (2, 0.0, 13.0, False),
        (2, 13.0, 13.0, True),
        (0, 0.0, 2.0, True),
        (0, 0.0, 3.0, False),
    ],
)
def test_weights_are_refused_only_where_the_maps_error_matters(
    inter_camera_drift_voxels, trained_nm, sd_nm, fits
) -> None:
    made_for = Scene(inter_camera_drift_voxels=inter_camera_drift_voxels, registration_sd_nm=trained_nm)
    record = NetworkRecord(Architecture(4, 32), paper_psf(), made_for, 100.0)
    reasons = disagreements(record, paper_psf(), replace(made_for, registration_sd_nm=sd_nm), 25.0)
    assert (reasons == []) is fits
    assert fits or f"has a standard deviation of {sd_nm:.1f} nm" in reasons[0]


def test_train_takes_the_registration(tmp_path: Path) -> None:
    known_to(3.0, 7.0, None).write(
        tmp_path / "r.json", {"height_px": SIDE, "width_px": SIDE, "pixel_size_nm": PIXEL_NM}
    )
    outputs = (tmp_path / name for name in ("w.safetensors", "t.json", "c.png"))
    settings = TrainSettings(network="upsampling", photons="1600-5400", background="4-4", device="cpu")
    train(None, None, [], QUADPLANE_WEIGHTS, *outputs, settings, registration=tmp_path / "r.json")
    assert read_json(tmp_path / "t.json")["microscope_scene"]["registration_sd_nm"] == pytest.approx([3.0, 7.0, 0.0])


def test_every_plane_has_the_error_of_its_own_map() -> None:
    """In what is drawn, in what the network knows of it, and in a record; old records have one value for all."""
    scene = Scene(inter_camera_drift_voxels=0, registration_sd_nm=(3.0, 0.0, 12.0))
    drift = draw_drift(paper_psf(), scene, 20_000, torch.Generator().manual_seed(1))
    assert drift.std(dim=0).numpy() == pytest.approx(np.array([[0] * 2, [3] * 2, [0] * 2, [12] * 2]), rel=0.02)
    assert Scene.from_dict(json.loads(json.dumps(scene.as_dict()))) == scene
    drifting = replace(scene, inter_camera_drift_voxels=2)
    assert drifting.drift_sds_nm(192.0, 4) == pytest.approx(np.hypot(24 * math.sqrt(2), [3.0, 0.0, 12.0]))
    record = NetworkRecord(Architecture(4, 32), paper_psf(), drifting, 100.0)
    assert record.units.drift_sd_px == pytest.approx(np.hypot(24 * math.sqrt(2), [3.0, 0.0, 12.0]) / 192)
    assert Scene(registration_sd_nm=7.0).registration_sds_nm(4) == (7.0, 7.0, 7.0)
    with pytest.raises(PlanelocError, match="4 planes need 3"):
        replace(scene, registration_sd_nm=(1.0, 2.0)).registration_sds_nm(4)


def test_one_plane_with_a_bad_map_is_named() -> None:
    made_for = Scene(registration_sd_nm=(3.0, 20.0, 3.0))
    record = NetworkRecord(Architecture(4, 32), paper_psf(), made_for, 100.0)
    assert disagreements(record, paper_psf(), replace(made_for, registration_sd_nm=(2.0, 19.0, 2.0)), 25.0) == []
    (reason,) = disagreements(record, paper_psf(), replace(made_for, registration_sd_nm=(2.0, 2.0, 19.0)), 25.0)
    assert "plane 3 has a standard deviation of 19.0 nm" in reason
