"""Fig. 9: molecules on a helix, two frames and all of them together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from planeloc.rendering.colours import colour_map
from planeloc_reproduction.figures.style import look, plain, sheet
from planeloc_reproduction.results import Helix

_CURVE, _TRUTH = "#C1272D", "#C1272D"


def draw_helix(path: Path, helix: Helix, name: str, note: str) -> None:
    """Columns: example frames, then the found voxels of all frames coloured by depth; rows: x–y and x–z."""
    examples = helix.examples[:2]
    cloud = np.concatenate([frame.found_nm for frame in helix.frames])
    curve = helix.curve_nm / 1000
    low, high = curve.min(axis=0) - 0.15, curve.max(axis=0) + 0.15
    with sheet(path, (4.1 * (len(examples) + 1) + 0.9, 8.2), note) as figure:
        ratios = [high[1] - low[1], high[2] - low[2]]
        grid = figure.subplots(2, len(examples) + 1, height_ratios=ratios, squeeze=False)
        shade = Normalize(low[2] * 1000, high[2] * 1000)
        for row, second in enumerate((1, 2)):
            for column, number in enumerate(examples):
                frame = helix.frames[number]
                axes = grid[row, column]
                axes.plot(curve[:, 0], curve[:, second], color=_CURVE, linewidth=1.2, alpha=0.8, zorder=1)
                truth, found = frame.truth_nm / 1000, frame.found_nm / 1000
                axes.plot(
                    *(truth[:, 0], truth[:, second], "o"),
                    color=_TRUTH,
                    markerfacecolor="none",
                    markersize=11,
                    markeredgewidth=2,
                    label="true molecules",
                )
                axes.plot(
                    *(found[:, 0], found[:, second], "^"),
                    color=look(name).colour,
                    markersize=6,
                    alpha=0.75,
                    markeredgewidth=0,
                    label=f"voxels above {helix.threshold:g}, {plain(look(name).label)}",
                )
                if row == 0:
                    axes.set_title(f"({'ab'[column]}) frame {number}")
            axes = grid[row, -1]
            axes.plot(curve[:, 0], curve[:, second], color="0.25", linewidth=1.0, zorder=1)
            axes.scatter(
                *(cloud[:, 0] / 1000, cloud[:, second] / 1000),
                c=cloud[:, 2],
                s=5,
                alpha=0.55,
                linewidths=0,
                cmap=colour_map("depth"),
                norm=shade,
                zorder=2,
            )
            if row == 0:
                axes.set_title(f"({'abc'[len(examples)]}) {len(helix.frames)} frames together")
            for axes in grid[row]:
                _frame(axes, low, high, second)
            grid[row, 0].set_ylabel("y [µm]" if second == 1 else "z [µm]")
        mappable = ScalarMappable(norm=shade, cmap=colour_map("depth"))
        bar = figure.colorbar(mappable, ax=list(grid[:, -1]), shrink=0.6, pad=0.02)
        bar.set_label("depth of the voxel [nm]")
        bar.outline.set_visible(False)
        if examples:
            handles, labels = grid[0, 0].get_legend_handles_labels()
            (line,) = grid[0, 0].plot([], [], color=_CURVE)
            figure.legend([line, *handles], ["helix", *labels], loc="outside upper center", ncols=3)


def _frame(axes: Axes, low: np.ndarray, high: np.ndarray, second: int) -> None:
    axes.set(xlim=(low[0], high[0]), ylim=(low[second], high[second]), aspect="equal")
    axes.spines[["top", "right"]].set_visible(True)
    axes.grid(color="0.94")
    if second == 2:
        axes.set_xlabel("x [µm]")
