"""Tables of localizations and of the ground truth, from positions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from planeloc.io import localization_table

METADATA = {
    "frames": 50,
    "width_px": 50,
    "height_px": 50,
    "pixel_size_nm": 100.0,
    "voxel_nm": [25.0, 25.0, 50.0],
    "depth_range_nm": [-600.0, 600.0],
    "plane_depths_nm": [-300.0, 300.0],
}
SIZE_NM = (5000.0, 5000.0)


def found(*positions, frame=0, sd=10.0) -> pd.DataFrame:
    """Localizations at positions (x, y, z), nm."""
    rows = pd.DataFrame(np.array(positions, dtype=float).reshape(-1, 3), columns=["x", "y", "z"])
    return localization_table.empty().reindex(range(len(rows))).assign(
        **rows, frame=frame, x_sd=sd, y_sd=sd, z_sd=2 * sd, photons=1000.0, background=4.0, probability=0.9
    )  # fmt: skip


def molecules(*positions, frame=0, photons=1000.0) -> pd.DataFrame:
    """Molecules of the ground truth at positions (x, y, z), nm."""
    rows = pd.DataFrame(np.array(positions, dtype=float).reshape(-1, 3), columns=["x", "y", "z"])
    return rows.assign(frame=frame, photons=photons)
