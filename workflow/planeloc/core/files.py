"""Complete files or none: every output is written to a ``.partial`` file and renamed when it is complete.

What it replaces must bear the mark of its kind (`planeloc.core.marks`).
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from planeloc.core import marks
from planeloc.core.errors import PlanelocError

_TOKEN = secrets.token_hex(4)  # of this process; in a container every run may have the same process id
_COUNTER = itertools.count()


@contextmanager
def atomic_path(path: str | Path, kind: marks.Kind) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to (file or folder); rename it if the block succeeds.

    It keeps the suffix of `path`, since many writers choose their format by it. If the block raises, it is removed, and
    what was at `path` stays. A file is flushed to disk before it gets its name. Leftovers of killed runs are removed.
    Where `path` is a symbolic link, the link stays, and what it points to is replaced.

    Parameters
    ----------
    kind : of the result; only a result of the same kind is replaced.

    Raises
    ------
    PlanelocError : the disk is full, the folder cannot be created or written to, or something else is at `path`.
    """
    given, path = path, marks.place(path)
    marks.refuse_foreign(given, kind)
    _make_folder(path.parent)
    _remove_leftovers(path)
    partial = _partial(path)
    try:
        yield partial
        if not marks.bears(partial, kind):
            raise ValueError(f"{path}: was written without the mark of {kind.name}, and could never be replaced")
        if partial.is_file():
            _flush(partial)
        marks.refuse_foreign(given, kind)  # it may have come meanwhile
        if path.is_dir():
            _replace_folder(path, partial)
        else:
            partial.replace(path)
        with suppress(OSError):  # not every file system can flush a folder
            _flush(path.parent)
    except BaseException as error:
        _remove(partial)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PlanelocError(
                f"{path}: no space left on the device; free some or choose another results folder, then run again"
            ) from error
        raise


def _partial(path: Path) -> Path:
    return path.with_name(f".partial-{host()}-{os.getpid()}-{_TOKEN}-{next(_COUNTER)}-{path.name}")


def _replace_folder(path: Path, complete: Path) -> None:
    """Put a complete folder in the place of an earlier one, which is removed afterwards."""
    earlier = _partial(path)
    path.rename(earlier)
    complete.rename(path)
    shutil.rmtree(earlier, ignore_errors=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(None, "no permission to write into it")
    except OSError as error:
        raise PlanelocError(
            f"{folder}: not a folder that can be written to ({error.strerror}); choose another for the results"
        ) from None


def _flush(path: Path) -> None:
    """Flush a file's bytes, or a folder's names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(path: Path) -> None:
    """Remove partial files of the output `path` whose process has ended.

    Only of this host: a process id says nothing about another computer or container that shares the disk.
    """
    pattern = re.compile(rf"\.partial-{host()}-(\d+)-(\w+)-\d+-{re.escape(path.name)}")
    for other in path.parent.glob(".partial-*"):
        if match := pattern.fullmatch(other.name):
            pid, token = int(match[1]), match[2]
            ended = token != _TOKEN if pid == os.getpid() else not is_running(pid)
            if ended:
                _remove(other)


@cache
def host() -> str:
    """Identifier of the running kernel and container, within which a process id is unique."""
    try:
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        container = Path("/proc/self/ns/pid").readlink()
    except OSError:  # no Linux: no containers
        kernel, container = socket.gethostname(), ""
    return hashlib.sha256(f"{kernel} {container}".encode()).hexdigest()[:8]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_json(path: str | Path, content: Mapping[str, Any], kind: marks.Kind) -> None:
    """Write `content` as indented JSON, atomically; ``format``, that of the kind or its own, marks the file.

    NaN and infinity raise ValueError.
    """
    text = json.dumps({"format": kind.format, **content}, indent=2, allow_nan=False) + "\n"
    with atomic_path(path, kind) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: str | Path, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Read JSON, or raise `PlanelocError` naming the file; `object_hook` as for `json.loads`."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_hook=object_hook)
    except OSError as error:
        raise unreadable(path, error) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise PlanelocError(f"{path}: not valid JSON ({error}); create it again") from None


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal text."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_file(path: str | Path, what: str) -> Path:
    """Return `path` if it is a readable file, else raise `PlanelocError` saying `what` was expected there."""
    path = Path(path)
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise PlanelocError(
            f"{path}: {what} not found; check the path in the sample or calibration table, or on the command line"
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None
    return path


def unreadable(path: str | Path, error: OSError) -> PlanelocError:
    """The error for a file that cannot be opened, with a remedy."""
    match error:
        case FileNotFoundError():
            remedy = "no such file; check the path"
        case IsADirectoryError():
            remedy = "is a folder; name the file in it"
        case PermissionError():
            remedy = "no permission; ask the owner of the file or folder for access"
        case _:
            remedy = f"{error.strerror or error}; check the path and the disk"
    return PlanelocError(f"{path}: {remedy}")
