"""The files that a localization needs, read and checked against each other."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

from planeloc.core.errors import PlanelocError
from planeloc.movie.store import Movie
from planeloc.networks.training_match import worst_mistaken_depth
from planeloc.networks.weight_files import NetworkRecord, load_network
from planeloc.psf import PSF, read_psf
from planeloc.transforms.camera_transform import Registration

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """Contents of the files."""

    paths: dict[str, Path]  # movie, registration, psf, weights
    movie: Movie
    registration: Registration
    psf: PSF
    record: NetworkRecord  # of the network

    @classmethod
    def read(cls, movie: Path, registration: Path, psf: Path, weights: Path) -> Inputs:
        """Read the files.

        Raises
        ------
        PlanelocError : a file cannot be read, or the files disagree.
        """
        paths = {"movie": movie, "registration": registration, "psf": psf, "weights": weights}
        _, record = load_network(weights)
        inputs = cls(paths, Movie.open(movie), Registration.read(registration), read_psf(psf), record)
        inputs._check()
        worst = worst_mistaken_depth(inputs.record, inputs.reference_psf)
        if worst > inputs.record.scene.voxel_depth_nm:
            _LOG.warning(
                f"{weights} was trained for another PSF: depths will be wrong by up to {worst:.0f} nm;"
                " see `planeloc train`"
            )
        return inputs

    @property
    def reference_psf(self) -> PSF:
        """The PSF in the reference camera's frame."""
        return self.psf.in_reference_frame(self.registration.matrices)

    def _check(self) -> None:
        """All files must agree in planes, field and pixel size."""
        paths, movie, psf = self.paths, self.movie, self.psf
        planes = (movie.planes, self.registration.planes, psf.planes, self.record.architecture.planes)
        if len(set(planes)) > 1:
            listed = ", ".join(f"{path} has {n}" for path, n in zip(paths.values(), planes, strict=True))
            raise PlanelocError(f"number of planes differs: {listed}; calibrate and train for the movie's microscope")
        field, registered = (movie.height, movie.width), self.registration.field_px
        if registered and registered != field:
            found, has = ("×".join(str(n) for n in reversed(size)) for size in (registered, field))
            raise PlanelocError(
                f"{paths['registration']}: found from images of {found} pixels and the movie has {has}; register with"
                " beads recorded on the same part of the sensor"
            )
        if not math.isclose(psf.pixel_size_nm, movie.microscope.pixel_size_nm, rel_tol=1e-3):
            raise PlanelocError(
                f"{paths['psf']}: pixels of {psf.pixel_size_nm:g} nm, but {movie.microscope.pixel_size_nm:g} nm in the"
                " movie; use one microscope file for both"
            )
