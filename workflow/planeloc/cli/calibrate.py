"""`planeloc calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from planeloc.calibration.calibrate import calibrate
from planeloc.calibration.settings import CalibrateSettings
from planeloc.cameras.microscope import read_microscope
from planeloc.cli.options import BEADS, FIGURE, MICROSCOPE, QUALITY, File, Used, output, stage_command
from planeloc.core import marks


@stage_command(
    "calibrate",
    CalibrateSettings,
    BEADS,
    MICROSCOPE,
    File(
        "--registration",
        "Transforms from register; makes the PSFs of all cameras consistent with them.",
        required=False,
    ),
    output("--output", "PSF (HDF5).", marks.PSF),
    FIGURE,
    QUALITY,
)
@click.option("--z-step-nm", type=float, metavar="nm", required=True, help="Step of the scan between slices; positive.")
@click.option("--scan", type=click.Choice(("objective", "sample")), required=True, help="What moved during the scan.")
def command(microscope: Path, z_step_nm: float, scan: str, **given: Any) -> Used:
    """Fit the PSF of every plane to bead scans."""
    calibrate(microscope=read_microscope(microscope), z_step_nm=z_step_nm, scan=scan, **given)
    return Used({"z_step_nm": z_step_nm, "scan": scan})
