"""Ground-truth tables: planeloc's own and those of the SMLM challenge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from planeloc.core.errors import PlanelocError
from planeloc.core.files import unreadable

COLUMNS: dict[str, str] = {"frame": "frame", "x_nm": "x", "y_nm": "y", "z_nm": "z", "photons": "photons"}
"""Columns of planeloc's own tables → quantities; frames from 0."""

CHALLENGE_COLUMNS: dict[str, str] = {"frame": "frame", "xnano": "x", "ynano": "y", "znano": "z", "intensity": "photons"}
"""Columns of the SMLM challenge's tables → quantities; frames from 1."""


_LAST_FRAME = 2**31 - 1  # of a table of localizations


def read_ground_truth(path: str | Path) -> pd.DataFrame:
    """Read a ground-truth table of planeloc or of the SMLM challenge: frame (from 0), x, y, z (nm), photons.

    Raises
    ------
    PlanelocError : the file is missing, not a CSV table, lacks a column or contains anything but numbers.
    """
    path = Path(path)
    try:
        content = pd.read_csv(path, skipinitialspace=True)
    except FileNotFoundError:
        raise PlanelocError(f"{path}: ground-truth table not found; check the path in the sample table") from None
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        raise PlanelocError(f"{path}: not a CSV table ({' '.join(str(error).split())})") from None
    content = content.rename(columns=lambda name: str(name).strip())
    names, first = (CHALLENGE_COLUMNS, 1) if "xnano" in content.columns else (COLUMNS, 0)
    missing = [name for name in names if name not in content.columns]
    if missing:
        raise PlanelocError(f"{path}: ground-truth table lacks the column {missing[0]}; expected {','.join(COLUMNS)}")
    truth = content[list(names)].rename(columns=names).apply(pd.to_numeric, errors="coerce")
    complete = np.isfinite(truth.to_numpy(dtype=np.float64)).all(axis=1)
    if not complete.all():
        row = int(np.argmin(complete))
        raise PlanelocError(f"{path}: row {row + 1} of the ground-truth table is not all numbers; correct or remove it")
    frame = truth["frame"].to_numpy(dtype=np.float64)
    wrong = (frame != np.round(frame)) | (frame < first) | (frame > _LAST_FRAME)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise PlanelocError(
            f"{path}: row {row + 1} of the ground-truth table: frame {frame[row]:g} is no whole number from {first} on;"
            " correct or remove it"
        )
    return truth.assign(frame=truth["frame"].astype(np.int64) - first)
