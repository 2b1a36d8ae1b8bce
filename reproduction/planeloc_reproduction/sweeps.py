"""Where the method pays: errors and Jaccard index against inter-camera drift, density and photons. Not in the paper.

All errors are distances to the true positions. With one molecule per image every estimator is told so; against
density, networks decide by themselves how many molecules there are, and the others are told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planeloc.core.files import write_json
from planeloc.core.marks import EXPERIMENT
from planeloc.core.progress import progress_bar
from planeloc.evaluation.metrics import rmse_axial, rmse_lateral
from planeloc.scenes.truth_matching import Points, match
from planeloc_reproduction.estimators import Estimator, Found
from planeloc_reproduction.images import Recipe, TestImages, draw_images

SEED = 1001
_LATERAL_NM, _AXIAL_NM = 250.0, 500.0  # largest distances of a match (Sage et al. 2019)
_RESAMPLINGS = 1000
_INTERVAL = (2.5, 97.5)  # per cent


@dataclass(frozen=True)
class Sweep:
    """One quantity that is varied, all else as in the paper's test."""

    unit: str
    values: tuple[float, ...]
    recipe: Callable[[float], Recipe]


_SWEEPS = {
    # A continuous drift, so that its largest value can be anything; the paper's is whole voxels up to 48 nm.
    "drift": Sweep(
        "nm",
        (0.0, 12.0, 24.0, 36.0, 48.0, 60.0, 80.0, 100.0),
        lambda value: replace(Recipe(), largest_drift_nm=value),
    ),
    "density": Sweep(
        "molecules per 16×16 pixels",
        (0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0),
        lambda value: replace(Recipe(), molecules=value, poisson=True),
    ),
    "photons": Sweep(
        "photons",
        (500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0),
        lambda value: replace(Recipe(), photons=(value, value)),
    ),
}


def sweep(name: str, estimator: Estimator, molecules: int, output: Path) -> None:
    """Measure an estimator at every value of a sweep, on images with about `molecules` molecules in all for each."""
    chosen, points = _SWEEPS[name], []
    with progress_bar(len(chosen.values), f"{name}: {estimator.name}", "value") as bar:
        for number, value in enumerate(chosen.values):
            recipe = chosen.recipe(value)
            count = max(1, round(molecules / recipe.molecules))
            test = draw_images(recipe, count, SEED + number)
            found = estimator.detect(test) if recipe.poisson and estimator.decides else estimator.locate(test)
            points.append({"value": value, **measure(test, found, voxels=not recipe.poisson)})
            bar.update()
    write_json(
        output,
        {"sweep": name, "estimator": estimator.name, "unit": chosen.unit, "seed": SEED, "points": points},
        EXPERIMENT,
    )


def values_of(name: str) -> tuple[float, ...]:
    """The values of a sweep."""
    return _SWEEPS[name].values


def measure(test: TestImages, found: Found, voxels: bool) -> dict[str, Any]:
    """Jaccard index and errors with their 95 % intervals; with `voxels`, the paper's Jaccard index of voxels, too.

    Intervals are of the images drawn again and again with replacement (bootstrap), since molecules of an image share
    its fate.
    """
    count = len(test.images)
    truth = Points(test.image.numpy(), test.position_nm.numpy())
    places = Points(found.image.numpy(), found.position_nm.double().numpy())
    pairs = match(places, truth, _LATERAL_NM, _AXIAL_NM)
    error = places.position_nm[pairs.found] - truth.position_nm[pairs.truth]
    image = truth.frame[pairs.truth]
    per_image = np.stack(
        (
            np.bincount(image, minlength=count),
            np.bincount(truth.frame, minlength=count),
            np.bincount(places.frame, minlength=count),
            np.bincount(image, np.hypot(error[:, 0], error[:, 1]), minlength=count),
            np.bincount(image, np.abs(error[:, 2]), minlength=count),
        )
    )
    hits = int((test.voxel[found.image] == found.voxel).all(dim=1).sum()) if voxels else None
    result = {
        "images": count,
        "molecules": len(truth),
        "voxel_jaccard": None if hits is None else hits / (len(truth) + len(places) - hits),
        "rmse_lateral_nm": _number(rmse_lateral(error)),
        "rmse_axial_nm": _number(rmse_axial(error)),
    }
    resampled = _measures(per_image @ _resamplings(count))
    for name, value in _measures(per_image.sum(axis=1, keepdims=True)).items():
        low, high = _interval(resampled[name])
        stem = name.removesuffix("_nm")
        result |= {name: _number(value[0]), f"{stem}_low": low, f"{stem}_high": high}
    return result


def _measures(totals: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """From sums over images (5, n): pairs, molecules, places, and the pairs' distances laterally and axially."""
    pairs, molecules, places, lateral, axial = totals
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "jaccard": pairs / (molecules + places - pairs),
            "lateral_nm": lateral / pairs,
            "axial_nm": axial / pairs,
        }


def _resamplings(count: int) -> NDArray[np.float64]:
    """(count, resamplings) how often every image is drawn."""
    random = np.random.default_rng(SEED)
    return random.multinomial(count, np.full(count, 1 / count), size=_RESAMPLINGS).T.astype(float)


def _interval(values: NDArray[np.float64]) -> tuple[float | None, float | None]:
    known = values[np.isfinite(values)]
    if not len(known):
        return None, None
    low, high = np.percentile(known, _INTERVAL)
    return _number(low), _number(high)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
