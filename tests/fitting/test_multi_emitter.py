"""The fit of all molecules of frames with their inter-camera drift, against bounds and the ground truth."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from planeloc.fitting.multi_emitter import MultiEmitterFit
from planeloc.fitting.windows import InitialMolecules, window_side
from planeloc.psf import Emitters
from planeloc.psf.fisher_information import bound, fisher_information, plane_information
from planeloc_reproduction.drift_information import covariance_with_drift
from support.molecule_frames import BACKGROUND, NOISE, PIXEL, PSF, on_planes, scene
from support.movies import MAPS


def spread_out(frames, per_row, spacing_px=16, seed=5):
    """Molecules whose windows do not overlap: frame, position, photons."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:per_row, :per_row].reshape(2, -1) * spacing_px + spacing_px / 2
    count = frames * len(x)
    lateral = np.tile(np.column_stack((x, y)), (frames, 1)) + random.uniform(-1, 1, (count, 2))
    position = np.column_stack((lateral * PIXEL, random.uniform(-700, 700, count)))
    return np.repeat(np.arange(frames), len(x)), position, random.uniform(1600, 5400, count)


def pulls(fit, truth, kept=slice(None)):
    sd = torch.diagonal(fit.covariance, dim1=1, dim2=2).sqrt()[:, :3]
    return ((fit.position - truth.position) / sd)[kept].square().mean(dim=0).sqrt().numpy()


def rms(values):
    return values.square().mean(dim=0).sqrt()


@pytest.mark.parametrize("light", [1.0, 0.25])
def test_isolated_molecules_reach_the_bound(light):
    frame, position, photons = spread_out(40, 3)
    made = scene(frame, position, light * photons)
    fit = made.fit()
    side = window_side(PSF)
    centre = torch.remainder(made.position[:, :2], PIXEL) + side // 2 * PIXEL
    level = torch.full((len(frame), 4), BACKGROUND).double()
    emitters = Emitters(centre[:, 0], centre[:, 1], made.position[:, 2], made.photons, background=level)
    limit = bound(fisher_information(PSF, emitters, NOISE, (side, side)))
    assert fit.fitted.all()
    assert rms((fit.position - made.position) / limit[:, :3]).numpy() == pytest.approx(1.0, abs=0.1)
    assert pulls(fit, made) == pytest.approx(1.0, abs=0.1)
    light_pull = (fit.photons - made.photons) / fit.covariance[:, 3, 3].sqrt()
    assert float(rms(light_pull)) == pytest.approx(1.0, abs=0.1)
    assert abs(float(light_pull.mean())) < 0.2
    assert abs(float(fit.excess.mean())) < 0.1


def test_shared_drift_reaches_the_joint_bound():
    frame, position, photons = spread_out(60, 3)
    made = scene(frame, position, photons, drift_sd_nm=34.0)
    fit = made.fit(34.0)
    side = window_side(PSF)
    centre = torch.remainder(made.position[:, :2], PIXEL) + side // 2 * PIXEL
    level = torch.full((len(frame), 4), BACKGROUND).double()
    emitters = Emitters(centre[:, 0], centre[:, 1], made.position[:, 2], made.photons, background=level)
    information = plane_information(PSF, emitters, NOISE, (side, side)).reshape(60, 9, 4, 4, 4)
    covariance = covariance_with_drift(information, 34.0).reshape(-1, 4, 4)
    limit = torch.diagonal(covariance, dim1=1, dim2=2)[:, :3].mean(dim=0).sqrt()
    error = rms(fit.position - made.position)
    assert (error / limit).numpy() == pytest.approx(1.0, abs=0.1)
    assert pulls(fit, made) == pytest.approx(1.0, abs=0.1)
    assert float(rms((fit.drift_nm - made.drift_nm)[:, 1:].flatten())) < 12
    ignored = made.fit(0.0)
    assert float(rms(ignored.position - made.position)[0]) > 1.5 * float(error[0])


@pytest.mark.parametrize("distance_nm", [300.0, 400.0, 500.0])
def test_two_that_overlap(distance_nm):
    random = np.random.default_rng(2)
    frames = 150
    centre = 24 * PIXEL + random.uniform(-96, 96, (frames, 1, 2))
    angle = random.uniform(0, 2 * np.pi, frames)
    apart = 0.5 * distance_nm * np.stack((np.cos(angle), np.sin(angle)), axis=1)
    lateral = (centre + np.stack((apart, -apart), axis=1)).reshape(-1, 2)
    position = np.column_stack((lateral, random.uniform(-500, 500, 2 * frames)))
    made = scene(np.repeat(np.arange(frames), 2), position, random.uniform(2000, 5000, 2 * frames))
    fit = made.fit()
    assert float(fit.fitted.double().mean()) > 0.9
    assert pulls(fit, made, fit.fitted) == pytest.approx(1.05, abs=0.2)
    start_error = rms(made.start().position - made.position)
    assert (rms(fit.position - made.position) < 0.8 * start_error).all()


def test_a_wider_psf_does_little_harm():
    """Data of a waist 10 % wider than the model's: places hardly suffer; depths, told by widths, do."""
    frame, position, photons = spread_out(40, 3)
    right, wrong = scene(frame, position, photons), scene(frame, position, photons, psf=replace(PSF, waist_nm=146.3))
    errors = [rms(made.fit().position - made.position) for made in (right, wrong)]
    start = rms(wrong.start().position - wrong.position)
    assert (errors[1][:2] < 1.2 * errors[0][:2]).all() and (errors[1][:2] < 0.4 * start[:2]).all()
    assert errors[1][2] < 60


def test_turned_stretched_and_mirrored_cameras_bias_nothing():
    frame, position, photons = spread_out(40, 2)
    position[:, :2] += 4 * PIXEL
    *others, last = MAPS.transforms
    last = replace(last, matrix=np.array([[0.999, 0.05], [-0.05, 1.02]]))
    turned = replace(MAPS, transforms=(*others, last))
    made = scene(frame, position, photons, maps=turned.transforms)
    fit = made.fit(start=made.start(maps=turned.transforms))
    assert fit.fitted.all() and pulls(fit, made) == pytest.approx(1.0, abs=0.12)
    error = fit.position - made.position
    standard_error = error.std(dim=0) / len(error) ** 0.5
    assert (error.mean(dim=0).abs() < 3.5 * standard_error).all()


def test_molecules_at_the_border_and_outside():
    random = np.random.default_rng(1)
    count = 200
    lateral = np.column_stack((random.uniform(-60, 200, count), random.uniform(2000, 7000, count)))
    made = scene(np.arange(count), np.column_stack((lateral, random.uniform(-500, 500, count))), [4000.0] * count)
    fit = made.fit()
    assert torch.isfinite(fit.position).all() and fit.fitted.double().mean() > 0.9
    assert pulls(fit, made, fit.fitted) == pytest.approx(1.0, abs=0.2)
    beyond = scene([0, 0], [[4000.0, 4000.0, 0.0], [4500.0, 4100.0, 0.0]], [3000.0, 3000.0])
    start = beyond.start()
    start.mapped_px[1] -= 500.0  # no plane sees the second
    fit = beyond.fit(start=start)
    assert torch.isfinite(fit.position).all() and torch.isfinite(fit.covariance).all()
    assert torch.allclose(fit.position[0], beyond.position[0], atol=200.0)


def test_saturated_pixels_do_not_count():
    frame, position, photons = spread_out(30, 3)
    made = scene(frame, position, photons)
    ceiling = 150.0
    clipped = made._replace(images=made.images.clamp(max=ceiling - BACKGROUND))
    fits = [clipped.fit(), clipped.fit(ceiling=torch.full((4,), ceiling))]
    bias = [float((fit.photons / made.photons).mean() - 1) for fit in fits]
    assert bias[0] < -0.04 and abs(bias[1]) < 0.015


def test_no_step_makes_a_frame_less_likely():
    """Also where molecules leave their places: half of these are none."""
    random = np.random.default_rng(3)
    frame = np.repeat(np.arange(30), 4)
    position = np.column_stack((random.uniform(3500, 5500, (120, 2)), random.uniform(-500, 500, 120)))
    real = np.tile([True, True, False, False], 30)
    made = scene(frame[real], position[real], random.uniform(2000, 5000, real.sum()), drift_sd_nm=30.0)
    position = torch.from_numpy(position)
    start = InitialMolecules(
        torch.from_numpy(frame), position, torch.full((120,), 3000.0).double(), *on_planes(position)
    )
    costs, left = [], []
    for iterations in range(7):
        problem = MultiEmitterFit(PSF, NOISE, made.images, made.level, start, 30.0)
        left.append(int((~problem.fit(iterations).fitted).sum()))
        costs.append(problem._found.cost)
    assert all((after <= before + 1e-5 * before.abs()).all() for before, after in pairwise(costs))
    assert left[-1] > 20 and (costs[-1] < costs[0]).all()


def test_a_background_below_zero():
    """A median in the dark may be: the background is then as uncertain as where there is none."""
    made = scene([0], [[4600.0, 4600.0, 0.0]], [3000.0])
    made = made._replace(images=made.images + BACKGROUND + 1, level=torch.full_like(made.level, -1.0))
    fit = made.fit()
    assert fit.fitted.all() and torch.isfinite(fit.covariance).all()
    assert (fit.position - made.position).abs().max() < 60
    assert fit.excess.numpy() == pytest.approx(BACKGROUND + 1, abs=1.0)


def test_a_molecule_that_is_not_there_stays_as_it_was():
    made = scene([0], [[4600.0, 4600.0, 0.0]], [3000.0])
    position = torch.tensor([[4610.0, 4590.0, 20.0], [7000.0, 7000.0, 300.0]]).double()
    start = InitialMolecules(
        torch.tensor([0, 0]), position, torch.tensor([3000.0, 3000.0]).double(), *on_planes(position)
    )
    fit = made.fit(start=start)
    assert fit.fitted.tolist() == [True, False]
    assert torch.equal(fit.position[1], position[1]) and fit.photons[1] == 3000.0
    assert (fit.position[0] - made.position[0]).abs().max() < 60


@pytest.mark.parametrize("part", ["position", "photons", "mapped_px", "axes"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_molecule_without_numbers_does_no_harm(part, value):
    """It stays as it was, and the others are fitted as if it were not there."""
    position = [[4200.0, 4500.0, -350.0], [4500.0, 4300.0, 100.0], [6500.0, 6500.0, 0.0], [3000.0, 3000.0, 0.0]]
    made = scene([0, 0, 0, 1], position, [3000.0, 2000.0, 4000.0, 3000.0], drift_sd_nm=30.0)
    start = made.start()
    others = torch.tensor([0, 2, 3])
    without = made.fit(30.0, start=InitialMolecules(*(values[others] for values in start)))
    getattr(start, part)[1] = value
    fit = made.fit(30.0, start=start)
    assert fit.fitted.tolist() == [bool(without.fitted[0]), False, *without.fitted[1:].tolist()]
    assert torch.allclose(fit.position[others], without.position, atol=1e-6, rtol=0)
    assert torch.allclose(fit.covariance[others], without.covariance, rtol=1e-6)
    assert torch.equal(fit.suspect[others], without.suspect) and not fit.suspect[1]
    assert torch.equal(fit.position[1].isfinite(), start.position[1].isfinite())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_pixels_without_numbers_do_not_count(value):
    frame, position, photons = spread_out(2, 2)
    made = scene(frame, position, photons)
    images = made.images.clone()
    images[0, :2, 7:9] = value
    fit = made._replace(images=images).fit()
    assert fit.fitted.all() and pulls(fit, made).max() < 2
    images[0] = value
    fit, without = made._replace(images=images).fit(), made.fit()
    assert not fit.fitted[frame == 0].any()
    assert torch.allclose(fit.position[frame == 1], without.position[frame == 1], atol=0.01)


def test_frames_without_molecules():
    made = scene([1], [[4600.0, 4600.0, 0.0]], [3000.0], drift_sd_nm=30.0)
    fit = made.fit(30.0)
    assert fit.fitted.all() and (fit.position - made.position).abs().max() < 100
    assert torch.equal(fit.drift_nm[0], torch.zeros(4, 2).double())
    nobody = made.fit(30.0, start=InitialMolecules(*(values[:0] for values in made.start())))
    assert len(nobody.position) == 0 and not nobody.drift_nm.any()


def test_frames_do_not_see_each_other():
    """The same to rounding alone and among others, whatever happens there."""
    frame, position, photons = spread_out(4, 2, spacing_px=7)
    made = scene(frame, position, photons, drift_sd_nm=30.0)
    start = made.start()
    start.photons[-1] *= 30.0  # trouble in the last frame
    together = made.fit(30.0, start=start)
    first = frame == 0
    start = InitialMolecules(*(values[first] for values in start))
    alone = MultiEmitterFit(PSF, NOISE, made.images[:1], made.level, start, 30.0).fit()
    assert torch.allclose(alone.position, together.position[first], atol=1.0)


def test_molecules_that_are_not_adopted_stay_where_their_residuals_were_made():
    """Two fits of a frame whose drifts differ; the second molecule is adopted from the second fit."""
    made = scene([0, 0], [[2000, 4500, -300], [6500, 4300, 200]], [4000.0, 4000.0], drift_sd_nm=34.0)
    one, two = (MultiEmitterFit(PSF, NOISE, made.images, made.level, made.start(), sd) for sd in (0.0, 34.0))
    one.fit(), two.fit()
    both = torch.arange(2)
    before, other = one.residuals(both), two.residuals(both)
    assert (before.in_window_nm - other.in_window_nm).abs().max() > 5
    one.adopt(both[1:], two, both[1:])
    after = one.residuals(both)
    for name in ("position", "in_window_nm", "residual"):
        values = torch.stack((getattr(before, name)[0], getattr(other, name)[1]))
        assert torch.equal(getattr(after, name), values), name
