"""Photons of molecules at known positions."""

import numpy as np
import pytest
import torch

from planeloc.localization.photometry import fit_photons
from planeloc.psf import Emitters, paper_psf
from support.movies import CAMERAS, MAPS, draw_emitters, expose
from support.splines import random_spline


def test_photons_of_known_positions():
    """Least squares on the mapped windows: no bias beyond 2 % though pixels integrate, spread as the noise allows."""
    emitters = draw_emitters(60, 1, seed=5)
    counts = expose(emitters, 60, background=0.0)
    images = np.stack([camera.photons(counts[:, p]) for p, camera in enumerate(CAMERAS)], axis=1)
    px = np.stack([m(emitters[:, 1:3] / 192.0) for m in MAPS.transforms], axis=1)
    photons, _, excess = fit_photons(
        torch.from_numpy(images), paper_psf(), torch.from_numpy(px), torch.from_numpy(emitters[:, 3]), torch.arange(60)
    )
    ratio = photons.numpy() / emitters[:, 4]
    assert ratio.mean() == pytest.approx(1.0, abs=0.02)
    assert ratio.std() < 0.08
    assert np.abs(excess.mean().item()) < 0.5


def test_photons_of_localizations_are_fitted_with_a_measured_psf():
    psf = random_spline()
    position = torch.tensor([[9.3, 10.6], [20.1, 12.2]], dtype=torch.float64)
    z, light = torch.tensor([50.0, -250.0], dtype=torch.float64), torch.tensor([3000.0, 1500.0], dtype=torch.float64)
    at = position * psf.pixel_size_nm
    frame = psf.expected_photons(Emitters(at[:, 0], at[:, 1], z, light), (32, 32)).sum(dim=0, keepdim=True)
    found, _, _ = fit_photons(frame, psf, position[:, None].expand(2, 4, 2), z, torch.zeros(2, dtype=torch.long))
    assert found.numpy() == pytest.approx(light.numpy(), rel=0.02)
    wrong, _, _ = fit_photons(
        frame, paper_psf(), position[:, None].expand(2, 4, 2), z, torch.zeros(2, dtype=torch.long)
    )
    assert np.abs(wrong.numpy() / light.numpy() - 1).max() > np.abs(found.numpy() / light.numpy() - 1).max()
