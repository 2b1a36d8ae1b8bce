"""The table at the end of a run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from docutils.core import publish_parts

from support.repository import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "workflow"))

from outcome.samples import Row, error_in, in_columns, in_restructured_text, is_current, read_verdict, write_table

ROWS = [
    Row("cell-1", "warn", 12345, "results/cell-1/quality.html"),
    Row("short", "fail", None, "results/short/quality.html", "movie: short.tif: `599` frames, *not* 600\nof_ 5|6"),
]


@pytest.mark.parametrize(
    ("log", "error"),
    [
        ("planeloc: a: b; do c\n", "a: b; do c"),
        ("planeloc: a: b; do c\n\n  \n", "a: b; do c"),
        ("planeloc: warning: 1\nTraceback (most recent call last):\n  x\nValueError: y\n", "ValueError: y"),
        ("1,105 localizations\n", ""),
        ("planeloc: warning: the light is low\n", ""),
        ("planeloc: interrupted; run it again\n", ""),
        ("", ""),
    ],
)
def test_the_error_that_a_log_ends_with(tmp_path: Path, log: str, error: str) -> None:
    path = tmp_path / "log"
    path.write_text(log)
    assert error_in(path) == error
    assert error_in(tmp_path / "absent") == ""


def test_columns_are_aligned_and_every_row_is_a_line() -> None:
    header, good, bad = in_columns(ROWS).splitlines()
    assert good.index("results/") == bad.index("results/") == header.index("where to look")
    assert "12,345" in good and good.endswith("—")
    assert bad.endswith("movie: short.tif: `599` frames, *not* 600 of_ 5|6")


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "results" / "outcome.tsv"
    for rows in (ROWS, ROWS[:1]):
        assert write_table(path, rows) == ""
    assert path.read_text() == (
        "sample\tverdict\tlocalizations\twhere to look\terror\ncell-1\twarn\t12345\tresults/cell-1/quality.html\t\n"
    )
    assert [file.name for file in path.parent.iterdir()] == ["outcome.tsv"]


def test_what_is_in_the_place_of_the_table_stays(tmp_path: Path) -> None:
    path = tmp_path / "outcome.tsv"
    path.write_text("my notes")
    assert write_table(path, ROWS) == "it is no table of planeloc; move it away"
    assert path.read_text() == "my notes"
    path.unlink()
    path.mkdir()
    assert "no table of planeloc" in write_table(path, ROWS)
    (tmp_path / "file").write_text("")
    assert write_table(tmp_path / "file" / "outcome.tsv", ROWS) in ("File exists", "Not a directory")
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_the_report_shows_an_error_as_it_was_written() -> None:
    body = publish_parts(in_restructured_text(ROWS), writer_name="html")["html_body"]
    assert "movie: short.tif: `599` frames, *not* 600 of_ 5|6" in body and "system-message" not in body


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_a_verdict_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "verdict.json"
    path.write_text(text)
    assert read_verdict(path) == {}


def test_a_verdict_is_about_files_that_are_there_and_older(tmp_path: Path) -> None:
    verdict, files = tmp_path / "verdict.json", [tmp_path / "a.png", tmp_path / "b.png"]
    assert not is_current(verdict, [])
    for number, path in enumerate((*files, verdict)):
        path.write_text("")
        os.utime(path, (number, number))
    assert is_current(verdict, files)
    os.utime(files[0], (9, 9))
    assert not is_current(verdict, files)
    assert not is_current(verdict, [tmp_path / "c.png"])
