"""The files that a localization needs, read and checked against each other."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

from planeloc.core.errors import PlanelocError
from planeloc.movie.store import Movie
from planeloc.networks.compatibility import worst_mistaken_depth
from planeloc.networks.record import NetworkRecord, load_network
from planeloc.psf import PSF, read_psf
from planeloc.transforms.camera_transform import Registration

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Paths:
    """Files that a localization reads."""

    movie: Path
    registration: Path
    psf: Path
    weights: Path


@dataclass(frozen=True)
class Inputs:
    """Contents of the files."""

    paths: Paths
    movie: Movie
    registration: Registration
    psf: PSF
    record: NetworkRecord  # of the network

    @classmethod
    def read(cls, paths: Paths) -> Inputs:
        """Read the files.

        Raises
        ------
        PlanelocError : a file cannot be read, or the files disagree.
        """
        movie, psf = Movie.open(paths.movie), read_psf(paths.psf)
        _, record = load_network(paths.weights)
        inputs = cls(paths, movie, Registration.read(paths.registration), psf, record)
        inputs._check_planes()
        inputs._check_field()
        inputs._check_pixel_size()
        inputs._compare_psf()
        return inputs

    @property
    def reference_psf(self) -> PSF:
        """The PSF in the reference camera's frame."""
        return self.psf.seen_through(self.registration.matrices)

    def _check_planes(self) -> None:
        paths = self.paths
        planes = {
            paths.movie: self.movie.planes,
            paths.registration: self.registration.planes,
            paths.psf: self.psf.planes,
            paths.weights: self.record.architecture.planes,
        }
        if len(set(planes.values())) > 1:
            listed = ", ".join(f"{path} has {count}" for path, count in planes.items())
            raise PlanelocError(f"number of planes differs: {listed}; calibrate and train for the movie's microscope")

    def _check_field(self) -> None:
        field, registered = (self.movie.height, self.movie.width), self.registration.field_px
        if registered and registered != field:
            found, has = ("×".join(str(n) for n in reversed(size)) for size in (registered, field))
            raise PlanelocError(
                f"{self.paths.registration}: found from images of {found} pixels and the movie has {has}; register with"
                " beads recorded on the same part of the sensor"
            )

    def _check_pixel_size(self) -> None:
        of_psf, of_movie = self.psf.pixel_size_nm, self.movie.microscope.pixel_size_nm
        if not math.isclose(of_psf, of_movie, rel_tol=1e-3):
            raise PlanelocError(
                f"{self.paths.psf}: pixels of {of_psf:g} nm and the movie has {of_movie:g} nm; use one microscope file"
                " for both"
            )

    def _compare_psf(self) -> None:
        worst = worst_mistaken_depth(self.record, self.reference_psf)
        if worst > self.record.scene.voxel_depth_nm:
            _LOG.warning(
                f"{self.paths.weights} was trained for another PSF: depths will be wrong by up to {worst:.0f} nm;"
                " see `planeloc train`"
            )
