"""Edges of the cameras' sensors in training images: places that not every camera sees.

The fields of several cameras never coincide. In some training images the sensors of some cameras end within the window,
at one side or at two that meet in a corner, somewhere in it.
"""

from __future__ import annotations

import torch
from torch import Tensor

_OF_PLANES = 0.5  # share of the cameras that end in an image with edges
_CORNERS = 0.3  # share of those that end at two sides
_DEEPEST = 0.4  # of the window that may be cut off at a side


def draw_sensors(size: int, planes: int, side: int, share: float, generator: torch.Generator) -> Tensor:
    """Draw (size, planes, side, side) which pixels of a window are on each camera's sensor.

    Parameters
    ----------
    share : of the images in which cameras end. The reference camera, plane 0, never does: its field is the field.
    """
    device = generator.device

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    ends = (rand(size, 1) < share) & (rand(size, planes) < _OF_PLANES)
    ends[:, 0] = False
    depth = (_DEEPEST * side * rand(size, planes, 2)).ceil()
    depth[..., 1] *= rand(size, planes) < _CORNERS
    depth = torch.where(ends[..., None], depth, 0.0)
    turned, low = rand(size, planes) < 0.5, rand(size, planes, 2) < 0.5
    depth = torch.where(turned[..., None], depth.flip(-1), depth)  # along x and y
    place = torch.arange(side, device=device)
    first = torch.where(low, depth, 0.0)[..., None]
    last = side - torch.where(low, 0.0, depth)[..., None]
    x, y = ((place >= first) & (place < last)).unbind(2)
    return y[..., :, None] & x[..., None, :]
