"""`planeloc calibrate`."""

from __future__ import annotations

from pathlib import Path

import click

from planeloc.calibration.calibrate import calibrate
from planeloc.calibration.settings import CalibrateSettings
from planeloc.cameras.microscope import read_microscope
from planeloc.cli.options import (
    beads_option,
    figure_option,
    file_option,
    microscope_option,
    provenance_option,
    quality_option,
    write_record,
)
from planeloc.core.settings import options


@click.command("calibrate")
@beads_option
@microscope_option
@file_option("--registration", "Maps from register; the PSFs of all cameras then agree with them.", required=False)
@click.option("--z-step-nm", type=float, required=True, help="Step of the scan between slices, nm, positive.")
@click.option("--scan", type=click.Choice(("objective", "sample")), required=True, help="What moved during the scan.")
@file_option("--output", "PSF (HDF5).")
@figure_option
@quality_option
@provenance_option
@options(CalibrateSettings)
def command(
    beads: tuple[Path, ...],
    microscope: Path,
    registration: Path | None,
    z_step_nm: float,
    scan: str,
    output: Path,
    figure: Path,
    quality: Path,
    provenance: Path | None,
    settings: CalibrateSettings,
) -> None:
    """Fit the PSF of every plane to z-stacks of beads."""
    calibrate(
        list(beads), read_microscope(microscope), z_step_nm, scan, output, figure, quality, settings, registration
    )
    used = {"z_step_nm": z_step_nm, "scan": scan}
    write_record(
        provenance,
        "calibrate",
        settings,
        [*beads, microscope, *([registration] if registration else [])],
        [output, figure, quality],
        used,
    )
