"""The finished blocks of a table in the making: a folder beside it, that one run at a time may use.

A part is a table of some frames that names the computation it belongs to. What is cut short, damaged or of another
computation is not a part, whatever its name.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from planeloc.core.errors import PlanelocError
from planeloc.core.files import unreadable
from planeloc.io import localization_table

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A finished block: its frames, the number of its localizations, and the file that holds them."""

    frames: range
    rows: int
    path: Path


@contextmanager
def locked_folder(output: Path) -> Iterator[Path]:
    """The folder for the parts of `output`, for this run alone until the ``with`` block ends.

    The lock is the operating system's, so it ends with the process that holds it, however that dies.

    Raises:
        PlanelocError: another run holds it, or the folder cannot be made.
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
                    f"{output}: another run ({file.read() or 'just started'}) makes this file; wait for it or end it"
                ) from None
            except OSError as error:
                _LOG.warning(
                    f"{folder}: no locks on this file system ({error.strerror}); see that no other"
                    " run makes the same file"
                )
            if not _is_at(file.fileno(), folder / "lock"):
                continue  # locked what a run that ended has just removed
            with suppress(OSError):  # only to tell others
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}")
                file.flush()
            try:
                yield folder
            finally:
                if folder.is_dir() and not any(folder.rglob("*.h5")):  # nothing to go on with
                    remove(folder)
            return


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def part_path(folder: Path, start: int, stop: int) -> Path:
    """Where the part of the frames [start, stop) goes."""
    return folder / f"{start:09d}-{stop:09d}.h5"


def write_part(folder: Path, fingerprint: str, start: int, stop: int, table: pd.DataFrame) -> None:
    """Leave the localizations of the frames [start, stop) in the folder, whole or not at all."""
    if not folder.is_dir():  # a run that ended does not need it any more, and the folder must not come back
        raise PlanelocError(f"{folder}: the folder of the parts has gone; run again")
    metadata = {"fingerprint": fingerprint, "frames": [start, stop]}
    localization_table.write(part_path(folder, start, stop), table, metadata)


def finished_parts(folder: Path, fingerprint: str) -> list[Part]:
    """The parts of a computation in order of their frames, no frame twice; each is read and its checksums compared.

    Files that are not parts are removed, so that nothing takes them for finished later.
    """
    parts: list[Part] = []
    end = 0
    for path in sorted(folder.glob("[0-9]*.h5")):
        part = _check(path, fingerprint)
        if part is None:
            _LOG.info(f"{path}: damaged or of another run; its frames are computed again")
            path.unlink()
        elif part.frames.start >= end:  # else of frames that another part has, too
            parts.append(part)
            end = part.frames.stop
    return parts


def _check(path: Path, fingerprint: str) -> Part | None:
    try:
        table, metadata = localization_table.read(path)
    except PlanelocError:
        return None
    if metadata.get("fingerprint") != fingerprint:
        return None
    start, stop = metadata["frames"]
    if path != part_path(path.parent, start, stop) or not table.frame.between(start, stop - 1).all():
        return None
    return Part(range(start, stop), len(table), path)


def missing_blocks(parts: list[Part], frames: int, block_frames: int) -> list[range]:
    """Blocks of at most `block_frames` that cover the frames of no part; borders are multiples where they can."""
    blocks, start = [], 0
    for stop, resume in [*((part.frames.start, part.frames.stop) for part in parts), (frames, frames)]:
        while start < stop:
            end = min(start - start % block_frames + block_frames, stop)
            blocks.append(range(start, end))
            start = end
        start = resume
    return blocks


def remove(folder: Path) -> None:
    """Remove the parts when the table is whole; the lock goes last."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)  # a worker that came too late may just write into it
        elif entry.name != "lock":
            entry.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)  # another run that waits may have looked in
