"""Fig. 8: error along x, y and z against depth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from planeloc_reproduction import published
from planeloc_reproduction.figures.one_molecule import draw_error_by_depth
from planeloc_reproduction.measures import Interval, depth_bins, error_by_depth, voxel_errors
from planeloc_reproduction.names import NETWORKS
from planeloc_reproduction.page import Picture, Section, Table
from planeloc_reproduction.results import OneMolecule
from planeloc_reproduction.sections.context import Context
from planeloc_reproduction.wording import NOTHING, condition, difference, interval, label, number

_AXES = "xyz"


def errors_by_depth(context: Context) -> Section:
    """Mean |error| by depth, and whether it stays within one fine voxel as the paper says."""
    title, data = "Fig. 8: error against depth", context.results.one_molecule.get("paper", {})
    networks = {name: data[name] for name in NETWORKS if name in data}
    if not networks:
        return Section("fig8", title, missing="No network was run on one molecule (one_molecule/paper/*.json).")
    profiles = {name: _profile(one, one.found_nm - one.truth_nm) for name, one in networks.items()}
    path, mark = context.figures / "fig8.png", context.mark(networks)
    draw_error_by_depth(path, profiles, context.results.bound, mark)
    name, one = next(iter(networks.items()))
    edges = profiles[name][0]
    picture = Picture(
        path,
        "Mean error along x, y and z against the depth of the molecule",
        f"Positions against true positions, {len(one.truth_nm):,} molecules in bins of {edges[1] - edges[0]:g} nm. "
        "Black: the smallest mean error that information allows for one molecule, drift unknown (line) and known "
        "(dashed).",
    )
    voxel = _profile(one, voxel_errors(one.found_voxel, one.truth_voxel, one.voxel_nm))[1]
    rows = _rows(name, voxel, profiles[name][1], edges)
    header = ("Largest mean error of all bins", "Paper", "Ours (95 % interval)", "Difference", "Within a voxel?")
    table = Table("Error of the worst depth along each axis", header, rows, mark)
    return Section("fig8", title, _why(context, name, voxel, profiles[name]), [picture], [table])


def _profile(one: OneMolecule, error_nm: NDArray) -> tuple[NDArray, list[list[Interval]]]:
    edges = depth_bins(one.depth_range_nm, len(one.truth_nm))
    return edges, error_by_depth(one.truth_nm[:, 2], error_nm, edges)


def _worst(intervals: list[Interval]) -> int:
    return int(np.nanargmax([entry.value for entry in intervals]))


def _rows(
    name: str, voxel: list[list[Interval]], position: list[list[Interval]], edges: NDArray
) -> list[tuple[str, ...]]:
    rows = []
    for kind, profile in (("voxel to voxel", voxel), ("positions", position)):
        for axis, width, intervals in zip(_AXES, published.VOXEL_NM, profile, strict=True):
            worst = _worst(intervals)
            value = intervals[worst]
            place = f"{edges[worst]:g} to {edges[worst + 1]:g} nm".replace("-", "−")
            within = "yes" if value.value <= width else "within the interval" if value.low <= width else "no"
            change = difference(value.value, width) if value.value > width else NOTHING
            row = f"{label(name)}, {kind}, {axis} (z {place}), nm"
            rows.append((row, f"≤ {width:g}", interval(value), change, within))
    return rows


def _why(
    context: Context, name: str, voxel: list[list[Interval]], profile: tuple[NDArray, list[list[Interval]]]
) -> str:
    beyond = [
        axis
        for axis, width, intervals in zip(_AXES, published.VOXEL_NM, voxel, strict=True)
        if intervals[_worst(intervals)].low > width
    ]
    text = (
        f"The {label(name)}'s mean error leaves one fine voxel along {' and '.join(beyond)} beyond its interval"
        if beyond
        else f"As in the paper, the {label(name)}'s mean error agrees with one fine voxel or less at every depth"
    )
    bound = context.results.bound
    if bound is None:
        return text + "."
    edges = profile[0]
    inside = (bound.depth_nm >= edges[0]) & (bound.depth_nm <= edges[-1])
    unknown, known = bound.unknown_drift["lateral"][inside], bound.known_drift["lateral"][inside]
    if not len(unknown):
        return text + "."
    rising = unknown.argmax() > unknown.argmin()
    far = bound.depth_nm[inside][unknown.argmax()]
    course = (
        f"the limit itself is {number(unknown.min())} nm laterally near the reference plane and "
        f"{number(unknown.max())} nm at z = {condition(far)} nm, where the light falls on planes whose "
        f"drift nobody knows (known drift: {number(known.max())} nm at most)"
    )
    flat = f"the lateral limit stays between {number(unknown.min())} and {number(unknown.max())} nm"
    return f"{text}; {course if rising and unknown.max() > 1.5 * unknown.min() else flat}."
