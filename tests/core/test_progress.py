"""Progress in a log file: lines that a person can read, and no more of them than asked for."""

import io

from planeloc.core import progress
from planeloc.core.progress import LogLines, Stopwatch, progress_bar


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_lines_tell_what_is_done_how_fast_and_what_is_left():
    clock, lines = Clock(), []
    with LogLines(39_000, "localizing", "frame", done=9_000, every_s=10, write=lines.append, clock=clock) as bar:
        for _ in range(30):
            clock.now += 1
            bar.set_postfix(localizations=50 * bar.n, refresh=False)
            bar.update(200)
        assert bar.n == 15_000
    assert lines == [  # 200 frames/s of this run, whatever was done before
        "localizing: 9,000 of 39,000 frames (23%)",
        "localizing: 11,000 of 39,000 frames (28%), 200 frames/s, 540,000 localizations, 02:20 left",
        "localizing: 13,000 of 39,000 frames (33%), 200 frames/s, 640,000 localizations, 02:10 left",
        "localizing: 15,000 of 39,000 frames (38%), 200 frames/s, 740,000 localizations, 02:00 left",
    ]


def test_the_last_line_comes_at_the_end_and_once():
    clock, lines = Clock(), []
    with LogLines(4, "training", "step", every_s=10, write=lines.append, clock=clock) as bar:
        for _ in range(4):
            clock.now += 3
            bar.set_postfix({"loss": "0.12"})
            bar.update()
    assert lines == ["training: 0 of 4 steps (0%)", "training: 4 of 4 steps (100%), 0.333 steps/s, loss 0.12"]
    with LogLines(4, "training", "step", done=4, write=lines.append, clock=clock):
        pass
    assert len(lines) == 2  # nothing was to be done, nothing is told


def test_a_log_file_gets_lines_and_a_terminal_a_bar(monkeypatch):
    for terminal in (False, True):
        stream = io.StringIO()
        stream.isatty = lambda terminal=terminal: terminal
        monkeypatch.setattr(progress.sys, "stderr", stream)
        with progress_bar(3, "x", "frame", log_every_s=0) as bar:
            bar.update(3)
        assert ("\r" in stream.getvalue()) == terminal
        assert "3" in stream.getvalue() and stream.getvalue().endswith("\n")
    stream = io.StringIO()
    monkeypatch.setattr(progress.sys, "stderr", stream)
    with progress_bar(3, "x", "frame", shown=False) as bar:
        bar.update(3)
    assert stream.getvalue() == ""


def test_a_stopwatch_sums_by_name_and_starts_again():
    stopwatch = Stopwatch()
    for name in ("reading", "network", "reading"):
        with stopwatch(name):
            pass
    taken = stopwatch.take()
    assert list(taken) == ["reading", "network"] and min(taken.values()) > 0 and stopwatch.seconds == {}
