"""The `calibrate` stage: from bead z-stacks to the PSF of the microscope.

A Gaussian is fitted to every bead on every slice (`planeloc.beads.detection`). Its squared width against the stage
position gives one defocus curve (Eq. 5: w0, d, A, B) shared by all planes and a focal depth for each plane; its
photons near focus give the planes' relative brightness (`planeloc.calibration.gaussian_model`). The spline model adds
to it what the beads really look like (`planeloc.calibration.spline_model`). Here the result is put together, judged
(`planeloc.calibration.quality`), drawn and written.

Signs: Δz = d_p − z. A sample scan by +s moves a bead to z = const + s, an objective scan to z = const − s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from planeloc.beads.bead_stack import BeadScan, explained_by, scan_of
from planeloc.beads.detection import BeadSearch, camera_file, odd_window, read_slices
from planeloc.beads.stage_way import uneven_way
from planeloc.calibration.figure import CalibrationFigure, draw_calibration
from planeloc.calibration.gaussian_model import (
    BeadMeasurement,
    PsfFit,
    astigmatism_nm,
    fit_psf,
    measure_plane,
    share_of_light,
)
from planeloc.calibration.quality import Calibrated, quality_checks, quality_values
from planeloc.calibration.settings import CalibrateSettings
from planeloc.calibration.spline_model import centred_on_focus, fit_spline, join_planes
from planeloc.cameras.microscope import Microscope
from planeloc.core.checks import print_warnings, quality_dict, stop_on_failure, write_quality
from planeloc.core.errors import PlanelocError
from planeloc.core.settings import check as check_settings
from planeloc.io.camera_files import open_cameras
from planeloc.psf import PSF, GaussianPSF, write_psf
from planeloc.transforms.camera_transform import Registration

Array = NDArray[np.float64]

SCANS = ("objective", "sample")
_FEWEST_SLICES = 7
_MOST_SLICES = 1000  # more is a movie
_SMALLEST_STEP_NM = 1.0
_SAME_BEAD_PX = 2.0
_WAY_REACH = 1.6  # depths of focus from a bead's focus: where its place is known well enough
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
    """Measure the PSF on bead z-stacks and write it with its figure and quality values.

    Parameters
    ----------
    beads : the bead stacks, in the microscope's layout; their frames are the slices.
    z_step_nm : stage step between slices, positive upwards along z.
    scan : "objective" or "sample", whichever was moved.
    registration : maps of the cameras. With them the splines of all planes agree on where an emitter is.

    Raises
    ------
    PlanelocError
        Unusable scan, too few beads, or a failed quality check: of the latter, figure and quality values are left
        beside `figure` and `quality`, with `.failed` in their names. Nothing else is written then.
    """
    settings = settings or CalibrateSettings()
    check_settings(settings)
    beads = [Path(path) for path in beads]
    _check_scan(beads[0], scan, z_step_nm, settings)
    with open_cameras(beads, microscope) as source:
        files, slices = source.files, source.shape[0]
        if not _FEWEST_SLICES <= slices <= _MOST_SLICES:
            raise PlanelocError(
                f"{files[0]}: {slices} slices; a bead scan has {_FEWEST_SLICES} to {_MOST_SLICES}: record one through "
                "the focus of every plane"
            )
        maps = _read_maps(registration, microscope, source.shape[2:])
        counts, cameras = read_slices(source, microscope.cameras, range(slices))
    pixel = microscope.pixel_size_nm
    search = BeadSearch(
        window_px=odd_window(settings.window_nm, pixel),
        isolation_px=settings.isolation_nm / pixel,
        border_px=settings.border_nm / pixel,
        minimum_snr=settings.minimum_snr,
    )
    how = BeadMeasurement(pixel, search, settings.bead_diameter_nm, settings.minimum_beads, settings.beads_bleach)
    planes = [measure_plane(counts[:, p], camera, camera_file(files, p), how) for p, camera in enumerate(cameras)]
    travel = travel_nm(slices, z_step_nm, scan, settings.refractive_index_factor)
    fit = fit_psf(planes, travel, counts.shape[2:], how)
    calibrated = _model(fit, counts, how, settings.model, maps)
    step = z_step_nm * settings.refractive_index_factor
    values = quality_values(fit, calibrated, astigmatism_nm(fit, counts, how), step)
    checks = quality_checks(fit, values, settings)

    def draw(path: Path) -> None:
        drawn = CalibrationFigure(
            psf=calibrated.psf,
            names=[camera.name for camera in cameras],
            measured=_measured(fit, calibrated.psf),
            depth_sd_nm=fit.depth_sd_nm,
            brightness_sd=calibrated.brightness_sd,
            by_gaussian=calibrated.by_gaussian,
            by_spline=calibrated.by_spline,
        )
        draw_calibration(path, drawn, values, checks)

    stop_on_failure(files[0], values, checks, Path(figure), Path(quality), draw)
    draw(figure)
    write_quality(quality, values, checks)
    print_warnings(checks)
    scanned = {"scan": scan, "z_step_nm": z_step_nm}
    details = {"quality": quality_dict(values, checks), "settings": asdict(settings), **scanned}
    write_psf(output, calibrated.psf, details)


def travel_nm(slices: int, z_step_nm: float, scan: str, refractive_index_factor: float = 1.0) -> Array:
    """(slices,) position of the beads along z relative to the planes, up to a constant.

    A focus moves through the sample by the factor times the way of the stage.
    """
    direction = -1.0 if scan == "objective" else 1.0
    return direction * refractive_index_factor * z_step_nm * (np.arange(slices) - (slices - 1) / 2)


def _check_scan(file: Path, scan: str, z_step_nm: float, settings: CalibrateSettings) -> None:
    if scan not in SCANS:
        raise PlanelocError(f"scan {scan!r} is not one of {', '.join(SCANS)}: say what the stage moved")
    if not 0 < z_step_nm < np.inf:
        raise PlanelocError(
            f"z step {z_step_nm} nm: give the distance between slices in nm, above zero; a scan that went the other "
            "way is the other kind of scan"
        )
    if z_step_nm < _SMALLEST_STEP_NM:
        raise PlanelocError(f"z step {z_step_nm:g} nm: no stage makes such steps; give nm, not µm, e.g. 50")
    if z_step_nm > settings.maximum_step_nm:
        raise PlanelocError(
            f"{file}: z step {z_step_nm:g} nm is too coarse, the limit is {settings.maximum_step_nm:g} nm: "
            "focus would fall between slices; record the beads again in steps of 50 to 100 nm"
        )


def _read_maps(registration: Path | None, microscope: Microscope, shape: tuple[int, int]) -> Registration | None:
    if registration is None:
        return None
    maps, planes, pixel = Registration.read(registration), microscope.planes, microscope.pixel_size_nm
    if maps.pixel_size_nm and abs(maps.pixel_size_nm - pixel) > 1e-3 * pixel:
        raise PlanelocError(
            f"{registration}: made with pixels of {maps.pixel_size_nm:g} nm, the microscope file says {pixel:g} nm; "
            "run register again"
        )
    if maps.planes != planes or (maps.field_px and maps.field_px != shape):
        raise PlanelocError(
            f"{registration}: maps of {maps.planes} cameras of {maps.field_px} pixels, the bead stacks are of "
            f"{planes} cameras of {shape}; register the cameras that were calibrated"
        )
    return maps


def _aside_nm(fit: PsfFit, maps: Registration | None, pixel_size_nm: float) -> Array:
    """(planes, slices, 2) What the stage carries all beads aside, unevenly, along the axes of every camera.

    What it carries them evenly stays in the model as a walk with defocus: z is the direction in which the stage moves.
    """
    slices = len(fit.widths.travel_nm)
    if maps is None:
        return np.zeros((len(fit.planes), slices, 2))
    position, deviation = [], []
    for plane, matrix in zip(fit.planes, maps.matrices, strict=True):
        position.append(np.stack((plane.fits.x_px, plane.fits.y_px), axis=-1) @ np.linalg.inv(matrix).T)
        deviation.append(np.sqrt((plane.fits.x_sd_px**2 + plane.fits.y_sd_px**2) / 2))
    defocus = fit.defocus_nm / fit.curve.depth_of_focus_nm
    usable = fit.curve.used & (np.abs(defocus) < _WAY_REACH)
    position_nm, sd_nm = (pixel_size_nm * np.concatenate(arrays) for arrays in (position, deviation))
    way = uneven_way(position_nm, sd_nm, defocus, usable)
    return np.stack([way @ matrix.T for matrix in maps.matrices])


def _places_px(fit: PsfFit, maps: Registration | None) -> list[Array]:
    """(beads, 2) of every plane: where Gaussians in focus lie; on average, beads of two cameras agree with the map."""
    places = [fit.position_px(p) for p in range(len(fit.planes))]
    if maps is None:
        return places
    agreed = places[:1]
    for p, place in enumerate(places[1:], start=1):
        apart = place[None] - maps.maps[p](places[0])[:, None]
        distance = np.hypot(*np.moveaxis(apart, -1, 0))
        first, other = np.nonzero((distance < _SAME_BEAD_PX) & (distance == distance.min(axis=0)))
        same = fit.pairs[p - 1]
        if same is not None and len(other) < len(same) / 2:
            raise PlanelocError(
                f"{fit.planes[p].file}: the registration puts only {len(other)} of {len(same)} beads where "
                f"camera {fit.names[p]} sees them; it "
                "is of other cameras, or in another order: run register again with the files of this scan"
            )
        weights = fit.photons[fit.plane_of == p][other]
        agreed.append(place - np.average(apart[first, other], axis=0, weights=weights) if len(other) else place)
    return agreed


def _model(
    fit: PsfFit, counts: NDArray[np.uint16], how: BeadMeasurement, model: str, maps: Registration | None
) -> Calibrated:
    """The PSF that was asked for, and the share of the beads that it and the Gaussian leave unexplained."""
    gaussian = GaussianPSF(
        pixel_size_nm=how.pixel_size_nm,
        plane_depths_nm=tuple(map(float, fit.depths_nm)),
        brightness=tuple(map(float, fit.brightness)),
        waist_nm=fit.curve.waist_nm,
        focus_depth_nm=fit.curve.focus_depth_nm,
        asymmetry=fit.curve.asymmetry,
        quartic=fit.curve.quartic,
    )
    places, aside = _places_px(fit, maps), _aside_nm(fit, maps, how.pixel_size_nm)
    scans = [_scan(fit, p, counts, how, place, aside[p]) for p, place in enumerate(places)]
    by_gaussian = [explained_by(gaussian, p, scan, scan.fit(gaussian, p)) for p, scan in enumerate(scans)]
    if model == "gaussian":
        return Calibrated(gaussian, fit.brightness_sd, by_gaussian, None)
    ones = [replace(gaussian, plane_depths_nm=(depth,), brightness=(1.0,)) for depth in gaussian.plane_depths_nm]
    splines = [fit_spline(one, _brightest(scan)) for one, scan in zip(ones, scans, strict=True)]
    fits = [scan.fit(spline, 0) for scan, spline in zip(scans, splines, strict=True)]
    photons = torch.cat([aligned.parameters[:, 3] for aligned in fits]).numpy()
    known = torch.cat([aligned.converged for aligned in fits]).numpy()
    shares, shares_sd = share_of_light(photons, known, fit.plane_of, fit.pairs)
    joined = join_planes(replace(gaussian, brightness=tuple(map(float, shares))), splines)
    by_spline = [explained_by(joined, p, scan, fits[p]) for p, scan in enumerate(scans)]
    return Calibrated(centred_on_focus(joined), shares_sd, by_gaussian, by_spline)


def _brightest(scan: BeadScan) -> BeadScan:
    """The beads that tell most, as many as the spline needs."""
    return scan.only(torch.argsort(scan.start[:, 3], descending=True, stable=True)[:_MOST_BEADS])


def _scan(
    fit: PsfFit, plane: int, counts: NDArray[np.uint16], how: BeadMeasurement, place_px: Array, aside_nm: Array
) -> BeadScan:
    """The beads of a plane with what the Gaussian fits say of them."""
    seen, mine = fit.planes[plane], fit.plane_of == plane
    # In focus, the plane's depth less the bead's own and the travel is zero.
    own_depth = fit.depths_nm[plane] - fit.curve.focus_nm[mine]
    start = np.column_stack((place_px * how.pixel_size_nm, own_depth, fit.photons[mine]))
    return scan_of(
        counts[:, plane],
        seen.camera,
        seen.beads,
        how.search.window_px,
        fit.widths.travel_nm,
        fit.course.light,
        start,
        how.pixel_size_nm,
        aside_nm,
    )


def _measured(fit: PsfFit, psf: PSF) -> list[tuple[Array, Array]]:
    """(z, width) in nm of every measurement used, for each plane: z is the bead's, as if it had been an emitter."""
    measured = []
    for p, depth in enumerate(psf.plane_depths_nm):
        mine = fit.plane_of == p
        used = fit.curve.used[mine]
        z = depth - fit.defocus_nm[mine]
        measured.append((z[used], np.sqrt(fit.widths.squared_nm2[mine][used])))
    return measured
