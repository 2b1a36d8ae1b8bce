"""Progress of long work on stderr: a bar that moves on a terminal; where stderr is a log file, now and then a line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from tqdm import tqdm

from planeloc.core import messages


class LogLines:
    """Progress as lines for a log file, with as much of the interface of `tqdm` as we use.

    A line says how much is done, how fast it went in this run (what was `done` before does not count), any numbers
    that `set_postfix` was given, and the time left. The first line comes at the beginning, if there is anything to do.
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
        self.n = self._done = self._told = done
        self._total, self._description, self._unit, self._every_s = total, description, unit, every_s
        self._write, self._clock = write or _to_stderr, clock
        self._numbers: dict[str, Any] = {}
        self._start = self._latest = clock()

    def __enter__(self) -> LogLines:
        if self.n < self._total:
            self._write(self._line())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.n != self._told:
            self._write(self._line())

    def set_postfix(self, numbers: Mapping[str, Any] | None = None, refresh: bool = True, **more: Any) -> None:
        """Further numbers to tell, each with its name."""
        self._numbers = {**(numbers or {}), **more}

    def update(self, n: int = 1) -> None:
        """`n` more units are done."""
        self.n += n
        if self._clock() - self._latest >= self._every_s:
            self._write(self._line())
            self._latest, self._told = self._clock(), self.n

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


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def progress_bar(
    total: int, description: str, unit: str, *, done: int = 0, log_every_s: float = 30, shown: bool = True
) -> tqdm | LogLines:
    """A bar of `total` units of which `done` are finished already; in a log file at most a line every `log_every_s`.

    Nothing is shown where messages are not (`planeloc.core.messages`).
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
