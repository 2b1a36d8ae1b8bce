"""How well the model of a frame explains the counts around every molecule: deviance over its expectation.

The deviance of a pixel counts by the molecule's share of the pixel's variance: a soft window of the molecule's own
size on every plane, in which a missed neighbour, another point spread function or a camera that moved shows. Expected
is the deviance of each pixel where the model is right (`planeloc.cameras.expected_deviance`), less what the fit takes
by following the noise: the leverage of the pixel (Hoaglin and Welsch 1978, Am. Stat. 32, 17), which is that of all
molecules around it and of the inter-camera drift. The mean over well modelled molecules is then 1 at every level of
light and in crowded frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from planeloc.cameras.expected_deviance import interpolated
from planeloc.fitting.conjugate_gradients import inverse
from planeloc.fitting.normal_equations import PER_PLANE, NormalEquations


def covariances_on_planes(equations: NormalEquations) -> Tensor:
    """(n, planes, 5, 5) covariance of each molecule's x, y, z, photons and background on every plane.

    That of x and y is of the place on the plane, and contains the inter-camera drift. As if nothing overlapped.
    """
    own, with_drift = equations.own, equations.with_drift_alone
    size, drifts = with_drift.shape[1:]
    alone = inverse(own)
    gain = alone @ with_drift
    known = torch.zeros_like(equations.drift_alone).index_add_(0, equations.frame, with_drift.transpose(1, 2) @ gain)
    of_drift = torch.linalg.inv_ex(equations.drift_alone - known).inverse[equations.frame]
    planes = []
    for plane in range(size - 4):
        chosen = [0, 1, 2, 3, 4 + plane]
        moved = torch.zeros(PER_PLANE, drifts).to(own)  # what drift does to the place on the plane
        if plane:
            moved[[0, 1], [2 * plane - 2, 2 * plane - 1]] = 1
        by_drift = moved - gain[:, chosen]
        planes.append(alone[:, chosen][:, :, chosen] + by_drift @ of_drift @ by_drift.transpose(1, 2))
    return torch.stack(planes, dim=1)


def leverage(rows: Tensor, covariance: Tensor, weight: Tensor) -> Tensor:
    """(n, planes, pixels) of each molecule: the part of a pixel's deviance that the fit is expected to take.

    Parameters
    ----------
    rows : (n, planes, 5, pixels) derivatives of unit images.
    covariance : (n, planes, 5, 5) of what they are derivatives by, with their factors.
    weight : (n, planes, pixels) inverse variances.
    """
    values = ((covariance.to(rows) @ rows) * rows).sum(dim=2) * weight
    return torch.nan_to_num(values, nan=0.0).clamp(0, 1)


def deviance_over_expectation(
    deviance: Tensor, expected: Tensor, leverage: Tensor, share: Tensor, expected_deviance: Tensor | None
) -> Tensor:
    """(n,) weighted deviance of the windows over its expectation; NaN where a molecule has no pixels.

    Parameters
    ----------
    deviance, expected, leverage : (n, planes, pixels) of each pixel; the leverage is that of all molecules.
    share : the molecule's share of the pixel's variance; 0 where the pixel is not used.
    expected_deviance : (planes, KNOTS), see `planeloc.cameras.expected_deviance`; None: 1.
    """
    mean = 1.0 if expected_deviance is None else interpolated(expected_deviance, expected)
    found, of_model = (
        (share * values).sum(dim=(1, 2), dtype=torch.float64) for values in (deviance, (mean - leverage).clamp(min=0))
    )
    return torch.where(of_model > 0, found / of_model, torch.nan)
