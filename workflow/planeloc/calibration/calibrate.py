"""The `calibrate` stage: from bead scans to the PSF of the microscope.

1. Beads are found on every camera, cut out of its images once, and fitted with a Gaussian on every slice
   (`planeloc.calibration.measure_beads`).
2. Their squared widths against the stage position give one defocus curve (Eq. 5: w0, d, A, B) shared by all planes and
   a focal depth of each plane; their photons near focus give the planes' relative brightness
   (`planeloc.calibration.gaussian_model`).
3. The spline model adds what the Gaussian leaves unexplained (`planeloc.calibration.spline_model`).
4. The result is checked (`planeloc.calibration.quality`), drawn and written.

Signs: Δz = d_p − z. A sample scan by +s moves a bead to z = const + s, an objective scan to z = const − s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from planeloc.beads.stage_drift import uneven_stage_drift
from planeloc.calibration.figure import draw_calibration
from planeloc.calibration.gaussian_model import STEPS, PsfFit, astigmatism_nm, fit_psf, relative_brightness
from planeloc.calibration.measure_beads import PlaneBeads, measure_beads
from planeloc.calibration.quality import quality_checks, quality_values
from planeloc.calibration.scan_fit import BeadScan, CalibratedPSF, model_residual
from planeloc.calibration.settings import CalibrateSettings
from planeloc.calibration.spline_model import ROUNDS, centred_on_focus, fit_spline, join_planes
from planeloc.cameras.camera import camera_called
from planeloc.cameras.microscope import Microscope
from planeloc.cameras.noise import PixelNoise
from planeloc.core.arrays import Array
from planeloc.core.checks import print_warnings, quality_dict, stop_on_failure, write_quality
from planeloc.core.errors import PlanelocError
from planeloc.core.progress import LOG_EVERY_S, progress_bar
from planeloc.core.settings import check as check_settings
from planeloc.fitting.single_emitter import EmitterWindows
from planeloc.io.bead_images import camera_file, read_slices
from planeloc.io.camera_source import CameraSource, open_cameras
from planeloc.psf import GaussianPSF, write_psf
from planeloc.transforms.camera_transform import Registration

SCANS = ("objective", "sample")
_FEWEST_SLICES = 7
_MOST_SLICES = 1000  # more is a movie
_SMALLEST_STEP_NM = 1.0
_SAME_BEAD_PX = 2.0
_DISPLACEMENT_REACH = 1.6  # depths of focus from a bead's focus: where its position is known well enough
_MOST_BEADS = 60  # for the spline, whose time grows with them


def calibrate(
    beads: Sequence[Path],
    microscope: Microscope,
    z_step_nm: float,
    scan: str,
    output: Path,
    figure: Path,
    quality: Path,
    settings: CalibrateSettings | None = None,
    registration: Path | None = None,
) -> None:
    """Measure the PSF on bead scans and write it with its figure and quality values.

    Parameters
    ----------
    beads : the bead scan, in the microscope's layout; their frames are the slices.
    z_step_nm : stage step between slices, positive upwards along z.
    scan : "objective" or "sample", whichever was moved.
    registration : transforms of the cameras, with which the splines of all planes agree on an emitter's position.

    Raises
    ------
    PlanelocError : unusable scan, too few beads, or a failed quality check. After a failed check, figure and quality
        values are left beside `figure` and `quality`, with `.failed` in their names. Nothing else is written then.
    """
    settings = settings or CalibrateSettings()
    check_settings(settings)
    beads = [Path(path) for path in beads]
    _check_scan(beads[0], scan, z_step_nm, settings)
    steps = STEPS + microscope.planes * (1 + (ROUNDS if settings.model == "spline" else 1)) + 2
    with progress_bar(steps, "calibrating", "step", log_every_s=LOG_EVERY_S) as bar:
        with open_cameras(beads, microscope) as source:
            files, slices, shape = source.files, source.shape[0], source.shape[2:]
            _check_slices(files[0], slices)
            transforms = _read_registration(registration, microscope, shape)
            planes = _measure(source, microscope, settings, bar.update)
        travel = travel_nm(slices, z_step_nm, scan, settings.refractive_index_factor)
        fit = fit_psf(planes, travel, shape, microscope.pixel_size_nm, settings, bar.update)
        del planes  # with the beads that were left out
        calibrated = _model(fit, settings.model, transforms, bar.update)
        bar.update()
        values = quality_values(fit, calibrated, astigmatism_nm(fit), z_step_nm * settings.refractive_index_factor)
        checks = quality_checks(fit, values, settings)

        def draw(path: Path) -> None:
            draw_calibration(path, fit, calibrated, values)

        stop_on_failure(files[0], values, checks, Path(figure), Path(quality), draw)
        draw(figure)
        bar.update()
    write_quality(quality, values, checks)
    print_warnings(checks)
    scanned = {"scan": scan, "z_step_nm": z_step_nm}
    details = {"quality": quality_dict(values, checks), "settings": asdict(settings), **scanned}
    write_psf(output, calibrated.psf, details)


def travel_nm(slices: int, z_step_nm: float, scan: str, refractive_index_factor: float) -> Array:
    """(slices,) position of the beads along z relative to the planes, up to a constant.

    Parameters
    ----------
    scan : what moved: ``objective`` or ``sample``.
    refractive_index_factor : focal shift factor: displacement of the focus in the sample over that of the stage.
    """
    direction = -1.0 if scan == "objective" else 1.0
    return direction * refractive_index_factor * z_step_nm * (np.arange(slices) - (slices - 1) / 2)


def _check_scan(file: Path, scan: str, z_step_nm: float, settings: CalibrateSettings) -> None:
    if scan not in SCANS:
        raise PlanelocError(f"scan {scan!r} is not one of {', '.join(SCANS)}: give what the stage moved")
    if not 0 < z_step_nm < np.inf:
        raise PlanelocError(
            f"z step {z_step_nm} nm: give the distance between slices in nm, above zero; for a scan in the other "
            "direction, give the other kind of scan"
        )
    if z_step_nm < _SMALLEST_STEP_NM:
        raise PlanelocError(f"z step {z_step_nm:g} nm: the step is too small for a stage; give nm, not µm, e.g. 50")
    if z_step_nm > settings.maximum_step_nm:
        raise PlanelocError(
            f"{file}: z step {z_step_nm:g} nm is too coarse, the limit is {settings.maximum_step_nm:g} nm: "
            "focus would fall between slices; record the beads again in steps of 50 to 100 nm"
        )


def _check_slices(file: Path, slices: int) -> None:
    if not _FEWEST_SLICES <= slices <= _MOST_SLICES:
        raise PlanelocError(
            f"{file}: {slices} slices; a bead scan has {_FEWEST_SLICES} to {_MOST_SLICES}: record one through the "
            "focus of every plane"
        )


def _read_registration(
    registration: Path | None, microscope: Microscope, shape: tuple[int, int]
) -> Registration | None:
    if registration is None:
        return None
    found, planes, pixel = Registration.read(registration), microscope.planes, microscope.pixel_size_nm
    if found.pixel_size_nm and abs(found.pixel_size_nm - pixel) > 1e-3 * pixel:
        raise PlanelocError(
            f"{registration}: made with pixels of {found.pixel_size_nm:g} nm, the microscope file says {pixel:g} nm; "
            "run register again"
        )
    if found.planes != planes or (found.field_px and found.field_px != shape):
        raise PlanelocError(
            f"{registration}: transforms of {found.planes} cameras of {found.field_px} pixels, the bead scans are of "
            f"{planes} cameras of {shape}; register the cameras that were calibrated"
        )
    return found


def _measure(
    source: CameraSource, microscope: Microscope, settings: CalibrateSettings, advance: Callable[[], object]
) -> list[PlaneBeads]:
    """The beads of every camera; only the pixels around them stay in memory. `advance` is called after each camera."""
    counts, cameras = read_slices(source, microscope.cameras, range(source.shape[0]))
    pixel = microscope.pixel_size_nm
    measured = []
    for p, camera in enumerate(cameras):
        measured.append(measure_beads(counts[:, p], camera, camera_file(source.files, p), pixel, settings))
        advance()
    return measured


def _displacement_nm(fit: PsfFit, registration: Registration | None) -> Array:
    """(planes, slices, 2) Uneven displacement of the stage, along the axes of every camera.

    The even part stays in the model as a walk with defocus: z is the direction in which the stage moves.
    """
    if registration is None:
        return np.zeros((len(fit.planes), len(fit.curve.travel_nm), 2))
    matrices, fits = registration.matrices, [plane.fits for plane in fit.planes]
    position = [f.position_px @ np.linalg.inv(matrix).T for f, matrix in zip(fits, matrices, strict=True)]
    deviation = [np.sqrt(f.position_variance_px2) for f in fits]
    position_nm, sd_nm = (fit.pixel_size_nm * np.concatenate(arrays) for arrays in (position, deviation))
    defocus = fit.curve.defocus_nm / fit.curve.depth_of_focus_nm
    displacement = uneven_stage_drift(position_nm, sd_nm, defocus, fit.curve.near(_DISPLACEMENT_REACH))
    return np.stack([displacement @ matrix.T for matrix in matrices])


def _positions_px(fit: PsfFit, registration: Registration | None) -> list[Array]:
    """(beads, 2) of every plane: positions of Gaussians in focus, on average in agreement with the transforms."""
    positions = [fit.position_px(p) for p in range(len(fit.planes))]
    if registration is None:
        return positions
    agreed = positions[:1]
    for p, position in enumerate(positions[1:], start=1):
        apart = position[None] - registration.transforms[p](positions[0])[:, None]
        distance = np.hypot(*np.moveaxis(apart, -1, 0))
        first, other = np.nonzero((distance < _SAME_BEAD_PX) & (distance == distance.min(axis=0)))
        same = fit.pairs[p - 1]
        if same is not None and len(other) < len(same) / 2:
            raise PlanelocError(
                f"{fit.planes[p].file}: only {len(other)} of {len(same)} beads on {camera_called(fit.names[p])} are "
                "where the "
                "registration expects them; the registration was made for other cameras or in another order: run "
                "register again with the files of this scan"
            )
        weights = fit.photons[fit.plane_of == p][other]
        agreed.append(position - np.average(apart[first, other], axis=0, weights=weights) if len(other) else position)
    return agreed


def _model(fit: PsfFit, model: str, registration: Registration | None, advance: Callable[[], object]) -> CalibratedPSF:
    """The chosen PSF model, and its residuals and the Gaussian's on the beads; `advance` after every step."""
    gaussian = GaussianPSF(
        pixel_size_nm=fit.pixel_size_nm,
        plane_depths_nm=tuple(map(float, fit.depths_nm)),
        brightness=tuple(map(float, fit.brightness)),
        waist_nm=fit.curve.waist_nm,
        focus_depth_nm=fit.curve.focus_depth_nm,
        asymmetry=fit.curve.asymmetry,
        quartic=fit.curve.quartic,
    )
    displacement = _displacement_nm(fit, registration)
    scans = [_scan(fit, p, position, displacement[p]) for p, position in enumerate(_positions_px(fit, registration))]
    of_gaussian = []
    for p, scan in enumerate(scans):
        of_gaussian.append(model_residual(gaussian, p, scan, scan.fit(gaussian, p)))
        if model == "gaussian":
            advance()
    if model == "gaussian":
        return CalibratedPSF(gaussian, fit.brightness_sd, of_gaussian, None)
    ones = [replace(gaussian, plane_depths_nm=(depth,), brightness=(1.0,)) for depth in gaussian.plane_depths_nm]
    splines = [fit_spline(one, _brightest(scan), advance) for one, scan in zip(ones, scans, strict=True)]
    fits = [scan.fit(spline, 0) for scan, spline in zip(scans, splines, strict=True)]
    photons = torch.cat([aligned.parameters[:, 3] for aligned in fits]).numpy()
    known = torch.cat([aligned.converged for aligned in fits]).numpy()
    brightness, brightness_sd = relative_brightness(photons, known, fit.plane_of, fit.pairs)
    joined = join_planes(replace(gaussian, brightness=tuple(map(float, brightness))), splines)
    of_spline = [model_residual(joined, p, scan, fits[p]) for p, scan in enumerate(scans)]
    return CalibratedPSF(centred_on_focus(joined), brightness_sd, of_gaussian, of_spline)


def _brightest(scan: BeadScan) -> BeadScan:
    """The beads with most information, as many as the spline needs."""
    return scan.only(torch.argsort(scan.start[:, 3], descending=True, stable=True)[:_MOST_BEADS])


def _scan(fit: PsfFit, plane: int, position_px: Array, displacement_nm: Array) -> BeadScan:
    """The beads of a plane with the Gaussian fits as the first guess; `displacement_nm` (slices, 2) on this camera."""
    mine, stack = fit.plane_of == plane, fit.planes[plane].stack
    shape = stack.photons.shape
    use = torch.from_numpy(stack.own)[:, None].expand(shape)
    noise = PixelNoise.of([stack.camera]).repeated(0, shape[1])
    shifts = torch.from_numpy(displacement_nm).expand(*shape[:2], 2)
    within_nm = position_px * fit.pixel_size_nm - stack.corner_px * fit.pixel_size_nm
    # In focus, the plane's depth less the bead's own and the travel is zero.
    own_depth = fit.depths_nm[plane] - fit.curve.focus_nm[mine]
    return BeadScan(
        EmitterWindows.of(torch.from_numpy(stack.photons), noise, use, shifts),
        tuple(map(float, fit.curve.travel_nm)),
        tuple(map(float, fit.bleaching.brightness)),
        torch.from_numpy(np.column_stack((within_nm, own_depth, fit.photons[mine]))),
    )
