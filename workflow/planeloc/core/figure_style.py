"""Style of all figures: colours of planes and verdicts, and the panel of quality checks."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from planeloc.core.checks import Check

VERDICT_COLOURS = {"pass": "#2a7f3f", "warn": "#b36b00", "fail": "#b3261e"}
_PLANE_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bb1", "#666666")
_GREY = "#555555"


def plane_colour(plane: int) -> str:
    """Colour of a plane in every figure (Okabe and Ito's, distinguishable with colour blindness)."""
    return _PLANE_COLOURS[plane % len(_PLANE_COLOURS)]


def draw_checks(axes: Axes, summary: str, checks: Sequence[Check]) -> None:
    """Draw the main numbers, then every check in the colour of its verdict."""
    axes.set_axis_off()
    axes.text(0, 1, summary, transform=axes.transAxes, va="top", fontsize=10, linespacing=1.5)
    top = 1 - 0.085 * (summary.count("\n") + 1) - 0.05
    step = min(0.08, top / max(len(checks), 1))
    size = min(9.0, 9.0 * step / 0.04)
    for i, check in enumerate(checks):
        y = top - i * step
        colour = VERDICT_COLOURS[check.verdict]
        axes.text(
            0, y, check.verdict, transform=axes.transAxes, va="top", color=colour, fontweight="bold", fontsize=size
        )
        axes.text(0.13, y, check.name.replace("_", " "), transform=axes.transAxes, va="top", fontsize=size, color=_GREY)
        axes.text(
            1, y, f"{check.value:.3g}", transform=axes.transAxes, va="top", ha="right", fontsize=size, color=_GREY
        )
