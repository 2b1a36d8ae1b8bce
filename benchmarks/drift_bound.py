"""What do images allow when the drift between the cameras is unknown, and does a fit get there? The paper's scene.

    PYTHONPATH=workflow python benchmarks/drift_bound.py limits [--draws N]
    PYTHONPATH=workflow python benchmarks/drift_bound.py fits [--images N]
    PYTHONPATH=workflow python benchmarks/drift_bound.py posterior [--images N]

`limits`: the least mean errors for molecules in the middle of the window and for molecules anywhere in it.
`fits`: mean errors of fits to images of one molecule anywhere in the window, and over the limit at every depth.
`posterior`: the limit for a drift of whole steps rests on planes whose likelihood is normal. Here the likelihood itself
is summed over all drifts on a fine grid of places, for every image (depth and photons as the fit found them), and the
mean of this posterior is held against the limit and against the fit to the same images.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from planeloc.fitting.single_emitter import EmitterFits
from planeloc.psf import PSF
from planeloc.scenes.draw import Batch, draw_batch
from planeloc.scenes.scene import Scene, paper_scene
from planeloc_reproduction.drift_fit import fit_with_drift, fit_without_drift
from planeloc_reproduction.drift_limit import ErrorLimit, scene_limit

EDGES_NM = np.arange(-800.0, 801.0, 200.0)
GRID_NM = 4.0  # of the posterior; the paper's steps of 24 nm are whole numbers of it
REACH_NM = 120.0  # either way from the fit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("limits", "fits", "posterior"))
    parser.add_argument("--draws", type=int, default=20_000, help="molecules of a limit")
    parser.add_argument("--images", type=int, help="images that are fitted; default: 4000, or 300 for the posterior")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    psf, scene = paper_scene()
    scene = replace(scene, emitters=1)
    if arguments.what == "limits":
        limits(psf, scene, arguments.draws)
    elif arguments.what == "fits":
        fits(psf, scene, arguments.images or 4000, arguments.draws)
    else:
        posterior(psf, scene, arguments.images or 300, arguments.draws)


def limits(psf: PSF, scene: Scene, draws: int) -> None:
    cases: list[tuple[str, dict]] = [("drift known", {"drift": "known"})]
    cases += [(f"normal prior, {count} sharing", {"molecules": count}) for count in (1, 3, 10, 50)]
    cases += [("steps of one voxel", {"drift": "steps"})]
    for where, central in (("in the middle of the window", 1.0), ("anywhere in the window", None)):
        print(f"\nmolecules {where}")
        print_head()
        for name, choice in cases:
            limit = scene_limit(psf, scene, draws=draws, central_px=central, **choice)
            print_row(name, limit, limit.by_depth(EDGES_NM)[0])


def fits(psf: PSF, scene: Scene, images: int, draws: int) -> None:
    noise, sd = scene.pixel_noise(psf.planes), scene.drift_sd_nm(psf.pixel_size_nm)
    still = replace(scene, drift_voxels=0)
    normal = replace(still, registration_sd_nm=sd)

    def naive(photons: Tensor) -> EmitterFits:
        return fit_without_drift(photons, psf, noise, background=scene.background[0])

    def aware(photons: Tensor) -> EmitterFits:
        return fit_with_drift(photons, psf, noise, sd, background=scene.background[0])

    cases = (
        ("shifts known", still, naive, ("known",)),
        ("normal drift, its prior known", normal, aware, ("normal",)),
        ("steps, their variance known", scene, aware, ("normal", "steps")),
        ("steps, drift ignored", scene, naive, ("normal", "steps")),
    )
    for name, kind, fit, references in cases:
        batch, seen = drawn(psf, kind, images)
        found = fit(seen)
        error = errors(found, batch)
        print(f"\n{name}: {int(found.converged.sum())} of {images} converged")
        print_head()
        print_row("fit", error, error.by_depth(EDGES_NM)[0])
        for reference in references:
            # The normal limit has the variance of the steps, whatever the scene of the fit.
            limit = scene_limit(psf, scene, reference, draws=draws, central_px=None)
            ratio = [of / to for of, to in zip(error.by_depth(EDGES_NM), limit.by_depth(EDGES_NM), strict=True)]
            print_row(f"limit: {reference}", limit, limit.by_depth(EDGES_NM)[0])
            means = (error.mean_lateral_nm / limit.mean_lateral_nm, error.mean_axial_nm / limit.mean_axial_nm)
            print_numbers("  fit over it, lateral", means[0], None, ratio[0], 3)
            print_numbers("  fit over it, axial", None, means[1], ratio[1], 3)


def posterior(psf: PSF, scene: Scene, images: int, draws: int) -> None:
    noise, sd = scene.pixel_noise(psf.planes), scene.drift_sd_nm(psf.pixel_size_nm)
    batch, seen = drawn(psf, scene, images)
    found = fit_with_drift(seen, psf, noise, sd, background=scene.background[0])
    means = torch.stack([mean_of_posterior(psf, scene, *one) for one in zip(seen, found.parameters, strict=True)])
    error = errors(replace(found, parameters=torch.cat((means, found.parameters[:, 2:]), dim=1)), batch)
    print_head()
    for name, of in (
        ("mean of the posterior", error),
        ("fit, same images", errors(found, batch)),
        ("limit: steps", scene_limit(psf, scene, "steps", draws=draws, central_px=None)),
        ("limit: normal", scene_limit(psf, scene, draws=draws, central_px=None)),
    ):
        print_row(name, of, of.by_depth(EDGES_NM)[0])


def mean_of_posterior(psf: PSF, scene: Scene, image: Tensor, fit: Tensor) -> Tensor:
    """(2,) x and y of one image (planes, rows, columns) with its background, all steps of the drift equally likely."""
    step = round(scene.voxel_nm(psf.pixel_size_nm)[0] / GRID_NM)
    reach, margin = round(REACH_NM / GRID_NM), step * scene.drift_voxels
    offsets = GRID_NM * torch.arange(-reach - margin, reach + margin + 1, dtype=torch.float64)
    y, x = torch.meshgrid(fit[1] + offsets, fit[0] + offsets, indexing="ij")
    z, photons = fit[2].expand_as(x), fit[3].expand_as(x)
    expected = psf.expected_photons(x, y, z, photons, image.shape[1:]) + scene.background[0]
    shift = scene.read_noise_photons**2
    fitting = ((image + shift).clamp(min=0) * torch.log(expected + shift) - expected).sum(dim=(-2, -1))
    side = 2 * reach + 1
    total = fitting[margin : margin + side, margin : margin + side, 0]
    shifts = [slice(first, first + side) for first in range(0, 2 * margin + 1, step)]
    for plane in range(1, psf.planes):
        drifted = torch.stack([fitting[rows, columns, plane] for rows in shifts for columns in shifts])
        total = total + torch.logsumexp(drifted, dim=0)
    chance = torch.softmax(total.flatten(), dim=0).reshape(side, side)
    inner = offsets[margin : margin + side]
    return fit[:2] + torch.stack(((chance.sum(dim=0) * inner).sum(), (chance.sum(dim=1) * inner).sum()))


def drawn(psf: PSF, scene: Scene, images: int) -> tuple[Batch, Tensor]:
    """Images of a scene, and their photons with the background."""
    batch = draw_batch(psf, scene, images, torch.Generator().manual_seed(11))
    return batch, batch.images.double() + scene.background[0]


def errors(found: EmitterFits, batch: Batch) -> ErrorLimit:
    truth = batch.positions_nm[:, 0].double()
    error = (found.positions_nm - truth).numpy()
    return ErrorLimit(truth[:, 2].numpy(), np.hypot(error[:, 0], error[:, 1]), np.abs(error[:, 2]))


def print_head() -> None:
    centres = "".join(f"{z:7.0f}" for z in (EDGES_NM[:-1] + EDGES_NM[1:]) / 2)
    print(f"{'mean errors, nm':34}{'lateral':>8}{'±':>6}{'axial':>8} | by z:{centres}")


def print_row(name: str, error: ErrorLimit, by_depth: np.ndarray) -> None:
    scatter = error.lateral_nm.std() / math.sqrt(len(error.lateral_nm))
    print_numbers(name, error.mean_lateral_nm, error.mean_axial_nm, by_depth, 2, f"{scatter:6.2f}")


def print_numbers(
    name: str, lateral: float | None, axial: float | None, by_depth: np.ndarray, digits: int, scatter: str = ""
) -> None:
    both = ["" if value is None else f"{value:.{digits}f}" for value in (lateral, axial)]
    print(f"{name:34}{both[0]:>8}{scatter:>6}{both[1]:>8} |      {''.join(f'{v:7.2f}' for v in by_depth)}")


if __name__ == "__main__":
    main()
