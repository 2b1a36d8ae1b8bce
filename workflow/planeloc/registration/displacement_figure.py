"""Figure of the displacement of the cameras in a movie: where each agrees with the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from planeloc.cameras.camera import Camera
from planeloc.core.figure_style import save_figure
from planeloc.registration.movie_displacement import Displacement
from planeloc.registration.settings import UpdateRegistrationSettings

_PANEL_INCH, _DPI, _COLUMNS = 3.4, 150, 4


def write_displacements(
    path: Path,
    found: Sequence[Displacement],
    updated: Sequence[bool],
    cameras: Sequence[Camera],
    settings: UpdateRegistrationSettings,
) -> None:
    """Draw, for every camera but the reference, the correlation with the others against displacement."""
    panels = max(len(found) - 1, 1)
    columns = min(panels, _COLUMNS)
    rows = -(-panels // columns)
    figure = Figure(figsize=(max(_PANEL_INCH * columns, 7), 3.75 * rows + 0.8), dpi=_DPI, layout="constrained")
    figure.suptitle(_title(found, updated, cameras, settings), fontsize=12, fontweight="bold")
    for plane in range(1, len(found)):
        axes = figure.add_subplot(rows, columns, plane)
        new = "transform updated" if settings.mode == "auto" else "displaced"
        _draw(axes, found[plane], f"{cameras[plane].name}: {new if updated[plane] else 'transform kept'}")
    limit = f"up to {settings.displacement_px:g} px, the transform is kept"
    figure.supxlabel(f"○ measured displacement    + none    {limit}", fontsize=10)
    save_figure(path, figure, "update-registration")


def _title(
    found: Sequence[Displacement],
    updated: Sequence[bool],
    cameras: Sequence[Camera],
    settings: UpdateRegistrationSettings,
) -> str:
    if not found:
        return "transforms in the movie: not measured (mode: never)"
    names = [camera.name for camera, new in zip(cameras, updated, strict=True) if new]
    if names:
        what = "transforms updated from the movie" if settings.mode == "auto" else "displaced in the movie"
        return f"{what}: {', '.join(names)}"
    if any(own.significance < settings.registration_significance_warn for own in found[1:]):
        return "cannot tell whether all transforms hold in the movie"
    return "the transforms of the beads hold in the movie"


def _draw(axes: Axes, found: Displacement, name: str) -> None:
    edge = found.correlation.shape[0] / 2
    axes.imshow(found.correlation, cmap="gray", origin="upper", extent=(-edge, edge, edge, -edge))
    axes.axhline(0, color="#56b4e9", linewidth=0.8)
    axes.axvline(0, color="#56b4e9", linewidth=0.8)
    axes.plot(
        *found.shift_px, "o", markersize=13, markerfacecolor="none", markeredgecolor="#ffd92e", markeredgewidth=1.5
    )
    (x, y), (x_sd, y_sd) = found.shift_px, found.sd_px
    axes.set_title(f"{name}\n{x:+.2f} ± {x_sd:.2f}, {y:+.2f} ± {y_sd:.2f} px".replace("-", "−"), fontsize=10)
    axes.set_xlabel("displacement in x (px)")
    axes.set_ylabel("displacement in y (px)")
