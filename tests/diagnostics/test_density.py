"""Density of molecules and background from cumulants."""

from dataclasses import replace

import numpy as np
import pytest

from planeloc.cameras.camera import Camera
from planeloc.diagnostics.density import estimate_density, mean_cumulants, measure_cumulants
from planeloc.diagnostics.spot_width import draw_stretch
from planeloc.psf import paper_psf
from planeloc.scenes.scene import Scene


@pytest.mark.parametrize("per_window", [0.3, 3.0, 15.0])
@pytest.mark.parametrize("camera", [{}, {"em_gain": 300.0, "read_noise_electrons": 60.0, "quantum_efficiency": 0.8}])
def test_density_and_background_are_found_where_molecules_overlap(per_window, camera):
    """No molecule is detected; true values are known within the spread of brightness that is assumed."""
    psf, scene, camera = (
        paper_psf(),
        Scene(background=(7.0, 7.0)),
        replace(Camera("c", read_noise_electrons=3), **camera),
    )
    scene = replace(
        scene,
        em_multiplication=camera.em_gain > 1,
        quantum_efficiency=camera.quantum_efficiency,
        read_noise_photons=camera.read_noise_photons(),
    )
    parts = [measure_cumulants(draw_stretch(psf, scene, per_window / 16**2, seed), (camera,) * 4) for seed in range(4)]
    cumulants = mean_cumulants(parts)
    found = estimate_density(cumulants, psf, scene)
    true = max(per_window, 0.5)  # `draw_stretch` draws no sparser ones
    assert found.density * 16**2 == pytest.approx(true, rel=0.25)
    light = true / 16**2 * np.mean(scene.photons) / 4  # 0.3 to 14 photons per pixel
    assert found.background == pytest.approx(7.0, abs=0.1 + 0.1 * light)
