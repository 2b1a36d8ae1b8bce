"""What a point of light looks like on every plane: the models, one interface to them, and what an image can tell.

`PSF` is what every stage asks: expected photons on every pixel and plane, and their derivatives. Two models stand
behind it: `GaussianPSF`, the paper's formula, and `SplinePSF`, measured on beads. `information` says how well a
position can be known from such an image, `drift_information` how well when the planes have drifted; `file` keeps a
model on disk.
"""

from planeloc.psf.base import PSF
from planeloc.psf.gaussian import GaussianPSF, paper_psf
from planeloc.psf.io import psf_from_record, read_psf, write_psf
from planeloc.psf.spline import SplinePSF

__all__ = [
    "PSF",
    "GaussianPSF",
    "SplinePSF",
    "paper_psf",
    "psf_from_record",
    "read_psf",
    "write_psf",
]
