"""Complete files or none: every output is written to a ``.partial`` file and renamed when it is complete."""

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from planeloc.core.errors import PlanelocError

_TOKEN = secrets.token_hex(4)  # of this process; in a container every run may have the same process id
_COUNTER = itertools.count()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to (file or folder); rename it if the block succeeds.

    It keeps the suffix of `path`, since many writers choose their format by it. If the block raises, it is removed, and
    what was at `path` stays. A file is flushed to disk before it gets its name. Leftovers of killed runs are removed.

    Raises
    ------
    PlanelocError : the disk is full, or the folder cannot be created or written to.
    """
    path = Path(path)
    _make_folder(path.parent)
    _remove_leftovers(path)
    partial = path.with_name(f".partial-{_host()}-{os.getpid()}-{_TOKEN}-{next(_COUNTER)}-{path.name}")
    try:
        yield partial
        if path.is_dir():
            shutil.rmtree(path)
        if partial.is_file():
            _flush(partial)
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
    pattern = re.compile(rf"\.partial-{_host()}-(\d+)-(\w+)-\d+-{re.escape(path.name)}")
    for other in path.parent.glob(".partial-*"):
        if match := pattern.fullmatch(other.name):
            pid, token = int(match[1]), match[2]
            ended = token != _TOKEN if pid == os.getpid() else not _is_running(pid)
            if ended:
                _remove(other)


@cache
def _host() -> str:
    """Identifier of the running kernel and container, within which a process id is unique."""
    try:
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        container = Path("/proc/self/ns/pid").readlink()
    except OSError:  # no Linux: no containers
        kernel, container = socket.gethostname(), ""
    return hashlib.sha256(f"{kernel} {container}".encode()).hexdigest()[:8]


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically; NaN and infinity raise ValueError."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with atomic_path(path) as partial:
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
