"""`planeloc-reproduction`: a command for each experiment of the paper, and one for the report of all."""

from __future__ import annotations

from pathlib import Path

import click

from planeloc.cli.main import run
from planeloc.cli.options import file_option, provenance_option, write_record
from planeloc.core.settings import options
from planeloc_reproduction.names import DATA_SETS, ESTIMATORS, NETWORKS, SWEEPS
from planeloc_reproduction.settings import PaperSettings

_output = file_option("--output", "Result (JSON).")
_weights = file_option("--weights", "The network's weights; only for networks.", required=False)
_estimator = click.option("--estimator", type=click.Choice(ESTIMATORS), required=True, help="What finds molecules.")


@click.group("planeloc-reproduction", context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def paper() -> None:
    """The experiments of the paper (Aritake and others, 2021), recomputed.

    `snakemake --snakefile reproduction/Snakefile` runs them all; reproduction/README.md explains them.
    """


@paper.command("one-molecule")
@click.option("--data", type=click.Choice(DATA_SETS), default="paper", help="What the images are like.")
@_estimator
@_weights
@_output
@file_option("--seconds", "How long it took (JSON), apart from the result, which is the same in every run.")
@provenance_option
@options(PaperSettings, "images", "device")
def one_molecule_command(
    data: str,
    estimator: str,
    weights: Path | None,
    output: Path,
    seconds: Path,
    provenance: Path | None,
    settings: PaperSettings,
) -> None:
    """Locate one molecule per image (Table 3, figures 7 and 8)."""
    from planeloc_reproduction.baselines import build
    from planeloc_reproduction.one_molecule import SEED, one_molecule

    built = build(estimator, weights, settings.device)
    one_molecule(data, built, settings.images, output, seconds)
    used = {"data": data, "estimator": estimator, "seed": SEED, "device": built.device_in_words}
    write_record(provenance, "paper one-molecule", settings, _given(weights), [output, seconds], used)


@paper.command("sweep")
@click.option("--sweep", "name", type=click.Choice(SWEEPS), required=True, help="What is varied.")
@_estimator
@_weights
@_output
@provenance_option
@options(PaperSettings, "molecules", "device")
def sweep_command(
    name: str,
    estimator: str,
    weights: Path | None,
    output: Path,
    provenance: Path | None,
    settings: PaperSettings,
) -> None:
    """Errors against drift, density or photons."""
    from planeloc_reproduction.baselines import build
    from planeloc_reproduction.sweeps import SEED, sweep

    built = build(estimator, weights, settings.device)
    sweep(name, built, settings.molecules, output)
    used = {"sweep": name, "estimator": estimator, "seed": SEED, "device": built.device_in_words}
    write_record(provenance, "paper sweep", settings, _given(weights), [output], used)


@paper.command("helix")
@click.option("--network", type=click.Choice(NETWORKS), required=True, help="Which network the weights are of.")
@file_option("--weights", "The network's weights.")
@_output
@provenance_option
@options(PaperSettings, "frames", "device")
def helix_command(network: str, weights: Path, output: Path, provenance: Path | None, settings: PaperSettings) -> None:
    """Find molecules along a helix (figure 9)."""
    from planeloc_reproduction.helix import SEED, helix
    from planeloc_reproduction.network_estimator import NetworkEstimator

    built = NetworkEstimator(network, weights, settings.device)
    helix(built, settings.frames, output)
    used = {"network": network, "seed": SEED, "device": built.device_in_words}
    write_record(provenance, "paper helix", settings, [weights], [output], used)


@paper.command("speed")
@file_option("--weights", "The network's weights.")
@_output
@provenance_option
@options(PaperSettings, "largest_px", "device")
def speed_command(weights: Path, output: Path, provenance: Path | None, settings: PaperSettings) -> None:
    """Measure frames per second for sizes of images (figure 10)."""
    from planeloc_reproduction.speed import measure_speed

    measure_speed(weights, settings.largest_px, output, settings.device)
    write_record(provenance, "paper speed", settings, [weights], [output])


@paper.command("bound")
@_output
@provenance_option
def bound_command(output: Path, provenance: Path | None) -> None:
    """Work out what the images can tell at all."""
    from planeloc_reproduction.bound import SEED, write_bound

    write_bound(output)
    write_record(provenance, "paper bound", {}, [], [output], {"seed": SEED})


@paper.command("report")
@file_option("--results", "Folder of the results of the other verbs.")
@file_option("--structure", "Picture of the structure for Fig. 12 (PNG).", required=False)
@file_option("--structure-localizations", "Table of the structure (HDF5), which names its threshold.", required=False)
@file_option("--architecture", "Study of architectures (JSON), by architecture.py.", required=False)
@file_option("--output", "Report (HTML, in one file); its figures are left beside it, too.")
@provenance_option
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
    inputs = [*sorted(results.rglob("*.json")), *_given(structure, structure_localizations, architecture)]
    used = {"structure_threshold": threshold}
    write_record(provenance, "paper report", used, inputs, [output])


def _given(*paths: Path | None) -> list[Path]:
    return [path for path in paths if path]


def main() -> None:
    """Entry point of `planeloc-reproduction`."""
    import torch

    torch.set_num_threads(1)  # the workflow runs several commands at once
    run(paper)
