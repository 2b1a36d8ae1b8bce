"""The report of the reproduction: every figure and table of the paper beside ours, on one page."""

from __future__ import annotations

from pathlib import Path

from planeloc import __version__
from planeloc.core.files import atomic_path
from planeloc_reproduction import published
from planeloc_reproduction.names import DATA_SETS, SWEEPS
from planeloc_reproduction.page import Section, Table, render
from planeloc_reproduction.results import Results, read_results, read_seeds
from planeloc_reproduction.sections.beyond import other_data, sweep
from planeloc_reproduction.sections.context import Context
from planeloc_reproduction.sections.depth import errors_by_depth
from planeloc_reproduction.sections.helix import helix
from planeloc_reproduction.sections.histograms import error_histograms
from planeloc_reproduction.sections.speed import speed
from planeloc_reproduction.sections.structure import structure
from planeloc_reproduction.sections.table3 import table3
from planeloc_reproduction.sections.training import architectures, learning_curves
from planeloc_reproduction.wording import NOTHING, difference, interval, label, number, percent

_TITLE = "The paper, reproduced"
_PAPER = (
    "Aritake, Hino, Namiki, Asanuma, Hirose, Murata: Fast and robust multiplane single-molecule localization "
    "microscopy using a deep neural network. Neurocomputing 451 (2021) 279–289."
)


def write_report(
    folder: Path,
    structure_image: Path | None,
    output: Path,
    *,
    structure_threshold: float | None = None,
    architecture: Path | None = None,
) -> None:
    """Draw every figure and write the page.

    Parameters
    ----------
    folder : the results of the experiments (see `planeloc_reproduction.results`); what is missing is left out and
        said so.
    structure_image : PNG of a structure drawn by the paper's rule; an ``evaluation.json`` beside it is read.
    output : the HTML page. The figures are in it, and as PNG in the folder ``figures`` beside it.
    structure_threshold : of the voxels that the structure was found with.
    architecture : the study of architectures, where it is not ``architecture.json`` in the folder.

    Raises
    ------
    PlanelocError
        No results, a damaged result file (named), or a picture that is none.
    """
    results = read_results(folder, architecture)
    context = Context(results, output.parent / "figures")
    sections = [
        learning_curves(context),
        architectures(context),
        error_histograms(context),
        table3(context),
        errors_by_depth(context),
        helix(context),
        speed(context),
        structure(context, structure_image, structure_threshold),
        *(sweep(context, name) for name in SWEEPS),
        *(other_data(context, data) for data in DATA_SETS if data != "paper"),
    ]
    sections = [_summary(context, read_seeds(folder)), *(section for section in sections if section is not None)]
    page = render(_TITLE, [_PAPER], sections)
    with atomic_path(output) as partial:
        partial.write_text(page, encoding="utf-8")


def _summary(context: Context, seeds: dict[str, list[str]]) -> Section:
    errors = context.errors.get("paper", {})
    rows = []
    for name in ("robust", "nonrobust", "compressed_sensing"):
        if name not in errors:
            continue
        for direction, printed in (("lateral", published.LATERAL_ERROR), ("axial", published.AXIAL_ERROR)):
            ours, told = getattr(errors[name], f"voxel_{direction}"), printed.get(name)
            change = difference(ours.value, told.value) if told else NOTHING
            told = number(told.value) if told else NOTHING
            rows.append((f"{label(name)}: {direction} error, nm", told, interval(ours), change))
        rows.append((f"{label(name)}: voxel Jaccard index", NOTHING, interval(errors[name].jaccard), NOTHING))
    limit = context.limit("lateral")
    if limit and "robust" in errors:
        over = errors["robust"].mean_lateral.map(lambda value: value / limit)
        rows.append(("robust network: lateral error over the limit, drift unknown", NOTHING, interval(over), NOTHING))
    timed = context.results.one_molecule.get("paper", {})
    for name, told in published.SPEED.items():
        if name in timed and timed[name].timing:
            rate = timed[name].timing.frames_per_second
            rows.append(
                (f"{label(name)}: frames/s, 16 × 16", number(told.value), number(rate), difference(rate, told.value))
            )
    header = ("", "Paper", "Ours (95 % interval)", "Difference")
    table = Table("The paper's numbers and ours", header, rows, context.mark(errors))
    return Section("summary", "Summary", tables=[table] if rows else [], notes=_circumstances(context.results, seeds))


def _circumstances(results: Results, seeds: dict[str, list[str]]) -> list[str]:
    """What was trained how far, on what, by which version, from which seeds."""
    notes = [f"planeloc {__version__}."]
    for name, record in results.training.items():
        if record.images is None:
            notes.append(f"{_capital(label(name))}: no record of its training.")
            continue
        seed = record.settings.get("seed")
        told = f", seed {seed}" if seed is not None else ""
        where = "given weights" if record.device.startswith("none") else f"device {record.device}"
        notes.append(
            f"{_capital(label(name))}: {record.images:,} training images, {percent(record.fraction)} of the paper's "
            f"{published.TRAINING_IMAGES.value:,} ({where}, torch {record.torch}{told})."
        )
    if seeds:
        listed = "; ".join(f"{group.replace('_', ' ')}: {', '.join(values)}" for group, values in seeds.items())
        notes.append(f"Seeds of the images: {listed}.")
    everything = [one for estimators in results.one_molecule.values() for one in estimators.values()]
    devices = sorted({one.timing.device for one in everything if one.timing})
    if results.speed:
        devices = sorted({*devices, f"{results.speed.device}, {results.speed.precision}".rstrip(", ")})
    if devices:
        notes.append(f"Speeds were measured on: {'; '.join(devices)}.")
    resamples = "2,000 resamples with seed 0; sweeps: 1,000 with seed 1001"
    notes.append(f"Intervals are 95 % bootstrap intervals over images ({resamples}).")
    return notes


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
