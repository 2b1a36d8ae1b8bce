"""Resampling raw camera images onto the pixels of the reference camera, on the device of the images.

The network needs all planes on one grid. Instead of resampling movies on disk, every plane is interpolated at the
transformed position of each reference pixel when it is needed, by the cubic of Catmull and Rom (Keys 1981, a = −1/2).
PyTorch's own bicubic has a = −3/4, which does not reproduce a slope and so moves spots by up to 0.05 px; linear
interpolation widens them (at half a pixel by 0.25 px² in squared width). The remaining blur is in the training images.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from planeloc.transforms.camera_transform import Registration


def reference_grid(x0: int, y0: int, width: int, height: int) -> Tensor:
    """Pixel centres (height, width, 2) as (x, y) of a window of the reference field, px from the outer corner."""
    y, x = torch.meshgrid(
        torch.arange(y0, y0 + height, dtype=torch.float64) + 0.5,
        torch.arange(x0, x0 + width, dtype=torch.float64) + 0.5,
        indexing="ij",
    )
    return torch.stack((x, y), dim=-1)


def transform_grid(grid: Tensor, registration: Registration) -> Tensor:
    """Positions (planes, height, width, 2) on every camera of the points of a reference grid (height, width, 2)."""
    return torch.stack([torch.as_tensor(t(grid.numpy())) for t in registration.transforms])


def sample_planes(images: Tensor, positions_px: Tensor) -> Tensor:
    """Interpolate every plane at given positions.

    Parameters
    ----------
    images : (batch, planes, rows, columns)
    positions_px : (planes, height, width, 2) or (batch, planes, height, width, 2)
        (x, y) from the outer corner of pixel (0, 0). Outside the sensor the result is 0, so subtract the background
        first.

    Returns
    -------
    (batch, planes, height, width)
    """
    batch, planes, rows, columns = images.shape
    if positions_px.dim() == 4:
        positions_px = positions_px[None]
    index_x, weight_x = _taps(positions_px[..., 0], columns, images.dtype)
    index_y, weight_y = _taps(positions_px[..., 1], rows, images.dtype)
    flat = images.reshape(batch, planes, rows * columns)
    sampled = 0.0
    for y, wy in zip(index_y, weight_y, strict=True):
        row = 0.0
        for x, wx in zip(index_x, weight_x, strict=True):
            taken = (y * columns + x).flatten(2).expand(batch, planes, -1)
            row = row + wx * flat.gather(2, taken).reshape(batch, planes, *positions_px.shape[2:4])
        sampled = sampled + wy * row
    return sampled


class Resampler:
    """All planes on the pixels of the reference camera, for many frames at once.

    The 16 pixels that make a registered one, and their weights, are the same in every frame and found once. Frames are
    then the columns of one product with a sparse matrix, several times faster than one by one.
    """

    def __init__(self, registration: Registration, height: int, width: int, device: torch.device) -> None:
        self._shape = (height, width)
        grid = reference_grid(0, 0, width, height)
        index = torch.empty(registration.planes, height * width, 4, 4, dtype=torch.int32)
        weight = torch.empty(index.shape, dtype=torch.float32)
        # Plane by plane: all at once in double precision would need three times the memory, and more time for it.
        for plane, transform in enumerate(registration.transforms):
            x, y = torch.as_tensor(transform(grid.numpy())).flatten(0, 1).unbind(-1)
            (index_x, weight_x), (index_y, weight_y) = (
                _taps(place, size, torch.float64) for place, size in ((x, width), (y, height))
            )
            for row in range(4):
                start = index_y[row] * width
                for column in range(4):
                    index[plane, :, row, column] = start + index_x[column]
                    weight[plane, :, row, column] = weight_y[row] * weight_x[column]
        self._index, self._weight = (each.flatten(2).to(device) for each in (index, weight))

    def __call__(self, images: Tensor) -> Tensor:
        """(frames, planes, rows, columns), photons above background → the same, registered; 0 outside a sensor."""
        frames, planes = images.shape[:2]
        registered = []
        for plane in range(planes):
            pixels = images[:, plane].reshape(frames, -1).t().contiguous()
            index, weight = self._index[plane], self._weight[plane]
            sums = nn.functional.embedding_bag(index, pixels, per_sample_weights=weight, mode="sum")
            registered.append(sums.t().reshape(frames, *self._shape))
        return torch.stack(registered, dim=1)


def _taps(position_px: Tensor, size: int, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """Indices and weights of the four pixels around a position along one axis; 0 outside the sensor."""
    first = (position_px - 0.5).floor()
    t = (position_px - 0.5 - first).to(dtype)
    weights = (
        t * (-0.5 + t * (1.0 - 0.5 * t)),
        1.0 + t * t * (-2.5 + 1.5 * t),
        t * (0.5 + t * (2.0 - 1.5 * t)),
        t * t * (-0.5 + 0.5 * t),
    )
    indices = [first.long() + step for step in (-1, 0, 1, 2)]
    inside = [(index >= 0) & (index < size) for index in indices]
    kept = [torch.where(known, weight, 0.0) for known, weight in zip(inside, weights, strict=True)]
    return [index.clamp(0, size - 1) for index in indices], kept
