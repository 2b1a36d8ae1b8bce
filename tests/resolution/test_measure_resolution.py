"""The stage: what it writes, what it warns of, and that few or odd rows are no error."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table, picasso
from planeloc.postprocessing.link import link_localizations
from planeloc.postprocessing.settings import LinkSettings
from planeloc.resolution import measure_resolution as stage
from planeloc.resolution.measure_resolution import measure_resolution
from planeloc.resolution.quality import limit_of
from planeloc.resolution.settings import MeasureResolutionSettings
from support.filament_tables import FRAMES, blinking_table

METADATA = {"frames": FRAMES, "width_px": 40, "height_px": 40, "pixel_size_nm": 150.0, "depth_range_nm": [-600, 600]}
FIELD_NM = 6_000.0
OUTPUTS = ("output", "figure", "quality")
COARSE = MeasureResolutionSettings(splits=2, slice_nm=600.0, pixel_nm=5.0)


@pytest.fixture(autouse=True)
def _small_volumes(monkeypatch) -> None:
    from planeloc.resolution import spectra

    monkeypatch.setattr(spectra, "_MOST_VOLUMES", 4)
    monkeypatch.setattr(spectra, "_LARGEST_VOLUME", (96, 96, 96))


def run(
    folder: Path, table: pd.DataFrame, linked: pd.DataFrame, settings=COARSE, metadata=METADATA
) -> tuple[dict, dict, dict]:
    """Record, quality values and verdicts by name."""
    localization_table.write(folder / "table.h5", table, metadata)
    localization_table.write(folder / "linked.h5", linked, metadata)
    suffix = {"figure": ".png"}
    outputs = {name: folder / f"{name}{suffix.get(name, '.json')}" for name in OUTPUTS}
    measure_resolution(folder / "table.h5", folder / "linked.h5", **outputs, settings=settings)
    quality = json.loads(outputs["quality"].read_text())
    assert outputs["figure"].stat().st_size > 10_000
    return (
        json.loads(outputs["output"].read_text()),
        quality["values"],
        {check["name"]: check["verdict"] for check in quality["checks"]},
    )


def test_a_good_table_passes_and_everything_is_written(tmp_path) -> None:
    made = blinking_table(10_000, field_nm=FIELD_NM, filaments=12, flat=False)
    record, values, verdicts = run(tmp_path, made.table, made.linked)
    assert set(verdicts.values()) == {"pass"}
    assert values["frc_nm"] == pytest.approx(values["frc_time_nm"], rel=0.1)
    assert values["naive_frc_ratio"] < 0.97
    assert values["precision_ratio_axial"] == pytest.approx(1, abs=0.03)
    assert values["precision_fwhm_nm"] == pytest.approx(2.355 * made.linked["x_sd"].median(), rel=0.03)
    assert values["fsc_nm"] > values["frc_nm"]
    assert values["frc_nm"] > 1.5 * values["precision_fwhm_nm"]  # not finer than the precision allows
    assert record["values"] == values and record["limited_by"] in ("density", "precision")
    assert len(record["depth"]) == 2
    assert all(each["frc_nm"] > 0.8 * values["frc_nm"] for each in record["depth"])
    curve = record["curves"]["xy"]
    at = np.interp(1 / values["frc_nm"], curve["frequency_per_nm"], curve["correlation"])
    assert at == pytest.approx(1 / 7, abs=0.005)
    assert sum(record["nena"]["lateral"]["counts"]) == pytest.approx(sum(record["nena"]["lateral"]["fit"]), rel=1e-3)


def test_blocks_of_a_short_movie_cut_few_blinks(tmp_path) -> None:
    made = blinking_table(1_200, field_nm=FIELD_NM, filaments=20, longest=10, frames=600)
    _, values, _ = run(tmp_path, made.table, made.linked)
    assert values["frc_unlinked_nm"] > 0.9 * values["frc_nm"] > 1.3 * values["frc_naive_nm"]


def test_the_same_tables_give_the_same_results(tmp_path) -> None:
    made = blinking_table(3_000, field_nm=FIELD_NM, filaments=8)
    assert run(tmp_path, made.table, made.linked) == run(tmp_path, made.table, made.linked)


@pytest.mark.parametrize(("scale", "verdict"), [(1.0, "pass"), (1.5, "warn"), (0.6, "warn")])
def test_a_stated_precision_that_is_not_true_warns(tmp_path, scale: float, verdict: str) -> None:
    made = blinking_table(3_000, field_nm=FIELD_NM, filaments=8, scale=scale)
    _, values, verdicts = run(tmp_path, made.table, made.linked)
    assert verdicts["precision_ratio_lateral"] == verdicts["precision_ratio_axial"] == verdict
    assert values["precision_ratio_lateral"] == pytest.approx(scale, rel=0.05)


def test_what_linking_corrected_is_not_corrected_again(tmp_path) -> None:
    made = blinking_table(3_000, field_nm=FIELD_NM, filaments=8, scale=1.5)
    _, stated, _ = run(tmp_path, made.table, made.linked)
    linked = made.linked.assign(**{name: 1.5 * made.linked[name] for name in ("x_sd", "y_sd", "z_sd")})
    _, corrected, _ = run(tmp_path, made.table, linked, metadata=METADATA | {"link": {"sd_factors": [1.5, 1.5, 1.5]}})
    assert corrected["precision_fwhm_nm"] == pytest.approx(stated["precision_fwhm_nm"], rel=1e-6)
    assert stated["precision_fwhm_nm"] == pytest.approx(1.5 * 2.355 * made.linked["x_sd"].median(), rel=0.05)


def test_a_table_whose_blinks_could_not_be_linked_warns(tmp_path) -> None:
    made = blinking_table(3_000, field_nm=FIELD_NM, filaments=8)
    unlinked = made.table.assign(frames=1, last_frame=made.table["frame"])
    metadata = METADATA | {"link": {"one_row_per_blink": False}}
    _, values, verdicts = run(tmp_path, made.table, unlinked, metadata=metadata)
    assert verdicts["rows_are_blinks"] == "warn"
    assert values["frc_nm"] == pytest.approx(values["frc_naive_nm"], rel=1e-6)
    assert values["frc_nm"] < values["frc_unlinked_nm"]
    _, values, verdicts = run(tmp_path, made.table, made.linked)
    assert values["rows_are_blinks"] == 1 and "rows_are_blinks" not in verdicts


def test_a_sparse_table_is_limited_by_its_density_and_a_dense_one_is_not(tmp_path) -> None:
    sparse, dense = (blinking_table(n, field_nm=FIELD_NM, filaments=6) for n in (700, 30_000))
    record, _, verdicts = run(tmp_path, sparse.table, sparse.linked)
    assert record["limited_by"] == "density" and verdicts["nyquist_ratio"] == "warn"
    record, _, verdicts = run(tmp_path, dense.table, dense.linked)
    assert record["limited_by"] == "precision" and verdicts["nyquist_ratio"] == "pass"


def test_sample_drift_that_is_left_warns(tmp_path) -> None:
    made = blinking_table(8_000, field_nm=FIELD_NM, filaments=8, drift_nm=100.0)
    _, values, verdicts = run(tmp_path, made.table, made.linked)
    assert verdicts["frc_time_ratio"] == "warn" and values["frc_time_ratio"] > 1.2


def test_a_table_of_one_depth_has_a_resolution(tmp_path) -> None:
    made = blinking_table(4_000, field_nm=FIELD_NM, filaments=8)
    table, linked = (rows.assign(z=0.0) for rows in (made.table, made.linked))
    metadata = {key: value for key, value in METADATA.items() if key != "depth_range_nm"}
    record, values, _ = run(tmp_path, table, linked, metadata=metadata)
    assert values["frc_nm"] > 0 and values["nena_axial_nm"] is None
    assert [values[name] for name in ("fsc_nm", "fsc_axial_nm", "frc_xz_nm", "frc_yz_nm")] == [None] * 4
    assert len(record["depth"]) == 1 and record["depth"][0]["frc_nm"] == values["frc_nm"]


@pytest.mark.parametrize("depths", [(-500.0, -450.0), (-10.0, 10.0), (450.0, 500.0)])
def test_a_sample_that_is_thinner_than_the_depth_range_has_a_resolution(tmp_path, depths) -> None:
    made = blinking_table(4_000, field_nm=FIELD_NM, filaments=8)
    table, linked = (
        rows.assign(z=np.random.default_rng(0).uniform(*depths, len(rows))) for rows in (made.table, made.linked)
    )
    record, values, verdicts = run(tmp_path, table, linked)
    assert verdicts["resolution_measured"] == "pass" and values["frc_nm"] > 0
    assert sum(each["molecules"] for each in record["depth"]) == len(linked)
    assert all(each["frc_nm"] is None for each in record["depth"] if not each["molecules"])


def test_unknown_precisions_are_no_error(tmp_path) -> None:
    made = blinking_table(3_000, field_nm=FIELD_NM, filaments=8)
    table, linked = (rows.assign(x_sd=np.nan, y_sd=0.0, z_sd=np.nan) for rows in (made.table, made.linked))
    _, values, verdicts = run(tmp_path, table, linked)
    assert values["frc_nm"] > 0 and values["nena_lateral_nm"] > 0
    assert values["precision_ratio_lateral"] is None and set(verdicts) == {"resolution_measured", "frc_time_ratio"}


@pytest.mark.parametrize("blinks", [0, 1, 5, 40])
def test_few_rows_cannot_tell(tmp_path, blinks: int) -> None:
    if blinks:
        made = blinking_table(blinks, field_nm=FIELD_NM, filaments=2)
        table, linked = made.table, made.linked
    else:
        table = linked = localization_table.empty()
    record, values, verdicts = run(tmp_path, table, linked, MeasureResolutionSettings())
    assert verdicts == {"resolution_measured": "warn"}
    assert values["frc_nm"] is None and record["limited_by"] == "unknown"


def test_rows_at_one_point_in_one_frame_cannot_tell(tmp_path) -> None:
    rows = blinking_table(2_000).linked.assign(x=100.0, y=100.0, z=0.0, frame=3)
    record, values, verdicts = run(tmp_path, rows.drop(columns=["frames", "last_frame"]), rows)
    assert values["frc_nm"] is None and verdicts["resolution_measured"] == "warn"
    assert record["limited_by"] == "unknown"


def test_rows_that_are_nowhere_or_outside_the_field_do_not_count(tmp_path) -> None:
    made = blinking_table(3_000, field_nm=FIELD_NM, filaments=8)
    odd = made.linked.iloc[:3].assign(x=[np.nan, 1e9, -1e9])
    more = pd.concat([made.linked, odd], ignore_index=True)
    _, values, _ = run(tmp_path, made.table, made.linked)
    assert run(tmp_path, made.table, more)[1] == values


def test_a_table_that_is_not_linked_is_refused(tmp_path) -> None:
    table = blinking_table(100).table
    with pytest.raises(PlanelocError, match="its rows are not linked; create it with `planeloc link`"):
        run(tmp_path, table, table)


@pytest.mark.parametrize(
    ("nyquist", "frc", "limit"), [(2.0, 50.0, "density"), (0.5, 50.0, "precision"), (np.nan, 50.0, "unknown")]
)
def test_the_limit_is_the_larger_of_both(nyquist: float, frc: float, limit: str) -> None:
    assert limit_of({"nyquist_ratio": nyquist, "frc_nm": frc}) == limit


@pytest.mark.skipif("PLANELOC_TEST_DATA" not in os.environ, reason="PLANELOC_TEST_DATA names no folder")
def test_precision_of_a_table_of_picasso() -> None:
    """Docking strands of DNA-PAINT, each on for some frames."""
    table, _ = picasso.read(Path(os.environ["PLANELOC_TEST_DATA"]) / "tables" / "raw_movie_locs.hdf5")
    rows = stage.Rows(
        table["frame"].to_numpy(),
        np.column_stack([table["x"], table["y"], np.zeros(len(table))]),
        np.column_stack([table["x_sd"], table["y_sd"], np.ones(len(table))]),
    )
    measured = stage.measure_molecules(rows, [stage.Slice(-1, 1)], COARSE)
    stage.measure_localizations(measured, rows, COARSE)
    assert 0.7 < measured.ratios["lateral"][0] < 1.6


def test_a_linked_table_of_another_table_is_refused(tmp_path) -> None:
    """Also where it has as many rows."""
    made = blinking_table(300)
    linked, table = tmp_path / "linked.h5", tmp_path / "table.h5"
    outputs = {name: tmp_path / f"{name}.json" for name in OUTPUTS} | {"figure": tmp_path / "f.png"}
    localization_table.write(table, made.table, METADATA)
    link_localizations(table, linked, tmp_path / "l.png", tmp_path / "l.json", LinkSettings())
    measure_resolution(table, linked, **outputs, settings=COARSE)
    fewer = made.table[made.table["frame"] > 100]
    moved = made.table.assign(frame=made.table["frame"].to_numpy()[::-1])
    for other in (fewer, moved):
        localization_table.write(table, other, METADATA)
        with pytest.raises(PlanelocError, match=r"linked\.h5: was not made from .*table\.h5"):
            measure_resolution(table, linked, **outputs, settings=COARSE)
