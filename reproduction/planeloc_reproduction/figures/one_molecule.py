"""Images of one molecule: error histograms (Fig. 7), errors by estimator (Table 3) and by depth (Fig. 8)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from planeloc_reproduction import published
from planeloc_reproduction.figures.style import GREY, INK, finite_top, legend_above, look, plain, reference, sheet
from planeloc_reproduction.measures import Errors, Interval
from planeloc_reproduction.results import Bound

_COUNTS = LinearSegmentedColormap.from_list("counts", ("#ffffff", "#b9d7ea", "#4a98c9", "#08519c", "#041f4a"))


def draw_error_histograms(
    path: Path, counts: Mapping[str, NDArray[np.int64]], voxel_nm: tuple[float, float, float], note: str
) -> None:
    """Fig. 7: numbers of molecules by voxel error along x and y, one panel for each network, one colour scale."""
    with sheet(path, (6.1 * len(counts) + 0.6, 6.3), note) as figure:
        top = max(int(values.max()) for values in counts.values())
        norm = PowerNorm(0.5, 0, max(top, 1))
        grid = figure.subplots(1, len(counts), squeeze=False)[0]
        for letter, axes, (name, values) in zip("abcdefg", grid, counts.items(), strict=False):
            reach = len(values) // 2
            edges = np.arange(-reach, reach + 2) - 0.5
            mesh = axes.pcolormesh(edges, edges, values, cmap=_COUNTS, norm=norm, edgecolors="0.93", linewidth=0.5)
            axes.add_patch(Rectangle((-0.5, -0.5), 1, 1, fill=False, edgecolor="#D55E00", linewidth=2.5, zorder=3))
            axes.annotate(
                f"right voxel: {values[reach, reach]}",
                (0.5, 0.5),
                (reach * 0.22, reach * 0.62),
                arrowprops={"arrowstyle": "-", "color": "#D55E00", "linewidth": 1.5},
                color="#A84300",
                fontweight="bold",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2},
            )
            axes.set(
                xlabel=f"error along x [voxels of {voxel_nm[0]:g} nm]",
                ylabel=f"error along y [voxels of {voxel_nm[1]:g} nm]",
                title=f"({letter}) {plain(look(name).label)}",
                aspect="equal",
            )
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
            axes.spines[["top", "right"]].set_visible(True)
        bar = figure.colorbar(mesh, ax=list(grid), shrink=0.85, pad=0.02)
        bar.set_label("molecules (square-root scale)")
        bar.outline.set_visible(False)


def draw_errors(
    path: Path, errors: Mapping[str, Errors], bound: Bound | None, note: str, compare_with_paper: bool = True
) -> None:
    """Lateral and axial error of every estimator: voxel to voxel, and position to position; limits as lines."""
    with sheet(path, (12, 2.3 + 0.62 * len(errors)), note) as figure:
        grid = figure.subplots(1, 2, sharey=True)
        printed = (published.LATERAL_ERROR, published.AXIAL_ERROR) if compare_with_paper else ({}, {})
        for number, (axes, direction, paper) in enumerate(zip(grid, ("lateral", "axial"), printed, strict=True)):
            for row, (name, one) in enumerate(errors.items()):
                voxel, mean = getattr(one, f"voxel_{direction}"), getattr(one, f"mean_{direction}")
                _whisker(axes, row - 0.17, voxel, look(name).colour, look(name).colour)
                _whisker(axes, row + 0.17, mean, look(name).colour, "white")
                if name in paper:
                    axes.plot(
                        paper[name].value, row - 0.17, marker="D", color=INK, markersize=8, zorder=4, clip_on=False
                    )
            if bound is not None:
                axes.axvline(bound.mean["unknown_drift"][number], color=INK, linewidth=1.6, zorder=0)
                axes.axvline(bound.mean["known_drift"][number], color=INK, linewidth=1.4, linestyle="--", zorder=0)
            what = "mean 2-D distance [nm]" if direction == "lateral" else "mean |Δz| [nm]"
            axes.set(xlabel=what, title=f"{direction.capitalize()} error")
            _scale(
                axes, [getattr(e, f"{kind}_{direction}").value for e in errors.values() for kind in ("voxel", "mean")]
            )
            axes.grid(axis="x", color="0.92")
            axes.tick_params(axis="y", left=False)
        grid[0].set_yticks(range(len(errors)), [plain(look(name).label) for name in errors])
        grid[0].set_ylim(len(errors) - 0.5, -0.5)
        first = grid[0]
        first.plot([], [], "o", color=GREY, label="voxel to voxel, 95 % interval")
        first.plot([], [], "o", color=GREY, markerfacecolor="white", markeredgewidth=2, label="position to position")
        if compare_with_paper:
            first.plot([], [], "D", color=INK, label="the paper (voxel to voxel)")
        if bound is not None:
            first.plot([], [], color=INK, linewidth=1.6, label="limit, inter-camera drift unknown")
            first.plot([], [], color=INK, linewidth=1.4, linestyle="--", label="limit, inter-camera drift known")
        legend_above(figure, [first], columns=3)


def _whisker(axes: Axes, y: float, value: Interval, colour: str, face: str) -> None:
    axes.plot([value.low, value.high], [y, y], color=colour, linewidth=2)
    axes.plot(value.value, y, "o", color=colour, markerfacecolor=face, markeredgewidth=2, markersize=8, zorder=3)


def _scale(axes: Axes, values: list[float]) -> None:
    """From 0 on, or logarithmic where one error would press all others together."""
    if max(values) <= 15 * np.median(values) or min(values) <= 0:
        axes.set_xlim(left=0)
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def draw_error_by_depth(
    path: Path, profiles: Mapping[str, tuple[NDArray, list[list[Interval]]]], bound: Bound | None, note: str
) -> None:
    """Fig. 8: mean error along x, y and z against true depth; `profiles` holds edges and intervals by axis and bin."""
    with sheet(path, (13, 5.4), note) as figure:
        grid = figure.subplots(1, 3)
        tops = []
        for number, (axes, axis, voxel) in enumerate(zip(grid, "xyz", published.VOXEL_NM, strict=True)):
            top = voxel
            for name, (edges, intervals) in profiles.items():
                faint = name != next(iter(profiles))
                values = np.array([[i.value, i.low, i.high] for i in intervals[number]])
                middle = np.array([(low + high) / 2 for low, high in itertools.pairwise(edges)])
                _profile(axes, middle, values, name, faint)
                # the robust network's means are always seen; long intervals and the other network may be cut off
                seen = finite_top(values[:, 0] if faint else values[:, 2], margin=1.0)
                top = max(top, min(seen, 2.5 * voxel), 0.0 if faint else finite_top(values[:, 0]))
            if bound is not None:
                inside = (bound.depth_nm >= edges[0]) & (bound.depth_nm <= edges[-1])
                for case, style in (("unknown", "-"), ("known", "--")):
                    curve = getattr(bound, f"{case}_drift")[axis][inside]
                    label = f"information limit, inter-camera drift {case}"
                    axes.plot(bound.depth_nm[inside], curve, color=INK, linestyle=style, label=label, zorder=4)
            reference(axes, voxel, "one fine voxel", at=0.02)
            axes.set(xlabel="true depth z [nm]", title=f"Along {axis}", xlim=(edges[0], edges[-1]))
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.grid(color="0.92")
            tops.append(1.08 * top)
        for axes, top in zip(grid, (max(tops[:2]), max(tops[:2]), tops[2]), strict=True):
            axes.set_ylim(0, top)
        grid[0].set_ylabel("mean |error| [nm]")
        legend_above(figure, grid, columns=4)


def _profile(axes: Axes, middle: NDArray, values: NDArray, name: str, faint: bool) -> None:
    style = look(name)
    if faint:
        axes.plot(
            middle, values[:, 0], color=style.colour, alpha=0.5, linewidth=1.5, label=plain(style.label), zorder=2
        )
        return
    # the legend names lines before error bars, and this one comes first
    axes.plot(
        [], [], color=style.colour, marker=style.marker, markersize=6, label=f"{plain(style.label)}, 95 % interval"
    )
    known = np.isfinite(values[:, 0])
    below, above = values[known, 0] - values[known, 1], values[known, 2] - values[known, 0]
    axes.errorbar(
        middle[known],
        values[known, 0],
        (below, above),
        color=style.colour,
        marker=style.marker,
        linewidth=1.5,
        elinewidth=1.8,
        capsize=3,
        markersize=6,
        zorder=3,
    )
