"""Style of all figures: one colour has one meaning.

Planes, directions, and what was measured beside what is expected have colours of their own; none is used twice.
Distinguishable with colour blindness (Okabe and Ito's for planes, Tol's for directions).
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from planeloc.core import marks
from planeloc.core.files import atomic_path

_PLANE_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bb1", "#666666")
LATERAL, AXIAL = "#332288", "#cc3311"  # along x and y, and along z
MEASURED, MODEL = "#bdbdbd", "#222222"  # a histogram, and the law or the value that is expected of it
FAINT = "#777777"  # what is shown for comparison, and notes


def save_figure(path: Path, figure: Figure, verb: str, dpi: float | None = None) -> None:
    """Write the figure of a command as PNG, atomically, with the command's mark; equal figures give equal bytes."""
    with atomic_path(path, marks.figure(verb)) as partial:
        figure.savefig(partial, dpi=dpi or "figure", metadata={"Software": marks.software(verb)})


def plane_colour(plane: int) -> str:
    """Colour of a plane, and of its camera, in every figure."""
    return _PLANE_COLOURS[plane % len(_PLANE_COLOURS)]
