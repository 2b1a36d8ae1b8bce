"""Style of all figures: colours of planes and verdicts, and the panel of quality checks."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from planeloc.core.checks import Check
from planeloc.core.quality_labels import label, quantity

VERDICT_COLOURS = {"pass": "#2a7f3f", "warn": "#b36b00", "fail": "#b3261e"}
_PLANE_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bb1", "#666666")
_GREY = "#555555"
ROW_INCHES = 0.2  # height of a row of checks


def plane_colour(plane: int) -> str:
    """Colour of a plane in every figure (Okabe and Ito's, distinguishable with colour blindness)."""
    return _PLANE_COLOURS[plane % len(_PLANE_COLOURS)]


def check_columns(figure_width: float) -> int:
    """How many columns of checks, 4 inches each, stand side by side under a figure of this width (inches)."""
    return max(1, round(figure_width / 4))


def draw_checks(axes: Axes, checks: Sequence[Check], *, summary: str = "", columns: int = 1) -> None:
    """Draw the summary, then every check with its value, in the colour of its verdict."""
    axes.set_axis_off()
    axes.text(0, 1, summary, transform=axes.transAxes, va="top", fontsize=10, linespacing=1.5)
    top = 1 - (0.085 * (summary.count("\n") + 1) + 0.05 if summary else 0)
    rows = max(-(-len(checks) // columns), 1)
    step, width = top / rows, 1 / columns
    size = min(9.0, 9.0 * step / 0.04)
    style = {"transform": axes.transAxes, "va": "top", "fontsize": size}
    for i, check in enumerate(checks):
        left, y = (i // rows) * width, top - (i % rows) * step
        axes.text(left, y, check.verdict, color=VERDICT_COLOURS[check.verdict], fontweight="bold", **style)
        axes.text(left + 0.12 * width, y, label(check.name), color=_GREY, **style)
        end = left + (0.95 if columns > 1 else 1) * width
        axes.text(end, y, quantity(check.name, check.value), ha="right", color=_GREY, **style)
