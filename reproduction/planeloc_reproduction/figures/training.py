"""Learning curves of both networks, and the study of architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import FuncFormatter

from planeloc_reproduction.figures.style import GREY, INK, look, plain, sheet
from planeloc_reproduction.published import TRAINING_IMAGES
from planeloc_reproduction.results import Training, Variant

_PANELS = (
    ("validation_loss", "cross-entropy per image", "Loss"),
    ("lateral_nm", "mean lateral voxel error [nm]", "Lateral error"),
    ("axial_nm", "mean axial voxel error [nm]", "Axial error"),
)


def draw_learning_curves(path: Path, training: Mapping[str, Training], note: str) -> None:
    """Loss and voxel errors in validation (three molecules per image) against the images seen."""
    with sheet(path, (12, 4.6), note) as figure:
        for axes, (column, label, title) in zip(figure.subplots(1, 3), _PANELS, strict=True):
            for name, record in training.items():
                style, history = look(name), record.history
                samples = history["samples"]
                axes.plot(samples, history[column], color=style.colour, label=plain(style.label))
                if column == "validation_loss":
                    axes.plot(samples, history["training_loss"], color=style.colour, linestyle=":", linewidth=1.2)
            axes.set(xscale="log", xlabel="training images", ylabel=label, title=title)
            axes.set_ylim(bottom=0)
            axes.axvline(TRAINING_IMAGES.value, color=INK, linestyle="--", linewidth=1.2)
            axes.text(
                TRAINING_IMAGES.value,
                0.03,
                f"the paper's {_short(TRAINING_IMAGES.value)} ",
                transform=axes.get_xaxis_transform(),
                ha="right",
                fontsize=11,
            )
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
            axes.grid(color="0.92")
        left = figure.axes[0]
        left.plot([], [], color=GREY, linestyle=":", linewidth=1.2, label="on training images")
        left.legend(loc=(0.0, 0.11))


def draw_architectures(path: Path, variants: Sequence[Variant], used: str | None, note: str) -> None:
    """Loss and voxel errors of every variant after the same number of images; the one that is used stands out."""
    ordered = sorted(variants, key=lambda variant: variant.validation_loss, reverse=True)
    with sheet(path, (12, 1.9 + 0.42 * len(ordered)), note) as figure:
        panels = (
            ("validation_loss", "loss per image"),
            ("lateral_nm", "lateral voxel error [nm]"),
            ("axial_nm", "axial voxel error [nm]"),
            ("milliseconds_per_image", "time per image [ms]"),
        )
        grid = figure.subplots(1, len(panels), sharey=True)
        for axes, (column, label) in zip(grid, panels, strict=True):
            values = [getattr(variant, column) for variant in ordered]
            colours = [look("robust").colour if variant.name == used else "0.72" for variant in ordered]
            bars = axes.barh(range(len(ordered)), values, color=colours, height=0.7)
            axes.bar_label(bars, [f"{value:.1f}" for value in values], padding=3, fontsize=11)
            axes.set(xlabel=label, xlim=(0, 1.2 * max(values)))
            axes.tick_params(left=False)
        grid[0].set_yticks(range(len(ordered)), [plain(variant.name) for variant in ordered])


def _short(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"
