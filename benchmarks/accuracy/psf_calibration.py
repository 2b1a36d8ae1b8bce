"""How good is a calibration? Errors of the point spread function against the Cramér–Rao bound of the beads, and what
calibrations of different models cost when molecules are localized with them.

    python -m benchmarks.accuracy.psf_calibration bound [--repeats N]
    python -m benchmarks.accuracy.psf_calibration models --bead bead180_oil.tif [--repeats N]
    python -m benchmarks.accuracy.registration

`bound`: bead scans of a four-plane microscope, calibrated by the real stage from files, against the number of beads,
their photons and the step of the scan. Two worlds: the paper's Gaussian, where the distance of two focal planes has a
bound (Fisher information of every bead's height on every camera, with its place, photons and backgrounds unknown),
and diffraction at a pupil with aberrations, which neither model assumes. Errors of the planes' spacing (nm) and of the
images (rms difference over rms contrast, emitters within ± 600 nm) are root mean squares over the repeats.

`models`: beads and molecules drawn from the recording of a real bead (interpolated, never fitted by a formula). A
registration and a calibration of each model are made from the beads; molecules at known places are fitted with each
(maximum likelihood, all planes, through the measured transforms). Printed is the bias: median error at every depth.
Where a recorded bead "is" must be said by convention:
its core's centroid in its sharpest slice (least area). Planes are emulated from one recording, so this says nothing
about differences between cameras.

`registration.py` does the same for the transforms between the cameras.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import tifffile
import torch
from benchmarks.support.record import Record, add_json_option
from benchmarks.tables import TABLES
from tests.support.bead_scans import microscope_of, pupil_spots, scattered

from planeloc.calibration.calibrate import calibrate
from planeloc.calibration.settings import CalibrateSettings
from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope
from planeloc.cameras.noise import PixelNoise
from planeloc.fitting.single_emitter import EmitterWindows, fit_emitters
from planeloc.psf import PSF, Emitters, GaussianPSF, paper_psf, read_psf
from planeloc.psf.fisher_information import bound, fisher_information
from planeloc.psf.single_bead import SingleBeadPSF, read_bead_stack
from planeloc.registration.register import register
from planeloc.transforms.camera_transform import Registration

PIXEL_NM = 192.0
DEPTHS_NM = (-600.0, -200.0, 200.0, 600.0)
SENSOR = Camera(offset_counts=100, electrons_per_count=0.5, read_noise_electrons=1.5)
BACKGROUND = 4.0  # photons per pixel
FIELD_PX = 128
APART_PX = 14.0
REACH_NM = 1350.0  # of the scan, either way
CENTRAL_NM = 600.0  # molecules lie within ± this
WINDOW_PX = 15
MODELS = ("gaussian", "spline")
Light = Callable[[int, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Condition:
    """What is varied."""

    beads: int = 14
    photons: float = 5000.0  # per bead, plane and slice
    step_nm: float = 50.0

    @property
    def travel_nm(self) -> np.ndarray:
        steps = round(REACH_NM / self.step_nm)
        return np.arange(-steps, steps + 1) * self.step_nm


def of_model(psf: PSF) -> Light:
    """(plane, places (n, 2) px in the window, z (n,)) → images (n, side, side) of one photon each on this plane."""

    def light(plane: int, place_px: np.ndarray, z_nm: np.ndarray) -> np.ndarray:
        x, y, z = (torch.as_tensor(v, dtype=torch.float64) for v in (*(place_px.T * PIXEL_NM), z_nm))
        images = psf.expected_photons(Emitters(x, y, z, torch.ones_like(z)), (WINDOW_PX, WINDOW_PX))[:, plane].numpy()
        return images / psf.brightness[plane]

    return light


def of_pupil() -> Light:
    """The same from a pupil with astigmatism and spherical aberration."""
    spot = pupil_spots(DEPTHS_NM, PIXEL_NM, astigmatism_rad=0.15, spherical_rad=0.4)

    def light(plane: int, place_px: np.ndarray, z_nm: np.ndarray) -> np.ndarray:
        shape = (WINDOW_PX, WINDOW_PX)
        return len(DEPTHS_NM) * np.concatenate(
            [spot(plane, place, z_nm[k : k + 1], shape) for k, place in enumerate(place_px)]
        )

    return light


def of_recording(file: Path) -> Light:
    """The same from the z-stack of a bead (65 nm pixels, 100 nm steps, objective scan, 104.2 counts offset)."""
    brightness = (1 / len(DEPTHS_NM),) * len(DEPTHS_NM)
    mirrored = (False,) * len(DEPTHS_NM)
    stack = read_bead_stack(file)
    measured = SingleBeadPSF.from_stack(stack, 104.2, 65.0, 100.0, PIXEL_NM, DEPTHS_NM, brightness, mirrored)

    def light(plane: int, place_px: np.ndarray, z_nm: np.ndarray) -> np.ndarray:
        at = np.repeat(place_px[:, None], len(DEPTHS_NM), axis=1)
        images, corners = measured.windows(at, z_nm, np.full(len(z_nm), float(len(DEPTHS_NM))))
        window = np.zeros((len(z_nm), WINDOW_PX, WINDOW_PX))
        for k in range(len(z_nm)):
            left, top = corners[k, plane]
            inside = [slice(max(0, -c), min(images.shape[-1], WINDOW_PX - c)) for c in (top, left)]
            rows, columns = (slice(s.start + c, s.stop + c) for s, c in zip(inside, (top, left), strict=True))
            window[k, rows, columns] = images[k, plane][inside[0], inside[1]]
        return window

    return light


def write_scan(folder: Path, light: Light, condition: Condition, random: np.random.Generator) -> list[Path]:
    """A bead scan of all cameras, objective scan; beads at the same places on every camera."""
    places = scattered(random, condition.beads, (FIELD_PX, FIELD_PX), APART_PX, 8)
    corners = np.floor(places).astype(int) - WINDOW_PX // 2
    height = random.uniform(-20, 20, condition.beads)
    files = []
    for plane in range(len(DEPTHS_NM)):
        side = FIELD_PX + 2 * WINDOW_PX
        expected = np.full((len(condition.travel_nm), side, side), BACKGROUND)
        for place, (left, top), own in zip(places, corners, height, strict=True):
            at = np.repeat((place - (left, top))[None], len(condition.travel_nm), axis=0)
            rows, columns = (slice(c + WINDOW_PX, c + 2 * WINDOW_PX) for c in (top, left))
            expected[:, rows, columns] += condition.photons * light(plane, at, own - condition.travel_nm)
        seen = expected[:, WINDOW_PX:-WINDOW_PX, WINDOW_PX:-WINDOW_PX]
        files.append(folder / f"beads_{plane}.tif")
        tifffile.imwrite(files[-1], SENSOR.expose(seen, random), photometric="minisblack")
    return files


def calibrated(
    light: Light, condition: Condition, models: Sequence[str], seed: int, microscope: Microscope
) -> tuple[Registration, list[PSF]]:
    """What the real stages find: the transforms, and a PSF of each model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_scan(folder, light, condition, np.random.default_rng(seed))
        maps = folder / "maps.json"
        with redirect_stderr(io.StringIO()):
            register(files, microscope, maps, folder / "maps.png", folder / "maps.quality.json")
        psfs = []
        for model in models:
            outputs = [folder / output for output in ("psf.h5", "psf.png", "psf.json")]
            settings = CalibrateSettings(model=model)
            calibrate(files, microscope, condition.step_nm, "objective", *outputs, settings, registration=maps)
            psfs.append(read_psf(outputs[0]))
        return Registration.read(maps), psfs


def spacing_bound(truth: GaussianPSF, condition: Condition) -> float:
    """Smallest standard deviation of the distance of two neighbouring planes, rms over the pairs, nm."""
    noise = PixelNoise.of([SENSOR])
    deviations = []
    for plane in range(truth.planes):
        scan = truth.as_scan(plane, condition.travel_nm)
        at = [torch.tensor(v, dtype=torch.float64) for v in (WINDOW_PX / 2 * PIXEL_NM,) * 2 + (0.0, condition.photons)]
        level = torch.full((scan.planes,), BACKGROUND, dtype=torch.float64)
        emitter = Emitters(*at, background=level)
        information = fisher_information(scan, emitter, noise.repeated(0, scan.planes), (WINDOW_PX, WINDOW_PX))
        deviations.append(float(bound(information)[2]) / np.sqrt(condition.beads))
    return float(np.sqrt(np.mean([a**2 + b**2 for a, b in pairwise(deviations)])))


def image_error(found: PSF, light: Light) -> float:
    """Rms difference of the images of emitters within ± 600 nm over their rms contrast; photons and background free."""
    z = np.arange(-CENTRAL_NM, CENTRAL_NM + 1, 75.0)
    offsets = np.random.default_rng(0).uniform(-0.5, 0.5, (len(z), 2))
    left, contrast = 0.0, 0.0
    shift = np.mean(found.plane_depths_nm) - np.mean(DEPTHS_NM)
    for plane in range(len(DEPTHS_NM)):
        place = WINDOW_PX / 2 + offsets
        seen = light(plane, place, z)
        shown = of_model(found)(plane, place, z + shift)
        seen, shown = (images - images.mean(axis=(1, 2), keepdims=True) for images in (seen, shown))
        share = np.sum(seen * shown, axis=(1, 2)) / np.sum(shown**2, axis=(1, 2))
        left += np.sum((seen - share[:, None, None] * shown) ** 2)
        contrast += np.sum(seen**2)
    return float(np.sqrt(left / contrast))


def report_bound(repeats: int, record: Record) -> None:
    microscope = microscope_of(len(DEPTHS_NM), PIXEL_NM, SENSOR)
    truth = replace(paper_psf(), pixel_size_nm=PIXEL_NM)
    worlds = {"gaussian": of_model(truth), "pupil": of_pupil()}
    varied = [
        *(replace(Condition(), beads=n) for n in (4, 8, 14, 28)),
        *(replace(Condition(), photons=n) for n in (1000.0, 20000.0)),
        *(replace(Condition(), step_nm=s) for s in (25.0, 100.0)),
    ]
    for condition in varied:
        row = {
            "beads": str(condition.beads),
            "photons": f"{condition.photons:,.0f}",
            "step_nm": f"{condition.step_nm:.0f}",
        }
        for world, light in worlds.items():
            runs = [calibrated(light, condition, MODELS, seed, microscope)[1] for seed in range(repeats)]
            for model, found in zip(MODELS, zip(*runs, strict=True), strict=True):
                off = np.array([np.diff(psf.plane_depths_nm) - np.diff(DEPTHS_NM) for psf in found])
                images = np.sqrt(np.mean([image_error(psf, light) ** 2 for psf in found]))
                row[f"{world}_images_{model}"] = f"{100 * images:.2g} %"
                row[f"{world}_spacing_nm_{model}"] = float(np.sqrt(np.mean(off**2)))
        row["gaussian_spacing_over_bound"] = row["gaussian_spacing_nm_spline"] / spacing_bound(truth, condition)
        record.add(**row)
    record.show(*TABLES["psf_calibration"].columns)


def biases(
    light: Light,
    maps: Registration,
    psfs: Sequence[PSF],
    depth_nm: float,
    photons: float,
    random: np.random.Generator,
) -> np.ndarray:
    """(models, 3) median error along x, y and z of 100 molecules at one depth, nm."""
    number = 100
    place = WINDOW_PX / 2 + random.uniform(-0.5, 0.5, (number, 2))
    z = np.full(number, depth_nm)
    planes = len(DEPTHS_NM)
    expected = np.stack([light(p, place, z) for p in range(planes)], axis=1) * photons / planes + BACKGROUND
    read = SENSOR.read_noise_photons()
    images = torch.from_numpy(random.poisson(expected) + random.normal(0, read, expected.shape))
    corner = np.full(2, FIELD_PX // 2 - WINDOW_PX // 2)
    shifts = np.stack([m(corner) - corner for m in maps.transforms]) * PIXEL_NM
    windows = EmitterWindows.of(
        images,
        PixelNoise.of([SENSOR] * planes),
        shifts_nm=torch.from_numpy(shifts).expand(number, planes, 2),
        axes=torch.from_numpy(np.stack(maps.matrices)),
    )
    truth = np.column_stack((place * PIXEL_NM, z, np.full(number, photons)))
    found = []
    for psf in psfs:
        # From three depths, the likeliest counts: a model that is wrong has side minima.
        starts = [torch.from_numpy(truth + np.array([0, 0, away, 0])) for away in (-150.0, 0.0, 150.0)]
        tries = [fit_emitters(psf, windows, start) for start in starts]
        best = torch.stack([fits.chi_square for fits in tries]).argmin(dim=0)
        parameters = torch.stack([fits.parameters for fits in tries])[best, torch.arange(number)]
        found.append(np.median(parameters.numpy()[:, :3] - truth[:, :3], axis=0))
    return np.array(found)


def report_models(bead: Path, repeats: int, photons: float, record: Record) -> None:
    microscope = microscope_of(len(DEPTHS_NM), PIXEL_NM, SENSOR)
    light, condition = of_recording(bead), Condition()
    depths = np.arange(-CENTRAL_NM, CENTRAL_NM + 1, 150.0)
    runs = []
    for seed in range(repeats):
        maps, psfs = calibrated(light, condition, MODELS, seed, microscope)
        random = np.random.default_rng(1000 + seed)
        runs.append([biases(light, maps, psfs, depth, photons, random) for depth in depths])
    bias = np.array(runs)  # (repeats, depths, models, 3)
    for m, model in enumerate(MODELS):
        of_runs = bias[..., m, :]
        about = of_runs - of_runs.mean(axis=1, keepdims=True)
        along = {f"bias_{axis}_nm": of_runs[..., k].mean(axis=0).tolist() for k, axis in enumerate("xyz")}
        record.add(model=model, **error_sizes(of_runs), depths_nm=depths.tolist(), **along)
        record.add(model=f"{model}, about the mean of each run", **error_sizes(about))
    record.show(*TABLES["psf_model_bias"].columns)


def error_sizes(bias: np.ndarray) -> dict[str, float]:
    """Worst of any run and depth, and rms, of biases (repeats, depths, 3)."""
    lateral, axial = np.hypot(bias[..., 0], bias[..., 1]), np.abs(bias[..., 2])
    return {
        "worst_lateral_nm": float(lateral.max()),
        "worst_axial_nm": float(axial.max()),
        "rms_lateral_nm": float(np.sqrt(np.mean(lateral**2))),
        "rms_axial_nm": float(np.sqrt(np.mean(axial**2))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("bound", "models"))
    parser.add_argument("--bead", type=Path, help="z-stack of one bead on one plane (TIFF), for `models`")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--photons", type=float, default=20_000.0, help="of the molecules, for `models`")
    add_json_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.part == "bound":
        report_bound(arguments.repeats, Record("psf_calibration", arguments.json))
    elif arguments.bead is None:
        parser.error("models needs --bead")
    else:
        record = Record("psf_model_bias", arguments.json)
        report_models(arguments.bead, arguments.repeats, arguments.photons, record)


if __name__ == "__main__":
    main()
