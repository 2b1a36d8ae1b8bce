"""The panel of quality checks in the figures."""

from __future__ import annotations

from itertools import pairwise

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from planeloc.core.checks import Check
from planeloc.core.figure_style import checks_height, draw_checks

SHORT = Check("beads", 9.0, 4.0, "pass", "")
LONG = Check("a_quality_value_with_a_name_of_many_words_that_nobody_would_want_to_read_nm", 0.12345, 1.0, "warn", "")


@pytest.mark.parametrize("inches", [9.0, 12.0, 16.4])
@pytest.mark.parametrize("checks", [[SHORT] * 11, [SHORT] * 5 + [LONG] + [SHORT] * 5], ids=["short", "long"])
def test_no_text_of_a_row_runs_into_the_next_one(checks: list[Check], inches: float) -> None:
    figure = Figure(figsize=(inches, checks_height(checks, inches)), layout="constrained")
    axes = figure.add_subplot()
    draw_checks(axes, checks, inches)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    assert len(boxes) == 3 * len(checks)
    rows: dict[int, list] = {}
    for box in boxes:
        rows.setdefault(round(box.y1), []).append(box)
    for row in rows.values():
        assert all(left.x1 < right.x0 for left, right in pairwise(sorted(row, key=lambda box: box.x0)))
    assert max(text.get_fontsize() for text in axes.texts) == pytest.approx(9.0) or LONG in checks
