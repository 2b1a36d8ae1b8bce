"""Progress of long work on stderr: a bar that moves on a terminal, now and then a line where stderr is a log file."""

from __future__ import annotations

import sys

from tqdm import tqdm


def progress_bar(
    total: int, description: str, unit: str, *, done: int = 0, log_every_s: float = 30, shown: bool = True
) -> tqdm:
    """A bar of `total` units of which `done` are finished already; in a log file at most a line every `log_every_s`."""
    return tqdm(
        total=total,
        initial=done,
        desc=description,
        unit=unit,
        mininterval=0.5 if sys.stderr.isatty() else log_every_s,
        file=sys.stderr,
        disable=not shown,
    )
