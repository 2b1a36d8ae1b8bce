"""A table of localizations to render."""

from __future__ import annotations

import numpy as np
import pandas as pd

from planeloc.io import localization_table

METADATA = {
    "frames": 10,
    "width_px": 20,
    "height_px": 16,
    "pixel_size_nm": 100.0,
    "voxel_nm": [25.0, 25.0, 50.0],
    "depth_range_nm": [-400.0, 400.0],
}
SIZE_NM = (2000.0, 1600.0)
DEPTHS_NM = (-400.0, 400.0)


def table(rows: int = 300, seed: int = 0, **columns) -> pd.DataFrame:
    """Random localizations; `columns` replace some."""
    random = np.random.default_rng(seed)
    values = {
        "frame": np.sort(random.integers(0, 10, rows)),
        "x": random.uniform(200, 1800, rows),
        "y": random.uniform(200, 1400, rows),
        "z": random.uniform(-400, 400, rows),
        "x_sd": 12.0,
        "y_sd": 12.0,
    }
    return localization_table.empty().reindex(range(rows)).assign(**{**values, **columns})
