"""What do images allow when the drift between the cameras is unknown, and does a fit get there? The paper's scene.

    python -m reproduction.benchmarks.drift_bound limits [--draws N]
    python -m reproduction.benchmarks.drift_bound fits [--images N]
    python -m reproduction.benchmarks.drift_bound posterior [--images N]

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
from benchmarks.support.record import Record, add_json_option
from benchmarks.tables import Column
from torch import Tensor

from planeloc.fitting.single_emitter import EmitterFits
from planeloc.psf import PSF, Emitters
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
    add_json_option(parser)
    arguments = parser.parse_args()
    record = Record(f"drift_bound_{arguments.what}", arguments.json)
    torch.set_num_threads(1)
    psf, scene = paper_scene()
    scene = replace(scene, emitters=1)
    if arguments.what == "limits":
        limits(psf, scene, arguments.draws, record)
    elif arguments.what == "fits":
        fits(psf, scene, arguments.images or 4000, arguments.draws, record)
    else:
        posterior(psf, scene, arguments.images or 300, arguments.draws, record)
    record.show(
        Column("case", "case"),
        Column("estimate", "estimate"),
        Column("mean error: lateral, axial, nm", "lateral_nm axial_nm", ".2f"),
        Column("fit over it: lateral, axial", "fit_over_it_lateral fit_over_it_axial", ".3f"),
    )


def limits(psf: PSF, scene: Scene, draws: int, record: Record) -> None:
    cases: list[tuple[str, dict]] = [("drift known", {"drift": "known"})]
    cases += [(f"normal prior, {count} sharing", {"molecules": count}) for count in (1, 3, 10, 50)]
    cases += [("steps of one voxel", {"drift": "steps"})]
    for where, central in (("in the middle of the window", 1.0), ("anywhere in the window", None)):
        for name, choice in cases:
            limit = scene_limit(psf, scene, draws=draws, central_px=central, **choice)
            record.add(case=f"molecules {where}", estimate=name, **numbers(limit))


def fits(psf: PSF, scene: Scene, images: int, draws: int, record: Record) -> None:
    noise, sd = scene.pixel_noise(psf.planes), scene.drift_sd_nm(psf.pixel_size_nm)
    still = replace(scene, inter_camera_drift_voxels=0)
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
        converged = int(found.converged.sum())
        record.add(case=name, estimate="fit", images=images, converged=converged, **numbers(error))
        for reference in references:
            # The normal limit has the variance of the steps, whatever the scene of the fit.
            limit = scene_limit(psf, scene, reference, draws=draws, central_px=None)
            ratio = [of / to for of, to in zip(error.by_depth(EDGES_NM), limit.by_depth(EDGES_NM), strict=True)]
            record.add(
                case=name,
                estimate=f"limit: {reference}",
                **numbers(limit),
                fit_over_it_lateral=error.mean_lateral_nm / limit.mean_lateral_nm,
                fit_over_it_axial=error.mean_axial_nm / limit.mean_axial_nm,
                fit_over_it_by_depth_lateral=list(map(float, ratio[0])),
                fit_over_it_by_depth_axial=list(map(float, ratio[1])),
            )


def posterior(psf: PSF, scene: Scene, images: int, draws: int, record: Record) -> None:
    noise, sd = scene.pixel_noise(psf.planes), scene.drift_sd_nm(psf.pixel_size_nm)
    batch, seen = drawn(psf, scene, images)
    found = fit_with_drift(seen, psf, noise, sd, background=scene.background[0])
    means = torch.stack([mean_of_posterior(psf, scene, *one) for one in zip(seen, found.parameters, strict=True)])
    error = errors(replace(found, parameters=torch.cat((means, found.parameters[:, 2:]), dim=1)), batch)
    for name, of in (
        ("mean of the posterior", error),
        ("fit, same images", errors(found, batch)),
        ("limit: steps", scene_limit(psf, scene, "steps", draws=draws, central_px=None)),
        ("limit: normal", scene_limit(psf, scene, draws=draws, central_px=None)),
    ):
        record.add(case="posterior", estimate=name, **numbers(of))


def mean_of_posterior(psf: PSF, scene: Scene, image: Tensor, fit: Tensor) -> Tensor:
    """(2,) x and y of one image (planes, rows, columns) with its background, all steps of the drift equally likely."""
    step = round(scene.voxel_nm(psf.pixel_size_nm)[0] / GRID_NM)
    reach, margin = round(REACH_NM / GRID_NM), step * scene.inter_camera_drift_voxels
    offsets = GRID_NM * torch.arange(-reach - margin, reach + margin + 1, dtype=torch.float64)
    y, x = torch.meshgrid(fit[1] + offsets, fit[0] + offsets, indexing="ij")
    z, photons = fit[2].expand_as(x), fit[3].expand_as(x)
    expected = psf.expected_photons(Emitters(x, y, z, photons), image.shape[1:]) + scene.background[0]
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


def numbers(error: ErrorLimit) -> dict:
    """Mean errors, the standard deviation of the lateral mean, and the lateral mean in every interval of depth."""
    return {
        "lateral_nm": float(error.mean_lateral_nm),
        "axial_nm": float(error.mean_axial_nm),
        "lateral_sd_nm": float(error.lateral_nm.std() / math.sqrt(len(error.lateral_nm))),
        "depth_centres_nm": ((EDGES_NM[:-1] + EDGES_NM[1:]) / 2).tolist(),
        "lateral_by_depth_nm": list(map(float, error.by_depth(EDGES_NM)[0])),
    }


if __name__ == "__main__":
    main()
