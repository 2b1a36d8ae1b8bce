"""The report of the reproduction: every figure and table of the paper beside ours, on one page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from planeloc import __version__
from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path, read_json, require_file
from planeloc.core.marks import ANY_FIGURE, software
from planeloc.reporting.html import write_page
from planeloc.scenes.scene import PAPER_PHOTONS
from planeloc_reproduction import analysis, published, wording
from planeloc_reproduction.figures.helix import draw_helix
from planeloc_reproduction.figures.one_molecule import draw_error_by_depth, draw_error_histograms, draw_errors
from planeloc_reproduction.figures.speed import draw_speed
from planeloc_reproduction.figures.sweeps import AXIS, draw_sweep
from planeloc_reproduction.figures.training import draw_architectures, draw_learning_curves
from planeloc_reproduction.measures import Errors, error_summary
from planeloc_reproduction.names import DATA_SETS, NETWORKS, SWEEPS
from planeloc_reproduction.results import SWEEP_BOUND, OneMolecule, Results, read_results, read_seeds

_PNG = b"\x89PNG\r\n\x1a\n"
# Conditions of the robust network's training.
_TRAINED = {
    "drift": (0.0, published.LARGEST_DRIFT.value),
    "density": (published.MOLECULES.value, published.MOLECULES.value),
    "photons": PAPER_PHOTONS,
}


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
    folder : results of the experiments (see `planeloc_reproduction.results`). The page names what is missing.
    structure_image : PNG of a structure drawn by the paper's rule; an ``evaluation.json`` beside it is read.
    output : the HTML page. Its figures are in it, and as PNG in the folder ``figures`` beside it.
    structure_threshold : smallest probability of the voxels of this structure.
    architecture : the study of architectures, where it is not ``architecture.json`` in the folder.

    Raises
    ------
    PlanelocError : there is no result, or a result or the picture is damaged (the message names the file).
    """
    results = read_results(folder, architecture)
    context = Context(results, output.parent / "figures")
    values = {
        "version": __version__,
        "seeds": read_seeds(folder),
        "structure": read_evaluation(structure_image),
        "structure_threshold": structure_threshold,
        "figures": context.draw(structure_image),
        "results": results,
        "networks": context.networks,
        "errors": context.errors,
        "mark": context.mark,
        "limits": context.limits,
        "trained": _TRAINED,
        "axis": AXIS,
        "sweep_bound": SWEEP_BOUND,
        "sweep_names": SWEEPS,
        "other_data": [data for data in DATA_SETS if data != "paper"],
        "analysis": analysis,
        "published": published,
        "label": wording.label,
        "difference": wording.difference,
        "zip": zip,
    }
    filters = {name: getattr(wording, name) for name in ("shown", "percent", "condition", "begin")}
    write_page(output, "report.html.j2", values, verb="reproduction", package=__package__, filters=filters)


def read_evaluation(image: Path | None) -> dict[str, float]:
    """Numbers of ``evaluation.json`` beside a picture by name; none where there is no such file."""
    path = image and image.with_name("evaluation.json")
    if not path or not path.exists():
        return {}
    content = read_json(path)
    values = content.get("values") if isinstance(content, dict) else None
    if not isinstance(values, dict):
        raise PlanelocError(f"{path}: holds no values of an evaluation; run evaluate again")
    return {name: float(v) for name, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}


@dataclass(frozen=True)
class Context:
    """The results, and the folder of the figures."""

    results: Results
    folder: Path

    @cached_property
    def errors(self) -> dict[str, dict[str, Errors]]:
        """Error measures by data and estimator."""
        return {
            data: {name: _summary(one) for name, one in estimators.items()}
            for data, estimators in self.results.one_molecule.items()
        }

    @property
    def networks(self) -> dict[str, OneMolecule]:
        """What the networks found in the paper's images."""
        data = self.results.one_molecule.get("paper", {})
        return {name: data[name] for name in NETWORKS if name in data}

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        """Information limits on the mean and the root mean square, inter-camera drift unknown, by direction."""
        bound = self.results.bound
        if bound is None:
            return {}
        pairs = zip(bound.mean["unknown_drift"], bound.root_mean_square["unknown_drift"], strict=True)
        return dict(zip(("lateral", "axial"), pairs, strict=True))

    def mark(self, estimators: Iterable[str]) -> str:
        """How far the networks among these estimators were trained."""
        return wording.training_mark(self.results.training, [name for name in estimators if name in NETWORKS])

    def draw(self, structure_image: Path | None) -> dict[str, Path]:
        """Draw every figure for which there are results; their files by name."""
        results, bound, mark = self.results, self.results.bound, self.mark
        drawings = {}
        if training := results.trained:
            drawings["training"] = (draw_learning_curves, training, mark(training))
        if results.architecture:
            used, note = analysis.used_architecture(results), wording.study_mark(results.architecture)
            drawings["architecture"] = (draw_architectures, results.architecture, used, note)
        if networks := self.networks:
            counts = {name: analysis.histogram(one)[0] for name, one in networks.items()}
            profiles = {name: analysis.profile(one) for name, one in networks.items()}
            drawings["fig7"] = (draw_error_histograms, counts, published.VOXEL_NM, mark(networks))
            drawings["fig8"] = (draw_error_by_depth, profiles, bound, mark(networks))
        for data, errors in self.errors.items():
            # The limit is computed for the paper's PSF and drift.
            limit = bound if data in ("paper", "voxel_centres") else None
            name = "table3" if data == "paper" else data
            drawings[name] = (draw_errors, errors, limit, mark(errors), data == "paper")
        for index, (name, helix) in enumerate(results.helix.items()):
            drawings[f"fig9.{index}"] = (draw_helix, helix, name, mark([name]))
        if results.speed:
            drawings["fig10"] = (draw_speed, results.speed, mark(["robust"]))
        for name, sweep in results.sweeps.items():
            if set(sweep) - {SWEEP_BOUND}:
                drawings[f"sweep_{name}"] = (draw_sweep, name, sweep, _TRAINED[name], mark(sweep))
        figures = {name: self.folder / f"{name}.png" for name in drawings}
        for name, (draw, *arguments) in drawings.items():
            draw(figures[name], *arguments)
        if structure_image:
            figures["fig12"] = _copied(structure_image, self.folder / "fig12.png")
        return figures


def _summary(one: OneMolecule) -> Errors:
    return error_summary(one.truth_nm, one.found_nm, one.truth_voxel, one.found_voxel, one.voxel_nm)


def _copied(image: Path, target: Path) -> Path:
    if not require_file(image, "picture of the structure").read_bytes().startswith(_PNG):
        raise PlanelocError(f"{image}: not a PNG picture; render it again")
    made_by = PngInfo()
    made_by.add_text("Software", software("paper report"))
    with Image.open(image) as picture, atomic_path(target, ANY_FIGURE) as partial:
        picture.save(partial, pnginfo=made_by)
    return target
