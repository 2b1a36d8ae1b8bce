"""Writing files so that a reader never sees half of one, and naming what was read.

Every output is written beside its final name and renamed when it is whole: a killed run leaves a ``.partial`` file,
never something that looks finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from planeloc.errors import PlanelocError

_HASH_BLOCK_BYTES = 1 << 20


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary sibling of `path` to write to (file or folder); rename it to `path` if the block succeeds.

    The sibling keeps the suffix of `path`, since many writers choose their format by it. If the block raises, the
    sibling is removed and whatever stood at `path` before is untouched. A full disk becomes a `PlanelocError`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        if path.is_dir():
            shutil.rmtree(path)
        partial.replace(path)
    except OSError as error:
        _remove(partial)
        if error.errno in (28, 122):  # ENOSPC, EDQUOT
            raise PlanelocError(
                f"{path}: no space left on the device; free some or choose another results folder, then run again"
            ) from error
        raise
    except BaseException:
        _remove(partial)
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically. NaN and infinity are refused: JSON has no such numbers."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read JSON, or raise `PlanelocError` naming the file."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PlanelocError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise PlanelocError(f"{path}: not valid JSON ({error}); make it again") from None


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal text."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def require_file(path: str | Path, what: str) -> Path:
    """Return `path` if it is a readable file, else raise `PlanelocError` saying `what` was expected there."""
    path = Path(path)
    if not path.is_file():
        raise PlanelocError(f"{path}: {what} not found; check the path in the sheet or on the command line")
    return path
