"""A process that takes a lock again and again: a new process can import it, other than a module of tests."""

from __future__ import annotations

import errno
import fcntl
import time
from pathlib import Path
from typing import Any

from planeloc.core.errors import PlanelocError
from planeloc.core.locks import locked


def compete(folder: str, way: str, rounds: int, results: Any) -> None:
    """Put how often the lock was held and refused; a second holder at the same time raises `FileExistsError`."""
    if way == "lease":
        fcntl.flock = lambda *_: (_ for _ in ()).throw(OSError(errno.ENOTSUP, "no locks"))
    inside, done, refused = Path(folder) / "inside", 0, 0
    for _ in range(rounds):
        try:
            with locked(Path(folder) / "w"):
                inside.touch(exist_ok=False)  # FileExistsError, if another run is inside
                time.sleep(0.002)
                inside.unlink()
                done += 1
        except PlanelocError:
            refused += 1
    results.put((done, refused))
