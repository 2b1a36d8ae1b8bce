"""Progress of long work on stderr, a bar on a terminal or lines in a log file, and a stopwatch for its parts."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from tqdm import tqdm

from planeloc.core import messages

LOG_EVERY_S = 2.5  # where the stage takes less than a minute: nobody should wait longer without a word


class LogLines:
    """Progress as lines for a log file, with the part of the interface of `tqdm` that planeloc uses.

    A line states how much is done, the speed of this run (without what was `done` before), the numbers given to
    `set_postfix`, and the time left. The first line comes at the start, unless everything is done.
    """

    def __init__(
        self,
        total: int,
        description: str,
        unit: str,
        *,
        done: int = 0,
        every_s: float = 30,
        write: Callable[[str], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.n = self._done = self._written = done
        self._total, self._description, self._unit, self._every_s = total, description, unit, every_s
        self._write, self._clock = write or partial(print, file=sys.stderr, flush=True), clock
        self._numbers: dict[str, Any] = {}
        self._start = self._latest = clock()

    def __enter__(self) -> LogLines:
        if self.n < self._total:
            self._write(self._line())
        return self

    def __exit__(self, *error: object) -> None:
        if self.n != self._written:
            self._write(self._line())

    def set_postfix(self, numbers: Mapping[str, Any] | None = None, refresh: bool = True, **more: Any) -> None:
        """Further numbers to write, by name."""
        self._numbers = {**(numbers or {}), **more}

    def update(self, n: int = 1) -> None:
        """`n` more units are done."""
        self.n += n
        if self._clock() - self._latest >= self._every_s:
            self._write(self._line())
            self._latest, self._written = self._clock(), self.n

    def _line(self) -> str:
        rate = (self.n - self._done) / max(self._clock() - self._start, 1e-9)
        share = self.n / self._total if self._total else 1.0
        parts = [f"{self._description}: {self.n:,} of {self._total:,} {self._unit}s ({share:.0%})"]
        if rate:
            parts.append(f"{rate:,.0f} {self._unit}s/s" if rate >= 100 else f"{rate:.3g} {self._unit}s/s")
        for name, value in self._numbers.items():
            parts.append(f"{value:,} {name}" if isinstance(value, int) else f"{name} {value}")
        if rate and self.n < self._total:
            parts.append(f"{tqdm.format_interval((self._total - self.n) / rate)} left")
        return ", ".join(parts)


def progress_bar(
    total: int, description: str, unit: str, *, done: int = 0, log_every_s: float = 30, shown: bool = True
) -> tqdm | LogLines:
    """Progress over `total` units, of which `done` are finished; in a log file at most one line per `log_every_s`.

    Nothing is shown unless messages are (`planeloc.core.messages`).
    """
    shown = shown and messages.shown()
    if shown and not sys.stderr.isatty():
        return LogLines(total, description, unit, done=done, every_s=log_every_s)
    return tqdm(
        total=total,
        initial=done,
        desc=description,
        unit=unit,
        mininterval=0.5,
        smoothing=0,  # the mean since the start, as in a log file
        file=sys.stderr,
        disable=not shown,
    )


class Stopwatch:
    """Sums of seconds by kind of work: ``with stopwatch("reading"): …``."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def take(self) -> dict[str, float]:
        """Return the sums and start again from zero."""
        seconds, self.seconds = self.seconds, {}
        return seconds
