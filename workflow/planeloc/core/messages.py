"""What the command line shows of the work: lines of the log and progress. A library is quiet until `show` is called.

Modules log under the name ``planeloc``; progress bars ask `shown`. This module holds the one switch.
"""

from __future__ import annotations

import logging
import sys

_ROOT = logging.getLogger("planeloc")


class _Lines(logging.Handler):
    """One line a message on stderr, as a command prints it."""

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
