"""What frames say of the drift: the same as dense elimination, and as fits with a drift that is given."""

import numpy as np
import pytest
import torch

import planeloc.fitting.drift_information as module
from planeloc.fitting.drift_information import Likelihood, drift_information
from planeloc.fitting.multi_emitter import MultiEmitterFit
from planeloc.fitting.normal_equations import covariance_of_molecules
from planeloc.fitting.windows import OverlappingPairs
from support.molecule_frames import NOISE, PIXEL, PSF, scene

P, Q = 8, 6


def equations(overlap):
    """A frame of three molecules, of which the first two overlap, and one of a single molecule: random images."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(4, 4, P, 40, generator=generator).double()  # molecule, plane, unknown, pixel
    for plane in range(4):  # the background of a plane is seen there only
        pixels[:, plane, 4:] *= torch.eye(4)[plane][None, :, None]
    if overlap:
        pixels[1] = 0.6 * pixels[1] + 0.4 * pixels[0]
    drift = torch.zeros(4, 4, Q, 40).double()
    for plane in range(1, 4):
        drift[:, plane, 2 * plane - 2 : 2 * plane] = pixels[:, plane, :2]
    own = torch.einsum("mpik,mpjk->mij", pixels, pixels) + 1e-3 * torch.eye(P)
    between = torch.einsum("pik,pjk->ij", pixels[0], pixels[1])[None]
    moved = drift.clone()
    moved[0], moved[1] = drift[0] + drift[1], drift[0] + drift[1]  # drift moves the neighbour, too
    if not overlap:
        between, moved = between[:0], drift
    with_drift = torch.einsum("mpik,mpjk->mij", pixels, moved)
    pairs = OverlappingPairs(torch.zeros(len(between)).long(), torch.ones(len(between)).long())
    residual = torch.randn(4, 4, 40, generator=generator).double()
    residual[1] = residual[0] if overlap else residual[1]
    gradient = torch.einsum("mpik,mpk->mi", pixels, residual)
    slope = torch.einsum("mpik,mpk->mi", drift, residual)
    return Likelihood(own, between, with_drift, gradient, slope), pairs, pixels, drift


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize(("tolerance", "error"), [(1e-9, 1e-6), (None, 0.05)])
def test_elimination_is_that_of_the_dense_equations(overlap, tolerance, error, monkeypatch):
    """Exactly, if it may iterate long enough, and nearly in the number of steps that it takes."""
    if tolerance:
        monkeypatch.setattr(module, "_TOLERANCE", tolerance)
        monkeypatch.setattr(module, "_ITERATIONS", 100)
    known, pairs, _, moved = equations(overlap)
    frame, drift = torch.tensor([0, 0, 0, 1]), torch.randn(2, Q, generator=torch.Generator().manual_seed(2)).double()
    found = drift_information(
        frame, pairs, known, drift, torch.ones(4).bool(), torch.ones(4, 3).double(), torch.ones(4)
    )
    K = torch.block_diag(*known.own[:3])
    if overlap:
        K[:P, P : 2 * P], K[P : 2 * P, :P] = known.between[0], known.between[0].T
    C, g = known.with_drift[:3].reshape(3 * P, Q), known.gradient[:3].reshape(3 * P)
    together = moved[:2].sum(dim=0)
    groups = [together, moved[2]] if overlap else list(moved[:3])
    S = sum(torch.einsum("pik,pjk->ij", one, one) for one in groups)
    J = S - C.T @ torch.linalg.solve(K, C)
    h = J @ drift[0] + known.drift_gradient[:3].sum(dim=0) - C.T @ torch.linalg.solve(K, g)
    assert torch.allclose(found.precision[0], J, rtol=error, atol=error * J.abs().max().item())
    assert torch.allclose(found.moment[0], h, rtol=error, atol=error * h.abs().max().item())
    response = -torch.linalg.solve(K, C).reshape(3, P, Q)[:, :3]
    assert torch.allclose(found.response[:3], response, atol=error * response.abs().max().item())


def test_doubtful_molecules_and_their_neighbours_say_nothing():
    known, pairs, *_ = equations(overlap=True)
    frame, drift, trusted = (
        torch.tensor([0, 0, 0, 1]),
        torch.zeros(2, Q).double(),
        torch.tensor([True, False, True, True]),
    )
    found = drift_information(frame, pairs, known, drift, trusted, torch.ones(4, 3).double(), torch.ones(4))
    third = Likelihood(known.own[2:3], known.between[:0], *(values[2:3] for values in known[2:]))
    none = OverlappingPairs(pairs.first[:0], pairs.second[:0])
    alone = drift_information(frame[:1], none, third, drift[:1], trusted[:1], torch.ones(1, 3).double(), torch.ones(1))
    assert torch.allclose(found.precision[0], alone.precision[0])
    assert torch.allclose(found.moment[0], alone.moment[0])


@pytest.mark.parametrize("overlap", [False, True])
def test_what_molecules_say_counts_as_little_as_their_variance_is_large(overlap):
    """The same as with all derivatives of the likelihood divided by the scale."""
    known, pairs, *_ = equations(overlap)
    drift = torch.randn(2, Q, generator=torch.Generator().manual_seed(2)).double()
    handed_on = torch.tensor([0, 0, 0, 1]), pairs
    trusted = torch.ones(4).bool(), torch.ones(4, 3).double()
    found, plain = (
        drift_information(*handed_on, known, drift, *trusted, torch.tensor([scale, scale, scale, 1.0]).double())
        for scale in (2.5, 1.0)
    )
    weaker = Likelihood(known.own / 2.5, known.between / 2.5, *(values / 2.5 for values in known[2:]))
    expected = drift_information(*handed_on, weaker, drift, *trusted, torch.ones(4).double())
    assert torch.allclose(found.precision[0], expected.precision[0])
    assert torch.allclose(found.moment[0], expected.moment[0])
    assert torch.equal(found.precision[1], plain.precision[1])
    assert torch.equal(found.response, plain.response)


def test_a_model_that_explains_less_says_less_of_the_drift():
    """Images whose noise is twice what the model expects: precision and variances agree."""
    position = [[4600, 4500, -300], [2000, 2400, 100], [6800, 2300, 500], [4600, 4600, -500]]
    made = scene([0, 0, 0, 1], position, [5000.0] * 4)
    noise = torch.randn(made.images.shape, generator=torch.Generator().manual_seed(4))
    rough = made._replace(images=made.images + 6 * noise)
    calm, loud = (each.fit(drift_sd_nm=34.0) for each in (made, rough))
    assert calm.fitted.all() and loud.fitted.all()
    more = (loud.drift_known.variance / calm.drift_known.variance).mean()
    less = (
        calm.drift_known.precision.diagonal(dim1=1, dim2=2).sum(-1)
        / loud.drift_known.precision.diagonal(dim1=1, dim2=2).sum(-1)
    ).mean()
    assert more > 1.3
    assert less == pytest.approx(more.item(), rel=0.15)


@pytest.mark.parametrize("far_nm", [10.0, 100.0])
def test_molecules_follow_as_if_they_were_fitted_again(far_nm):
    """A drift three times as large as the prior of the fit, refitted with that drift in double precision."""
    position = [[4600, 4500, -300], [4900, 5300, 200], [2000, 2400, 100], [6800, 2300, 500], [4600, 4600, -500]]
    made = scene([0, 0, 0, 0, 1], position, [3000.0, 4000.0, 5000.0, 3000.0, 3500.0])
    images, level, start = made.images.double(), made.level.double(), made.start()
    fits = MultiEmitterFit(PSF, NOISE, images, level, start, 34.0).fit(20)
    random = np.random.default_rng(1)
    towards = torch.from_numpy(random.normal(0, 1, (2, 3, 2)))
    given = fits.drift_nm.clone()
    given[:, 1:] += far_nm * towards / towards.norm(dim=(1, 2), keepdim=True)
    moved = start.mapped_px + (start.axes @ given[start.frame][..., None])[..., 0] / PIXEL
    again = MultiEmitterFit(PSF, NOISE, images, level, start._replace(mapped_px=moved), 0.0).fit(20)
    shift = (given - fits.drift_nm)[:, 1:].flatten(1)[start.frame]
    expected = fits.position + (fits.drift_known.response @ shift[..., None])[..., 0]
    deviation = fits.drift_known.variance.sqrt()
    assert fits.fitted.all()
    assert again.fitted.all()
    error = ((expected - again.position) / deviation).abs()
    assert error.max() < (0.1 if far_nm < 50 else 1.5)
    if far_nm < 50:
        now = torch.diagonal(again.covariance, dim1=1, dim2=2)[:, :3].sqrt()
        assert torch.allclose(deviation, now, rtol=0.1)


def test_where_the_covariance_has_no_root_nothing_is_known():
    """Two overlapping molecules, of which the information on one is indefinite: it must not look precise."""
    sound = 4 * torch.eye(5).double()
    wrong = sound.clone()
    wrong[0, 1] = wrong[1, 0] = 8
    pairs = OverlappingPairs(torch.tensor([0]), torch.tensor([1]))
    between, drift = torch.zeros(1, 5, 5).double(), torch.zeros(2, 5, 2).double()
    frame, own = torch.zeros(2).long(), torch.stack((wrong, sound))
    both, alone = covariance_of_molecules(frame, pairs, own, between, drift, torch.eye(2).double()[None])
    assert both[0].isnan().any() and alone[0].isnan().all()
    assert torch.allclose(alone[1], torch.eye(5).double() / 4)
