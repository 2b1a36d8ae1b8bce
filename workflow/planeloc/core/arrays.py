"""Type hints of NumPy arrays."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.uint16]  # of a camera
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]
