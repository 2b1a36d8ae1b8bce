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


def linked() -> pd.DataFrame:
    """Fifty molecules in several frames, with every added column, and some unknown values."""
    random = np.random.default_rng(2)
    rows = table()
    frames = random.integers(1, 5, len(rows))
    some = np.arange(len(rows)) % 7 == 3
    return rows.assign(
        x_sd=random.uniform(3, 12, len(rows)),
        y_sd=np.where(some, np.nan, random.uniform(3, 12, len(rows))),
        goodness_of_fit=np.where(some, np.nan, random.uniform(0.5, 2, len(rows))),
        local_density=random.uniform(0, 900, len(rows)),
        last_frame=rows["frame"] + frames + random.integers(0, 2, len(rows)) - 1,
        frames=frames,
        group=random.integers(0, 6, len(rows)),
    )


UNKNOWN = dict.fromkeys(("photons", "background", "x_sd", "y_sd", "z_sd"), np.nan)


def real_tables() -> Path:
    """Folder of real tables; skips the test where there is none."""
    folder = os.environ.get("PLANELOC_TEST_DATA")
    if not folder:
        pytest.skip("PLANELOC_TEST_DATA is not set")
    return Path(folder) / "tables"
