"""Before a movie is localized, it is compared with the training distribution of the network."""

import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.cli.main import planeloc
from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table
from planeloc.localization.movie_check import compare, measure
from planeloc.localization.settings import LocalizeSettings
from planeloc.movie.store import Movie
from planeloc.movie.writer import write_movie
from planeloc.networks.training_match import disagreements
from planeloc.networks.weight_files import load_network
from planeloc.psf import GaussianPSF, paper_psf, write_psf
from planeloc.simulation.imaging import PsfImaging, add_windows
from planeloc.transforms.camera_transform import Affine, Registration
from support.movies import Source
from support.repository import RESOURCES

KINDS = ("quadplane", "regression")
SIDE, FRAMES = 64, 160
CAMERAS = tuple(Camera(f"cam{p}", offset_counts=100, electrons_per_count=0.5, read_noise_electrons=3) for p in range(4))
MICROSCOPE = Microscope("test", 192.0, "files", CAMERAS, ())
MAPS = Registration(  # camera 2 is mirrored, camera 3 turned and shifted
    (
        Affine.identity(),
        Affine(np.eye(2) * 1.002, np.array([0.6, -1.3])),
        Affine(np.diag([-1.0, 1.0]), np.array([SIDE + 0.4, 0.2])),
        Affine(np.array([[1.0, 0.005], [-0.005, 1.0]]), np.array([-0.7, 1.9])),
    ),
    (0.0,) * 4,
)


@dataclass(frozen=True)
class UnevenPSF(GaussianPSF):
    """Spots on each plane wider than they should be by a factor."""

    factors: tuple[float, ...] = (1.0,) * 4

    def squared_width(self, defocus_nm):
        width = super().squared_width(defocus_nm)
        return width * torch.tensor(self.factors) ** 2 if isinstance(width, torch.Tensor) else width


@dataclass(frozen=True)
class Sample:
    """What a movie shows; as in the training of both networks."""

    per_window: float = 1.0  # molecules per 16×16 pixels and frame
    photons: tuple[float, float] = (500.0, 5400.0)
    background: float = 5.0
    depths: tuple[float, float] = (-800.0, 800.0)
    factors: tuple[float, ...] = (1.0,) * 4
    where: tuple[float, float] = (0.0, 1.0)  # of the field, along x
    mean_on: float = 1.0  # frames
    frames: int = FRAMES
    cameras: tuple[Camera, ...] = field(default=CAMERAS)


def draw(folder: Path, sample: Sample, seed: int = 0) -> Movie:
    """Molecules on drifting planes behind real maps, each in some frames in a row."""
    psf = replace(paper_psf(), pixel_integration=True, waist_nm=121.0, focus_depth_nm=275.0, asymmetry=0.0)
    psf = UnevenPSF(**{**vars(psf), "factors": sample.factors})
    random = np.random.default_rng(seed)
    density = sample.per_window / 16**2 * (sample.where[1] - sample.where[0])
    blinks = random.poisson(density * SIDE**2 * sample.frames / sample.mean_on)
    lasts = 1 + random.poisson(sample.mean_on - 1, blinks)
    which = np.repeat(np.arange(blinks), lasts)
    within = np.arange(len(which)) - np.repeat(np.cumsum(lasts) - lasts, lasts)
    frame = (random.integers(0, sample.frames, blinks)[which] + within) % sample.frames
    x = random.uniform(*sample.where, blinks)[which] * SIDE
    place = np.column_stack((x, random.uniform(0, SIDE, blinks)[which]))
    z, photons = random.uniform(*sample.depths, blinks)[which], random.uniform(*sample.photons, blinks)[which]
    drift = random.integers(-2, 3, (sample.frames, 4, 2)) / 8
    drift[:, 0] = 0
    on_cameras = np.stack([m(place) for m in MAPS.transforms], axis=1) + drift[frame]
    light = np.full((sample.frames, 4, SIDE, SIDE), sample.background)
    add_windows(light, frame, *PsfImaging.reaching(psf, 800.0).windows(on_cameras, z, photons))
    counts = np.stack([camera.expose(light[:, p], random) for p, camera in enumerate(sample.cameras)], axis=1)
    return write(folder, counts, sample.cameras)


def write(folder: Path, counts: np.ndarray, cameras=CAMERAS) -> Movie:
    microscope = replace(MICROSCOPE, cameras=cameras)
    write_movie(Source(counts), folder / "movie.zarr", folder / "movie.json", microscope)
    return Movie.open(folder / "movie.json")


INSIDE = Sample()
SETTINGS = LocalizeSettings()
RECORDS = {kind: load_network(RESOURCES / f"{kind}.safetensors")[1] for kind in KINDS}


def verdicts(movie: Movie, kind: str) -> dict:
    record = RECORDS[kind]
    return {q.name: q for q in compare(measure(movie, MAPS, paper_psf(), record, SETTINGS), record, movie, SETTINGS)}


def outside(movie: Movie, kind: str) -> set[str]:
    return {name for name, quantity in verdicts(movie, kind).items() if quantity.outside}


@pytest.mark.parametrize(
    "change",
    [
        {"per_window": 0.1},
        {"per_window": 3.0, "photons": (250.0, 1500.0), "background": 10.0},
        {"mean_on": 3.0, "where": (0.2, 0.6), "background": 2.0},
        {"depths": (-150.0, 150.0)},  # a thin sample: two planes see no molecule in focus
    ],
)
def test_a_movie_like_the_training_images_passes(tmp_path, change):
    movie = draw(tmp_path, replace(INSIDE, **change))
    for kind in KINDS:
        found = verdicts(movie, kind)
        assert {name: quantity.outside for name, quantity in found.items()} == dict.fromkeys(found, False)


@pytest.mark.parametrize(
    ("kind", "change", "name"),
    [
        ("quadplane", {"background": 30.0}, "background"),  # three times the most
        ("regression", {"background": 30.0}, "background"),
        ("quadplane", {"photons": (2000.0, 4 * 5425.0)}, "brightness"),
        ("regression", {"factors": (1.0, 1.4, 1.0, 1.0)}, "spot width"),
        ("quadplane", {"factors": (1.4,) * 4}, "spot width"),
        ("regression", {"factors": (0.75,) * 4}, "spot width"),
        ("quadplane", {"per_window": 12.0, "frames": 24}, "density"),  # four times the most
        ("regression", {"per_window": 20.0, "frames": 24}, "density"),
        ("regression", {"per_window": 24.0, "where": (0.25, 0.5), "frames": 40}, "density"),  # 6 on average
    ],
)
def test_what_is_outside_is_named_and_nothing_else(tmp_path, kind, change, name):
    assert outside(draw(tmp_path, replace(INSIDE, **change)), kind) == {name}


@pytest.mark.parametrize("frames", [1, 3, 40])
@pytest.mark.parametrize("counts", [0, 100, 65535])
def test_movies_that_show_nothing(tmp_path, frames, counts):
    movie = write(tmp_path, np.full((frames, 4, 20, 24), counts, dtype=np.uint16))
    found = verdicts(movie, "quadplane")
    assert found["brightness"].outside is None and found["spot width"].outside is None
    assert found["background"].outside == (counts == 65535) and not found["density"].outside


def files_beside(movie: Movie) -> list[str]:
    folder = movie.manifest.parent
    write_psf(folder / "psf.h5", paper_psf())
    MAPS.write(folder / "registration.json")
    return [
        *("--movie", str(movie.manifest), "--registration", str(folder / "registration.json")),
        *("--psf", str(folder / "psf.h5"), "--output", str(folder / "table.h5")),
    ]


def command(*words: str) -> None:
    planeloc.main(list(words), standalone_mode=False)


@pytest.mark.parametrize(("kind", "setting"), [("quadplane", "emitters"), ("regression", "density")])
def test_a_run_stops_before_anything_is_made_and_offers_a_training(tmp_path, monkeypatch, kind, setting):
    movie = draw(tmp_path, replace(INSIDE, per_window=20.0, frames=20))
    files, weights = files_beside(movie), RESOURCES / f"{kind}.safetensors"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        PlanelocError, match=r"movie\.json: density is outside the training .*; train .* `planeloc"
    ) as error:
        command("localize", *files, "--weights", str(weights), "--on-distribution-mismatch", "stop")
    assert "\n" not in str(error.value) and sorted(tmp_path.rglob("*")) == before
    _, offered, _, configured, _ = str(error.value).split("`")
    asked = {}
    monkeypatch.setattr(
        "planeloc.cli.train.train", lambda **given: asked.update(settings=given["settings"], start=given["start_from"])
    )
    command(*shlex.split(offered)[1:])
    assert asked["start"] == weights and asked["settings"].network == RECORDS[kind].kind
    wanted = str(getattr(asked["settings"], setting))
    assert float(wanted.split("-")[-1]) == pytest.approx(20.0, rel=0.3)
    in_workflow = yaml.safe_load(configured)["train"]
    assert str(in_workflow[setting]) == wanted and in_workflow["on_mismatch"] == "train"
    assert "start_from" not in in_workflow  # the weights may be what the workflow's training makes


def test_the_thresholds_of_density_and_spot_width_are_settings(tmp_path):
    movie, record = draw(tmp_path, replace(INSIDE, per_window=6.0, frames=20)), RECORDS["quadplane"]
    measured = replace(measure(movie, MAPS, paper_psf(), record, SETTINGS), widths=(1.0, 1.1, 1.0, 1.0))
    strict = LocalizeSettings(density_ratio_warn=1.0, width_ratio_warn=1.05)
    for limits, outside in ((SETTINGS, False), (strict, True)):
        found = {q.name: q.outside for q in compare(measured, record, movie, limits)}
        assert (found["density"], found["spot width"]) == (outside, outside)


def test_a_run_that_goes_on_says_what_is_outside(tmp_path, capsys):
    movie = draw(tmp_path, replace(INSIDE, background=30.0, per_window=0.5, frames=30))
    command("localize", *files_beside(movie), "--weights", str(RESOURCES / "quadplane.safetensors"), "--workers", "1")
    said = capsys.readouterr().err
    assert "movie.json: background 30.0 to 30." in said and "trained with 2 to 10" in said
    assert "--background=" in said and "brightness is unknown" not in said
    checked = localization_table.read(tmp_path / "table.h5")[1]["distribution_check"]
    assert checked["background"]["verdict"] == "outside" and checked["density"]["verdict"] == "inside"


def test_the_training_that_is_offered_is_not_refused_as_needless():
    """What the guard warns of must be a reason for `train` not to adopt the same weights."""
    record = RECORDS["quadplane"]
    for remedy in ({"background": (30.0, 30.0)}, {"photons": (2000.0, 21000.0)}, {"emitters": 12}):
        assert disagreements(record, record.psf, replace(record.scene, **remedy), 25.0)
