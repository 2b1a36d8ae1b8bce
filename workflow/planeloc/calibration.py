"""The `calibrate` stage: from bead z-stacks to the PSF of the microscope.

A Gaussian is fitted to every bead on every slice (`planeloc.beads`). Its squared width against the stage position gives
one defocus curve (Eq. 5: w0, d, A, B) shared by all planes and a focal depth for each plane; its photons near focus
give the planes' relative brightness (`planeloc.psf_fit`). Here the result is judged, drawn and written.

Signs: Δz = d_p − z. A sample scan by +s moves a bead to z = const + s, an objective scan to z = const − s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planeloc.beads import BeadSearch, camera_file, odd_window, read_slices
from planeloc.errors import PlanelocError
from planeloc.figures.calibration import draw_calibration
from planeloc.microscope import Microscope
from planeloc.optics import GaussianPSF, write_psf
from planeloc.psf_fit import BeadMeasurement, PsfFit, astigmatism_nm, fit_psf, measure_plane
from planeloc.quality import Check, check_at_least, check_at_most, quality_dict, stop_on_failure, write_quality
from planeloc.readers import open_cameras
from planeloc.settings import check as check_settings
from planeloc.settings import setting

Array = NDArray[np.float64]

SCANS = ("objective", "sample")
_FEWEST_SLICES = 7
_MOST_SLICES = 1000  # more is a movie


@dataclass(frozen=True)
class CalibrateSettings:
    """How beads are chosen, and how good the calibration must be."""

    window_nm: float = setting(2900.0, "Side of the square fitted around a bead, nm.", minimum=500)
    isolation_nm: float = setting(2000.0, "Beads closer to another than this are left out, nm.", minimum=0)
    border_nm: float = setting(800.0, "Beads closer to the border than this are left out, nm.", minimum=0)
    minimum_snr: float = setting(8.0, "Brightness of a bead over the noise, on its best slice.", minimum=3)
    minimum_beads: int = setting(1, "Fewest usable beads per camera; fewer stop the run.", minimum=1)
    recommended_beads: int = setting(3, "Fewest beads per camera without a warning.", minimum=1)
    bead_diameter_nm: float = setting(0.0, "Bead diameter, taken out of the widths; 0 leaves them, nm.", minimum=0)
    maximum_step_nm: float = setting(250.0, "Coarser scans are refused unseen, nm.", minimum=1)
    step_warn: float = setting(0.35, "Step over the depth of focus that warns.", minimum=0)
    step_fail: float = setting(0.5, "Step over the depth of focus that stops the run.", minimum=0)
    margin_warn: float = setting(1.0, "Scan beyond a plane's focus, in depths of focus, that warns.", minimum=0)
    margin_fail: float = setting(0.5, "Scan beyond a plane's focus, in depths of focus, that stops.", minimum=0)
    coverage_warn: float = setting(0.9, "Share of the needed defocus range measured, that warns.", maximum=1)
    coverage_fail: float = setting(0.5, "Share of the needed defocus range measured, that stops the run.", maximum=1)
    residual_warn: float = setting(0.08, "Rms width residual near focus over w0 that warns.", minimum=0)
    residual_fail: float = setting(0.3, "Rms width residual near focus over w0 that stops the run.", minimum=0)
    misfit_warn: float = setting(0.15, "Share of a bead in focus that no Gaussian explains, that warns.", minimum=0)
    misfit_fail: float = setting(0.4, "Share of a bead in focus that no Gaussian explains, that stops.", minimum=0)
    astigmatism_warn_nm: float = setting(100.0, "Distance of the two line foci that warns, nm.", minimum=0)
    astigmatism_fail_nm: float = setting(250.0, "Distance of the two line foci that stops the run, nm.", minimum=0)
    spacing_warn_nm: float = setting(80.0, "Distance of two neighbouring planes below which to warn, nm.", minimum=0)
    spacing_fail_nm: float = setting(20.0, "Distance of two neighbouring planes that stops the run, nm.", minimum=0)


def calibrate(
    beads: Sequence[Path],
    microscope: Microscope,
    z_step_nm: float,
    scan: str,
    output: Path,
    figure: Path,
    quality: Path,
    settings: CalibrateSettings | None = None,
) -> None:
    """Measure the PSF on bead z-stacks and write it with its figure and quality values.

    Parameters
    ----------
    beads : the bead stacks, in the microscope's layout; their frames are the slices.
    z_step_nm : stage step between slices, positive upwards along z.
    scan : "objective" or "sample", whichever was moved.

    Raises
    ------
    PlanelocError
        Unusable scan, too few beads, or a failed quality check: of the latter, the figure is drawn beside `figure`,
        with `.failed` in its name. Nothing else is written then.
    """
    settings = settings or CalibrateSettings()
    check_settings(settings)
    beads = [Path(path) for path in beads]
    if scan not in SCANS:
        raise PlanelocError(f"scan {scan!r} is not one of {', '.join(SCANS)}: say what the stage moved")
    if not 0 < abs(z_step_nm) < np.inf:
        raise PlanelocError(f"z step {z_step_nm} nm: give the distance between slices in nm, not zero")
    if abs(z_step_nm) > settings.maximum_step_nm:
        raise PlanelocError(
            f"{beads[0]}: z step {abs(z_step_nm):g} nm is too coarse, the limit is {settings.maximum_step_nm:g} nm: "
            "focus would fall between slices; record the beads again in steps of 50 to 100 nm"
        )
    with open_cameras(beads, microscope) as source:
        files, slices = source.files, source.shape[0]
        if not _FEWEST_SLICES <= slices <= _MOST_SLICES:
            raise PlanelocError(
                f"{files[0]}: {slices} slices; a bead scan has {_FEWEST_SLICES} to {_MOST_SLICES}: record one through "
                "the focus of every plane"
            )
        counts, cameras = read_slices(source, microscope.cameras, range(slices))
    pixel = microscope.pixel_size_nm
    search = BeadSearch(
        window_px=odd_window(settings.window_nm, pixel),
        isolation_px=settings.isolation_nm / pixel,
        border_px=settings.border_nm / pixel,
        minimum_snr=settings.minimum_snr,
    )
    how = BeadMeasurement(pixel, search, settings.bead_diameter_nm, settings.minimum_beads)
    planes = [measure_plane(counts[:, p], camera, camera_file(files, p), how) for p, camera in enumerate(cameras)]
    direction = -1.0 if scan == "objective" else 1.0
    travel = direction * z_step_nm * (np.arange(slices) - (slices - 1) / 2)
    fit = fit_psf(planes, travel, counts.shape[2:], how)
    psf = GaussianPSF(
        pixel_size_nm=pixel,
        plane_depths_nm=tuple(map(float, fit.depths_nm)),
        brightness=tuple(map(float, fit.brightness)),
        waist_nm=fit.curve.waist_nm,
        focus_depth_nm=fit.curve.focus_depth_nm,
        asymmetry=fit.curve.asymmetry,
        quartic=fit.curve.quartic,
    )
    values = _values(fit, astigmatism_nm(fit, counts, how), abs(z_step_nm))
    checks = _checks(fit, values, settings)

    def draw(path: Path) -> None:
        names = [camera.name for camera in cameras]
        draw_calibration(path, psf, _measured(fit), names, fit.brightness_sd, fit.depth_sd_nm, values, checks)

    stop_on_failure(files[0], checks, Path(figure), draw)
    draw(figure)
    write_quality(quality, values, checks)
    scanned = {"scan": scan, "z_step_nm": z_step_nm}
    write_psf(output, psf, {"quality": quality_dict(values, checks), "settings": asdict(settings), **scanned})


def _measured(fit: PsfFit) -> list[tuple[Array, Array]]:
    """(z, width) in nm of every measurement used, for each plane: z is the bead's, as if it had been an emitter."""
    measured = []
    for p, depth in enumerate(fit.depths_nm):
        mine = fit.plane_of == p
        used = fit.curve.used[mine]
        z = depth - fit.defocus_nm[mine]
        measured.append((z[used], np.sqrt(fit.widths.squared_nm2[mine][used])))
    return measured


def _values(fit: PsfFit, astigmatism: Array, step_nm: float) -> dict[str, float]:
    """Every quality value by name; nm unless the name says otherwise."""
    curve = fit.curve
    defocus = fit.defocus_nm
    noise = fit.widths.squared_sd_nm2 / (2 * np.sqrt(fit.widths.squared_nm2))
    squared = curve.residual_nm**2 - noise**2
    near = curve.used & (np.abs(defocus) < 1.5 * curve.depth_of_focus_nm)
    counts = np.bincount(fit.plane_of)
    depths = fit.depths_nm
    values = {
        "slices": float(len(fit.widths.travel_nm)),
        "z_step_nm": step_nm,
        "step_over_depth_of_focus": step_nm / curve.depth_of_focus_nm,
        "beads_fewest_on_a_camera": float(counts.min()),
        "beads_saturated": float(sum(plane.beads.rejected.get("saturated", 0) for plane in fit.planes)),
        "waist_nm": curve.waist_nm,
        "waist_sd_nm": float(curve.deviations[0]),
        "depth_of_focus_nm": curve.depth_of_focus_nm,
        "focus_depth_nm": curve.focus_depth_nm,
        "focus_depth_sd_nm": float(curve.deviations[1]),
        "asymmetry": curve.asymmetry,
        "asymmetry_sd": float(curve.deviations[2]),
        "quartic": curve.quartic,
        "quartic_sd": float(curve.deviations[3]),
        "width_residual_near_focus_nm": _root_mean(squared[near]),
        "width_residual_all_nm": _root_mean(squared[curve.used]),
        "width_residual_over_waist": _root_mean(squared[near]) / curve.waist_nm,
        "misfit_near_focus": fit.misfit,
        "astigmatism_nm": float(astigmatism.max()),
        "scan_beyond_focus": _scan_beyond_focus(fit) / curve.depth_of_focus_nm,
        "range_covered": _coverage(fit, step_nm),
        "smallest_plane_spacing_nm": float(np.diff(np.sort(depths)).min()),
        "planes_in_order": float(abs(np.sign(np.diff(depths)).sum()) == len(depths) - 1),
    }
    for p in range(len(depths)):
        values |= {
            f"plane_{p}_beads": float(counts[p]),
            f"plane_{p}_depth_nm": float(depths[p]),
            f"plane_{p}_depth_sd_nm": float(fit.depth_sd_nm[p]),
            f"plane_{p}_brightness": float(fit.brightness[p]),
            f"plane_{p}_brightness_sd": float(fit.brightness_sd[p]),
            f"plane_{p}_astigmatism_nm": float(astigmatism[p]),
        }
    return values


def _root_mean(squared: Array) -> float:
    return float(np.sqrt(max(np.mean(squared), 0.0))) if squared.size else float("nan")


def _scan_beyond_focus(fit: PsfFit) -> float:
    """Smallest distance of a plane's focus from an end of the scan; negative if it lies outside."""
    travel = fit.widths.travel_nm
    foci = [np.median(fit.curve.focus_nm[fit.plane_of == p]) for p in range(len(fit.planes))]
    return float(min(min(focus - travel.min(), travel.max() - focus) for focus in foci))


def _coverage(fit: PsfFit, step_nm: float) -> float:
    """Share of the defocus range that molecules will use in which a width was measured."""
    needed = np.linspace(-fit.reach_nm, fit.reach_nm, 201)
    seen = np.sort(fit.defocus_nm[fit.curve.used])
    after = np.clip(np.searchsorted(seen, needed), 1, len(seen) - 1)
    nearest = np.minimum(np.abs(needed - seen[after - 1]), np.abs(needed - seen[after]))
    return float(np.mean(nearest <= 0.75 * step_nm))


def _checks(fit: PsfFit, values: dict[str, float], s: CalibrateSettings) -> list[Check]:
    """Every value that has a threshold, with what to do at the microscope."""
    return [
        check_at_least(
            "beads_fewest_on_a_camera",
            values["beads_fewest_on_a_camera"],
            "more beads in the field give safer depths and brightness",
            warn=s.recommended_beads,
            fail=s.minimum_beads,
        ),
        check_at_most(
            "beads_saturated",
            values["beads_saturated"],
            "saturated beads were left out; lower the laser power or the exposure time",
            warn=0,
        ),
        check_at_most(
            "step_over_depth_of_focus",
            values["step_over_depth_of_focus"],
            "the z step is too coarse to see the focus; record the beads again in steps of 50 to 100 nm",
            warn=s.step_warn,
            fail=s.step_fail,
        ),
        check_at_least(
            "scan_beyond_focus",
            values["scan_beyond_focus"],
            "the scan does not go through the focus of every plane with slices on both sides; record a longer one",
            warn=s.margin_warn,
            fail=s.margin_fail,
        ),
        check_at_least(
            "range_covered",
            values["range_covered"],
            "widths are unknown for a part of the depths that molecules will have; scan further on both sides, or use "
            "brighter beads",
            warn=s.coverage_warn,
            fail=s.coverage_fail,
        ),
        check_at_most(
            "astigmatism_nm",
            values["astigmatism_nm"],
            "the spots are lines that turn with focus, the model is round: take out the cylindrical lens or align the "
            "beam splitters",
            warn=s.astigmatism_warn_nm,
            fail=s.astigmatism_fail_nm,
        ),
        check_at_most(
            "misfit_near_focus",
            values["misfit_near_focus"],
            "the spots in focus are no Gaussians: look for aberrations (correction collar, immersion), clumped beads, "
            "and beads that saturate a camera whose saturation_counts are not in the microscope file",
            warn=s.misfit_warn,
            fail=s.misfit_fail,
        ),
        check_at_most(
            "width_residual_over_waist",
            values["width_residual_over_waist"],
            "the widths do not follow one defocus curve: check the z step and that the stage moved evenly",
            warn=s.residual_warn,
            fail=s.residual_fail,
        ),
        check_at_least(
            "smallest_plane_spacing_nm",
            values["smallest_plane_spacing_nm"],
            "two planes share a focus: the same file given twice? Check that each is from another camera, and that the "
            "cameras' foci differ",
            warn=s.spacing_warn_nm,
            fail=s.spacing_fail_nm,
        ),
        check_at_least("planes_in_order", values["planes_in_order"], _advice_on_order(fit.depths_nm), warn=1),
    ]


def _advice_on_order(depths_nm: Array) -> str:
    """What to check in the sheet, given which way the foci run over the cameras."""
    if (np.diff(depths_nm) < 0).all():
        return (
            "z decreases with the number of the camera: right if the cameras are listed from the deepest focus to the "
            "shallowest; if not, correct `scan` in the sheet (objective or sample), a wrong one turns z upside down"
        )
    if (np.diff(depths_nm) > 0).all():
        return "z increases with the number of the camera; a wrong `scan` in the sheet would turn z upside down"
    return (
        "the foci neither rise nor fall with the number of the camera: check the order of the files in the sheet and "
        "of the cameras in the microscope file"
    )
