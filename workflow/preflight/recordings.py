"""Recordings that are folders or patterns of file names: what Snakemake watches of them."""

from __future__ import annotations

import os
from glob import has_magic
from pathlib import Path

_OF_PROGRAMS = frozenset({"Thumbs.db", "desktop.ini"})  # which appear in folders that someone looks at


def watched_path(path: str) -> str:
    """The file or folder that a recording is; the folder of a pattern."""
    return str(Path(path).parent) if is_pattern(path) else path


def is_pattern(path: str) -> bool:
    """Whether a recording is a pattern of file names."""
    return has_magic(Path(path).name) and not Path(path).exists()


def pattern_files(path: str) -> list[Path]:
    """Files that fit a pattern; none if it is no pattern."""
    name = Path(path).name
    return list(Path(path).parent.glob(name)) if has_magic(name) else []


def content(path: str) -> str:
    """Number of files, bytes and latest change (ns since 1970) of a folder or pattern; "" of a file or of nothing.

    The date of a folder tells neither that a file in it was written again, nor whose files were added to it.
    """
    files = pattern_files(path) if is_pattern(path) else _below(Path(path))
    states = [file.stat() for file in files if file.is_file()]
    if not states:
        return ""
    size, latest = sum(state.st_size for state in states), max(state.st_mtime_ns for state in states)
    return f"{len(states)} files, {size} bytes, {latest}"


def _below(folder: Path) -> list[Path]:
    """All files in a folder, at any depth, but for hidden ones."""
    return [
        Path(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".") and name not in _OF_PROGRAMS
    ]
