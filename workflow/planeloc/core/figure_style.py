"""Style of all figures: colours of planes and verdicts, and the panel of quality checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from planeloc.core import marks
from planeloc.core.checks import Check
from planeloc.core.files import atomic_path
from planeloc.core.quality_labels import label, quantity

VERDICT_COLOURS = {"pass": "#2a7f3f", "warn": "#b36b00", "fail": "#b3261e"}
_PLANE_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bb1", "#666666")
_GREY = "#555555"
ROW_INCHES = 0.2  # height of a row of checks
_POINTS = 9.0
_GAP_POINTS = 10.0  # between a label and its value
_LABEL, _END = 0.12, 0.95  # where labels begin and values end, of a column
_WITHIN_MARGINS = 0.93  # of the figure


def save_figure(path: Path, figure: Figure, verb: str, dpi: float | None = None) -> None:
    """Write the figure of a command as PNG, atomically, with the command's mark; equal figures give equal bytes."""
    with atomic_path(path, marks.figure(verb)) as partial:
        figure.savefig(partial, dpi=dpi or "figure", metadata={"Software": marks.software(verb)})


def plane_colour(plane: int) -> str:
    """Colour of a plane in every figure (Okabe and Ito's, distinguishable with colour blindness)."""
    return _PLANE_COLOURS[plane % len(_PLANE_COLOURS)]


def checks_height(checks: Sequence[Check], inches: float) -> float:
    """Height in inches of a panel of checks that is so wide."""
    return ROW_INCHES * -(-len(checks) // _columns(inches)) + 0.1


def draw_checks(axes: Axes, checks: Sequence[Check], inches: float) -> None:
    """Draw every check with its value, in the colour of its verdict, in columns of some 4 inches.

    The text is as small as the longest row needs, so that no label runs into its value or into the next column.

    Parameters
    ----------
    inches : width of the figure that the panel spans.
    """
    axes.set_axis_off()
    columns = _columns(inches)
    rows = max(-(-len(checks) // columns), 1)
    texts = [(label(check.name), quantity(check.name, check.value)) for check in checks]
    room = 72 * _WITHIN_MARGINS * inches * (_END - _LABEL) / columns  # points
    longest = max((_points(name) + _points(value) for name, value in texts), default=1.0) + _GAP_POINTS
    style = {"transform": axes.transAxes, "va": "top", "fontsize": _POINTS * min(1.0, room / longest)}
    for i, (check, (name, value)) in enumerate(zip(checks, texts, strict=True)):
        left, y = i // rows, 1 - (i % rows) / rows
        colour = VERDICT_COLOURS[check.verdict]
        axes.text(left / columns, y, check.verdict, color=colour, fontweight="bold", **style)
        axes.text((left + _LABEL) / columns, y, name, color=_GREY, **style)
        axes.text((left + _END) / columns, y, value, ha="right", color=_GREY, **style)


def _columns(inches: float) -> int:
    return max(1, round(inches / 4))


def _points(text: str) -> float:
    """Width of a text in the usual size."""
    return TextToPath().get_text_width_height_descent(text, FontProperties(size=_POINTS), ismath=False)[0]
