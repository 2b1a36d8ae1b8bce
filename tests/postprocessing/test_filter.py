"""Every criterion leaves out what it says and nothing else."""

import numpy as np
import pandas as pd
import pytest

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table, picasso, thunderstorm
from planeloc.postprocessing.filter import Criteria, apply, filter_localizations
from planeloc.postprocessing.filter_expression import Expression
from planeloc.postprocessing.filter_figure import Histogram
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

GOOD = {"frame": 1, "x": 500.0, "y": 1000.0, "z": 0.0, "photons": 1000.0, "background": 4.0, "probability": 0.9}
FIT = {"goodness_of_fit": 1.1, "local_density": 2.0}
SD = {"x_sd": 10.0, "y_sd": 10.0, "z_sd": 20.0}


def rows(*changes: dict) -> pd.DataFrame:
    return pd.DataFrame([{**GOOD, **SD, **FIT, **change} for change in changes])


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
        ({"maximum_goodness_of_fit": 1.5}, {"goodness_of_fit": 1.6}),
        ({"expression": "photons > 800 and z_sd < 40"}, {"z_sd": 41}),
        ({"expression": "edge_distance > 100 and lateral_sd < 20"}, {"y": 99}),
        ({"expression": "local_density < 5"}, {"local_density": 6}),
        ({"first_frame": 1}, {"frame": 0}),
        ({"last_frame": 3}, {"frame": 4}),
    ],
)
def test_one_criterion_at_a_time(settings, bad):
    kept, record = apply(rows({}, bad), SIZE_NM, FilterSettings(**settings))
    assert len(kept) == 1
    assert record["failing"] == {**dict.fromkeys(record["failing"], 0), next(iter(settings)): 1}
    assert record["failing_alone"] == record["failing"]
    assert (record["rows_read"], record["rows_kept"]) == (2, 1)


def test_the_figure_tells_what_each_condition_joined_by_and_removes():
    settings = FilterSettings(expression="z_sd < 40 and (photons > 800 or y > 500) and x > 100")
    criteria = Criteria(settings, SIZE_NM)
    table = rows({}, {"z_sd": 50}, {"photons": 700, "y": 400}, {"z_sd": 50, "x": 90}, {"x": np.nan})
    quantities = criteria.quantities(table)
    failing = criteria.failing(quantities)
    parts = criteria.in_parts(failing, quantities)
    found = {name: fails.tolist() for name, fails in parts.items() if name not in failing}
    assert found == {
        "not (z_sd < 40)": [False, True, False, True, False],
        "not (photons > 800 or y > 500)": [False, False, True, False, False],
        "not (x > 100)": [False, False, False, True, False],
    }
    whole = np.any([parts[name] for name in found], axis=0)
    np.testing.assert_array_equal(whole, failing["expression"])
    assert "expression" not in parts and set(failing) - set(parts) == {"expression"}


@pytest.mark.parametrize("text", ["photons > 800 or z_sd < 40", "not (photons < 800 and z_sd > 40)", "photons > 800"])
def test_a_condition_without_and_is_one(text):
    assert [part.text for part in Expression(text).parts()] == [text]


def test_defaults_keep_all_and_unknown_values_pass():
    unknown = dict.fromkeys(("photons", "probability", *SD, *FIT), np.nan)
    table = rows({}, unknown, {"x": -5.0})
    assert len(apply(table, SIZE_NM, FilterSettings())[0]) == 3
    strict = FilterSettings(
        minimum_probability=0.95,
        minimum_photons=1e4,
        maximum_lateral_sd_nm=1,
        maximum_goodness_of_fit=0.5,
        expression="photons > 1e4 and not goodness_of_fit > 0.5",
    )
    assert len(apply(rows(unknown), SIZE_NM, strict)[0]) == 1


def test_lateral_precision_is_the_root_mean_square_of_both_axes():
    table = rows({"x_sd": 10.0, "y_sd": 20.0})  # 15.8 nm
    assert [len(apply(table, SIZE_NM, FilterSettings(maximum_lateral_sd_nm=limit))[0]) for limit in (15, 16)] == [0, 1]


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


def test_a_criterion_that_fails_with_others_fails_nothing_alone():
    _, record = apply(
        rows({"photons": 1, "z": 500}, {"z": 500}), SIZE_NM, FilterSettings(minimum_photons=2, maximum_depth_nm=4)
    )
    assert (record["failing"]["maximum_depth_nm"], record["failing_alone"]["maximum_depth_nm"]) == (2, 1)
    assert (record["failing"]["minimum_photons"], record["failing_alone"]["minimum_photons"]) == (1, 0)


def test_a_mistake_in_the_expression_is_said_before_anything_is_written(tmp_path):
    localization_table.write(tmp_path / "in.h5", rows({}), METADATA)
    with pytest.raises(PlanelocError, match="setting expression: character 1: unknown column photon"):
        filter_localizations(tmp_path / "in.h5", tmp_path / "out.h5", [], FilterSettings(expression="photon > 3"))
    assert not (tmp_path / "out.h5").exists()


def test_a_condition_on_a_column_of_other_tables_is_refused(tmp_path):
    localization_table.write(tmp_path / "in.h5", rows({}), METADATA)
    with pytest.raises(PlanelocError, match="no column frames, which only other tables have"):
        filter_localizations(tmp_path / "in.h5", tmp_path / "out.h5", [], FilterSettings(expression="frames >= 2"))
    assert not (tmp_path / "out.h5").exists()


def large(tmp_path, count=2500):
    random = np.random.default_rng(0)
    table = pd.DataFrame({name: np.full(count, value) for name, value in (GOOD | SD).items()})
    table["x"], table["y"] = random.uniform(0, 1000, count), random.uniform(0, 2000, count)
    table["photons"], table["frame"] = random.gamma(3, 500, count), np.sort(random.integers(0, 40, count))
    table["z_sd"] = np.where(random.random(count) < 0.1, np.nan, random.gamma(9, 4, count))
    localization_table.write(tmp_path / "in.h5", table, METADATA | {"frames": 40})
    return tmp_path / "in.h5"


def test_portions_change_nothing(tmp_path, monkeypatch):
    file, settings = large(tmp_path), FilterSettings(expression="photons > 800 and z_sd < 40", border_nm=50)
    filter_localizations(file, tmp_path / "whole.h5", [], settings, tmp_path / "whole.png")
    monkeypatch.setattr(localization_table, "_CHUNK_ROWS", 300)
    filter_localizations(file, tmp_path / "parts.h5", [], settings, tmp_path / "parts.png")
    (whole, of_whole), (parts, of_parts) = (
        localization_table.read(tmp_path / f"{name}.h5") for name in ("whole", "parts")
    )
    pd.testing.assert_frame_equal(whole, parts)
    assert of_whole == of_parts and 500 < len(whole) < 2000
    assert (tmp_path / "whole.png").read_bytes() == (tmp_path / "parts.png").read_bytes()
    table, _ = localization_table.read(file)
    in_memory, record = apply(table, SIZE_NM, settings)
    assert in_memory[["frame", "x", "photons"]].equals(whole[["frame", "x", "photons"]])
    assert of_whole["filter"]["failing"] == record["failing"]


def test_the_local_density_is_that_before_the_filter(tmp_path):
    file = large(tmp_path)
    for name, photons in (("all", 0.0), ("few", 2000.0)):
        filter_localizations(file, tmp_path / f"{name}.h5", [], FilterSettings(minimum_photons=photons))
    everything, few = (localization_table.read(tmp_path / f"{name}.h5")[0] for name in ("all", "few"))
    assert everything["local_density"].median() == pytest.approx(2500 / 2, rel=0.2)  # of 2 µm²
    expected = everything["local_density"][everything["photons"] >= 2000].reset_index(drop=True)
    assert few["local_density"].equals(expected)


def test_a_table_without_rows_has_a_figure_too(tmp_path):
    localization_table.write(tmp_path / "in.h5", localization_table.empty_columns(), METADATA)
    filter_localizations(tmp_path / "in.h5", tmp_path / "out.h5", [], FilterSettings(), tmp_path / "out.png")
    assert len(localization_table.read(tmp_path / "out.h5")[0]) == 0
    assert (tmp_path / "out.png").stat().st_size > 10_000


def test_histograms_count_every_known_value_once():
    random = np.random.default_rng(1)
    values = np.concatenate((random.gamma(3, 500, 1000), [np.nan, np.inf, 0.0, 1e9]))
    keep = values > 800
    for axis in ("linear", "log", "whole numbers"):
        histogram = Histogram(values, [800.0], axis)
        histogram.add(values, keep)
        assert histogram.before.sum() == len(values) - 1
        assert histogram.after.sum() == keep.sum()
        assert histogram.edges[0] <= 800 <= histogram.edges[-1]


def test_limits_that_are_set_are_drawn():
    criteria = Criteria(FilterSettings(minimum_photons=500, expression="photons > 800 and 20 > z_sd"), SIZE_NM)
    assert criteria.limits() == {"probability": [0.1], "photons": [500, 800.0], "z_sd": [20.0]}


@pytest.mark.parametrize(
    ("least", "level", "said"),
    [
        (0, "INFO", "3 of 3 localizations are kept"),
        (500, "INFO", "2 of 3 localizations are kept; minimum_photons removes most, 1"),
        (8e4, "WARNING", "0 of 3 localizations are kept; minimum_photons removes most, 3: the filter leaves nothing"),
    ],
)
def test_it_says_what_it_kept(tmp_path, caplog, least, level, said):
    localization_table.write(tmp_path / "in.h5", rows({}, {"frame": 0}, {"photons": 400.0}), METADATA)
    with caplog.at_level("INFO", logger="planeloc"):
        filter_localizations(tmp_path / "in.h5", tmp_path / "out.h5", [], FilterSettings(minimum_photons=least))
    (record,) = caplog.records
    assert record.levelname == level and said in record.message
