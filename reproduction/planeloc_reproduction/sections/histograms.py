"""Fig. 7: where the two networks put one molecule."""

from __future__ import annotations

import math

import numpy as np

from planeloc_reproduction import published
from planeloc_reproduction.figures.one_molecule import draw_error_histograms
from planeloc_reproduction.measures import error_counts, same_voxel_share
from planeloc_reproduction.names import NETWORKS
from planeloc_reproduction.page import Picture, Section, Table
from planeloc_reproduction.results import OneMolecule
from planeloc_reproduction.sections.context import Context
from planeloc_reproduction.wording import NOTHING, interval, label, number, percent

_REACH = 6


def error_histograms(context: Context) -> Section:
    """Histograms of both networks, voxel Jaccard indices and the share in the right voxel."""
    title = "Fig. 7: errors of both networks along x and y"
    data = context.results.one_molecule.get("paper", {})
    networks = {name: data[name] for name in NETWORKS if name in data}
    if not networks:
        return Section("fig7", title, missing="No network was run on one molecule (one_molecule/paper/*.json).")
    counted = {name: error_counts(one.found_voxel, one.truth_voxel, _REACH) for name, one in networks.items()}
    path, mark = context.figures / "fig7.png", context.mark(networks)
    draw_error_histograms(path, {n: counts for n, (counts, _) in counted.items()}, _voxel(networks), mark)
    captions = [
        f"{label(name)}: voxel Jaccard index {interval(context.errors['paper'][name].jaccard)}, "
        f"{beyond} of {len(networks[name].truth_nm)} molecules beyond ±{_REACH} voxels"
        for name, (_, beyond) in counted.items()
    ]
    picture = Picture(
        path,
        "Two-dimensional histograms of the voxel errors of both networks",
        f"Drifted images of one molecule, the voxel of highest probability. {'; '.join(captions)}. A molecule "
        "counts as found only in exactly the right voxel (x, y and z); a miss is a false positive and a false negative "
        "at once.",
    )
    central = {name: counts[_REACH, _REACH] / len(networks[name].truth_nm) for name, (counts, _) in counted.items()}
    limit = _share_at_the_limit(context)
    said = {"robust": "“most” (> 50 %)", "nonrobust": "fewer than robust"}
    rows = []
    for name in networks:
        errors = context.errors["paper"][name]
        rows.append((f"{label(name)}: voxel Jaccard index", NOTHING, interval(errors.jaccard), NOTHING))
        rows.append(
            (f"{label(name)}: right voxel in x and y", said[name], percent(central[name]), _verdict(name, central))
        )
        rows.append((f"{label(name)}: right voxel in x, y and z", NOTHING, percent(errors.exact.value), NOTHING))
    if limit is not None:
        rows.append(("errors as small as the limit: right voxel in x and y", NOTHING, percent(limit), NOTHING))
    mark = ". ".join(
        filter(None, (mark, "The paper prints its Jaccard indices within the figure; they were not available as text"))
    )
    table = Table("Molecules in the right voxel", ("", "Paper", "Ours", "As the paper says?"), rows, mark)
    return Section("fig7", title, _why(central, limit), [picture], [table])


def _voxel(networks: dict[str, OneMolecule]) -> tuple[float, float, float]:
    return next(iter(networks.values())).voxel_nm


def _share_at_the_limit(context: Context) -> float | None:
    """Share in the right voxel along x and y if errors were normal and as small as the limit with unknown drift."""
    bound = context.results.bound
    if bound is None:
        return None
    shares = [
        same_voxel_share(bound.unknown_drift[axis], width)
        for axis, width in zip("xy", published.VOXEL_NM, strict=False)
    ]
    return float(np.mean(shares[0] * shares[1]))


def _verdict(name: str, central: dict[str, float]) -> str:
    if name == "robust":
        return "yes" if central[name] > published.MOST_MOLECULES else "no"
    if "robust" not in central:
        return NOTHING
    return "yes" if central[name] < central["robust"] else "no"


def _why(central: dict[str, float], limit: float | None) -> str:
    parts = []
    if len(central) == 2:
        robust, other = central["robust"], central["nonrobust"]
        agrees = (
            "As in the paper, training with drift puts more"
            if robust > other
            else "Unlike in the paper, it puts no more"
        )
        ratio = f", {number(robust / other)} times as many as without" if other > 0 and robust > other else ""
        parts.append(
            f"{agrees} molecules into the right voxel in x and y ({percent(robust)} against {percent(other)}{ratio})"
        )
    else:
        name, share = next(iter(central.items()))
        parts.append(f"The {label(name)} puts {percent(share)} of the molecules into the right voxel in x and y")
    if limit is not None and "robust" in central and math.isfinite(limit):
        reached = central["robust"] / limit
        consequence = (
            "so drift that one molecule cannot tell, and not the network, sets the share"
            if reached > 0.9
            else f"so the network reaches {percent(reached)} of what information allows"
        )
        parts.append(f"errors as small as the information limit would put {percent(limit)} there, {consequence}")
    return "; ".join(parts) + "."
