"""How the light in blocks of the sample changes from frame to frame, as every camera sees it.

A molecule that turns on or off changes the light of its block on all cameras in the same moment, in focus or not: a
defocused spot has as many photons. Blocks are squares of the reference camera's field; the transforms say to which one
a pixel of another camera belongs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planeloc.transforms.camera_transform import Registration

Changes = NDArray[np.float32]

_BLOCK_PX = 8  # holds most of a defocused spot
_FEWEST_PIXELS = 16  # of a block that a camera must see
_MOST_SIGMAS = 8.0  # a change counts at most so many standard deviations: no single molecule decides
_LEAST_SD = 0.3  # of a block, as a fraction of the median block's: blocks with few values by chance


@dataclass(frozen=True)
class BlockGrid:
    """For every plane, the pixels in the order of their blocks."""

    order: tuple[NDArray[np.int64], ...]  # pixels of a frame that lie in a block
    starts: tuple[NDArray[np.int64], ...]  # of every block in `order`; equal to the next one's where it is empty
    pixels: NDArray[np.int64]  # (planes, blocks)

    @classmethod
    def of(cls, registration: Registration, height: int, width: int) -> BlockGrid:
        """The blocks of a field of `height` rows and `width` columns."""
        rows, columns = np.mgrid[:height, :width] + 0.5
        size = np.array([-(-width // _BLOCK_PX), -(-height // _BLOCK_PX)])
        order, starts, pixels = [], [], []
        for transform in registration.transforms:
            place = np.floor(transform.inverse()(np.stack([columns, rows], axis=-1)) / _BLOCK_PX).astype(np.int64)
            seen = ((place >= 0) & (place < size)).all(axis=-1).ravel()
            block = (place[..., 1] * size[0] + place[..., 0]).ravel()
            inside = np.flatnonzero(seen)
            order.append(inside[np.argsort(block[inside], kind="stable")])
            pixels.append(np.bincount(block[inside], minlength=size.prod()))
            starts.append(np.cumsum(pixels[-1]) - pixels[-1])
        return cls(tuple(order), tuple(starts), np.array(pixels))

    def light(self, counts: NDArray[np.uint16]) -> NDArray[np.float32]:
        """(frames, planes, blocks): mean counts of the pixels of every block, 0 where a plane does not see it.

        `counts` is (frames, planes, rows, columns).
        """
        means = np.zeros((len(counts), *self.pixels.shape), np.float32)
        for plane, (order, starts) in enumerate(zip(self.order, self.starts, strict=True)):
            seen = self.pixels[plane] >= _FEWEST_PIXELS
            if not seen.any():
                continue
            filled = np.flatnonzero(self.pixels[plane])
            values = counts[:, plane].reshape(len(counts), -1)[:, order]
            sums = np.add.reduceat(values, starts[filled], axis=1, dtype=np.float32)
            means[:, plane, filled] = sums / self.pixels[plane, filled]
            means[:, plane, ~seen] = 0
        return means


def changes(light: NDArray[np.float32], most_blocks: int = 1024) -> Changes:
    """(frames, planes, blocks) of the light (frames + 1, planes, blocks): changes in standard deviations of each block.

    What all blocks of a camera do alike, such as a pulse of the activation laser, is taken out. Of more than
    `most_blocks`, those are returned in which most happens; the others add noise and time.
    """
    steps = np.diff(light, axis=0)
    if not len(steps):
        return steps
    seen = light.any(axis=0)
    for plane in range(light.shape[1]):
        own = seen[plane]
        if own.any():
            steps[:, plane, own] -= np.median(steps[:, plane, own], axis=1, keepdims=True)
            sd = 1.4826 * np.median(np.abs(steps[:, plane, own]), axis=0)
            sd = np.maximum(sd, _LEAST_SD * np.median(sd))
            steps[:, plane, own] /= np.where(sd > 0, sd, np.inf)
    steps = steps.clip(-_MOST_SIGMAS, _MOST_SIGMAS)
    if steps.shape[2] > most_blocks:
        activity = (steps.astype(np.float64) ** 2).sum(axis=(0, 1))
        steps = steps[:, :, np.sort(np.argsort(-activity, kind="stable")[:most_blocks])]
    return steps
