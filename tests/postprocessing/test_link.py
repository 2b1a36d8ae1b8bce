"""The stage: merged rows, what belongs to them, and tables in which nothing can be linked."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table, picasso
from planeloc.postprocessing import link_figure
from planeloc.postprocessing.link import link_columns, link_localizations
from planeloc.postprocessing.merge import Scatter, merge, scatter
from planeloc.postprocessing.settings import LinkSettings
from support.blinking_tables import BlinkingTable, blinking_table

METADATA = {"frames": 3000, "width_px": 60, "height_px": 60, "pixel_size_nm": 192.0, "voxel_nm": [25.0, 25.0, 50.0]}
INDEPENDENT = {"shared_lateral": 0.0, "shared_axial": 0.0}
SD = ["x_sd", "y_sd", "z_sd"]


def run(folder: Path, table: pd.DataFrame, drift: Path | None = None, exports=(), **settings):
    """Linked table, metadata, quality values, and the linked row of every row."""
    localization_table.write(folder / "table.h5", table, METADATA)
    files = [folder / name for name in ("linked.h5", "linking.png", "linking.json")]
    link_localizations(folder / "table.h5", *files, LinkSettings(**settings), drift, exports)
    linked, metadata = localization_table.read(files[0])
    assert files[1].stat().st_size > 10_000
    return linked, metadata, json.loads(files[2].read_text()), localization_table.read_linked_row(files[0])


def merged_errors(made: BlinkingTable, **settings) -> np.ndarray:
    """(rows, 3) normalised errors of merged rows that hold one blink, of two localizations or more."""
    columns = {name: made.table[name].to_numpy() for name in made.table}
    found = link_columns(columns, LinkSettings(**settings))
    sd = made.table[SD].to_numpy()
    merged = merge(columns, found.blink, np.isfinite(sd), sd, None, found.scatter)
    rows = pd.DataFrame({"group": found.blink, "blink": made.blink}).groupby("group")["blink"].agg(["nunique", "size"])
    pure = ((rows["nunique"] == 1) & (rows["size"] > 1)).to_numpy()
    truth = made.place[np.unique(found.blink, return_index=True)[1]]
    error = np.stack([(merged[a] - truth[:, i]) / merged[f"{a}_sd"] for i, a in enumerate("xyz")], axis=1)
    return error[pure & np.isfinite(truth[:, 0])]


@pytest.mark.parametrize(("on_frames", "blinks"), [(3.0, 4000), (15.0, 1500)])
@pytest.mark.parametrize(("shared", "tolerance"), [(0.0, 0.1), (0.12, 0.1), (0.4, 0.15)])
def test_the_precision_of_merged_rows_is_true(shared: float, tolerance: float, on_frames: float, blinks: int) -> None:
    made = blinking_table(blinks, on_frames=on_frames, missed=0.1, shared=shared, frames=4000, field_nm=15_000)
    assumed = min(shared, 0.12)  # more is measured
    error = merged_errors(made, shared_lateral=assumed, shared_axial=assumed)
    assert np.allclose(np.sqrt((error**2).mean(axis=0)), 1, atol=tolerance)
    assert np.allclose(1.4826 * np.median(np.abs(error), axis=0), 1, atol=tolerance)


def test_precision_that_was_understated_is_corrected() -> None:
    made = blinking_table(4000, frames=4000)
    made.table[SD] /= 1.5
    error = merged_errors(made, **INDEPENDENT)
    assert np.allclose(np.sqrt((error**2).mean(axis=0)), 1, atol=0.12)


def test_a_pick_of_another_program_stays_with_its_blinks(tmp_path: Path) -> None:
    made = blinking_table(600, frames=2500)
    linked, _, _, row = run(tmp_path, made.table.assign(group=np.where(made.table["x"] < 5000, 3, 7)))
    first = made.table.assign(row=row).groupby("row")["x"].first()
    assert list(linked["group"]) == np.where(first < 5000, 3, 7).tolist() and linked["group"].nunique() == 2


def test_both_tables_are_kept_and_fit_each_other(tmp_path: Path) -> None:
    made = blinking_table(1500, frames=2500)
    linked, metadata, quality, row = run(tmp_path, made.table, exports=[("picasso", tmp_path / "linked.hdf5")])
    assert list(linked) == [*localization_table.COLUMNS, "last_frame", "frames"]
    assert np.array_equal(np.bincount(row), linked["frames"]) and len(row) == len(made.table)
    assert (linked["frame"].diff().dropna() >= 0).all()
    by_row = made.table.groupby(row)
    assert np.array_equal(by_row["frame"].min(), linked["frame"])
    assert np.array_equal(by_row["frame"].max(), linked["last_frame"])
    assert np.allclose(by_row["photons"].sum(), linked["photons"], rtol=1e-5)
    assert np.allclose(1 - 0.05 ** linked["frames"], linked["probability"])
    assert (linked["x_sd"] <= by_row["x_sd"].max() * 1.5).all()
    assert metadata["link"]["linked"] and metadata["link"]["one_row_per_blink"] and metadata["pixel_size_nm"] == 192
    values = quality["values"]
    assert values["linked_rows"] == len(linked) and values["localizations_per_blink"] == len(row) / len(linked)
    assert {check["verdict"] for check in quality["checks"]} == {"pass"}
    assert len(picasso.read(tmp_path / "linked.hdf5")[0]) == len(linked)


def test_the_same_table_gives_the_same_bytes_and_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    table = blinking_table(300, frames=1000).table
    first = run(tmp_path, table)[0]
    content = (tmp_path / "linked.h5").read_bytes(), (tmp_path / "linking.png").read_bytes()
    run(tmp_path, table)
    assert content == ((tmp_path / "linked.h5").read_bytes(), (tmp_path / "linking.png").read_bytes())
    mixed = run(tmp_path, table.sample(frac=1, random_state=0))[0]
    order = ["frame", "x", "y"]
    pd.testing.assert_frame_equal(
        first.sort_values(order, ignore_index=True), mixed.sort_values(order, ignore_index=True), rtol=1e-5
    )


def test_the_error_of_the_sample_drift_does_not_average_down(tmp_path: Path) -> None:
    made = blinking_table(800, on_frames=10.0, frames=2500)
    drift = pd.DataFrame({"frame": np.arange(2500), **dict.fromkeys(("x_sd_nm", "y_sd_nm", "z_sd_nm"), 8.0)})
    drift.to_csv(tmp_path / "drift.csv", index=False)
    alone = run(tmp_path, made.table, **INDEPENDENT)[0]
    made.table[SD] = np.hypot(made.table[SD], 8.0)
    linked = run(tmp_path, made.table, tmp_path / "drift.csv", **INDEPENDENT)[0]
    long = linked["frames"] > 15
    assert np.isclose(linked["x_sd"][long].mean(), np.hypot(alone["x_sd"][alone["frames"] > 15].mean(), 8), rtol=0.03)
    assert (linked["x_sd"] > 7.9).all()


@pytest.mark.parametrize(
    ("table", "settings", "reason"),
    [
        (localization_table.empty(), {}, "there are no localizations"),
        (blinking_table(200).table.iloc[:1], {}, "the localizations are all in one frame"),
        (blinking_table(200).table.assign(frame=3), {}, "the localizations are all in one frame"),
        (blinking_table(200).table, {"mode": "never"}, "mode: never"),
        (blinking_table(3000, on_frames=1.0, missed=0.0).table, {}, "blinks are not longer than a frame"),
        (blinking_table(3000, field_nm=30.0, frames=50).table, {}, "too many localizations are close to each other"),
    ],
)
def test_where_nothing_is_linked_the_table_stays_as_it_is(tmp_path, table, settings, reason) -> None:
    linked, metadata, quality, row = run(tmp_path, table, **settings)
    before = localization_table.read(tmp_path / "table.h5")[0]
    pd.testing.assert_frame_equal(linked[list(before)], before)
    assert (linked["frames"] == 1).all() and (linked["last_frame"] == linked["frame"]).all()
    assert metadata["link"] == {**metadata["link"], "linked": False, "reason": reason}
    assert metadata["link"]["one_row_per_blink"] == (reason != "mode: never" and "close" not in reason)
    assert quality["values"]["localizations_linked"] == 0
    assert [check["verdict"] for check in quality["checks"]] == (["warn"] if "close" in reason else [])
    assert np.array_equal(row, np.arange(len(table)))


def test_unknown_values_are_left_out_and_stay_unknown(tmp_path: Path) -> None:
    made = blinking_table(1500, frames=2500, false=0.0)
    table = made.table.copy()
    table["z_sd"] = np.nan
    table.loc[::3, ["x_sd", "photons", "background", "probability"]] = np.nan
    table.loc[5, "y"] = np.nan
    linked, _, _, row = run(tmp_path, table)
    assert linked["z_sd"].isna().all() and linked["z"].notna().all()
    assert linked["frames"].iloc[row[5]] == 1 and np.isnan(linked["y"].iloc[row[5]])
    known = table.groupby(row)["x_sd"].count()
    assert np.array_equal(linked["x_sd"].isna(), known == 0)
    assert linked["frames"].mean() > 3
    for name in SD:
        table[name] = np.nan
    linked, _, quality, _ = run(tmp_path, table)
    assert linked["frames"].mean() > 3 and linked[SD].isna().all(axis=None)
    assert [check["name"] for check in quality["checks"]] == ["expected_false_links_fraction"]


def test_rows_of_one_frame_are_never_merged(tmp_path: Path) -> None:
    table = blinking_table(800, frames=2000).table
    table = pd.concat([table, table]).sort_values("frame", kind="stable", ignore_index=True)
    row = run(tmp_path, table)[3]
    assert not pd.DataFrame({"row": row, "frame": table["frame"]}).duplicated().any()


def test_other_columns_are_means(tmp_path: Path) -> None:
    table = blinking_table(800, frames=2000).table
    table["goodness_of_fit"] = np.where(np.arange(len(table)) % 2, np.nan, 1.5)
    linked, _, _, row = run(tmp_path, table)
    assert np.array_equal(linked["goodness_of_fit"].isna(), table.groupby(row)["goodness_of_fit"].count() == 0)
    assert (linked["goodness_of_fit"].dropna() == 1.5).all()


def test_what_scatters_less_than_stated_is_shared() -> None:
    random = np.random.default_rng(0)
    found = scatter(random.normal(size=(20_000, 3)) * np.sqrt([0.5, 1.0, 2.0]), np.full(3, 0.1))
    assert np.allclose(found.ratio, [0.5, 1, 2], rtol=0.05)
    assert np.allclose(found.shared, [0.45, 0.1, 0.1], atol=0.03) and np.allclose(found.factor, [1, 1, 2], rtol=0.05)
    assert scatter(np.empty((0, 3)), np.full(3, 0.1)).ratio.tolist() == [1, 1, 1]


def test_merging_is_what_the_formulas_say() -> None:
    columns = {
        "frame": np.array([4, 5, 9]),
        **{axis: np.array([0.0, 30.0, 7.0]) for axis in "xyz"},
        "photons": np.array([100.0, 300.0, np.nan]),
        "background": np.array([2.0, 4.0, 8.0]),
        "probability": np.array([0.5, 0.8, 0.3]),
    }
    sd = np.repeat([[10.0], [20.0], [5.0]], 3, axis=1)
    made = merge(columns, np.array([0, 0, 1]), sd > 0, sd, None, Scatter(np.ones(3), np.full(3, 0.2)))
    assert np.allclose(made["x"], [6, 7])
    scattered = np.sqrt((12 + 3 * 30**2 / 500) / (12 + 3))
    assert np.allclose(made["x_sd"], [np.sqrt(0.8 * 80 + 0.2 * (0.8 * 100 + 0.2 * 400)) * max(scattered, 1), 5])
    assert np.allclose(made["photons"], [400, np.nan], equal_nan=True)
    assert np.allclose(made["background"], [3.5, 8]) and np.allclose(made["probability"], [0.9, 0.3])
    assert made["frame"].tolist() == [4, 9] and made["last_frame"].tolist() == [5, 9]


def test_a_blink_with_a_certain_localization_is_certain() -> None:
    columns = {
        "frame": np.arange(5),
        **{name: np.ones(5) for name in ("x", "y", "z", "photons", "background")},
        "probability": np.array([1.0, 0.5, 1.0, np.nan, np.nan]),
    }
    sd = np.ones((5, 3))
    made = merge(columns, np.array([0, 0, 1, 1, 2]), sd > 0, sd, None, Scatter(np.ones(3), np.zeros(3)))
    assert np.array_equal(made["probability"], [1, 1, np.nan], equal_nan=True)


def test_a_drift_of_fewer_frames_and_a_table_that_is_not_linked_are_refused(tmp_path: Path) -> None:
    table = blinking_table(300).table
    (tmp_path / "drift.csv").write_text("frame,x_sd_nm,y_sd_nm,z_sd_nm\n0,1,1,1\n")
    with pytest.raises(PlanelocError, match="1 frames do not fit localizations up to"):
        run(tmp_path, table, tmp_path / "drift.csv")
    (tmp_path / "drift.csv").write_text("frame\n0\n")
    with pytest.raises(PlanelocError, match="not a table of sample drift"):
        run(tmp_path, table, tmp_path / "drift.csv")
    with pytest.raises(PlanelocError, match="not a linked table"):
        localization_table.read_linked_row(tmp_path / "table.h5")
    with pytest.raises(PlanelocError, match="no such file"):
        localization_table.read_linked_row(tmp_path / "absent.h5")


def test_a_table_that_is_linked_already_is_refused(tmp_path: Path) -> None:
    linked, *_ = run(tmp_path, blinking_table(300).table)
    (tmp_path / "again").mkdir()
    with pytest.raises(PlanelocError, match=r"table\.h5: already linked, its rows are blinks"):
        run(tmp_path / "again", linked)


@pytest.mark.parametrize(("longest", "end"), [(20, 20), (14, 14), (400, 10)])
def test_axes_show_every_blink_unless_few_are_far_beyond_the_others(longest, end):
    lengths = np.array([1] * 500 + [2, 3, 5, 8] * 20 + [longest])
    assert link_figure._end(lengths) == end
