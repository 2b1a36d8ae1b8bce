"""Both networks, refined or not, and a plain detector with a fit: the same frames, the same evaluation, one core.

    taskset -c 0 python -m benchmarks.accuracy.networks_side_by_side

Movies of the paper's microscope (background 4, read noise 3; photons ×1: 1,628 to 5,425 per molecule, all planes
together) are simulated and go through `localize`, from the compressed store to the table. With inter-camera drift,
planes 1… are shifted in every frame by up to two voxels of 24 nm either way. Every molecule of the field counts, up to
its border; localizations and molecules are matched within 250 nm laterally and 500 nm axially. Times are those of the
processor, after loading.

- `upsampling`, `regression`: the networks alone (kept from a probability of 0.1 and 0.3 on);
- `refined`: with `refine: likelihood`;
- `matched filter and fit`: maxima of a matched filter, at least 3 pixels apart, and the same fit from there, with
  planes that are taken not to drift: the classical way; what the fit does not explain is left out;
- `Cramér–Rao bound`: of molecules that do not overlap, with the drift unknown where there is one, else known;
- `known`: told that the planes do not drift, in movies where they do not.

A peer's numbers on such movies stand beside them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from benchmarks.support.drawn_movies import CAMERA, FILES, TRUTH, write_drawn_movie
from benchmarks.support.record import Record, add_json_option
from benchmarks.tables import TABLES, Column
from torch import Tensor

from planeloc.cameras.noise import PixelNoise
from planeloc.evaluation.metrics import compare, scores
from planeloc.evaluation.settings import EvaluateSettings
from planeloc.fitting.multi_emitter import MultiEmitterFit
from planeloc.fitting.windows import InitialMolecules
from planeloc.localization.candidates import CandidateSearch, candidate_pixels
from planeloc.localization.context import InputPaths, LocalizationContext
from planeloc.localization.detections import Detections
from planeloc.localization.find_upsampling import fit_photons
from planeloc.localization.localize_frames import Job, Localizer, localize_frames
from planeloc.localization.settings import LocalizeSettings
from planeloc.networks.kinds import network_kind
from planeloc.networks.weight_files import load_network
from planeloc.psf import PSF, Emitters
from planeloc.psf.fisher_information import plane_information
from planeloc.scenes.scene import PAPER_BACKGROUND, PAPER_PHOTONS
from planeloc_reproduction.drift_information import covariance_with_drift

MATCH = EvaluateSettings(border_nm=0.0)
DRIFT_VOXELS = 2
WINDOW_PX = 25  # of a molecule whose bound is worked out
LIGHTS = (1.0, 0.25)


@dataclass(frozen=True)
class Case:
    name: str
    side_px: int
    molecules: int
    frames: int


CASES = (
    Case("1 in 64×64", 64, 1, 300),
    Case("10 in 64×64", 64, 10, 100),
    Case("50 in 256×256", 256, 50, 20),
    Case("3 in 16×16", 64, 48, 40),
)


@dataclass(frozen=True)
class Way:
    """Method by which a movie is localized."""

    name: str
    network: str  # "upsampling" or "regression"; of "" the detector
    minimum_probability: float  # to be kept
    refine: str = "none"
    drift_nm: float = -1.0


WAYS = (
    Way("upsampling", "upsampling", 0.1),
    Way("upsampling, refined", "upsampling", 0.1, "likelihood"),
    Way("regression", "regression", 0.3),
    Way("regression, refined", "regression", 0.3, "likelihood"),
    Way("matched filter and fit", "", 0.0),
)
KNOWN = (
    Way("upsampling, refined, known", "upsampling", 0.1, "likelihood", 0.0),
    Way("regression, known", "regression", 0.3, "none", 0.0),
    Way("regression, refined, known", "regression", 0.3, "likelihood", 0.0),
)

# storm-analysis, tuned on the same model; registration known where there is no drift. One core. Errors are those of
# what it found. By case and whether there is drift: Jaccard index, lateral and axial rms error (nm), frames/s.
PEER = "storm-analysis"
PEER_NUMBERS = {
    ("1 in 64×64", True): (0.92, 30.5, 22.8, None),
    ("10 in 64×64", False): (0.90, 13.8, 25.8, "13–16"),
    ("10 in 64×64", True): (0.90, 31.6, 27.5, "13–16"),
    ("50 in 256×256", False): (0.973, 9.2, 22.5, "2.5–2.8"),
    ("50 in 256×256", True): (0.973, 28.2, 22.6, "2.5–2.8"),
    ("3 in 16×16", False): (0.88, 22.4, 36.1, "5"),
    ("3 in 16×16", True): (0.88, 36.6, 38.8, "5"),
}


class FilterFinder:
    """Maxima of the matched filter, each the start of a molecule in one fit with planes that do not drift."""

    threshold = 7.0  # standard deviations of a maximum
    apart_px = 3.0  # of two maxima; of closer ones the smaller is a shadow
    least_light = 6.0  # standard deviations of a molecule's photons

    def __init__(self, instrument: LocalizationContext) -> None:
        self._instrument = instrument
        self._depths = instrument.record.scene.depth_range_nm
        self._search = CandidateSearch(instrument.psf, self._depths, 0.0, instrument.device)
        self._noise = PixelNoise.of(instrument.movie.microscope.cameras)

    def __call__(self, images: Tensor, registered: Tensor, level: Tensor) -> list[Detections]:
        variance = self._noise.to(level).variance(level)
        values = self._search.test_values(registered, variance, self._search.noise(variance))
        points = candidate_pixels(values, self.threshold)
        image, row, column = points.unbind(1)
        value, number = values[image, :, row, column].max(dim=1)
        step = torch.linspace(*self._depths, values.shape[1], dtype=torch.float64)
        pixel = self._instrument.psf.pixel_size_nm
        position = torch.stack(((column + 0.5) * pixel, (row + 0.5) * pixel, step[number]), dim=1)
        alone = ~_beside_larger(image, points[:, 1:].double(), value, self.apart_px)
        found = self._fitted(images, level, image[alone], position[alone])
        return [self._fitted(images, level, found.frame, found.position)]  # without those that were none

    def _fitted(self, images: Tensor, level: Tensor, image: Tensor, position: Tensor) -> Detections:
        """Those whose photons are significant after a fit."""
        psf, mapped = self._instrument.psf, self._instrument.on_planes(position)
        photons, *_ = fit_photons(images, psf, mapped, position[:, 2], image)
        axes = self._instrument.axes_of_planes(position)
        start = InitialMolecules(image, position, photons.double().clamp(min=100.0), mapped, axes)
        fit = MultiEmitterFit(psf, self._noise, images, level, start, 0.0).fit(12)
        deviation = torch.diagonal(fit.covariance, dim1=1, dim2=2).sqrt()
        kept = fit.fitted & (fit.photons > self.least_light * deviation[:, 3])
        one = torch.ones_like(fit.photons)
        found = Detections(image, fit.position, deviation[:, :3], one, fit.photons, fit.excess.mean(dim=1))
        return found.at(kept)


def _beside_larger(image: Tensor, point: Tensor, value: Tensor, distance: float) -> Tensor:
    """(n,) whether a point (n, 2) has another one of a larger value near it."""
    near = (torch.cdist(point, point) < distance) & (image[:, None] == image)
    return (near & (value > value[:, None])).any(dim=1)


def localized(folder: Path, weights: dict[str, Path], way: Way, frames: int) -> tuple[pd.DataFrame, float]:
    """The table of a movie by one method, and frames per second."""
    kind = way.network or "regression"
    paths = InputPaths(*(folder / name for name in FILES), weights[kind])
    threshold = network_kind(kind).detection_threshold
    settings = LocalizeSettings(
        threshold=threshold, refine=way.refine, inter_camera_drift_nm=way.drift_nm, device="cpu"
    )
    localizer = Localizer(Job(paths, settings))
    if not way.network:
        localizer.finder = FilterFinder(localizer.context)
    localize_frames(localizer, 0, 1)
    start = time.process_time()
    table = pd.DataFrame(localize_frames(localizer, 0, frames))
    seconds = time.process_time() - start
    return table[table.probability >= way.minimum_probability].reset_index(drop=True), frames / seconds


def forward_models(psf: PSF, mismatch: str) -> tuple[PSF, float]:
    """The PSF that makes the images, and the factor of the read noise that the cameras are said to have."""
    if mismatch == "width":
        return replace(psf, waist_nm=1.05 * psf.waist_nm), 1.05
    if mismatch == "pixels":  # integrate their photons; width and depth of focus as a fit of the other model has them
        return replace(psf, waist_nm=121.0, focus_depth_nm=275.0, asymmetry=0.0, pixel_integration=True), 1.0
    return psf, 1.0


def bound_row(psf: PSF, noise: PixelNoise, truth: pd.DataFrame, drift_sd_nm: float | tuple[float, ...]) -> dict:
    """Errors that the images allow (Cramér–Rao), of molecules that neither overlap nor lie at the border.

    All of a frame share the drift, of which the prior is known; 0: the drift is.
    """
    side = WINDOW_PX * psf.pixel_size_nm
    place = torch.tensor(truth[["x", "y", "z"]].to_numpy())
    place[:, :2] = place[:, :2] % psf.pixel_size_nm + (side - psf.pixel_size_nm) / 2
    photons = torch.tensor(truth.photons.to_numpy())
    level = torch.full((len(place), psf.planes), PAPER_BACKGROUND[0], dtype=torch.float64)
    emitters = Emitters(*place.T, photons, background=level)
    parts = [
        plane_information(psf, emitters[some], noise, (WINDOW_PX,) * 2) for some in torch.arange(len(place)).split(100)
    ]
    of_frames = torch.cat(parts).unflatten(0, (truth.frame.nunique(), -1))
    variance = torch.diagonal(covariance_with_drift(of_frames, drift_sd_nm), dim1=-2, dim2=-1).flatten(0, 1).mean(dim=0)
    lateral, axial = float(variance[:2].sum().sqrt()), float(variance[2].sqrt())
    return {"way": "Cramér–Rao bound", "rmse_lateral_nm": lateral, "rmse_axial_nm": axial}


def measure(
    case: Case, light: float, drift: bool, weights: dict[str, Path], mismatch: str, share: float
) -> Iterator[dict]:
    """One row per method."""
    _, record = load_network(weights["upsampling"])
    psf, noise = forward_models(record.psf, mismatch)
    scene = replace(
        record.scene,
        window_px=case.side_px,
        emitters=case.molecules,
        photons=tuple(light * photons for photons in PAPER_PHOTONS),
        background=PAPER_BACKGROUND,
        read_noise_photons=noise * CAMERA.read_noise_photons(),
        inter_camera_drift_voxels=DRIFT_VOXELS if drift else 0,
        registration_resampling=False,
    )
    frames = max(1, round(share * case.frames))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_drawn_movie(folder, psf, scene, frames, record.psf, seed=1000)
        truth = pd.read_csv(folder / TRUTH)
        size_nm = case.side_px * psf.pixel_size_nm
        known = {"case": case.name, "light": light, "inter_camera_drift": drift, "frames": frames}
        drift_sd_nm = record.scene.drift_sds_nm(psf.pixel_size_nm, psf.planes) if drift else 0.0
        yield {**known, **bound_row(psf, scene.pixel_noise(psf.planes), truth, drift_sd_nm)}
        for way in WAYS if drift else WAYS + KNOWN:
            table, speed = localized(folder, weights, way, frames)
            values = scores(compare(table, truth, (size_nm, size_nm), MATCH))
            yield {**known, "way": way.name, **values, "frames_per_s": speed}


def peer_row(case: Case, light: float, drift: bool) -> dict:
    jaccard, lateral, axial, speed = PEER_NUMBERS[case.name, drift]
    row = {"case": case.name, "light": light, "inter_camera_drift": drift, "way": PEER, "jaccard": f"{jaccard:g}"}
    return row | {"rmse_lateral_nm": lateral, "rmse_axial_nm": axial, "frames_per_s": speed or ""}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upsampling", type=Path, default=Path("resources/quadplane.safetensors"))
    parser.add_argument("--regression", type=Path, default=Path("resources/regression.safetensors"))
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], help="only these")
    parser.add_argument("--lights", nargs="+", type=float, default=LIGHTS, help="factors on the molecules' photons")
    parser.add_argument("--frames", type=float, default=1.0, help="factor on the number of frames")
    parser.add_argument(
        "--mismatch",
        choices=("none", "width", "pixels"),
        default="none",
        help="images of another model than the calibration's: waist and read noise 5 %% larger; or pixels integrate",
    )
    add_json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    weights = {"upsampling": options.upsampling, "regression": options.regression}
    record = Record("networks_side_by_side", options.json)
    for case in CASES:
        if options.cases and case.name not in options.cases:
            continue
        for light in options.lights:
            for drift in (False, True):
                for row in measure(case, light, drift, weights, options.mismatch, options.frames):
                    record.add(**row, mismatch=options.mismatch)
                if light == 1 and (case.name, drift) in PEER_NUMBERS:
                    record.add(**peer_row(case, light, drift), mismatch=options.mismatch)
    record.show(
        Column("photons ×", "light", "g"),
        Column("inter-camera drift", "inter_camera_drift"),
        *TABLES["side_by_side_drift"].columns,
    )


if __name__ == "__main__":
    main()
