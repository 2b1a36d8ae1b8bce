"""Learning curve of a network, and whether its PSF is the microscope's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from planeloc.files import atomic_path
from planeloc.networks import NetworkRecord
from planeloc.optics import PSF

_AXES = {  # of the learning curve: loss, errors
    "upsampling": ("cross-entropy per image", "mean voxel error in validation, nm"),
    "regression": ("minus log-likelihood per image", "rms error in validation, nm"),
}


def draw_training(path: Path, history: list[dict[str, float]], network: NetworkRecord, psf: PSF, decision: str) -> None:
    """PNG with loss and error against training images (left) and width against depth of both PSFs (right)."""
    figure = Figure(figsize=(11, 4.2), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_learning_curve(left, history, network.kind)
    _draw_psf_comparison(right, network.psf, psf)
    figure.suptitle(
        "Weights adopted: they fit this microscope" if decision == "adopted" else "Trained for this microscope"
    )
    with atomic_path(path) as partial:
        figure.savefig(partial, metadata={"Software": None})


def _draw_learning_curve(axes, history: list[dict[str, float]], kind: str) -> None:
    loss_label, error_label = _AXES[kind]
    axes.set(xlabel="training images", ylabel=loss_label, title="Learning curve")
    if not history:
        axes.text(0.5, 0.5, "no record beside the weights", ha="center", va="center", transform=axes.transAxes)
        return
    samples = [entry["samples"] for entry in history]
    axes.plot(samples, [e["training_loss"] for e in history], color="0.6", label="training loss")
    axes.plot(samples, [e["validation_loss"] for e in history], color="C0", label="validation loss")
    errors = axes.twinx()
    errors.plot(samples, [e["lateral_nm"] for e in history], color="C1", ls="--", label="lateral error")
    errors.plot(samples, [e["axial_nm"] for e in history], color="C2", ls="--", label="axial error")
    errors.set(ylabel=error_label, ylim=(0, None))
    if kind == "upsampling":  # a density's likelihood has no zero
        axes.set_ylim(0, None)
    lines = axes.get_lines() + errors.get_lines()
    axes.legend(lines, [line.get_label() for line in lines], frameon=False)


def _draw_psf_comparison(axes, trained: PSF, measured: PSF) -> None:
    depth = np.linspace(min(measured.plane_depths_nm) - 300, max(measured.plane_depths_nm) + 300, 300)
    for plane in range(measured.planes):
        color = f"C{plane}"
        axes.plot(depth, np.sqrt(measured.gaussian.squared_width(measured.plane_depths_nm[plane] - depth)), color=color)
        if plane < trained.planes:
            width = np.sqrt(trained.gaussian.squared_width(trained.plane_depths_nm[plane] - depth))
            axes.plot(depth, width, color=color, ls=":", lw=2)
    axes.plot([], [], color="0.3", label="measured on the beads")
    axes.plot([], [], color="0.3", ls=":", lw=2, label="network was made for")
    axes.set(xlabel="depth z, nm", ylabel="width of the PSF, nm", title="PSF, one colour per plane", ylim=(0, None))
    axes.legend(frameon=False)
