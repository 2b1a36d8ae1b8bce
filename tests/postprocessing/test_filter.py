"""Every criterion leaves out what it says and nothing else."""

import numpy as np
import pandas as pd
import pytest

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table, picasso, thunderstorm
from planeloc.postprocessing.filter import apply, filter_localizations
from planeloc.postprocessing.settings import FilterSettings

METADATA = {
    "frames": 1,
    "width_px": 10,
    "height_px": 20,
    "pixel_size_nm": 100.0,
    "voxel_nm": [25.0, 25.0, 50.0],
    "sample": "test",
}
SIZE_NM = (1000.0, 2000.0)

GOOD = {"frame": 0, "x": 500.0, "y": 1000.0, "z": 0.0, "photons": 1000.0, "background": 4.0, "probability": 0.9}
SD = {"x_sd": 10.0, "y_sd": 10.0, "z_sd": 20.0}


def rows(*changes: dict) -> pd.DataFrame:
    return pd.DataFrame([{**GOOD, **SD, **change} for change in changes])


@pytest.mark.parametrize(
    ("settings", "bad"),
    [
        ({"minimum_probability": 0.5}, {"probability": 0.4}),
        ({"minimum_photons": 500}, {"photons": 400}),
        ({"maximum_lateral_sd_nm": 20}, {"y_sd": 30}),
        ({"maximum_axial_sd_nm": 50}, {"z_sd": 60}),
        ({"minimum_depth_nm": -300}, {"z": -301}),
        ({"maximum_depth_nm": 300}, {"z": 301}),
        ({"border_nm": 100}, {"x": 950}),
        ({"border_nm": 100}, {"y": 99}),
    ],
)
def test_one_criterion_at_a_time(settings, bad):
    kept, record = apply(rows({}, bad), SIZE_NM, FilterSettings(**settings))
    assert len(kept) == 1
    assert record["failing"] == {**dict.fromkeys(record["failing"], 0), next(iter(settings)): 1}
    assert (record["rows_read"], record["rows_kept"]) == (2, 1)


def test_defaults_keep_all_and_unknown_values_pass():
    unknown = dict.fromkeys(("photons", "probability", *SD), np.nan)
    table = rows({}, unknown, {"x": -5.0})
    assert len(apply(table, SIZE_NM, FilterSettings())[0]) == 3
    strict = FilterSettings(minimum_probability=0.95, minimum_photons=1e4, maximum_lateral_sd_nm=1)
    assert len(apply(rows(unknown), SIZE_NM, strict)[0]) == 1


def test_one_known_lateral_sd_is_enough_to_fail():
    kept, _ = apply(rows({"x_sd": np.nan, "y_sd": 90.0}), SIZE_NM, FilterSettings(maximum_lateral_sd_nm=50))
    assert len(kept) == 0


def test_the_stage_writes_table_and_exports(tmp_path):
    localization_table.write(tmp_path / "in.h5", rows({}, {"z": 900.0}, {}), METADATA)
    paths = [tmp_path / name for name in ("out.h5", "out.hdf5", "out.csv")]
    exports = [("picasso", paths[1]), ("thunderstorm", paths[2])]
    filter_localizations(tmp_path / "in.h5", paths[0], exports, FilterSettings(maximum_depth_nm=800))
    table, metadata = localization_table.read(paths[0])
    assert len(table) == len(picasso.read(paths[1])[0]) == len(thunderstorm.read(paths[2])[0]) == 2
    assert metadata["sample"] == "test"
    assert metadata["filter"]["failing"]["maximum_depth_nm"] == 1
    assert metadata["filter"]["settings"]["maximum_depth_nm"] == 800


def test_a_setting_out_of_bounds_leaves_nothing(tmp_path):
    localization_table.write(tmp_path / "in.h5", rows({}), METADATA)
    paths = [tmp_path / "out" / name for name in ("out.h5", "out.hdf5", "out.csv")]
    exports = [("picasso", paths[1]), ("thunderstorm", paths[2])]
    with pytest.raises(PlanelocError, match="minimum_probability"):
        filter_localizations(tmp_path / "in.h5", paths[0], exports, FilterSettings(minimum_probability=2))
    assert not (tmp_path / "out").exists()
