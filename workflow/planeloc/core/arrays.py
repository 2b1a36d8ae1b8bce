"""Type hints of NumPy arrays, and images of larger pixels."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.uint16]  # of a camera
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


def mean_of_blocks(image: NDArray, factor: int) -> NDArray[np.float32]:
    """Mean of each block of `factor` × `factor` pixels of an image (rows, columns, …) that consists of whole blocks."""
    rows, columns, *channels = image.shape
    blocks = image.reshape(rows // factor, factor, columns // factor, factor, *channels)
    return blocks.mean(axis=(1, 3), dtype=np.float32)
