"""Mistakes in files that the user wrote, gathered so that all of them are reported at once."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType

_MOST = 20


class ConfigurationError(Exception):
    """Mistakes, one line each: file and line, what is wrong, what to do."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines

    def __str__(self) -> str:
        lines = sorted(dict.fromkeys(self.lines), key=_place)
        more = [f"and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
        return "\n".join(lines[:_MOST] + more)


def unreadable(path: str | Path, error: OSError) -> ConfigurationError:
    """The mistake of a file that the system does not open, with a remedy."""
    return ConfigurationError(f"{path}: cannot be read ({error.strerror}); check the path and who may read it")


def _place(line: str) -> tuple[str, int]:
    """File and number of the line that a message names."""
    found = re.match(r"(.+?):(\d+): ", line)
    return (found[1], int(found[2])) if found else (line.partition(": ")[0], 0)


class Mistakes:
    """Gathers the mistakes of ``with`` blocks, each of which ends at its first one."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if isinstance(error, ConfigurationError):
            self.lines += error.lines
            return True
        return False

    def stop(self) -> None:
        """Raise `ConfigurationError` with all of them, if there are any."""
        if self.lines:
            raise ConfigurationError(*self.lines)
