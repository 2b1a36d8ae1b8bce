"""The switch for messages and progress bars: the library is quiet until the command line calls `show`."""

from __future__ import annotations

import logging
import sys

_ROOT = logging.getLogger("planeloc")


class _Lines(logging.Handler):
    """One line per message on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = "warning: " if record.levelno >= logging.WARNING else ""
        print(f"planeloc: {kind}{record.getMessage()}", file=sys.stderr, flush=True)


_LINES = _Lines()


def show() -> None:
    """Show messages and progress on stderr from now on."""
    _ROOT.setLevel(logging.INFO)
    _ROOT.addHandler(_LINES)


def hide() -> None:
    """Show nothing from now on."""
    _ROOT.setLevel(logging.NOTSET)
    _ROOT.removeHandler(_LINES)


def shown() -> bool:
    """Whether messages and progress are shown."""
    return _LINES in _ROOT.handlers
