"""`planeloc-reproduction`: a command for each experiment of the paper, and one for the report of all."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from planeloc.cli.main import run
from planeloc.cli.options import PROVENANCE, File, StageCommand, options, output
from planeloc.core import marks
from planeloc.core.provenance import write_provenance
from planeloc_reproduction.names import DATA_SETS, ESTIMATORS, NETWORKS, SWEEPS
from planeloc_reproduction.settings import PaperSettings

_output = output("--output", "Result (JSON).", marks.EXPERIMENT)
_weights = File("--weights", "Weights; only for networks.", required=False)
_estimator = click.option("--estimator", type=click.Choice(ESTIMATORS), required=True, help="What finds molecules.")


@click.group("planeloc-reproduction", context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def paper() -> None:
    """The experiments of the paper (Aritake and others, 2021), recomputed.

    `snakemake --snakefile reproduction/Snakefile` runs them all; reproduction/README.md explains them.
    """


@paper.command("one-molecule", cls=StageCommand)
@click.option("--data", type=click.Choice(DATA_SETS), default="paper", help="Kind of the images.")
@_estimator
@_weights
@_output
@output("--seconds", "Duration (JSON), apart from the result, which is the same in every run.", marks.EXPERIMENT)
@PROVENANCE
@options(PaperSettings, "images", "device")
def one_molecule_command(
    data: str, estimator: str, weights: Path | None, output: Path, seconds: Path, **record
) -> None:
    """Locate one molecule per image (Table 3, figures 7 and 8)."""
    from planeloc_reproduction.baselines import build
    from planeloc_reproduction.one_molecule import SEED, one_molecule

    built = build(estimator, weights, record["settings"].device)
    one_molecule(data, built, record["settings"].images, output, seconds)
    used = {"data": data, "estimator": estimator, "seed": SEED, "device": built.device_in_words}
    _record("one-molecule", [weights], [output, seconds], used, **record)


@paper.command("sweep", cls=StageCommand)
@click.option("--sweep", "name", type=click.Choice(SWEEPS), required=True, help="What is varied.")
@_estimator
@_weights
@_output
@PROVENANCE
@options(PaperSettings, "molecules", "device")
def sweep_command(name: str, estimator: str, weights: Path | None, output: Path, **record: Any) -> None:
    """Measure errors against inter-camera drift, density or photons."""
    from planeloc_reproduction.baselines import build
    from planeloc_reproduction.sweeps import SEED, sweep

    built = build(estimator, weights, record["settings"].device)
    sweep(name, built, record["settings"].molecules, output)
    used = {"sweep": name, "estimator": estimator, "seed": SEED, "device": built.device_in_words}
    _record("sweep", [weights], [output], used, **record)


@paper.command("helix", cls=StageCommand)
@click.option("--network", type=click.Choice(NETWORKS), required=True, help="Which network the weights belong to.")
@File("--weights", "The network's weights.")
@_output
@PROVENANCE
@options(PaperSettings, "frames", "device")
def helix_command(network: str, weights: Path, output: Path, **record: Any) -> None:
    """Find molecules along a helix (figure 9)."""
    from planeloc_reproduction.helix import SEED, helix
    from planeloc_reproduction.network_estimator import NetworkEstimator

    built = NetworkEstimator(network, weights, record["settings"].device)
    helix(built, record["settings"].frames, output)
    used = {"network": network, "seed": SEED, "device": built.device_in_words}
    _record("helix", [weights], [output], used, **record)


@paper.command("speed", cls=StageCommand)
@File("--weights", "The network's weights.")
@_output
@PROVENANCE
@options(PaperSettings, "largest_px", "device")
def speed_command(weights: Path, output: Path, **record: Any) -> None:
    """Measure frames per second for sizes of images (figure 10)."""
    from planeloc_reproduction.speed import measure_speed

    measure_speed(weights, record["settings"].largest_px, output, record["settings"].device)
    _record("speed", [weights], [output], {}, **record)


@paper.command("bound", cls=StageCommand)
@_output
@PROVENANCE
def bound_command(output: Path, provenance: Path | None) -> None:
    """Compute the information limits of the images."""
    from planeloc_reproduction.bound import SEED, write_bound

    write_bound(output)
    _record("bound", [], [output], {"seed": SEED}, None, provenance)


@paper.command("report", cls=StageCommand)
@File("--results", "Folder of the results of the other commands.")
@File("--structure", "Picture of the structure for Fig. 12 (PNG).", required=False)
@File("--structure-localizations", "Table of the structure (HDF5), which states its threshold.", required=False)
@File("--architecture", "Study of architectures (JSON), by architecture.py.", required=False)
@output("--output", "Report (HTML, in one file); its figures are also written beside it.", marks.page("reproduction"))
@PROVENANCE
def report_command(
    results: Path,
    structure: Path | None,
    structure_localizations: Path | None,
    architecture: Path | None,
    output: Path,
    provenance: Path | None,
) -> None:
    """Compare all results with the paper's, on one page."""
    from planeloc.io import localization_table
    from planeloc_reproduction.report import write_report

    threshold = None
    if structure_localizations:
        metadata = localization_table.read(structure_localizations)[1]
        threshold = localization_table.metadata_value(structure_localizations, metadata, "threshold")
    write_report(results, structure, output, structure_threshold=threshold, architecture=architecture)
    inputs = [*sorted(results.rglob("*.json")), structure, structure_localizations, architecture]
    _record("report", inputs, [output], {"structure_threshold": threshold}, None, provenance)


def _record(
    command: str, inputs: list[Path | None], outputs: list[Path], used: dict, settings: Any, provenance: Path | None
) -> None:
    """Write the provenance of a command, if it is asked for."""
    if provenance:
        values = asdict(settings) if settings else {}
        write_provenance(provenance, f"reproduction {command}", values, list(filter(None, inputs)), outputs, used)


def main() -> None:
    """Entry point of `planeloc-reproduction`."""
    import torch

    torch.set_num_threads(1)  # the workflow runs several commands at once
    run(paper)
