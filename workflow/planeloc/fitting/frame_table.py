"""The molecules of frames in a table with a row for every frame, padded to the frame with most molecules.

Sums over the molecules of a frame are then sums along an axis, in the same order on every device, and the vectors of a
frame's unknowns have one length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from planeloc.core.devices import rounded_up


@dataclass(frozen=True)
class FrameTable:
    """Places (frames, width) of n molecules."""

    frames: int
    width: int
    place: Tensor  # (n,) flat index of each molecule's place; frames · width for those that have none
    row: Tensor  # (frames · width,) molecule in each place; n where there is none

    @classmethod
    def of(cls, frame: Tensor, frames: int, included: Tensor) -> FrameTable:
        """Lay out molecules by their ascending `frame` (n,); only those `included` (n,) get a place."""
        ones = included.long()
        count = ones.new_zeros(frames).index_add_(0, frame, ones)
        width = rounded_up(int(count.max()), frame.device) if frames and len(frame) else 0
        within = ones.cumsum(0) - ones - (count.cumsum(0) - count)[frame]
        place = torch.where(included, frame * width + within, frames * width)
        row = torch.full((frames * width + 1,), len(frame), device=frame.device)
        row[place] = torch.arange(len(frame), device=frame.device)
        return cls(frames, width, place, row[:-1])

    def spread(self, values: Tensor, elsewhere: float = 0.0) -> Tensor:
        """Values (n, …) of molecules in their places: (frames · width, …)."""
        padding = (0, 0) * (values.dim() - 1) + (0, 1)
        return torch.nn.functional.pad(values, padding, value=elsewhere)[self.row]

    def gathered(self, values: Tensor) -> Tensor:
        """Values (frames · width, …) of places at their molecules: (n, …); 0 for those without a place."""
        padding = (0, 0) * (values.dim() - 1) + (0, 1)
        return torch.nn.functional.pad(values, padding)[self.place]

    def sums(self, values: Tensor) -> Tensor:
        """Sums over the molecules (n, …) of every frame: (frames, …)."""
        return self.spread(values).unflatten(0, (self.frames, self.width)).sum(dim=1)
