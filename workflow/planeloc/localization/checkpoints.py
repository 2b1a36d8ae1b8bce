"""Checkpoints of an unfinished table: a folder of finished blocks beside it, for one run at a time.

A checkpoint is a table of some frames with the fingerprint of its computation. Truncated or damaged files, and those of
another computation, are no checkpoints, whatever their names.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.core.files import unreadable
from planeloc.io import localization_table

_LOG = logging.getLogger(__name__)


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
    PlanelocError : another run holds the lock, or the folder cannot be made.
    """
    output = output.resolve()
    folder = output.with_name(f".{output.name}.parts")
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / "lock").open("a+")
        except FileNotFoundError:
            continue  # a run that ended removed the folder between the two lines
        except OSError as error:
            raise unreadable(folder, error) from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise PlanelocError(
                    f"{output}: another run ({file.read() or 'just started'}) writes this file; wait for it or stop it"
                ) from None
            except OSError as error:
                _LOG.warning(
                    f"{folder}: this file system has no locks ({error.strerror}); make sure that no other run writes"
                    " the same file"
                )
            if not _is_at(file.fileno(), folder / "lock"):
                continue  # a run that ended has just removed the locked file
            with suppress(OSError):  # only informs other runs
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}")
                file.flush()
            try:
                yield folder
            finally:
                if folder.is_dir() and not any(folder.rglob("*.h5")):  # nothing to resume from
                    remove(folder)
            return


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


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

    Each is read and its checksums are compared. Other files are removed, so that they are not mistaken for results.
    """
    checkpoints: list[Checkpoint] = []
    end = 0
    for path in sorted(folder.glob("[0-9]*.h5")):
        checkpoint = _check(path, fingerprint)
        if checkpoint is None:
            _LOG.info(f"{path}: damaged or of another run; computing its frames again")
            path.unlink()
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
    """Remove the checkpoints when the table is complete; the lock goes last."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)  # a late worker may just be writing into it
        elif entry.name != "lock":
            entry.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)  # a waiting run may have opened it
