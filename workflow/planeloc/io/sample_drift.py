"""The sample drift at every localization, from the file that `correct-drift` writes (CSV, a row for every frame)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError

DRIFT = ("x_nm", "y_nm", "z_nm")
"""Columns of what was subtracted."""

DRIFT_SD = ("x_sd_nm", "y_sd_nm", "z_sd_nm")
"""Columns of its standard deviations, which are part of those of the table."""


def sample_drift_at(path: Path, columns: tuple[str, ...], frame: NDArray[np.int64]) -> NDArray[np.float64]:
    """Some columns of the file, (rows, columns) nm, in the frames of a table (rows,).

    Raises
    ------
    PlanelocError : the file is missing or another one, or of a shorter movie.
    """
    try:
        table = pd.read_csv(path, usecols=list(columns))[list(columns)].to_numpy(np.float64)
    except FileNotFoundError:
        raise PlanelocError(f"{path}: no such file; create it with `planeloc correct-drift`") from None
    except ValueError as error:
        raise PlanelocError(
            f"{path}: not a table of sample drift ({error}); give the one of `planeloc correct-drift`"
        ) from None
    if len(frame) and not 0 <= frame.min() <= frame.max() < len(table):
        raise PlanelocError(
            f"{path}: {len(table)} frames do not fit localizations up to frame {frame.max()}; give the drift of the "
            "same sample"
        )
    return table[frame] if len(frame) else np.empty((0, len(columns)))
