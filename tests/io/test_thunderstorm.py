"""ThunderSTORM tables are read back, and real ones are read."""

import numpy as np
import pandas as pd
import pytest

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table, thunderstorm
from support.exported_tables import METADATA, TOL_NM, UNKNOWN, real_tables, table


def test_round_trip(tmp_path):
    thunderstorm.write(table(), METADATA, tmp_path / "a.csv")
    header = (tmp_path / "a.csv").read_text().splitlines()[0]
    assert header == (
        '"id","frame","x [nm]","y [nm]","z [nm]","sigma1 [nm]","sigma2 [nm]","intensity [photon]",'
        '"offset [photon]","bkgstd [photon]","uncertainty_xy [nm]"'
    )
    assert pd.read_csv(tmp_path / "a.csv")["frame"].min() == table()["frame"].min() + 1
    back = thunderstorm.read(tmp_path / "a.csv")
    columns = ["frame", "x", "y", "z", "photons", "background", "x_sd", "y_sd"]
    np.testing.assert_allclose(back[columns], table()[columns], atol=TOL_NM)


def test_unknown_values_are_replaced(tmp_path):
    thunderstorm.write(table(**UNKNOWN), METADATA, tmp_path / "a.csv")
    assert "nan" not in (tmp_path / "a.csv").read_text()


def test_an_empty_table(tmp_path):
    thunderstorm.write(localization_table.empty(), METADATA, tmp_path / "a.csv")
    assert len(thunderstorm.read(tmp_path / "a.csv")) == 0


def test_foreign_files_are_named(tmp_path):
    (tmp_path / "a.csv").write_text("colour,size\n1,2\n")
    with pytest.raises(PlanelocError, match=r"a\.csv: not a ThunderSTORM"):
        thunderstorm.read(tmp_path / "a.csv")


def test_a_real_table_with_older_names():
    real = thunderstorm.read(real_tables() / "locan_Thunderstorm_dstorm_data.csv")
    assert real["frame"].iloc[0] == 2000
    assert real["x"].iloc[0] == pytest.approx(1320.1096)
    assert real["x_sd"].iloc[0] == pytest.approx(22.93255)
    assert real["photons"].iloc[0] == pytest.approx(296.55844)


def test_portions_change_no_byte(tmp_path, monkeypatch):
    thunderstorm.write(table(), METADATA, tmp_path / "a.csv")
    monkeypatch.setattr(thunderstorm, "_ROWS_AT_ONCE", 1)
    thunderstorm.write(table(), METADATA, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
