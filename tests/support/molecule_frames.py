"""Images of molecules with known truth, as the fits of whole frames take them."""

from typing import NamedTuple

import numpy as np
import torch

from planeloc.cameras.noise import PixelNoise
from planeloc.fitting.multi_emitter import MultiEmitterFit
from planeloc.fitting.windows import InitialMolecules
from planeloc.psf import Emitters, paper_psf
from support.movies import MAPS

PSF = paper_psf()
PIXEL = PSF.pixel_size_nm
NOISE = PixelNoise(torch.ones(4).double(), torch.full((4,), 9.0).double())
BACKGROUND = 4.0


class Scene(NamedTuple):
    """Images above the background, and what is in them."""

    images: torch.Tensor
    level: torch.Tensor
    frame: torch.Tensor
    position: torch.Tensor
    photons: torch.Tensor
    drift_nm: torch.Tensor

    def start(self, error=(25.0, 25.0, 40.0), seed=9, maps=None) -> InitialMolecules:
        """The truth with errors as a network makes."""
        generator = torch.Generator().manual_seed(seed)
        errors = torch.randn(self.position.shape, generator=generator).double() * torch.tensor(error)
        position, photons = self.position + errors, self.photons * (1 + errors[:, 0] / 250)
        return InitialMolecules(self.frame, position, photons, *on_planes(position, maps))

    def fit(self, drift_sd_nm=0.0, psf=PSF, start=None, ceiling=None):
        start = self.start() if start is None else start
        return MultiEmitterFit(psf, NOISE, self.images, self.level, start, drift_sd_nm, ceiling).fit()


def on_planes(position, maps=None):
    """Places (n, planes, 2) on the cameras, px, and their derivatives (n, planes, 2, 2)."""
    lateral = position[:, :2].numpy() / PIXEL
    maps = maps or MAPS.identity(4).transforms
    mapped = np.stack([camera(lateral) for camera in maps], axis=1)
    return torch.from_numpy(mapped), torch.from_numpy(np.stack([camera.jacobian(lateral) for camera in maps], axis=1))


def scene(frame, position, photons, side=48, drift_sd_nm=0.0, psf=PSF, maps=None, seed=1) -> Scene:
    """Poisson counts and read noise of molecules; every frame has its own drift."""
    frame, photons = torch.as_tensor(frame), torch.as_tensor(photons).double()
    position = torch.as_tensor(position).double()
    frames = int(frame.max()) + 1
    generator = torch.Generator().manual_seed(seed)
    drift = torch.randn(frames, 4, 2, generator=generator).double() * drift_sd_nm
    drift[:, 0] = 0
    mapped, axes = on_planes(position, maps)
    shifts = mapped * PIXEL + (axes @ drift[frame][..., None])[..., 0]
    zero = torch.zeros_like(photons)
    expected = torch.full((frames, 4, side, side), BACKGROUND).double()
    for part in torch.arange(len(frame)).split(64):
        emitters = Emitters(zero[part], zero[part], position[part, 2], photons[part], shifts[part])
        single = psf.expected_photons(emitters, (side,) * 2)
        expected.index_add_(0, frame[part], single)
    counts = torch.poisson(expected, generator=generator) + 3 * torch.randn(expected.shape, generator=generator)
    level = torch.full(expected.shape[1:], BACKGROUND)
    return Scene((counts - BACKGROUND).float(), level, frame, position, photons, drift)
