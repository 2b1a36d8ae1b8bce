"""Images with larger pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mean_of_blocks(image: NDArray, factor: int) -> NDArray[np.float32]:
    """Mean of each block of `factor` × `factor` pixels of an image (rows, columns, …) that consists of whole blocks."""
    rows, columns, *channels = image.shape
    blocks = image.reshape(rows // factor, factor, columns // factor, factor, *channels)
    return blocks.mean(axis=(1, 3), dtype=np.float32)
