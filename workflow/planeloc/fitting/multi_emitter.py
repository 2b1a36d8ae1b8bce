"""Multi-emitter fit: all molecules of a frame and its inter-camera drift at once, maximum a posteriori.

The likelihood is that of shot and read noise (Huang et al. 2013, Nat. Methods 10, 653); the prior of the inter-camera
drift of planes 1… is normal about zero. `planeloc.fitting.frame_model` holds the model.

Fisher scoring with Levenberg's damping; a step that lowers the posterior of its frame is rejected. A molecule that
moves too far from its start is returned to it. If its frame is likelier then, it is held there; if it leaves even with
small steps, it is held where it is.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from planeloc.cameras.noise import PixelNoise
from planeloc.core.devices import in_large_groups
from planeloc.fitting import compiled_fit
from planeloc.fitting.drift_information import DriftInformation, drift_information
from planeloc.fitting.frame_model import drift_on_planes, in_window_nm
from planeloc.fitting.maximum import Maximum, Residuals
from planeloc.fitting.normal_equations import Unknowns
from planeloc.fitting.tensor_fit import TensorFit
from planeloc.fitting.windows import InitialMolecules, pixels_in_other
from planeloc.psf import PSF

_EXCESS_DEVIANCE = 1.3  # of a window over the median of the windows that are fitted together
_OUT_OF_SIGHT_PX = -1e5
_BEYOND_ANY_FIELD = 1e9  # nm, pixels or photons


class MoleculeFits(NamedTuple):
    """Molecules after the fit."""

    position: Tensor  # (n, 3) nm in the reference camera's frame
    photons: Tensor  # (n,)
    excess: Tensor  # (n, planes) photons per pixel beyond the given background
    covariance: Tensor  # (n, 4, 4) of x, y, z and photons
    goodness: Tensor  # (n,) deviance around the molecule over its expectation; see `goodness_of_fit`
    # (n,) bool: False, with the values of the start, for molecules that left it, are dark or explain too little
    fitted: Tensor
    suspect: Tensor  # (n,) bool: the window's residual is larger than others', as if a molecule had been missed
    at_rest: Tensor  # (n, 3) nm, what the position would change by if the inter-camera drift were 0
    drift_nm: Tensor  # (frames, planes, 2) inter-camera drift along the axes of the reference camera
    drift_known: DriftInformation  # with responses of molecules that were fitted; 0 for others

    def at(self, rows: Tensor) -> MoleculeFits:
        """Return some of the molecules, with the inter-camera drift of all frames."""
        known = self.drift_known
        known = known._replace(response=known.response[rows], variance=known.variance[rows])
        return MoleculeFits(*(values[rows] for values in self[:-2]), self.drift_nm, known)

    def replaced(self, rows: Tensor, others: MoleculeFits, frames: Tensor, partly: Tensor) -> MoleculeFits:
        """Return the fits with those of others in some rows, by number, and in the `frames` of these rows.

        Frames of which other rows are left, `partly`, say nothing of the drift: neither fit is that of its molecules.
        """
        values = (a.index_copy(0, rows, b) for a, b in zip(self[:-2], others[:-2], strict=True))
        own, new = self.drift_known, others.drift_known
        known = DriftInformation(
            *(
                a.index_copy(0, frames, b[frames]).index_fill(0, partly, 0.0)
                for a, b in zip(own[:2], new[:2], strict=True)
            ),
            *(a.index_copy(0, rows, b) for a, b in zip(own[2:], new[2:], strict=True)),
        )
        return MoleculeFits(*values, self.drift_nm.index_copy(0, frames, others.drift_nm[frames]), known)


class MultiEmitterFit:
    """Maximises the posterior of a `FrameModel`.

    Parameters
    ----------
    images : (frames, planes, rows, columns) photons above the background.
    background : (planes, rows, columns) photons, or (frames, planes, rows, columns).
    start : the molecules before the fit.
    drift_sd_nm : inter-camera drift of planes 1… along each axis, standard deviation of all or of each; 0: none.
    ceiling : (planes,) photons from which on a pixel is saturated and not used.
    expected_deviance : (planes, KNOTS) of a pixel, see `planeloc.cameras.expected_deviance`; None: 1, of bright ones.
    compiled : whether compiled code may run the fit, where there is some for the model and the device.

    Attributes
    ----------
    typical : deviance per degree of freedom of a window, the median of the last fit or what was given to it; None
        before, and where no window has enough pixels.
    """

    def __init__(
        self,
        psf: PSF,
        noise: PixelNoise,
        images: Tensor,
        background: Tensor,
        start: InitialMolecules,
        drift_sd_nm: float | tuple[float, ...],
        ceiling: Tensor | None = None,
        expected_deviance: Tensor | None = None,
        compiled: bool = True,
    ) -> None:
        self._given, self._usable, self._pixel_nm = start, _usable(start), psf.pixel_size_nm
        self._start = _out_of_sight(start, ~self._usable)
        self._problem = psf, noise, images, background, self._start, drift_sd_nm, ceiling, expected_deviance
        # A GPU fits large groups, whose frames have backgrounds of their own, in PyTorch.
        small = not in_large_groups(images.device) and background.dim() == 3
        self._compiled = compiled and small and compiled_fit.is_available(psf, images.device)
        self._found: Maximum | None = None
        self._place: Tensor | None = None  # of the molecules in their windows
        self.typical: Tensor | None = None

    def fit(self, iterations: int = 6, typical: Tensor | None = None) -> MoleculeFits:
        """Iterate until nearly all steps are small.

        With `typical` of another fit, windows are compared with those of that fit: the few windows of a fit that is
        repeated do not tell what is usual.
        """
        if self._compiled:
            self._found = compiled_fit.fit_frames(*self._problem, iterations)
        else:
            self._found = TensorFit(*self._problem, self._usable).fit(iterations)
        self._place = None
        return self._result(self._found, typical)

    def residuals(self, rows: Tensor) -> Residuals:
        """What the last fit leaves in some windows."""
        found, start = self._found, self._start
        position, place = found.at.molecules[:, :3], self._in_window_nm()
        return Residuals(start.frame, position, place, start.axes, found.residual, found.weight).at(rows)

    def _in_window_nm(self) -> Tensor:
        """(n, planes, 2) Places of the molecules in their windows, each with the drift that it was fitted with."""
        if self._place is None:
            found, start = self._found, self._start
            self._place = in_window_nm(start, found.at, (start.mapped_px - found.corner) * self._pixel_nm)
        return self._place

    def excess_over(self, rows: Tensor, other: MultiEmitterFit, others: Tensor) -> Tensor:
        """By how much the squared residuals of some rows (n,) exceed those that another fit leaves in some of its rows.

        In units of the variance, over the pixels that are in both windows.
        """
        own, there = self._found, other._found
        place, known = pixels_in_other(own.corner[rows], there.corner[others], round(own.residual.shape[2] ** 0.5))
        residual, weight = own.residual[rows], own.weight[rows]
        before, its_weight = (values[others].gather(2, place) for values in (there.residual, there.weight))
        both = known & (weight > 0) & (its_weight > 0)
        variance = torch.where(both, (1 / weight + 1 / its_weight) / 2, torch.inf)
        return ((residual.square() - before.square()) / variance).sum(dim=(1, 2), dtype=torch.float64)

    def frames_of(self, rows: Tensor) -> Tensor:
        """Frames of some molecules, by number."""
        return self._start.frame[rows]

    def adopt(self, rows: Tensor, other: MultiEmitterFit, others: Tensor) -> None:
        """Take some rows, by number, and their frames' inter-camera drift from another fit of the same images."""
        self._place = self._in_window_nm().index_copy(0, rows, other._in_window_nm()[others])
        own, new, frames = self._found, other._found, self.frames_of(rows)
        drift = own.at.drift.index_copy(0, frames, new.at.drift[frames])
        molecules = own.at.molecules.index_copy(0, rows, new.at.molecules[others])
        names = ("corner", "residual", "weight")
        values = {name: getattr(own, name).index_copy(0, rows, getattr(new, name)[others]) for name in names}
        self._found = own._replace(at=Unknowns(molecules, drift), **values)
        starts = zip(self._start, other._start, strict=True)
        self._start = InitialMolecules(*(old.index_copy(0, rows, then[others]) for old, then in starts))

    def _result(self, found: Maximum, typical: Tensor | None) -> MoleculeFits:
        """A window with a larger residual than others has a molecule too few."""
        molecules = found.at.molecules
        freedom = found.used_pixels - molecules.shape[1]
        seen = freedom > 0
        reduced = found.deviance / freedom.clamp(min=1)
        self.typical = reduced[seen].median() if typical is None and seen.any() else typical
        explained = seen if self.typical is None else seen & (reduced <= _EXCESS_DEVIANCE * self.typical)
        scale = reduced.clamp(min=1)
        covariance = found.covariance[:, :4, :4] * scale[:, None, None]
        variance = torch.diagonal(covariance, dim1=1, dim2=2)
        known = (variance > 0).all(dim=1) & covariance.isfinite().flatten(1).all(dim=1)
        fitted = self._usable & seen & ~found.held & explained & known
        of_drift = self._drift_information(found, fitted, scale)
        drift = found.at.drift[self._given.frame]
        return MoleculeFits(
            torch.where(fitted[:, None], molecules[:, :3], self._given.position),
            torch.where(fitted, molecules[:, 3], self._given.photons),
            molecules[:, 4:],
            covariance,
            found.goodness,
            fitted,
            seen & ~explained,
            -(of_drift.response @ drift[..., None])[..., 0],
            drift_on_planes(found.at.drift),
            of_drift,
        )

    def _drift_information(self, found: Maximum, fitted: Tensor, scale: Tensor) -> DriftInformation:
        """Molecules that were not fitted say nothing of the drift, and do not follow it."""
        variance = torch.diagonal(found.of_known_drift, dim1=1, dim2=2)[:, :3] * scale[:, None]
        known = drift_information(
            self._given.frame, found.pairs, found.likelihood, found.at.drift, fitted | ~self._usable, variance, scale
        )
        return known._replace(response=torch.where(fitted[:, None, None], known.response, 0.0))


def _usable(start: InitialMolecules) -> Tensor:
    """(n,) Molecules whose numbers are finite and not beyond any field, and whose photons are positive."""
    numbers = (start.position, start.mapped_px, start.axes)
    near = [(values.abs() < _BEYOND_ANY_FIELD).flatten(1).all(dim=1) for values in numbers]  # false for NaN
    return torch.stack(near).all(dim=0) & (start.photons > 0) & (start.photons < _BEYOND_ANY_FIELD)


def _out_of_sight(start: InitialMolecules, rows: Tensor) -> InitialMolecules:
    """Put some molecules (n,) where no camera looks, so that they change nothing."""
    return InitialMolecules(
        start.frame,
        start.position.masked_fill(rows[:, None], 0.0),
        start.photons.masked_fill(rows, 1.0),
        start.mapped_px.masked_fill(rows[:, None, None], _OUT_OF_SIGHT_PX),
        start.axes.masked_fill(rows[:, None, None, None], 0.0),
    )
