"""ThunderSTORM tables are read back, and real ones are read."""

import numpy as np
import pandas as pd
import pytest

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table, other_programs, thunderstorm
from support.exported_tables import METADATA, TOL_NM, UNKNOWN, linked, real_tables, table


def test_round_trip(tmp_path):
    thunderstorm.write(table(), METADATA, tmp_path / "a.csv")
    header = (tmp_path / "a.csv").read_text().splitlines()[0]
    assert header == (
        '"id","frame","x [nm]","y [nm]","z [nm]","sigma1 [nm]","sigma2 [nm]","intensity [photon]",'
        '"offset [photon]","bkgstd [photon]","uncertainty_xy [nm]","uncertainty_z [nm]","probability"'
    )
    assert pd.read_csv(tmp_path / "a.csv")["frame"].min() == table()["frame"].min() + 1
    back, said = thunderstorm.read(tmp_path / "a.csv")
    assert said == {}
    np.testing.assert_allclose(back, table(), atol=TOL_NM)


def test_linked_rows_and_both_lateral_precisions_come_back(tmp_path):
    rows = linked()
    thunderstorm.write(rows, METADATA, tmp_path / "a.csv")
    back, _ = thunderstorm.read(tmp_path / "a.csv")
    np.testing.assert_allclose(back[list(rows)], rows, atol=TOL_NM, rtol=1e-6)


def test_a_lateral_precision_that_another_program_changed_counts(tmp_path):
    thunderstorm.write(table(x_sd=6.0, y_sd=9.0), METADATA, tmp_path / "a.csv")
    content = pd.read_csv(tmp_path / "a.csv")
    content.loc[0, "uncertainty_xy [nm]"] = 2.0
    content.to_csv(tmp_path / "a.csv", index=False)
    back, _ = thunderstorm.read(tmp_path / "a.csv")
    assert back.loc[0, ["x_sd", "y_sd"]].tolist() == [2.0, 2.0]
    assert back.loc[1, ["x_sd", "y_sd"]].tolist() == [6.0, 9.0]


def test_merged_molecules_of_thunderstorm(tmp_path):
    (tmp_path / "a.csv").write_text('"frame","x [nm]","y [nm]","detections"\n5,10.0,20.0,3\n')
    back, _ = thunderstorm.read(tmp_path / "a.csv")
    assert back.loc[0, ["frame", "last_frame", "frames"]].tolist() == [4, 6, 3]


def test_unknown_values_are_replaced(tmp_path):
    thunderstorm.write(table(**UNKNOWN), METADATA, tmp_path / "a.csv")
    assert "nan" not in (tmp_path / "a.csv").read_text()
    back, _ = thunderstorm.read(tmp_path / "a.csv")
    assert back[list(UNKNOWN)].isna().all().all()


def test_an_empty_table(tmp_path):
    thunderstorm.write(localization_table.empty(), METADATA, tmp_path / "a.csv")
    assert len(thunderstorm.read(tmp_path / "a.csv")[0]) == 0


def test_foreign_files_are_named(tmp_path):
    for text in ("", "colour,size\n1,2\n", "frame,x [nm],y [nm]\n1,2,red\n", "frame,x [nm],x [nm],y [nm]\n1,2,3,4\n"):
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(PlanelocError, match=r"a\.csv: not a ThunderSTORM") as caught:
            thunderstorm.read(tmp_path / "a.csv")
        assert "\n" not in str(caught.value)
    (tmp_path / "b.csv").write_bytes(bytes(range(256)) * 9)
    with pytest.raises(PlanelocError, match=r"b\.csv: not a ThunderSTORM"):
        thunderstorm.read(tmp_path / "b.csv")


@pytest.mark.parametrize("frame", ["0", "1.5", "nan", "1e300"])
def test_a_wrong_frame_is_refused(tmp_path, frame):
    (tmp_path / "a.csv").write_text(f"frame,x [nm],y [nm]\n{frame},2,3\n")
    with pytest.raises(PlanelocError, match="frames must be whole numbers from 1 on"):
        thunderstorm.read(tmp_path / "a.csv")


def test_a_real_table_with_older_names():
    real, _ = thunderstorm.read(real_tables() / "locan_Thunderstorm_dstorm_data.csv")
    assert real["frame"].iloc[0] == 2000
    assert real["x"].iloc[0] == pytest.approx(1320.1096)
    assert real["x_sd"].iloc[0] == pytest.approx(22.93255)
    assert real["photons"].iloc[0] == pytest.approx(296.55844)


def test_portions_change_no_byte(tmp_path, monkeypatch):
    thunderstorm.write(table(), METADATA, tmp_path / "a.csv")
    monkeypatch.setattr(other_programs, "_ROWS_AT_ONCE", 7)
    monkeypatch.setattr(thunderstorm, "_LINES_AT_ONCE", 3)
    thunderstorm.write(table(), METADATA, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
