"""Only what planeloc made is replaced or removed: by its mark, through links, and no file that lies in its folder."""

import errno
import os
import shutil

import pytest

from planeloc.core import files, marks
from planeloc.core.errors import PlanelocError

KIND = marks.Kind("a table of this test", (b"ours",))
FOLDER = marks.Kind("a folder of this test", (b"ours",), record="zarr.json", entries=r"zarr\.json|\d+/c(/\d+)+")


def write(path, text="ours, new", kind=KIND):
    with files.atomic_path(path, kind) as partial:
        partial.write_text(text)


def write_folder(path):
    with files.atomic_path(path, FOLDER) as partial:
        (partial / "0" / "c").mkdir(parents=True)
        (partial / "zarr.json").write_text("ours")
        (partial / "0" / "c" / "0").write_text("new")


def refused(path, why, writer=write):
    with pytest.raises(PlanelocError) as error:
        writer(path)
    line = str(error.value)
    assert "\n" not in line and str(path) in line and why in line
    assert line.endswith("move it away or choose another name"), line


def test_a_result_is_replaced_and_nothing_else(tmp_path):
    path = tmp_path / "a.csv"
    write(path, "ours, old")
    write(path)
    assert path.read_text() == "ours, new"
    path.write_text("raw data")
    refused(path, "is not a table of this test that planeloc made, and would be lost")
    assert path.read_text() == "raw data"
    path.write_text("")  # of `mktemp`
    write(path)
    assert path.read_text() == "ours, new"


def test_the_mark_is_found_at_either_end_of_a_large_file(tmp_path):
    path = tmp_path / "a.csv"
    for text in ("ours" + "x" * 200_000, "x" * 200_000 + "ours", "x" * 70_000 + "ours"):
        path.write_text(text)
        write(path)
    path.write_text("x" * 100_000 + "ours" + "x" * 100_000)
    refused(path, "would be lost")


def test_what_comes_while_a_result_is_made_is_not_replaced(tmp_path):
    path = tmp_path / "a.csv"
    with pytest.raises(PlanelocError, match="would be lost"), files.atomic_path(path, KIND) as partial:
        partial.write_text("ours")
        path.write_text("raw data")
    assert path.read_text() == "raw data" and list(tmp_path.iterdir()) == [path]


def test_a_folder_in_place_of_a_file_and_the_reverse(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "raw.tif").write_text("raw data")
    refused(tmp_path / "a", "is a folder; the result is a file")
    assert (tmp_path / "a" / "raw.tif").read_text() == "raw data"
    (tmp_path / "b").write_text("ours")
    refused(tmp_path / "b", "is a file, and a folder of this test is a folder", write_folder)
    assert (tmp_path / "b").read_text() == "ours"


def test_a_folder_with_the_files_of_others_stays(tmp_path):
    path = tmp_path / "m.zarr"
    write_folder(path)
    (path / ".snakemake_timestamp").touch()
    write_folder(path)
    assert sorted(each.name for each in path.iterdir()) == ["0", "zarr.json"]
    for name in ("raw.tif", "labels/0/c/0", "0/c/notes.txt", "zarr.json.orig"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("mine")
        refused(path, f"holds {name}, which planeloc did not put there and which would be lost", write_folder)
        assert (path / name).read_text() == "mine"
        (path / name).unlink()
    (path / "zarr.json").write_text("another program's")
    refused(path, "is not a folder of this test that planeloc made", write_folder)
    shutil.rmtree(path)
    path.mkdir()
    write_folder(path)
    assert (path / "0" / "c" / "0").read_text() == "new"


def test_a_link_stays_and_what_it_points_to_is_checked_and_replaced(tmp_path):
    target, link = tmp_path / "disk" / "a.csv", tmp_path / "a.csv"
    link.symlink_to(target)
    write(link)  # the disk has no folder yet
    write(link)
    assert link.is_symlink() and target.read_text() == "ours, new"
    target.write_text("raw data")
    refused(link, "would be lost")
    assert link.is_symlink() and target.read_text() == "raw data"
    folder, link = tmp_path / "disk" / "m.zarr", tmp_path / "m.zarr"
    link.symlink_to(folder)
    write_folder(link)
    write_folder(link)
    assert link.is_symlink() and (folder / "0" / "c" / "0").read_text() == "new"
    (folder / "raw.tif").write_text("raw data")
    refused(link, "holds raw.tif", write_folder)


def test_a_link_within_a_folder_is_not_planelocs(tmp_path):
    (raw := tmp_path / "raw").mkdir()
    (raw / "0").write_text("raw data")
    write_folder(tmp_path / "m.zarr")
    shutil.rmtree(tmp_path / "m.zarr" / "0" / "c")
    (tmp_path / "m.zarr" / "0" / "c").symlink_to(raw)
    refused(tmp_path / "m.zarr", "holds 0/c,", write_folder)
    assert (raw / "0").read_text() == "raw data"


def test_links_that_lead_nowhere_and_what_is_no_file(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(PlanelocError, match="a symbolic link that leads nowhere; remove it"):
        write(tmp_path / "a")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "is no regular file")
    refused("/dev/null", "is no regular file")


def test_a_file_that_cannot_be_read_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("ours")

    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "a")

    monkeypatch.setattr(marks, "bears", refuse)
    refused(tmp_path / "a", "cannot be looked at (Permission denied)")


def test_only_a_result_itself_is_removed(tmp_path):
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_text("raw data")
    marks.remove_own(path, KIND)
    assert path.exists()
    path.write_text("ours")
    link.symlink_to(path)
    marks.remove_own(link, KIND)
    assert link.is_symlink() and path.exists()
    marks.remove_own(path, KIND)
    marks.remove_own(path, KIND)
    assert not path.exists()


def test_leftovers_are_removed_and_not_what_they_point_to(tmp_path):
    (kept := tmp_path / "kept").mkdir()
    (kept / "raw.tif").write_text("raw data")
    (tmp_path / f".partial-{files.host()}-{os.getpid()}-old-0-a.csv").symlink_to(kept)
    write(tmp_path / "a.csv")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.csv", "kept"]
    assert (kept / "raw.tif").read_text() == "raw data"
