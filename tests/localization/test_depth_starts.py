"""The fit of molecules that some camera does not see, from starts that are far off."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from planeloc.fitting.drift_information import DriftInformation
from planeloc.fitting.multi_emitter import MoleculeFits, MultiEmitterFit
from planeloc.fitting.windows import InitialMolecules
from planeloc.localization.depth_starts import DepthStarts, _State
from planeloc.localization.detections import Detections
from planeloc.transforms.camera_transform import Affine, Registration
from support.molecule_frames import NOISE, PIXEL, PSF, on_planes, scene

SIDE = 48


def cameras(*shifts_px):
    """Cameras shifted along x, the third one mirrored."""
    maps = [Affine(np.eye(2), np.array([shift, 0.0])) for shift in (0.0, *shifts_px)]
    maps[2] = Affine(np.diag([-1.0, 1.0]), np.array([SIDE + shifts_px[1], 0.0]))
    return Registration(tuple(maps), (0.0,) * 4)


def found_at(position, photons):
    rows = len(position)
    ones = torch.ones(rows).double()
    return Detections(torch.arange(rows), position, ones[:, None].expand(-1, 3), ones, photons, ones)


def fitted(made, start, registration, starts=True):
    """Fits of one molecule a frame from `start`, with or without other starts."""

    def fit(found, typical=None):
        mapped = on_planes(found.position, registration.transforms)
        begin = InitialMolecules(found.frame, found.position, found.photons, *mapped)
        problem = MultiEmitterFit(PSF, NOISE, made.images, made.level, begin, 0.0)
        return problem, problem.fit(typical=typical)

    context = SimpleNamespace(
        psf=PSF,
        registration=registration,
        field_px=(SIDE, SIDE),
        device=torch.device("cpu"),
        record=SimpleNamespace(scene=SimpleNamespace(depth_range_nm=(-800.0, 800.0))),
    )
    problem, fits = fit(start)
    return DepthStarts(context)(problem, fits, start, fit) if starts else fits


def at_right_edge(count, registration, depths, beyond_px=2.0):
    """Molecules beyond the right edge of the cameras that are shifted by 5 px."""
    random = np.random.default_rng(3)
    x = SIDE - 5 + beyond_px + random.uniform(-0.5, 0.5, count)
    position = np.column_stack((x * PIXEL, random.uniform(15, 33, count) * PIXEL, random.uniform(*depths, count)))
    return scene(np.arange(count), position, np.full(count, 4000.0), SIDE, maps=registration.transforms)


def test_molecules_beyond_one_camera_are_found_from_a_wrong_depth_and_place():
    registration = cameras(0.0, 0.0, 5.0)
    made = at_right_edge(60, registration, (0.0, 600.0))
    wrong = made.position + torch.tensor([-150.0, 60.0, 0.0])
    wrong[:, 2] = -500.0
    start = found_at(wrong, made.photons / 3)
    alone, several = (fitted(made, start, registration, starts) for starts in (False, True))
    away = (several.position - made.position).abs()
    assert ((alone.position - made.position)[:, 2].abs() > 300).float().mean() > 0.9
    assert several.fitted.all() and (away[:, 2] < 150).all()
    sd = torch.diagonal(several.covariance, dim1=1, dim2=2)[:, :3].sqrt()
    normalised = ((several.position - made.position) / sd).square().mean(dim=0).sqrt()
    assert normalised.numpy() == pytest.approx(1.0, abs=0.25)


def test_what_all_cameras_see_is_not_fitted_again(monkeypatch):
    monkeypatch.setattr(DepthStarts, "_starts", lambda *_: pytest.fail("other starts were looked for"))
    registration = cameras(0.0, 0.0, 5.0)
    made = at_right_edge(5, registration, (0.0, 600.0), beyond_px=-8.0)
    start = found_at(made.position + 20.0, made.photons)
    plain, again = (fitted(made, start, registration, starts) for starts in (False, True))
    assert torch.allclose(plain.position, again.position) and torch.allclose(plain.covariance, again.covariance)


def test_a_depth_that_one_plane_shows_twice_is_not_told():
    """Only the second camera, in focus at −200 nm, sees them: −350 nm looks as −50 nm."""
    registration = cameras(40.0, 60.0, 40.0)
    turned = Registration(tuple(registration.transforms[n] for n in (1, 0, 2, 3)), registration.residual_nm)
    made = at_right_edge(20, turned, (-352.0, -348.0), beyond_px=0.0)
    fits = fitted(made, found_at(made.position + 10.0, made.photons), turned)
    assert torch.isinf(fits.covariance[:, 2, 2]).float().mean() > 0.9
    assert fits.covariance[:, :2, :2].isfinite().all()


@pytest.mark.parametrize("compiled", [True, False])
def test_pixels_beyond_a_sensor_take_no_part(compiled):
    """Columns that a camera lacks are as good as columns that are not finite."""
    registration = cameras(0.0, 0.0, 5.0)
    made = at_right_edge(10, registration, (-600.0, 600.0), beyond_px=-1.0)
    whole = Registration((*registration.transforms[:3], Affine.identity()), (0.0,) * 4)
    images = made.images.clone()
    images[:, 3] = made.images[:, 3].roll(-5, dims=2)  # as a camera that is not shifted, and whose last columns failed
    images[:, 3, :, -5:] = torch.nan
    fits = []
    for pixels, maps in ((made.images, registration), (images, whole)):
        begin = InitialMolecules(made.frame, made.position, made.photons, *on_planes(made.position, maps.transforms))
        fits.append(MultiEmitterFit(PSF, NOISE, pixels, made.level, begin, 0.0, compiled=compiled).fit())
    assert fits[0].fitted.all()
    assert fits[0].position.numpy() == pytest.approx(fits[1].position.numpy(), abs=0.05)
    assert fits[0].covariance.numpy() == pytest.approx(fits[1].covariance.numpy(), rel=0.01, abs=1.0)


class Heights:
    """A fit that stays at the depths it starts from; the squared residual is the distance from the truth."""

    typical = None
    TRUTH = torch.tensor([600.0, -600.0]).double()

    def __init__(self, z):
        self.z = z

    def excess_over(self, rows, other, others):
        return (self.z - self.TRUTH)[rows].abs() - (other.z - self.TRUTH)[others].abs()

    def adopt(self, rows, other, others):
        self.z = self.z.index_copy(0, rows, other.z[others])

    def frames_of(self, rows):
        return torch.zeros_like(rows)

    @classmethod
    def fits(cls, found):
        n = len(found.frame)
        known = DriftInformation(*(torch.zeros(size).double() for size in ((1, 2, 2), (1, 2), (n, 3, 2), (n, 3))))
        eye, yes = torch.eye(4).double().expand(n, 4, 4), torch.ones(n).bool()
        zero = torch.zeros(n, 3).double()
        fits = MoleculeFits(found.position, found.photons, zero[:, :2], eye, zero[:, 0], yes, ~yes, zero, zero, known)
        known = known._replace(precision=torch.full((1, 2, 2), 7.0).double() + found.position[0, 2])
        return cls(found.position[:, 2]), fits._replace(drift_nm=torch.zeros(1, 2, 2).double(), drift_known=known)


def test_a_later_start_of_one_molecule_leaves_another_of_its_frame_where_an_earlier_one_put_it():
    wrong = torch.tensor([[0.0, 0, -500], [0, 0, 500]]).double()
    found = found_at(wrong, torch.full((2,), 1000.0).double())._replace(frame=torch.zeros(2).long())
    problem, fits = Heights.fits(found)
    state = _State.first(fits, torch.arange(2))
    for molecule, z in ((0, 600.0), (1, -600.0)):
        position = torch.tensor([[0.0, 0.0, z]]).double()
        state = state.after(
            problem, found, lambda start, _: Heights.fits(start), torch.tensor([molecule]), position, fits.photons[:1]
        )
    assert state.fits.position[:, 2].tolist() == [600.0, -600.0]
    assert state.excess.tolist() == [-1100.0, -1100.0]
    assert state.judged(torch.zeros(2).bool(), 1e4).covariance.isfinite().all()


def test_a_frame_is_not_adopted_where_a_molecule_that_began_at_its_best_fit_loses():
    right = torch.tensor([[0.0, 0, 600], [0, 0, 500]]).double()
    found = found_at(right, torch.full((2,), 1000.0).double())._replace(frame=torch.zeros(2).long())
    problem, fits = Heights.fits(found)

    def worse(start, _):
        return Heights.fits(start._replace(position=start.position - torch.tensor([[0.0, 0, 300], [0, 0, 0]])))

    position = torch.tensor([[0.0, 0.0, -600.0]]).double()
    state = _State.first(fits, torch.arange(2))
    state = state.after(problem, found, worse, torch.tensor([1]), position, fits.photons[:1])
    assert state.fits.position[:, 2].tolist() == problem.z.tolist() == [600.0, -600.0]
    assert state.excess.tolist() == [0.0, -1100.0]


@pytest.mark.parametrize(("other_z", "precision"), [(-600.0, 607.0), (900.0, 0.0)])
def test_a_frame_of_which_some_molecules_are_adopted_says_nothing_of_the_drift(other_z, precision):
    wrong = torch.tensor([[0.0, 0, -500], [0, 0, 500]]).double()
    found = found_at(wrong, torch.full((2,), 1000.0).double())._replace(frame=torch.zeros(2).long())
    problem, fits = Heights.fits(found)
    assert (fits.drift_known.precision == -493).all()
    position = torch.tensor([[0.0, 0.0, 600.0], [0.0, 0.0, other_z]]).double()
    both = torch.arange(2)
    state = _State.first(fits, both)
    state = state.after(problem, found, lambda start, _: Heights.fits(start), both, position, fits.photons)
    assert state.fits.position[:, 2].tolist() == [600.0, -600.0 if precision else 500.0]
    assert (state.fits.drift_known.precision == precision).all()


def test_a_window_that_no_depth_explains_is_a_suspect_however_few_are_fitted_again():
    """A second molecule near the edge was not detected: the median of that one window alone would explain it."""
    registration = cameras(0.0, 0.0, 5.0)
    random = np.random.default_rng(0)
    inside = np.column_stack((random.uniform(18, 30, (19, 2)) * PIXEL, random.uniform(-400, 400, 19)))
    edge = [[(SIDE - 4) * PIXEL, 24 * PIXEL, 200.0], [(SIDE - 7) * PIXEL, 26 * PIXEL, -300.0]]
    made = scene(
        [*range(19), 19, 19], np.vstack((inside, edge)), np.full(21, 4000.0), SIDE, maps=registration.transforms
    )
    for z in (200.0, -500.0):
        position = made.position[:20].clone()
        position[-1, 2] = z
        fits = fitted(made, found_at(position, made.photons[:20]), registration)
        assert fits.fitted[:-1].all()
        assert fits.suspect[-1] and not fits.fitted[-1]
