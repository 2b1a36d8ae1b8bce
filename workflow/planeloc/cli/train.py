"""`planeloc train`."""

from __future__ import annotations

from pathlib import Path

import click

from planeloc.cli.options import figure_option, file_option, provenance_option, write_record
from planeloc.core.settings import options
from planeloc.training.settings import TrainSettings
from planeloc.training.train import train


@click.command("train")
@file_option("--psf", "PSF from calibrate; default: the paper's microscope.", required=False)
@file_option("--microscope", "Microscope file (YAML); default: of the movie, else the paper's.", required=False)
@file_option(
    "--movie", "Manifest of a movie to measure the light from; may be repeated.", required=False, multiple=True
)
@file_option("--registration", "Maps from register: training shows how well they are known.", required=False)
@file_option("--start-from", "Weights to adopt if they fit, else to begin with.", required=False)
@file_option("--output", "Weights (safetensors).")
@file_option("--record", "How the weights came about (JSON).")
@figure_option
@provenance_option
@options(TrainSettings)
def command(
    psf: Path | None,
    microscope: Path | None,
    movie: tuple[Path, ...],
    registration: Path | None,
    start_from: Path | None,
    output: Path,
    record: Path,
    figure: Path,
    provenance: Path | None,
    settings: TrainSettings,
) -> None:
    """Provide the network for a microscope: adopt given weights if they fit it, else train."""
    used = train(psf, microscope, list(movie), start_from, output, record, figure, settings, registration)
    inputs = [path for path in (psf, microscope, registration, start_from, *movie) if path]
    write_record(provenance, "train", settings, inputs, [output, record, figure], used)
