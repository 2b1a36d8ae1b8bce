"""Drift of the cameras through a movie: exact, with strengths that it finds itself, from jumps to none."""

from types import SimpleNamespace

import numpy as np
import pytest

from planeloc.io import localization_table
from planeloc.io.camera_drift import read_camera_drift
from planeloc.localization import camera_drift
from planeloc.localization.camera_drift import estimate_drift
from planeloc.localization.camera_drift_files import DriftFiles
from planeloc.localization.drift_model import LEVEL_SD_NM, FrameInformation, Process, posterior, sound
from planeloc.localization.drift_strengths import Strengths, estimate_strengths
from planeloc.localization.localize_frames import Block, Localizer
from support.movies import run, write_files

Q = 6


def information(frames, molecules, random):
    """What molecules at random depths say: planes in focus by 10 nm, others by up to 60."""
    sd = random.permuted(np.tile([10.0, 15.0, 30.0, 60.0], (frames, molecules, 1)), axis=2)
    own = sd**-2
    each = own[..., 1:, None] * np.eye(3) - own[..., 1:, None] * own[..., None, 1:] / own.sum(-1)[..., None, None]
    return np.kron(each.sum(axis=1), np.eye(2))


def movie(frames, walk=0.0, white=0.0, constant=0.0, jump=(), molecules=1, seed=1):
    """True drift, and what frames say of it."""
    random = np.random.default_rng(seed)
    J = information(frames, molecules, random)
    drift = (random.normal(size=(frames, Q)) * walk).cumsum(axis=0) + random.normal(size=(frames, Q)) * white
    drift += random.normal(size=Q) * constant
    for frame, column, size in jump:
        drift[frame:, column] += size
    values, axes = np.linalg.eigh(J)
    noise = axes @ (np.sqrt(values.clip(0))[..., None] * random.normal(size=(frames, Q, 1)))
    return drift, FrameInformation(J, (J @ drift[..., None] + noise)[..., 0])


def pulls(drift, found):
    error = found.drift_nm - drift
    return np.sqrt(np.einsum("ni,nij,nj->n", error, np.linalg.inv(found.covariance), error).mean() / Q)


@pytest.mark.parametrize("frames", [1, 2, 3, 6, 9])
def test_the_smoother_is_exact(frames):
    random = np.random.default_rng(frames)
    _, known = movie(frames, 2.0, 10.0)
    known.precision[frames // 2], known.moment[frames // 2] = 0, 0  # a frame without molecules
    process = Process(random.uniform(0.5, 9, (frames - 1, Q)), random.uniform(0, 30, (frames, Q)))
    found = posterior(known, process)
    steps = np.concatenate([np.full(Q, LEVEL_SD_NM**2), process.step.ravel()])
    sums = np.kron(np.tril(np.ones((frames, frames))), np.eye(Q))
    prior = sums @ np.diag(steps) @ sums.T + np.diag(process.white.ravel())
    J, h = np.zeros_like(prior), known.moment.ravel()
    for t, own in enumerate(known.precision):
        J[t * Q : t * Q + Q, t * Q : t * Q + Q] = own
    covariance = np.linalg.inv(np.linalg.inv(prior) + J)
    likelihood = (h @ covariance @ h - np.linalg.slogdet(np.eye(len(h)) + prior @ J)[1]) / 2
    blocks = covariance.reshape(frames, Q, frames, Q)[np.arange(frames), :, np.arange(frames)]
    assert np.allclose(found.drift.ravel(), covariance @ h, atol=1e-7)
    assert np.allclose(found.covariance, blocks, atol=1e-7)
    assert found.log_likelihood == pytest.approx(likelihood, abs=1e-7)


LIMITS = {
    "new in every frame": {"white": 34.0},
    "walk": {"walk": 1.5},
    "constant": {"constant": 50.0},
    "none": {},
    "walk of many molecules": {"walk": 1.5, "molecules": 10},
    "both": {"walk": 1.0, "white": 15.0},
    "jump": {"jump": ((300, 2, 150.0),)},
    "jump of a walk": {"walk": 1.0, "jump": ((300, 2, 150.0),)},
}


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_is_found_without_a_setting(name):
    """Strengths, and an error that is stated right and as small as if the strengths were known."""
    made = LIMITS[name]
    drift, known = movie(800, **made)
    found = estimate_drift(known)
    record = found.record()
    walk, white = (np.sqrt(values.mean()) for values in (found.strengths[0].step, found.strengths[0].white))
    assert walk == pytest.approx(made.get("walk", 0.0), rel=0.25, abs=0.1)
    assert white == pytest.approx(made.get("white", 0.0), rel=0.15, abs=2.0)
    truth = Strengths(np.full(Q, made.get("walk", 0.0) ** 2 + 1e-6), np.full(Q, made.get("white", 0.0) ** 2))
    jumps = tuple((frame, column // 2) for frame, column, _ in made.get("jump", ()))
    best = posterior(known, Strengths(truth.step, truth.white, jumps).process(800))
    assert (found.drift_nm - drift).std() < 1.1 * (best.drift - drift).std() + 0.1
    # errors of a walk are alike over some ten frames, those of a constant drift in the whole movie
    independent = Q * (800 if "white" in made else 30 if "walk" in made else 1)
    assert pulls(drift, found) == pytest.approx(1, abs=0.1 + 2 / np.sqrt(2 * independent))
    assert [(jump["frame"], jump["plane"]) for jump in record["jumps"]] == [
        (f, 1 + c // 2) for f, c, _ in made.get("jump", ())
    ]


def test_after_a_jump_the_drift_is_known_as_well_as_without():
    drift, known = movie(600, walk=0.5, jump=((300, 0, 150.0),))
    found = estimate_drift(known)
    sd = np.sqrt(np.einsum("nii->ni", found.covariance))
    error = abs(found.drift_nm - drift)
    assert (error[297:303] < 4 * sd[297:303]).all()
    assert sd[297:303, 0].max() < 3 * sd[150, 0]  # from one side alone
    assert found.record()["jumps"][0]["x_nm"] == pytest.approx(150, abs=20)


def test_planes_have_strengths_of_their_own_where_the_movie_says_so():
    random = np.random.default_rng(3)
    drift, known = movie(800)
    extra = np.zeros_like(drift)
    extra[:, 4:] = random.normal(0, 3.0, (800, 2)).cumsum(axis=0)
    moved = FrameInformation(known.precision, known.moment + (known.precision @ extra[..., None])[..., 0])
    step = np.sqrt(estimate_strengths(moved)[0].step)
    assert step[4:] == pytest.approx(3.0, rel=0.25)
    assert step[:4].max() < 0.3


def test_the_drift_in_words():
    _, known = movie(200, jump=((100, 2, 150.0),))
    line = camera_drift.in_words(estimate_drift(known).record(), ["a", "b", "c", "d"])
    assert line.startswith("moved during the movie, against a: b 0 nm, c 1")
    assert "; jumps: c by 1" in line
    assert line.endswith("nm at frame 100")


def test_frames_that_contradict_all_others_are_loose():
    drift, known = movie(400, walk=0.5)
    wild = np.zeros(Q)
    wild[2:4] = 250.0, -200.0
    known.moment[200] += known.precision[200] @ wild
    found = estimate_drift(known)
    assert {"frame": 200, "plane": 2} in found.record()["loose_frames"]
    assert abs(found.drift_nm - drift)[[198, 199, 201, 202]].max() < 25


def test_impossible_frames_and_rounding_are_left_out():
    _, known = movie(50, walk=1.0)
    values, axes = np.linalg.eigh(known.precision)
    values[7, 0] = -1e-9
    known.precision[7] = (axes[7] * values[7]) @ axes[7].T
    known.moment[9] = known.precision[9] @ np.full(Q, 5e4)
    cleaned = sound(known)
    assert np.linalg.eigvalsh(cleaned.precision).min() > -1e-15
    assert not cleaned.precision[9].any()
    assert np.allclose(cleaned.precision[10], known.precision[10])
    assert estimate_drift(FrameInformation(np.zeros((5, Q, Q)), np.zeros((5, Q)))) is None


def test_long_movies_are_estimated_from_all_their_frames():
    """A walk that a stretch of the movie does not show."""
    drift, known = movie(8000, walk=0.05, molecules=3)
    found = estimate_drift(known)
    assert np.sqrt(found.strengths[0].step.mean()) == pytest.approx(0.05, rel=0.35)
    assert pulls(drift, found) == pytest.approx(1, abs=0.15)


def test_very_long_movies_are_estimated_in_stretches_that_overlap(monkeypatch):
    drift, known = movie(900, walk=1.0, jump=((500, 2, 150.0),))
    whole = estimate_drift(known)
    monkeypatch.setattr(camera_drift, "_FRAMES_AT_ONCE", 300)
    monkeypatch.setattr(camera_drift, "_OVERLAP", 150)
    parts = estimate_drift(known)
    assert len(parts.strengths) == 3
    assert [(jump["frame"], jump["plane"]) for jump in parts.record()["jumps"]] == [(500, 2)]
    assert parts.record()["jumps"][0]["x_nm"] == pytest.approx(whole.record()["jumps"][0]["x_nm"], abs=5)
    assert (parts.drift_nm - drift).std() < 1.1 * (whole.drift_nm - drift).std()
    sd = np.sqrt(np.einsum("nii->ni", whole.covariance))
    assert (abs(parts.drift_nm - whole.drift_nm) < sd).mean() > 0.95


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("files"))


def test_the_table_does_not_depend_on_blocks_and_is_that_of_the_movie(files, tmp_path, monkeypatch):
    settings = {"weights": "regression.safetensors"}
    run(files, tmp_path / "a.h5", block_frames=6, **settings)
    run(files, tmp_path / "b.h5", block_frames=22, **settings)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    # interrupted before the table is written: the checkpoints have all that is needed
    with monkeypatch.context() as patch:
        patch.setattr("planeloc.localization.localize.write_table", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(files, tmp_path / "c.h5", block_frames=6, **settings)
    assert run(files, tmp_path / "c.h5", block_frames=22, **settings)["computed_frames"] == 0
    assert (tmp_path / "c.h5").read_bytes() == (tmp_path / "a.h5").read_bytes()

    table, metadata = localization_table.read(tmp_path / "a.h5")
    run(files, tmp_path / "alone.h5", inter_camera_drift_nm=34.0, **settings)
    alone, without = localization_table.read(tmp_path / "alone.h5")
    assert set(metadata["camera_drift"]) == {"walk_nm", "white_nm", "moved_nm", "jumps", "loose_frames"}
    assert without["camera_drift"] is None
    assert len(table) == len(alone)
    assert list(table) == list(alone)
    assert table["x_sd"].median() < 0.9 * alone["x_sd"].median()
    order = table[["frame", "y", "x", "z"]].to_numpy()
    assert (np.lexsort(order.T[::-1]) == np.arange(len(table))).all()


def test_the_drift_is_written_beside_the_table(files, tmp_path):
    from planeloc.localization.localize import localize
    from planeloc.localization.settings import LocalizeSettings
    from support.repository import RESOURCES

    paths = [
        *(files / name for name in ("m.json", "registration.json", "psf.h5")),
        RESOURCES / "regression.safetensors",
    ]
    for refine, known in (("likelihood", True), ("none", False)):
        settings = LocalizeSettings(workers=1, device="cpu", refine=refine)
        localize(*paths, tmp_path / "a.h5", settings, drift_files=DriftFiles(tmp_path / "drift.csv"))
        found = read_camera_drift(tmp_path / "drift.csv")
        assert found.drift_nm.shape == (22, 3, 2)
        assert np.isfinite(found.sd_nm).all() == known


def test_only_fitted_molecules_move():
    _, known = movie(10, constant=30.0)
    found = estimate_drift(known)
    values = {name: np.arange(4.0) for name in ("x", "y", "z", "x_sd", "y_sd", "z_sd")} | {
        "frame": np.array([0, 1, 2, 3])
    }
    variance = np.full((4, 3), 25.0)
    variance[1] = np.nan
    response = np.zeros((4, 3, Q))
    response[:, 0, 0] = -0.5
    arrays = {"response": response, "at_rest": np.zeros((4, 3)), "variance": variance}
    moved = camera_drift.follow(values, arrays, found)
    assert moved["x"][1] == 1
    assert moved["x_sd"][1] == 1
    assert np.allclose(moved["x"][[0, 2, 3]], [0, 2, 3] - 0.5 * found.drift_nm[[0, 2, 3], 0])
    assert np.allclose(moved["x_sd"][0], np.sqrt(25 + 0.25 * found.covariance[0, 0, 0]))
    assert np.allclose(moved["z_sd"][0], 5)


def test_a_block_in_which_nothing_was_found_follows_the_drift():
    """A finder that marks no tile returns no detections, not an empty table of them."""
    localizer = SimpleNamespace(_columns=pytest.fail)
    known = np.tile(np.eye(Q), (5, 1, 1)), np.ones((5, Q))
    columns, arrays = Block(Localizer.table(localizer, []), *known).parts()
    assert arrays["response"].shape == (0, 3, Q)
    moved = camera_drift.follow(columns, arrays, estimate_drift(FrameInformation(*known)))
    assert set(moved) == set(columns) and not len(moved["frame"])


def test_the_error_does_not_leap_where_many_frames_are_loose():
    """One frame in ten contradicts the others, beside a jump: all are set free, as if there were few of them."""
    n, random = 2600, np.random.default_rng(0)
    drift = np.zeros((n, 2))
    drift[n // 2 :, 0] = 150.0
    seen = drift + random.normal(0, 5, (n, 2))
    bad = random.random(n) < 0.1
    seen[bad] += random.normal(0, 200, (bad.sum(), 2))
    information = np.tile(np.eye(2) / 25, (n, 1, 1))
    found = estimate_drift(FrameInformation(information, seen.clip(-590, 590) / 25))
    assert bad.sum() > 230
    assert [jump["frame"] for jump in found.record()["jumps"]] == [n // 2]
    assert len(found.record()["loose_frames"]) > 0.95 * bad.sum()
    assert np.sqrt(np.mean((found.drift_nm - drift)[~bad] ** 2)) < 0.5


@pytest.mark.parametrize(("far_nm", "warned"), [(650.0, True), (300.0, False)])
def test_a_camera_that_is_too_far_away_to_drift_is_said(caplog, far_nm, warned):
    information, moment = np.tile(np.eye(4) / 100, (50, 1, 1)), np.zeros((50, 4))
    moment[:, 0] = far_nm / 100
    assert (estimate_drift(FrameInformation(information, moment)) is None) == warned
    assert ("more than 600 nm from where its transform says" in caplog.text) == warned
