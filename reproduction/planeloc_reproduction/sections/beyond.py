"""Beyond the paper: sweeps of drift, density and photons, and data that differ from what everybody fits."""

from __future__ import annotations

import numpy as np

from planeloc.scenes.scene import PAPER_PHOTONS
from planeloc_reproduction import published
from planeloc_reproduction.figures.one_molecule import draw_errors
from planeloc_reproduction.figures.sweeps import AXIS, draw_sweep
from planeloc_reproduction.measures import Errors
from planeloc_reproduction.page import Picture, Section, Table
from planeloc_reproduction.results import SWEEP_BOUND, Sweep
from planeloc_reproduction.sections.context import Context
from planeloc_reproduction.wording import NOTHING, condition, difference, interval, label, number, percent

_TITLES = {"drift": "drift between the planes", "density": "density of molecules", "photons": "light"}
_UNITS = {"drift": "nm", "density": "molecules", "photons": "photons"}
_OTHER = {
    "voxel_centres": (
        "Other data: every molecule in the middle of a voxel",
        "The paper's data, but no molecule lies near the edge of its voxel.",
    ),
    "additive_noise": (
        "Other data: noise that does not grow with the signal",
        "Another reading of Table 2: the light itself adds no noise; every molecule in the middle of a voxel.",
    ),
    "camera": (
        "Other data: a camera as it is",
        "Pixels integrate the light, so that the PSF is a little other than everybody fits, and drift is continuous.",
    ),
}
_TRAINED = {
    "drift": (0.0, published.LARGEST_DRIFT.value),
    "density": (published.MOLECULES.value, published.MOLECULES.value),
    "photons": PAPER_PHOTONS,
}
"""Conditions of the robust network's training."""
_COLUMNS = 6  # of a sweep's table


def sweep(context: Context, name: str) -> Section:
    """Error and Jaccard index of every estimator against one condition."""
    title, estimators = f"Beyond the paper: {_TITLES[name]}", context.results.sweeps.get(name, {})
    shown = {key: values for key, values in estimators.items() if key != SWEEP_BOUND}
    if not shown:
        return Section(f"sweep-{name}", title, missing=f"This sweep was not part of this run (sweeps/{name}/*.json).")
    path, mark = context.figures / f"sweep_{name}.png", context.mark(shown)
    draw_sweep(path, name, estimators, _TRAINED[name], mark)
    molecules = [values["molecules"] for values in shown.values()]
    counts = np.concatenate([m[np.isfinite(m)] for m in molecules])
    span = " to ".join(f"{count:,.0f}" for count in np.unique([counts.min(), counts.max()])) if len(counts) else ""
    told = f", {span} molecules at each point" if span else ""
    caption = f"Matched molecules (within 250 nm, 500 nm along z) against their true positions{told}; 95 % intervals."
    low, high = _TRAINED[name]
    values = condition(low) if low == high else f"{condition(low)} to {condition(high)}"
    caption += f" Blue: what the robust network was trained for ({values} {_UNITS[name]})."
    if name == "drift":
        caption += " The fit that estimates drift keeps the prior of the paper's drift (33.9 nm) at every drift."
    if name == "density":
        caption += " The networks decide how many molecules an image holds; the other estimators are told."
    picture = Picture(path, f"Errors and Jaccard index against {_TITLES[name]}", caption)
    tables = [_sweep_table(name, estimators, mark)]
    why = {"drift": _why_drift, "density": _why_density, "photons": _why_photons}[name](estimators)
    return Section(f"sweep-{name}", title, why, [picture], tables)


def _sweep_table(name: str, estimators: dict[str, Sweep], mark: str) -> Table:
    values = np.unique(np.concatenate([sweep["value"] for sweep in estimators.values()]))
    if len(values) > _COLUMNS:
        values = values[np.unique(np.linspace(0, len(values) - 1, _COLUMNS).round().astype(int))]
    rows = []
    for column, what in (("lateral", "lateral, nm"), ("axial", "axial, nm"), ("jaccard", "Jaccard index")):
        for estimator, sweep in estimators.items():
            numbers = [_at(sweep, column, value) for value in values]
            if np.isfinite(numbers).any():
                shown = "information limit" if estimator == SWEEP_BOUND else label(estimator)
                rows.append((f"{shown}: {what}", NOTHING, *(number(n) for n in numbers)))
    header = (AXIS[name], "Paper", *(f"{value:g}" for value in values))
    mark = ". ".join(filter(None, (mark, "The paper has no such measurement, hence no difference")))
    return Table(f"Against {_TITLES[name]}", header, rows, f"{mark}.")


def _at(sweep: Sweep, column: str, value: float) -> float:
    at = np.flatnonzero(np.isclose(sweep["value"], value))
    return float(sweep[column][at[0]]) if len(at) else np.nan


def _measured(sweep: Sweep, column: str) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(sweep[column])
    return sweep["value"][known], sweep[column][known]


def _why_drift(estimators: dict[str, Sweep]) -> str:
    if "robust" not in estimators:
        return "Without the robust network there is nothing to say about its reach."
    drift, lateral = _measured(estimators["robust"], "lateral")
    if not len(drift):
        return "The robust network matched no molecule."
    inside = drift <= published.LARGEST_DRIFT.value
    parts = []
    if inside.any():
        parts.append(
            f"within its training the robust network's lateral error goes from {number(lateral[inside][0])} to "
            f"{number(lateral[inside][-1])} nm"
        )
    if (~inside).any():
        grows = "grows" if not inside.any() or lateral[-1] > lateral[inside][-1] else "goes"
        parts.append(f"beyond it {grows} to {number(lateral[-1])} nm at {condition(drift[-1])} nm of drift")
    parts += [_crossing(estimators, other) for other in ("nonrobust", "fit_without_drift") if other in estimators]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _crossing(shown: dict[str, Sweep], other: str) -> str:
    """From which drift on the robust network's lateral error is below another's."""
    robust = shown["robust"]
    common = np.intersect1d(robust["value"], shown[other]["value"])
    gain = np.array([_at(shown[other], "lateral", v) - _at(robust, "lateral", v) for v in common])
    common, gain = common[np.isfinite(gain)], gain[np.isfinite(gain)]
    name = f"the {label(other)}"
    if not len(gain):
        return f"with {name} it shares no point"
    if (gain > 0).all():
        return f"against {name} it wins at every drift measured"
    if gain[-1] <= 0:
        return f"against {name} it does not win at the largest drift"
    first = common[np.flatnonzero(gain <= 0)[-1] + 1]
    return f"against {name} it pays from {condition(first)} nm of drift on"


def _why_density(estimators: dict[str, Sweep]) -> str:
    parts = []
    if "robust" in estimators:
        density, found = _measured(estimators["robust"], "jaccard")
        if len(density):
            parts.append(
                f"the robust network, trained on {published.MOLECULES.value:g} molecules per image, goes from a "
                f"Jaccard index of {number(found[0])} at {condition(density[0])} to {number(found[-1])} at "
                f"{condition(density[-1])} molecules"
            )
    densest = max(value for sweep in estimators.values() for value in sweep["value"])
    last = {name: _at(sweep, "jaccard", densest) for name, sweep in estimators.items()}
    last = {name: value for name, value in last.items() if np.isfinite(value)}
    if len(last) > 1:
        best = max(last, key=last.get)
        parts.append(f"at {condition(densest)} molecules {label(best)} has the highest ({number(last[best])})")
    text = "; ".join(parts) or "no molecule was matched"
    return f"{text[0].upper()}{text[1:]}."


def _why_photons(estimators: dict[str, Sweep]) -> str:
    if "robust" not in estimators:
        return "Without the robust network there is nothing to say about its need of light."
    photons, lateral = _measured(estimators["robust"], "lateral")
    if not len(photons):
        return "The robust network matched no molecule."
    low, high = PAPER_PHOTONS
    text = (
        f"From {condition(photons[0])} to {condition(photons[-1])} photons the robust network's lateral error goes "
        f"from {number(lateral[0])} to {number(lateral[-1])} nm"
    )
    if photons[0] < low or photons[-1] > high:
        text += f" (it was trained on {number(low)} to {number(high)})"
    bound = estimators.get(SWEEP_BOUND)
    if bound is not None:
        at, limit = _measured(bound, "lateral")
        if len(at) > 1 and limit[-1] > 0:
            fall, light = limit[0] / limit[-1], np.sqrt(at[-1] / at[0])
            cause = (
                f"the limit falls {number(fall)} times and not {number(light)} times as the square root of the light "
                "would let it, since light does not tell one molecule the drift"
                if fall < 0.8 * light
                else f"the limit falls {number(fall)} times, about as the square root of the light"
            )
            text += f"; {cause}"
    return text + "."


def other_data(context: Context, data: str) -> Section:
    """Every estimator on data that differ from the paper's, against the same estimator on the paper's."""
    title, what = _OTHER[data]
    errors, before = context.errors.get(data, {}), context.errors.get("paper", {})
    if not errors:
        return Section(data, title, missing=f"These data were not part of this run (one_molecule/{data}/*.json).")
    path, mark = context.figures / f"{data}.png", context.mark(errors)
    # the limit is worked out for the paper's PSF and drift, so it says nothing of other ones
    draw_errors(
        path, errors, context.results.bound if data == "voxel_centres" else None, mark, compare_with_paper=False
    )
    picture = Picture(path, f"Errors of every estimator: {title}", f"{what} Filled: voxel to voxel; open: positions.")
    rows = []
    for name, one in errors.items():
        for direction in ("lateral", "axial"):
            ours, usual = (getattr(e, f"voxel_{direction}") if e else None for e in (one, before.get(name)))
            told = getattr(published, f"{direction.upper()}_ERROR").get(name)
            rows.append(
                (
                    f"{label(name)}: {direction}, nm",
                    number(told.value) if told else NOTHING,
                    interval(usual) if usual else NOTHING,
                    interval(ours),
                    difference(ours.value, usual.value) if usual else NOTHING,
                )
            )
        usual = before.get(name)
        change = difference(one.jaccard.value, usual.jaccard.value) if usual else NOTHING
        old = interval(usual.jaccard) if usual else NOTHING
        rows.append((f"{label(name)}: voxel Jaccard index", NOTHING, old, interval(one.jaccard), change))
    header = ("Voxel to voxel", "Paper", "Ours, the paper's data", "Ours, these data", "Difference of ours")
    if data == "additive_noise":
        why = _why_additive(errors, context.errors.get("voxel_centres", {}))
    else:
        why = (_why_centres if data == "voxel_centres" else _why_camera)(errors, before)
    return Section(data, title, why, [picture], [Table(title, header, rows, mark)])


def _why_centres(errors: dict[str, Errors], before: dict[str, Errors]) -> str:
    gained = {n: before[n].voxel_axial.value - e.voxel_axial.value for n, e in errors.items() if n in before}
    text = "In the middle of a voxel an error of less than half its width costs nothing"
    if not gained:
        return text + "."
    best = max(gained, key=gained.get)
    if gained[best] <= 0:
        return text + ", yet no estimator gains along z: their errors are larger than that."
    told = published.SENSING_AXIAL.value
    return (
        f"{text}: along z the {label(best)} goes from {number(before[best].voxel_axial.value)} to "
        f"{number(errors[best].voxel_axial.value)} nm voxel to voxel, while its position errors are "
        f"{number(before[best].mean_axial.value)} and {number(errors[best].mean_axial.value)} nm; voxel errors of "
        f"{told:.1f} nm say where the molecules stood, not how well they were measured."
    )


def _why_additive(errors: dict[str, Errors], centres: dict[str, Errors]) -> str:
    name, told = "compressed_sensing", published.SENSING_AXIAL.value
    if name not in errors:
        return "Compressed sensing, whose printed axial error this reading would explain, was not run on these data."
    ours = errors[name].voxel_axial
    text = (
        f"In this reading our {label(name)} has {number(ours.value)} nm along z, where the paper prints {told:.3f} nm"
    )
    if ours.holds(told):
        return f"{text}: the two agree within the interval."
    if name not in centres:
        return f"{text}: the reading alone does not explain it."
    usual = centres[name].voxel_axial.value
    nearer = abs(ours.value - told) < abs(usual - told)
    return (
        f"{text}, and {number(usual)} nm with shot noise: the reading brings it {'nearer' if nearer else 'no nearer'}."
    )


def _why_camera(errors: dict[str, Errors], before: dict[str, Errors]) -> str:
    worse = {n: e.voxel_lateral.value / before[n].voxel_lateral.value - 1 for n, e in errors.items() if n in before}
    if not worse:
        return "There is nothing on the paper's data to compare with."
    least, most = min(worse, key=worse.get), max(worse, key=worse.get)
    change = {n: f"{'+' if worse[n] >= 0 else '−'}{percent(abs(worse[n]))}" for n in (least, most)}
    if least == most:
        return f"The {label(most)} changes by {change[most]} laterally when the data are not what it was made for."
    return (
        f"No estimator was made for these data: the lateral error changes by {change[least]} ({label(least)}) to "
        f"{change[most]} ({label(most)})."
    )
