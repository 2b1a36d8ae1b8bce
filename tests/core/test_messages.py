"""A library is quiet: lines and bars are shown by the command line alone."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from planeloc.core import messages
from planeloc.core.progress import progress_bar


def test_a_library_says_nothing_until_it_is_asked_to() -> None:
    code = (
        "import logging\n"
        "from planeloc.core.progress import progress_bar\n"
        "logging.getLogger('planeloc.movie').warning('dim')\n"
        "with progress_bar(2, 'x', 'frame') as bar:\n    bar.update(2)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_shown_messages_are_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    messages.show()
    messages.show()
    logging.getLogger("planeloc.movie").info("3 frames")
    logging.getLogger("planeloc.movie").warning("dim")
    with progress_bar(2, "x", "frame") as bar:
        bar.update(2)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["planeloc: 3 frames", "planeloc: warning: dim"] and lines[-1].startswith("x: 2 of 2 frames")
    messages.hide()
    assert not messages.shown()
    logging.getLogger("planeloc.movie").info("3 frames")
    assert capsys.readouterr().err == ""
