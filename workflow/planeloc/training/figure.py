"""Figure of a training: learning curve, PSF, accuracy of the network by depth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from planeloc.core.figure_style import AXIAL, LATERAL, MODEL, plane_colour, save_figure
from planeloc.networks.kinds import NetworkKind, network_kind
from planeloc.psf import PSF

if TYPE_CHECKING:
    from planeloc.training.accuracy_table import Row
    from planeloc.training.checkpoint import History
    from planeloc.training.results import TrainingResult


def draw_training(path: Path, result: TrainingResult) -> None:
    """Draw the learning curve, and the width of both PSFs against depth.

    Where there is an accuracy table, its errors and normalised errors against depth are drawn below.
    """
    rows = 2 if result.accuracy else 1
    figure = Figure(figsize=(11, 4.2 * rows), layout="constrained", dpi=150)
    figure.get_layout_engine().set(w_pad=0.15)
    axes = figure.subplots(rows, 2, squeeze=False)
    _draw_learning_curve(axes[0, 0], result.history, network_kind(result.network.kind))
    _draw_psf_comparison(axes[0, 1], result.network.psf, result.psf)
    if result.accuracy:
        _draw_errors(axes[1, 0], result.accuracy)
        _draw_normalised_errors(axes[1, 1], result.accuracy)
    adopted = result.decision == "adopted"
    figure.suptitle("Weights adopted: they fit this microscope" if adopted else "Trained for this microscope")
    save_figure(path, figure, "train")


def _draw_learning_curve(axes, history: History, kind: NetworkKind) -> None:
    axes.set(xlabel="training images (thousands)", ylabel=kind.loss_label, title="Learning curve")
    if not history:
        axes.text(0.5, 0.5, "no training record beside the weights", ha="center", va="center", transform=axes.transAxes)
        return
    samples = [entry["samples"] / 1000 for entry in history]
    axes.plot(samples, [e["training_loss"] for e in history], "o-", ms=3, color="#bbbbbb", label="training loss")
    axes.plot(samples, [e["validation_loss"] for e in history], "o-", ms=3, color=MODEL, label="validation loss")
    errors = axes.twinx()
    errors.plot(samples, [e["lateral_nm"] for e in history], "o--", ms=3, color=LATERAL, label="lateral error")
    errors.plot(samples, [e["axial_nm"] for e in history], "o--", ms=3, color=AXIAL, label="axial error")
    highest = max(max(entry["lateral_nm"], entry["axial_nm"]) for entry in history)
    errors.set(ylabel=kind.error_label, ylim=(0, 1.5 * highest or None))  # the legend is above
    if kind.loss_has_zero:
        axes.set_ylim(0, None)
    lines = axes.get_lines() + errors.get_lines()
    axes.legend(lines, [line.get_label() for line in lines], frameon=False)


def _draw_psf_comparison(axes, trained: PSF, measured: PSF) -> None:
    depth = np.linspace(min(measured.plane_depths_nm) - 300, max(measured.plane_depths_nm) + 300, 300)
    for plane in range(measured.planes):
        for psf, style in ((measured, {}), (trained, {"ls": ":", "lw": 2})):
            if plane < psf.planes:
                width = np.sqrt(psf.gaussian.squared_width(psf.plane_depths_nm[plane] - depth))
                axes.plot(depth, width, color=plane_colour(plane), **style)
    axes.plot([], [], color="0.3", label="measured on the beads")
    axes.plot([], [], color="0.3", ls=":", lw=2, label="of the network's training")
    axes.set(xlabel="depth z (nm)", ylabel="width of the spot, σ (nm)", ylim=(0, None))
    axes.set_title("Width of the PSF, one colour per plane")
    axes.legend(frameon=False)


def _by_brightness(accuracy: list[Row]) -> Iterator[tuple[str, list[Row], dict[str, Any]]]:
    """Range of photons and rows of the dim and of the bright molecules, and the style of their curves."""
    ranges = sorted({tuple(row["photons"]) for row in accuracy})
    for (low, high), marker, shade in zip(ranges, "os", (0.45, 1.0), strict=False):
        rows = [row for row in accuracy if row["photons"] == [low, high]]
        yield f"{low:.0f} to {high:.0f} photons", rows, {"alpha": shade, "marker": marker, "ms": 4}


def _against_depth(rows: list[Row], *names: str) -> tuple[list[float], list[float]]:
    """Middles of the layers, and the rms of some columns in each; NaN where no molecule was found."""
    depth = [sum(row["depth_nm"]) / 2 for row in rows]
    values = [[np.nan if row[name] is None else row[name] for name in names] for row in rows]
    return depth, [float(np.sqrt(np.mean(np.square(of)))) for of in values]


def _draw_errors(axes, accuracy: list[Row]) -> None:
    for name, rows, style in _by_brightness(accuracy):
        for direction, color in (("lateral", LATERAL), ("axial", AXIAL)):
            error, bound = (_against_depth(rows, f"{which}{direction}_nm") for which in ("", "bound_"))
            axes.plot(*error, color=color, label=f"{direction}, {name}", **style)
            axes.plot(*bound, color=color, alpha=style["alpha"], ls=":")
    axes.plot([], [], color="0.3", ls=":", label="Cramér–Rao bound, isolated molecule")
    axes.set(xlabel="depth z (nm)", ylabel="rms error (nm)", title="Errors of detected molecules")
    axes.set_ylim(0, 1.5 * axes.get_ylim()[1])  # the legend is above
    axes.legend(frameon=False, fontsize="x-small", loc="upper center", ncols=2)


def _draw_normalised_errors(axes, accuracy: list[Row]) -> None:
    axes.axhspan(0.9, 1.1, color="0.92")
    axes.axhline(1.0, color="0.6", lw=1)
    for name, rows, style in _by_brightness(accuracy):
        for columns, color, direction in (
            (("normalised_error_x", "normalised_error_y"), LATERAL, "lateral"),
            (("normalised_error_z",), AXIAL, "axial"),
        ):
            axes.plot(*_against_depth(rows, *columns), color=color, label=f"{direction}, {name}", **style)
    title = "Calibration of the stated precision (ideal: 1)"
    axes.set(xlabel="depth z (nm)", ylabel="rms normalised error", title=title)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.5), max(high, 1.5))
    axes.legend(frameon=False, fontsize="x-small", loc="lower center", ncols=2)
