"""Checkpoints of an unfinished table: a folder of finished blocks beside it, for one run at a time.

A checkpoint is a table of some frames with the fingerprint of its computation. Truncated or damaged files, and those of
another computation, are no checkpoints, whatever their names.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.core.locks import locked
from planeloc.io import localization_table

_LOG = logging.getLogger(__name__)

_RUN = re.compile(r"[0-9a-f]{16}")  # folder of the checkpoints of a computation, called by its fingerprint
_PART = re.compile(r"\d{9,}-\d{9,}\.h5|\.partial-.*")
_CERTIFICATE = re.compile(r"tls_\w+\.pem")


@dataclass(frozen=True)
class Checkpoint:
    """A finished block: its frames, the number of its localizations, and its file."""

    frames: range
    rows: int
    path: Path


@contextmanager
def locked_folder(output: Path) -> Iterator[Path]:
    """Lock the folder for the checkpoints of `output` until the ``with`` block ends.

    The lock is the operating system's: it ends with the process that holds it, however that ends.

    Raises
    ------
    PlanelocError : another run holds the lock, the folder cannot be made, or a link is in its place.
    """
    output = output.resolve()
    folder = output.with_name(f".{output.name}.parts")
    if folder.is_symlink():
        raise PlanelocError(f"{folder}: a symbolic link in the place of partial results; remove it")
    with locked(output, folder / "lock"):
        try:
            yield folder
        finally:
            if folder.is_dir() and not any(folder.rglob("*.h5")):  # nothing to resume from
                remove(folder)


def path_of(folder: Path, start: int, stop: int) -> Path:
    """Return the path of the checkpoint of the frames [start, stop)."""
    return folder / f"{start:09d}-{stop:09d}.h5"


def write(
    folder: Path,
    fingerprint: str,
    start: int,
    stop: int,
    columns: Mapping[str, NDArray],
    arrays: Mapping[str, NDArray] | None = None,
) -> None:
    """Write the localizations of the frames [start, stop) atomically, with arrays of their rows or frames."""
    if not folder.is_dir():  # the run has ended, and its folder must not come back
        raise PlanelocError(f"{folder}: the folder of partial results was removed; run again")
    metadata = {"fingerprint": fingerprint, "frames": [start, stop]}
    path = path_of(folder, start, stop)
    with localization_table.LocalizationsWriter(path, metadata, added=list(columns)) as writer:
        writer.append(columns)
        for name, values in (arrays or {}).items():
            writer.add_array(name, values)


def finished(folder: Path, fingerprint: str) -> list[Checkpoint]:
    """Return the checkpoints of a computation in order of their frames, no frame twice.

    Each is read and its checksums are compared. Other files with names of checkpoints are removed, so that they are not
    mistaken for results.

    Raises
    ------
    PlanelocError : the folder is a symbolic link.
    """
    if folder.is_symlink():
        raise PlanelocError(f"{folder}: a symbolic link in the place of partial results; remove it")
    checkpoints: list[Checkpoint] = []
    end = 0
    for path in sorted(path for path in folder.glob("[0-9]*.h5") if _PART.fullmatch(path.name)):
        checkpoint = _check(path, fingerprint)
        if checkpoint is None:
            _LOG.info(f"{path}: damaged or of another run; computing its frames again")
            path.unlink(missing_ok=True)
        elif checkpoint.frames.start >= end:  # else its frames are in another checkpoint, too
            checkpoints.append(checkpoint)
            end = checkpoint.frames.stop
    return checkpoints


def _check(path: Path, fingerprint: str) -> Checkpoint | None:
    try:
        columns, metadata = localization_table.read_columns(path)
        localization_table.read_arrays(path)
    except PlanelocError:
        return None
    if metadata.get("fingerprint") != fingerprint:
        return None
    start, stop = metadata["frames"]
    frame = columns["frame"]
    if path != path_of(path.parent, start, stop) or not ((frame >= start) & (frame < stop)).all():
        return None
    return Checkpoint(range(start, stop), len(frame), path)


def missing_blocks(checkpoints: list[Checkpoint], frames: int, block_frames: int) -> list[range]:
    """Return blocks of at most `block_frames` for frames without checkpoint, cut at multiples where possible."""
    blocks, start = [], 0
    for stop, resume in [*((each.frames.start, each.frames.stop) for each in checkpoints), (frames, frames)]:
        while start < stop:
            end = min(start - start % block_frames + block_frames, stop)
            blocks.append(range(start, end))
            start = end
        start = resume
    return blocks


def remove(folder: Path) -> None:
    """Remove the checkpoints when the table is complete; the lock goes last, by who holds it.

    What runs leave in the folder has names of their own; anything else stays, and the folder with it.
    """
    for entry in folder.iterdir():
        if entry.is_symlink():
            continue
        if entry.is_dir() and _RUN.fullmatch(entry.name):
            for part in entry.iterdir():
                if _PART.fullmatch(part.name) and not part.is_symlink():
                    with suppress(OSError):
                        part.unlink() if part.is_file() else shutil.rmtree(part)
            with suppress(OSError):  # a late worker may just be writing into it
                entry.rmdir()
        elif _CERTIFICATE.fullmatch(entry.name):
            entry.unlink(missing_ok=True)
