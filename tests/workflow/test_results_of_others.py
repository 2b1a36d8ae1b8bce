"""Snakemake deletes the outputs of a job before it starts: files of others in their place stop the run before that."""

import sys
import time

import pytest

from support.checkout import Checkout
from support.repository import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "workflow"))

from planeloc.core import marks
from preflight.errors import ConfigurationError
from preflight.results_of_others import is_foreign, refuse_foreign


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.slow
def test_no_run_deletes_what_lies_where_results_go(checkout: Checkout) -> None:
    folder = checkout.folder / "results" / "demo" / "filaments"
    (folder / "movie.zarr").mkdir(parents=True)
    for name in ("movie.zarr/raw.tif", "depth.png"):
        (folder / name).write_text("raw data")
    run = checkout.demo()
    assert run.returncode == 1 and "Traceback" not in run.stderr
    for name in ("movie.zarr", "depth.png"):
        assert f"results/demo/filaments/{name}: is no result of planeloc and would be deleted; move it" in run.stderr
    assert (folder / "movie.zarr" / "raw.tif").read_text() == (folder / "depth.png").read_text() == "raw data"
    assert checkout.verbs() == []
    (folder / "movie.zarr" / "raw.tif").rename(checkout.folder / "raw.tif")
    (folder / "depth.png").rename(checkout.folder / "depth.png")
    again = checkout.demo("--until", "convert")
    assert again.returncode == 0, again.stderr
    assert "convert" in checkout.verbs()


def test_only_what_was_not_made_is_refused(tmp_path):
    def refused(path, made=None):
        try:
            refuse_foreign([(str(path), made)])
        except ConfigurationError as error:
            assert str(error).startswith(f"{path}: is no result of planeloc and would be deleted; move it away")
            return True
        return False

    path = tmp_path / "a.csv"
    assert not refused(path)
    path.write_text("")
    assert not refused(path)
    path.write_text("my data")
    assert refused(path) and not refused(path, made=time.time())
    assert refused(path, made=time.time() - 3600)  # it was changed afterwards
    for text in ('{"format": "planeloc quality 1"}', "frame,x_nm,y_nm,z_nm,x_sd_nm,y_sd_nm,z_sd_nm\n1,2"):
        path.write_text(text)
        assert not refused(path)
    (store := tmp_path / "movie.zarr").mkdir()
    assert not refused(store)
    (store / "raw.tif").write_text("my data")
    assert refused(store)
    (store / "raw.tif").unlink()
    (store / "zarr.json").write_text('{"attributes": {"made_by": "planeloc convert"}}')
    assert not refused(store)
    (store / "counts" / "c" / "0").mkdir(parents=True)
    (store / "counts" / "c" / "0" / "0").write_text("a chunk")
    assert not refused(store)
    for name in ("counts/notes.txt", "labels/0/c/0"):
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_text("mine")
        assert refused(store, made=time.time())
        (store / name).unlink()
    (store / "counts" / "c" / "1").symlink_to(tmp_path)
    assert refused(store)


KINDS = {name: kind for name, kind in vars(marks).items() if isinstance(kind, marks.Kind)}


@pytest.mark.parametrize("name", KINDS)
def test_every_mark_of_a_result_is_known(name, tmp_path):
    """With Snakemake's records lost, the marks alone tell that a run may go on."""
    kind = KINDS[name]
    path = tmp_path / (kind.record or "result")
    path.write_bytes(kind.begins + b" ".join(kind.words + kind.any_of))
    assert not is_foreign(tmp_path if kind.record == "zarr.json" else path)


@pytest.mark.parametrize("name", ["microscope.yaml", "truth.csv", "inter_camera_drift.csv", "sample_drift.csv"])
def test_files_of_a_simulated_acquisition_are_known_by_its_record(name, tmp_path):
    (tmp_path / name).write_text("frame,x_nm,y_nm,z_nm,photons\n")
    assert is_foreign(tmp_path / name)
    (tmp_path / "simulation.json").write_text('{"format": "of others"}')
    assert is_foreign(tmp_path / name)
    (tmp_path / "simulation.json").write_text('{"format": "planeloc simulation 1"}')
    assert not is_foreign(tmp_path / name)
    (tmp_path / "raw.csv").write_text("my data")
    assert is_foreign(tmp_path / "raw.csv")
