"""From camera counts to photons and back, and the noise on the way.

Conversion (as everywhere in planeloc): photons = (counts − offset) · electrons_per_count / em_gain /
quantum_efficiency.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from planeloc.core.settings import setting


@dataclass(frozen=True)
class Camera:
    """What the data sheet, or a photon transfer measurement, says of one camera."""

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
        """Photons that one count stands for."""
        return self.electrons_per_count / self.em_gain / self.quantum_efficiency

    @property
    def excess_noise(self) -> float:
        """Factor by which EM multiplication raises the variance of the shot noise: 2 − 1/gain (Robbins and
        Hadwen 2003).
        """
        return 2.0 - 1.0 / self.em_gain

    def photons(self, counts: ArrayLike) -> NDArray[np.float32]:
        """Counts of any shape → photons (may be negative by read noise)."""
        counts = np.asarray(counts, dtype=np.float32)
        return (counts - np.float32(self.offset_counts)) * np.float32(self.photons_per_count)

    def read_noise_photons(self) -> float:
        """Read noise as photons: divided by EM gain and quantum efficiency."""
        return self.read_noise_electrons / self.em_gain / self.quantum_efficiency

    def expose(self, photons: ArrayLike, random: np.random.Generator) -> NDArray[np.uint16]:
        """Expected photons → noisy counts, as the camera would write them.

        Shot noise is Poisson in photoelectrons; EM multiplication is a gamma distribution with the number of electrons
        as its shape (the high-gain limit of the multiplication cascade); read noise is Gaussian.
        """
        electrons = random.poisson(np.asarray(photons, dtype=np.float64) * self.quantum_efficiency).astype(np.float64)
        if self.em_gain > 1:
            electrons = random.standard_gamma(electrons) * self.em_gain
        electrons += random.normal(0.0, self.read_noise_electrons, electrons.shape)
        counts = np.rint(electrons / self.electrons_per_count + self.offset_counts)
        return np.clip(counts, 0, min(self.saturation_counts, 65535)).astype(np.uint16)
