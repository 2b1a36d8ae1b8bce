"""Table 3: errors and speed of every estimator, errors reported three ways."""

from __future__ import annotations

from planeloc_reproduction import published
from planeloc_reproduction.figures.one_molecule import draw_errors
from planeloc_reproduction.measures import Errors
from planeloc_reproduction.page import Picture, Section, Table
from planeloc_reproduction.results import Training
from planeloc_reproduction.sections.context import DIRECTIONS, Context
from planeloc_reproduction.wording import NOTHING, difference, interval, label, number, percent, printed

_PRINTED = {"lateral": published.LATERAL_ERROR, "axial": published.AXIAL_ERROR}


def table3(context: Context) -> Section:
    """Every estimator on the same images of one molecule."""
    title, errors = "Table 3: accuracy and speed", context.errors.get("paper", {})
    if not errors:
        return Section("table3", title, missing="No estimator was run on one molecule (one_molecule/paper/*.json).")
    path, mark = context.figures / "table3.png", context.mark(errors)
    draw_errors(path, errors, context.results.bound, mark)
    images = sorted({len(one.truth_nm) for one in context.results.one_molecule["paper"].values()})
    picture = Picture(
        path,
        "Lateral and axial error of every estimator with 95 % intervals",
        f"Drifted images of one molecule ({' and '.join(f'{n:,}' for n in images)} images). Filled: voxel to voxel, as "
        "in the paper; open: position to true position; lines: what information allows, as a mean over the scene. "
        "Every estimator is told that there is one molecule.",
    )
    tables = [_against_paper(context, errors, mark)]
    tables += [_three_ways(context, errors, mark, direction) for direction in DIRECTIONS]
    tables += [table for table in (_speeds(context, mark), _limits(context)) if table.rows]
    return Section("table3", title, _why(context, errors), [picture], tables, _notes(context, errors))


def _against_paper(context: Context, errors: dict[str, Errors], mark: str) -> Table:
    rows = []
    for name, one in errors.items():
        for direction, paper in _PRINTED.items():
            ours = getattr(one, f"voxel_{direction}")
            told = paper.get(name)
            change = difference(ours.value, told.value) if told else NOTHING
            rows.append((f"{label(name)}: {direction} error, nm", printed(told), interval(ours), change))
        told, timing = published.SPEED.get(name), context.results.one_molecule["paper"][name].timing
        if timing:
            rate = timing.frames_per_second
            change = difference(rate, told.value) if told else NOTHING
            rows.append((f"{label(name)}: frames per second", printed(told), number(rate), change))
    header = ("Voxel to voxel", "Paper", "Ours (95 % interval)", "Difference")
    return Table("Table 3: mean distance of the estimated from the true voxel", header, rows, mark)


def _three_ways(context: Context, errors: dict[str, Errors], mark: str, direction: str) -> Table:
    limit, rms, rows = context.limit(direction), context.root_mean_square_limit(direction), []
    for name, one in errors.items():
        voxel, mean, rmse = (getattr(one, f"{kind}_{direction}") for kind in ("voxel", "mean", "rmse"))
        over = interval(mean.map(lambda value: value / limit)) if limit else NOTHING
        over_rms = interval(rmse.map(lambda value: value / rms)) if rms else NOTHING
        rows.append((label(name), *(interval(value) for value in (voxel, mean, rmse)), over, over_rms))
    header = (
        *("Estimator", "Voxel to voxel: mean, nm", "Position: mean, nm", "Position: RMSE, nm"),
        *("Mean over the limit", "RMSE over the limit"),
    )
    told = f"Limit with unknown drift: mean {number(limit)} nm, root mean square {number(rms)} nm. " if limit else ""
    return Table(f"{direction.capitalize()} error, three ways (95 % intervals)", header, rows, told + mark)


def _speeds(context: Context, mark: str) -> Table:
    rows = []
    for name, one in context.results.one_molecule["paper"].items():
        if one.timing:
            told, rate = published.SPEED.get(name), one.timing.frames_per_second
            ratio = f"× {number(rate / told.value)}" if told else NOTHING
            seconds = number(one.timing.seconds / one.timing.images)
            rows.append((label(name), printed(told), number(rate), ratio, seconds, one.timing.device))
    header = ("Estimator", "Paper, frames/s", "Ours, frames/s", "Ours over paper", "Seconds per frame", "Device")
    note = (
        "Networks: 25 images at a time in float32, with the search for the most probable voxel and its peak; Fig. 10 "
        "times the network alone, one image at a time"
    )
    return Table("Speed on 16 × 16 × 4 images", header, rows, ". ".join(filter(None, (mark, note))))


def _limits(context: Context) -> Table:
    names = {
        "known_drift": "drift known",
        "unknown_drift": "drift unknown, one molecule",
        "discrete_drift": "drift unknown, but a whole number of voxels",
    }
    bound = context.results.bound
    rows = [
        (names.get(case, f"drift unknown, shared by {case} molecules"), *(number(value) for value in limit))
        for case, limit in (bound.mean if bound else {}).items()
    ]
    header = ("Information limit on the mean error", "Lateral, nm", "Axial, nm")
    mark = (
        "Mean over the paper's scene, molecules anywhere in the window; the information bounds the mean square, from "
        "which these mean errors follow if errors are normal. Only an estimate that knows more than the drift's "
        "variance, such as that it comes in whole voxels, can be better than “drift unknown”"
    )
    return Table("What information allows", header, rows, mark)


def _why(context: Context, errors: dict[str, Errors]) -> str:
    if "robust" not in errors:
        return "The robust network was not run, so there is nothing to hold against the paper's."
    one, told = errors["robust"].voxel_lateral, published.NETWORK_LATERAL.value
    limit, parts = context.limit("lateral"), []
    if one.holds(told):
        parts.append(
            f"The robust network's lateral error agrees with the paper's {number(told)} nm within its interval"
        )
    else:
        change, side = abs(one.value - told), "above" if one.value > told else "below"
        amount = f"{number(change)} nm ({percent(change / told)}) {side}"
        parts.append(f"The robust network's lateral error is {amount} the paper's {number(told)} nm")
    record = context.results.training.get("robust")
    if one.low > told and record is not None and record.images:
        parts.append(_shortfall(record))
    if limit:
        ratio = errors["robust"].mean_lateral.value / limit
        parts.append(
            f"measured on positions it is {number(ratio)} times what one molecule tells while the drift is unknown"
        )
    return "; ".join(parts) + "."


def _shortfall(record: Training) -> str:
    if record.fraction >= 1:
        return (
            "it has seen as many images as the paper's, which leaves the architecture, absent from the text, as a cause"
        )
    return f"it has seen {percent(record.fraction)} of the paper's images"


def _notes(context: Context, errors: dict[str, Errors]) -> list[str]:
    return [note for note in (_axial_note(context, errors), *_speed_notes(context), *_missing(context)) if note]


def _missing(context: Context) -> list[str]:
    """Estimators that named no place at all for some images."""
    return [
        f"The {label(name)} found nothing on {one.nothing_found:,} images, which count as if it had named the middle."
        for name, one in context.results.one_molecule["paper"].items()
        if one.nothing_found
    ]


def _axial_note(context: Context, errors: dict[str, Errors]) -> str:
    limit, told = context.limit("axial"), published.SENSING_AXIAL.value
    if limit is None or limit <= told:
        return ""
    note = (
        "For molecules anywhere in their voxels the distance of two voxels along an axis is on average that of the "
        f"positions, so the {told:.3f} nm that the paper prints for compressed sensing along z lie below the "
        f"{number(limit)} nm that information allows for such molecules"
    )
    centred = context.errors.get("voxel_centres", {}).get("compressed_sensing")
    if centred is None:
        return note + "."
    value, free = centred.voxel_axial.value, errors.get("compressed_sensing")
    here = f" instead of {number(free.voxel_axial.value)} nm" if free else ""
    if free is None or value < free.voxel_axial.value:
        where = "; with every molecule in the middle of its voxel, where a small error costs nothing, ours has"
        return f"{note}{where} {number(value)} nm{here}."
    where = "; with every molecule in the middle of its voxel ours has"
    return f"{note}{where} {number(value)} nm{here}, so that is not the cause."


def _speed_notes(context: Context) -> list[str]:
    timed = {name: one.timing for name, one in context.results.one_molecule["paper"].items() if one.timing}
    reasons = {
        "compressed_sensing": "an active set reaches the optimum after a few products with the operator, where "
        "proximal steps need thousands, and the PSF's separability makes each product cheaper than one with the dense "
        "matrix of 1,024 × 524,288; which solver and machine the paper used is not said"
    }
    if "compressed_sensing" in timed and "alternating" in timed:
        runs = timed["compressed_sensing"].frames_per_second / timed["alternating"].frames_per_second
        reasons["alternating"] = f"it takes the time of {number(runs)} runs of our compressed sensing"
    notes = []
    for name in ("compressed_sensing", "alternating"):
        if name not in timed:
            continue
        ratio = timed[name].frames_per_second / published.SPEED[name].value
        text = f"Our {label(name)} makes {number(ratio)} times the paper's frames per second on {timed[name].device}"
        reason = (
            reasons.get(name, "the paper does not say on which machine its ran")
            if ratio > 1
            else ("the paper does not say which machine or solver its number is of")
        )
        notes.append(f"{text}: {reason}.")
    return notes
