"""A table of localizations to export, and real tables of other programs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from planeloc.io import localization_table

METADATA = {
    "frames": 20,
    "width_px": 64,
    "height_px": 48,
    "pixel_size_nm": 100.0,
    "voxel_nm": [25.0, 25.0, 50.0],
}
TOL_NM = 1e-3


def table(**changes: object) -> pd.DataFrame:
    """Fifty localizations; `changes` replace columns."""
    random = np.random.default_rng(1)
    rows = 50
    return localization_table.empty().reindex(range(rows)).assign(
        frame=np.sort(random.integers(0, 20, rows)),
        x=random.uniform(100, 6400, rows),
        y=random.uniform(100, 4800, rows),
        z=random.uniform(-800, 800, rows),
        photons=random.uniform(500, 5000, rows),
        background=4.0,
        probability=0.9,
        x_sd=8.0,
        y_sd=8.0,
        z_sd=20.0,
    ).assign(**changes)  # fmt: skip


UNKNOWN = dict.fromkeys(("photons", "background", "x_sd", "y_sd", "z_sd"), np.nan)


def real_tables() -> Path:
    """Folder of real tables; skips the test where there is none."""
    folder = os.environ.get("PLANELOC_TEST_DATA")
    if not folder:
        pytest.skip("PLANELOC_TEST_DATA is not set")
    return Path(folder) / "tables"
