"""The equations of the defocus curve."""

import numpy as np
import pytest

from planeloc.calibration.defocus_curve import _Equations


@pytest.mark.parametrize("curve", [(150.0, 400.0, 0.1, 0.02), (150.0, 300.0, 0.9, 0.0), (140.0, 350.0, -0.7, 0.2)])
def test_derivatives_are_those_of_the_residuals(curve):
    """Also where the curve sinks and is held up, as in the second case."""
    random, beads, slices = np.random.default_rng(0), 5, 31
    bead = np.repeat(np.arange(beads), slices)
    travel = np.tile(np.linspace(-700, 700, slices), beads)
    grid = np.linspace(-1500, 1500, 51)
    width, tolerance = random.uniform(100, 500, len(bead)), random.uniform(5, 20, len(bead))
    equations = _Equations(width, tolerance, bead, travel, grid)
    parameters = np.concatenate((curve, random.normal(0, 100, beads)))
    found = equations.jacobian(parameters).toarray()
    for column, value in enumerate(parameters):
        step = np.zeros(len(parameters))
        step[column] = 1e-5 * max(1.0, abs(value))
        difference = equations.residuals(parameters + step) - equations.residuals(parameters - step)
        assert found[:, column] == pytest.approx(difference / (2 * step[column]), rel=1e-3, abs=1e-3)
