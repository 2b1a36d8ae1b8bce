"""Conversion of camera counts to photons, and simulated exposure.

photons = (counts − offset) · electrons_per_count / em_gain / quantum_efficiency.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from planeloc.core.settings import setting

if TYPE_CHECKING:
    from torch import Tensor

_MOST_COUNTS = 65535  # of 16 bits


def camera_called(name: str) -> str:
    """A camera in a sentence by its name: "camera left", and "camera 2" whether its name is "2" or "camera 2"."""
    return name if name.casefold().startswith("camera") else f"camera {name}"


@dataclass(frozen=True)
class Camera:
    """One camera, as in its data sheet or from a photon transfer measurement."""

    name: str = setting("camera", "Name used in messages and figures.")
    offset_counts: float = setting(100.0, "Counts that the camera reads in the dark.", unit="counts", minimum=0)
    electrons_per_count: float = setting(1.0, "Electrons per count, before EM gain.", minimum=1e-6)
    em_gain: float = setting(1.0, "Electron-multiplying gain; 1 for CCD and sCMOS.", minimum=1)
    quantum_efficiency: float = setting(1.0, "Photoelectrons per photon.", minimum=1e-3, maximum=1)
    read_noise_electrons: float = setting(
        0.0, "Rms read noise at the output, after the EM gain (not divided by it).", unit="electrons", minimum=0
    )
    saturation_counts: float = setting(65535.0, "Counts at which a pixel is saturated.", unit="counts", minimum=1)

    @property
    def photons_per_count(self) -> float:
        """Photons per count."""
        return self.electrons_per_count / self.em_gain / self.quantum_efficiency

    @property
    def excess_noise(self) -> float:
        """F² = 2 − 1/gain, by which EM gain raises the variance of the shot noise (Robbins and Hadwen 2003)."""
        return 2.0 - 1.0 / self.em_gain

    def photons(self, counts: ArrayLike | Tensor) -> NDArray[np.float32] | Tensor:
        """Convert counts of any shape to photons (float32), which read noise can make negative.

        A tensor stays one, on its device; all else becomes an array.
        """
        counts = counts.float() if hasattr(counts, "float") else np.asarray(counts, dtype=np.float32)
        offset, factor = (float(np.float32(value)) for value in (self.offset_counts, self.photons_per_count))
        return (counts - offset) * factor

    @property
    def saturated_photons(self) -> float:
        """Photons from which on a pixel is saturated: half a count lower, beyond the rounding of counts to photons."""
        return float(self.photons(min(self.saturation_counts, _MOST_COUNTS) - 0.5))

    def read_noise_photons(self) -> float:
        """Read noise in photons: divided by EM gain and quantum efficiency."""
        return self.read_noise_electrons / self.em_gain / self.quantum_efficiency

    def expose(self, photons: ArrayLike, random: np.random.Generator) -> NDArray[np.uint16]:
        """Simulate the counts that the camera records for expected photons.

        Shot noise is Poisson in photoelectrons; EM multiplication is a gamma distribution with the number of electrons
        as its shape (the high-gain limit of the multiplication cascade); read noise is Gaussian.
        """
        electrons = random.poisson(np.asarray(photons, dtype=np.float64) * self.quantum_efficiency).astype(np.float64)
        if self.em_gain > 1:
            electrons = random.standard_gamma(electrons) * self.em_gain
        electrons += random.normal(0.0, self.read_noise_electrons, electrons.shape)
        counts = np.rint(electrons / self.electrons_per_count + self.offset_counts)
        return np.clip(counts, 0, min(self.saturation_counts, _MOST_COUNTS)).astype(np.uint16)
