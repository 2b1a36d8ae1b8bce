"""Point spread functions (PSF) on all planes.

`PSF` is the interface: expected photons of `Emitters` on every pixel and plane, and their derivatives. `GaussianPSF`
is the paper's formula, `SplinePSF` is measured on beads. `fisher_information` gives Cramér–Rao bounds; `io` reads and
writes psf.h5.
"""

from planeloc.psf.base import PSF, Emitters
from planeloc.psf.gaussian import GaussianPSF, paper_psf
from planeloc.psf.io import psf_from_record, read_psf, write_psf
from planeloc.psf.spline import SplinePSF

__all__ = [
    "PSF",
    "Emitters",
    "GaussianPSF",
    "SplinePSF",
    "paper_psf",
    "psf_from_record",
    "read_psf",
    "write_psf",
]
