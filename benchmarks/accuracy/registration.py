"""How accurate is `planeloc register`? Errors of its transforms against the Cramér–Rao bound.

Simulated bead scans of four cameras with the paper's PSF: planes 400 nm apart, 192 nm pixels, 16 beads that the
reference and a camera both see, as many again that only one of them sees, 5,000 photons per bead and plane, 4 photons
of background per pixel, read noise; cameras in any of the eight orientations, shifted by up to a third of the field,
turned by up to 5°, magnified by up to 3 %. The real stage runs on files, blind.

The bound comes from the true model alone: Fisher information of every bead's place on every slice and camera (pixel by
pixel, with its photons, its background and its defocus as nuisance parameters), then of the transforms, whose nuisance
parameters are the beads' places, and, since a scan's sideways path cannot be known beforehand and the stage takes one
out, a free common path of all beads and cameras over the slices. It is printed with and without that path. All are
root-mean-square distances (both axes together) over the whole field of the reference, also where no bead is.

    python -m benchmarks.accuracy.registration [accuracy] [beads] [photons] [step] [diffraction] [blind] [--repeats N]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile
import torch
from benchmarks.support.record import Record, add_json_option
from benchmarks.tables import Column
from tests.support.bead_scans import microscope_of, pupil_spots

from planeloc.beads.point_matching import ORIENTATIONS
from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.core.errors import PlanelocError
from planeloc.psf import Emitters, paper_psf
from planeloc.registration.register import register
from planeloc.registration.settings import RegisterSettings
from planeloc.transforms.camera_transform import Affine, Registration

PSF = paper_psf()
PIXEL_NM = PSF.pixel_size_nm
BACKGROUND = 4.0  # photons per pixel
FIELD_PX = 128
BORDER_PX = 8.0
APART_PX = 11.0
WINDOW_PX = 33  # of one bead, for its photons and its information
WRONG_NM = 100.0  # a transform with a larger error rests on a wrong match


@dataclass(frozen=True)
class Condition:
    """What is varied."""

    beads: int = 16  # seen by the reference and a camera
    unmatched: float = 0.5  # share of the beads of a camera that the reference does not see
    photons: float = 5000.0  # per bead, plane and slice
    step_nm: float = 50.0
    reach_nm: float = 1400.0  # the scan goes from − to +
    path_nm: float = 5.0  # rms of the sideways steps of the stage from slice to slice
    shift_share: float = 1 / 3

    @property
    def travel_nm(self) -> np.ndarray:
        steps = round(self.reach_nm / self.step_nm)
        return np.arange(-steps, steps + 1) * self.step_nm


@dataclass(frozen=True)
class Truth:
    """Maps, beads and path of one simulated scan."""

    maps: tuple[Affine, ...]
    reference_px: np.ndarray  # (beads, 2)
    seen: np.ndarray  # (beads, planes) whether a camera sees the bead
    lonely_px: tuple[np.ndarray, ...]  # beads that one camera alone sees, in its pixels
    path_px: np.ndarray  # (slices, 2)


def random_map(random: np.random.Generator, shift_share: float, orientation: int | None = None) -> Affine:
    """A transform within the limits of the blind search, about the centre of the field."""
    turn = ORIENTATIONS[random.integers(8) if orientation is None else orientation]
    angle, scale = np.deg2rad(random.uniform(-5, 5)), 1 + random.uniform(-0.03, 0.03)
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ turn
    middle = np.full(2, FIELD_PX / 2)
    return Affine(matrix, middle - matrix @ middle + random.uniform(-1, 1, 2) * shift_share * FIELD_PX)


def draw_truth(random: np.random.Generator, condition: Condition) -> Truth:
    """Beads one after the other, as long as some camera has not enough; then those that one camera alone sees."""
    maps = (Affine.identity(), *(random_map(random, condition.shift_share) for _ in PSF.plane_depths_nm[1:]))
    beads, seen = np.empty((0, 2)), np.empty((0, len(maps)), dtype=bool)
    for _ in range(100_000):
        lacking = seen.sum(axis=0) < condition.beads
        if not lacking[1:].any():
            break
        bead = random.uniform(BORDER_PX, FIELD_PX - BORDER_PX, 2)
        views = np.array([np.all(np.abs(m(bead) - FIELD_PX / 2) < FIELD_PX / 2 - BORDER_PX) for m in maps]) & lacking
        views[0] = True
        free = len(beads) == 0 or np.hypot(*(beads - bead).T).min() > APART_PX * 1.04
        if views[1:].any() and free:
            beads, seen = np.vstack((beads, bead)), np.vstack((seen, views))
    else:
        raise RuntimeError("no room for the beads")
    lonely = [np.empty((0, 2))]
    for p in range(1, len(maps)):
        points = maps[p](beads[seen[:, p]])
        for _ in range(100_000):
            if len(points) >= condition.beads / (1 - condition.unmatched):
                break
            point = random.uniform(BORDER_PX, FIELD_PX - BORDER_PX, 2)
            if np.hypot(*(points - point).T).min() > APART_PX:
                points = np.vstack((points, point))
        lonely.append(points[condition.beads :])
    steps = random.normal(0, condition.path_nm / PIXEL_NM, (len(condition.travel_nm), 2))
    return Truth(maps, beads, seen, tuple(lonely), steps.cumsum(axis=0) - steps.cumsum(axis=0).mean(axis=0))


def gaussian_light(plane: int, position_px: np.ndarray, z_nm: np.ndarray, size: int) -> np.ndarray:
    """Light (slices, size, size) of beads of one photon on this plane at positions (slices, 2), heights (slices,)."""
    one = replace(PSF, plane_depths_nm=(PSF.plane_depths_nm[plane],), brightness=(1.0,))
    x, y, z = (torch.as_tensor(v, dtype=torch.float64) for v in (*(position_px.T * PIXEL_NM), z_nm))
    return one.expected_photons(Emitters(x, y, z, torch.ones_like(z)), (size, size))[:, 0].numpy()


def diffraction_light(**aberrations: float) -> Callable:
    """The same from a pupil (scalar diffraction), which is not the model that is fitted."""
    spot = pupil_spots(PSF.plane_depths_nm, PIXEL_NM, **aberrations)

    def light(plane: int, position_px: np.ndarray, z_nm: np.ndarray, size: int) -> np.ndarray:
        images = [spot(plane, at, z_nm[k : k + 1], (size, size)) for k, at in enumerate(position_px)]
        return np.concatenate(images) * len(PSF.plane_depths_nm)

    return light


def write_scan(
    folder: Path,
    truth: Truth,
    condition: Condition,
    microscope: Microscope,
    random: np.random.Generator,
    light: Callable = gaussian_light,
) -> list[Path]:
    """One TIFF per camera; every bead is exposed in a window of its own."""
    travel, files = condition.travel_nm, []
    for p, camera in enumerate(microscope.cameras):
        inverse = truth.maps[p].inverse()
        places = np.vstack((truth.reference_px[truth.seen[:, p]], inverse(truth.lonely_px[p])))
        half = WINDOW_PX // 2
        expected = np.full((len(travel), FIELD_PX + 2 * WINDOW_PX, FIELD_PX + 2 * WINDOW_PX), BACKGROUND)
        for place in places:
            at = truth.maps[p](place + truth.path_px)
            corner = np.floor(at.mean(axis=0)).astype(int) - half
            rows = slice(corner[1] + WINDOW_PX, corner[1] + 2 * WINDOW_PX)
            columns = slice(corner[0] + WINDOW_PX, corner[0] + 2 * WINDOW_PX)
            expected[:, rows, columns] += condition.photons * light(p, at - corner, travel, WINDOW_PX)
        expected = expected[:, WINDOW_PX:-WINDOW_PX, WINDOW_PX:-WINDOW_PX]
        files.append(folder / f"beads_{p}.tif")
        tifffile.imwrite(files[-1], camera.expose(expected, random), photometric="minisblack")
    return files


def place_information(plane: int, position_px: np.ndarray, photons: float, z: np.ndarray, camera: Camera) -> np.ndarray:
    """(slices, 2, 2) px⁻² Fisher information of a bead's place, its photons, background and defocus unknown.

    Derivatives are central differences of the light; the variance of a pixel is that of its photons, of the read noise
    and of rounding to counts.
    """
    half, size = WINDOW_PX // 2, WINDOW_PX
    at = position_px - np.floor(position_px.mean(axis=0)) + half
    value = photons * gaussian_light(plane, at, z, size)
    small, lift = 1e-3, 1.0
    move = [
        photons * (gaussian_light(plane, at + d, z, size) - gaussian_light(plane, at - d, z, size)) / (2 * small)
        for d in (np.array([small, 0.0]), np.array([0.0, small]))
    ]
    defocus = photons * (gaussian_light(plane, at, z + lift, size) - gaussian_light(plane, at, z - lift, size)) / 2
    derivative = np.stack((*move, value / photons, np.ones_like(value), defocus), axis=-1).reshape(len(z), -1, 5)
    noise = camera.read_noise_photons() ** 2 + camera.photons_per_count**2 / 12
    variance = (value + BACKGROUND + noise).reshape(len(z), -1, 1)
    fisher = np.swapaxes(derivative, 1, 2) @ (derivative / variance)
    nuisance = np.linalg.pinv(fisher[:, 2:, 2:], hermitian=True)
    return fisher[:, :2, :2] - fisher[:, :2, 2:] @ nuisance @ fisher[:, 2:, :2]


def bound_nm(truth: Truth, condition: Condition, microscope: Microscope, with_path: bool) -> np.ndarray:
    """(planes − 1,) rms error over the field, nm, that no unbiased estimate of all transforms together can beat.

    What is seen of bead b by camera p on slice s is A_p (r_b + path_s) + t_p. The parameters are A_p and t_p (6 each),
    r_b, and, `with_path`, all path_s but one.
    """
    beads, planes, slices = len(truth.reference_px), len(truth.maps), len(condition.travel_nm)
    maps, places = 6 * (planes - 1), 2 * beads
    total = maps + places + (2 * slices if with_path else 0)
    information = np.zeros((total, total))
    for p, to_camera in enumerate(truth.maps):
        for b in np.nonzero(truth.seen[:, p])[0]:
            at = truth.reference_px[b] + truth.path_px
            fisher = place_information(p, to_camera(at), condition.photons, condition.travel_nm, microscope.cameras[p])
            for s in range(slices):
                derivative = np.zeros((2, total))
                if p:
                    derivative[0, 6 * p - 6 : 6 * p - 3] = derivative[1, 6 * p - 3 : 6 * p] = (*at[s], 1.0)
                derivative[:, maps + 2 * b : maps + 2 * b + 2] = to_camera.matrix
                if with_path:
                    start = maps + places + 2 * s
                    derivative[:, start : start + 2] = to_camera.matrix
                used = np.nonzero(derivative.any(axis=0))[0]
                part = derivative[:, used]
                information[np.ix_(used, used)] += part.T @ fisher[s] @ part
    nuisance = information[maps:, maps:]
    # The path's constant is the beads' places moved: no information; the pseudo-inverse leaves it out.
    scale = 1 / np.sqrt(np.diagonal(nuisance))
    inverse = np.linalg.pinv(nuisance * np.outer(scale, scale), rcond=1e-10, hermitian=True) * np.outer(scale, scale)
    left = information[:maps, :maps] - information[:maps, maps:] @ inverse @ information[maps:, :maps]
    covariance = np.linalg.inv(left)
    grid = np.column_stack((field_grid(), np.ones(len(field_grid()))))
    bounds = []
    for p in range(planes - 1):
        x, y = (
            covariance[6 * p : 6 * p + 3, 6 * p : 6 * p + 3],
            covariance[6 * p + 3 : 6 * p + 6, 6 * p + 3 : 6 * p + 6],
        )
        bounds.append(np.sqrt(np.mean(np.einsum("gi,ij,gj->g", grid, x + y, grid))))
    return np.array(bounds) * PIXEL_NM


def field_grid() -> np.ndarray:
    """(points, 2) over the whole field, px."""
    line = np.linspace(0, FIELD_PX, 17)
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


def map_error_nm(found: Registration, truth: Truth) -> np.ndarray:
    """(planes − 1,) rms distance between found and true transforms over the whole field, nm."""
    grid = field_grid()
    errors = [
        np.sum((f(grid) - t(grid)) ** 2, axis=1) for f, t in zip(found.transforms[1:], truth.maps[1:], strict=True)
    ]
    return np.sqrt(np.mean(errors, axis=1)) * PIXEL_NM


def run_stage(files: Sequence[Path], microscope: Microscope, folder: Path, **settings: object) -> Registration:
    outputs = [folder / name for name in ("registration.json", "registration.png", "registration.quality.json")]
    register(files, microscope, *outputs, RegisterSettings(**settings))
    return Registration.read(outputs[0])


def measure(
    condition: Condition, repeats: int, light: Callable = gaussian_light, seed: int = 0
) -> dict[str, np.ndarray]:
    """Errors and bounds (repeats, planes − 1) in nm, nan where the stage refused."""
    microscope = microscope_of(4)
    rows: dict[str, list] = {"error": [], "with path": [], "without": []}
    for repeat in range(repeats):
        random = np.random.default_rng((seed, repeat))
        truth = draw_truth(random, condition)
        with tempfile.TemporaryDirectory() as folder:
            files = write_scan(Path(folder), truth, condition, microscope, random, light)
            try:
                rows["error"].append(map_error_nm(run_stage(files, microscope, Path(folder)), truth))
            except PlanelocError as error:
                print(f"  refused (repeat {repeat}): {error}")
                rows["error"].append(np.full(3, np.nan))
        if light is gaussian_light:
            rows["with path"].append(bound_nm(truth, condition, microscope, True))
            rows["without"].append(bound_nm(truth, condition, microscope, False))
    return {name: np.array(values) for name, values in rows.items() if values}


def report(record: Record, name: str, rows: dict[str, np.ndarray]) -> None:
    """A row for every plane but the first. The mean square is what the bound bounds; one draw scatters about it."""
    error = rows["error"]
    for plane in range(1, error.shape[1] + 1):
        of_plane = error[:, plane - 1]
        row = {
            "error_nm": float(np.nanmedian(of_plane)),
            "worst_nm": float(np.nanmax(of_plane)),
            "wrong": int(np.sum(of_plane > WRONG_NM)),
            "refused": int(np.sum(np.isnan(of_plane))),
        }
        if "with path" in rows:
            bound = rows["with path"][:, plane - 1]
            row |= {
                "bound_nm": float(np.median(bound)),
                "bound_without_path_nm": float(np.median(rows["without"][:, plane - 1])),
                "over_bound": float(np.sqrt(np.nanmean((of_plane / bound) ** 2))),
            }
        record.add(condition=name, plane=plane, repeats=len(error), **row)


PARTS: dict[str, list[tuple[str, Condition]]] = {
    "accuracy": [
        ("blind", Condition()),
        ("no unmatched, small shift", Condition(unmatched=0.0, shift_share=0.05)),
        ("a stage that stays", Condition(path_nm=0.0)),
    ],
    "beads": [(f"{n} beads", Condition(beads=n)) for n in (8, 12, 16, 24)],
    "photons": [(f"{n} photons", Condition(photons=float(n))) for n in (500, 1500, 5000, 20000)],
    "step": [(f"step {n} nm", Condition(step_nm=float(n))) for n in (25, 50, 100, 200)],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", default=["accuracy"])
    parser.add_argument("--repeats", type=int, default=10)
    add_json_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    record = Record("registration", arguments.json)
    for part in arguments.parts:
        for name, condition in PARTS.get(part, []):
            report(record, name, measure(condition, arguments.repeats))
        if part == "diffraction":
            for name, aberration in (
                ("none", {}),
                ("spherical", {"spherical_rad": 0.5}),
                ("astigmatism", {"astigmatism_rad": 0.5}),
            ):
                report(
                    record,
                    f"diffraction, {name}",
                    measure(Condition(step_nm=100.0), arguments.repeats, diffraction_light(**aberration)),
                )
        if part == "blind":
            for beads in (8, 16):
                condition = Condition(beads=beads, step_nm=200.0)
                report(record, f"{beads} beads, step 200 nm", measure(condition, arguments.repeats, seed=1))

    record.show(
        Column("condition", "condition"),
        Column("plane", "plane"),
        Column("median, worst error, nm", "error_nm worst_nm", ".2f"),
        Column("bound, without path, nm", "bound_nm bound_without_path_nm", ".2f"),
        Column("rms over bound", "over_bound", ".2f"),
        Column("wrong, refused", "wrong refused"),
    )


if __name__ == "__main__":
    main()
