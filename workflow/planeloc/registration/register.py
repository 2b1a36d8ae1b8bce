"""The `register` stage: from bead images to the transform of every camera and its uncertainty.

1. Beads are found on each camera independently and fitted on every slice (`planeloc.beads.positions`).
2. Their positions, averaged over the slices by information (so slices near that camera's focus count most), are matched
   to the reference without a first guess: any of the eight orientations, a shift of up to a third of the field, a few
   degrees and per cent, many beads on one camera only (`planeloc.beads.point_matching`).
3. The stage's sideways path, common to all beads and cameras, is estimated from the matched beads on all slices and
   removed, so that the transform holds for images taken at once (`planeloc.beads.stage_drift`).
4. The transform is fitted (`planeloc.registration.transform_fit`) and checked (`planeloc.registration.quality`).

With `beads_move`, every frame is an independent image, whose particles are matched within the frame only: a movie of a
few moving particles registers cameras, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from planeloc.beads.detection import BeadSearch
from planeloc.beads.point_matching import Match
from planeloc.beads.positions import BeadPositions, find_moving_positions, find_positions
from planeloc.cameras.camera import Camera, camera_called
from planeloc.cameras.microscope import Microscope
from planeloc.core.checks import print_warnings, quality_dict, stop_on_failure, write_quality
from planeloc.core.errors import PlanelocError
from planeloc.core.progress import LOG_EVERY_S, progress_bar
from planeloc.core.settings import check as check_settings
from planeloc.io.bead_images import camera_file, read_slices
from planeloc.io.camera_source import CameraSource, open_cameras
from planeloc.registration.figure import draw_registration
from planeloc.registration.matched_beads import MatchedPlane, match_beads, without_stage_drift
from planeloc.registration.quality import quality_checks, quality_values
from planeloc.registration.settings import RegisterSettings
from planeloc.registration.transform_fit import (
    FEWEST_FOR_QUADRATIC,
    RegisteredPlane,
    covered_fraction,
    fit_shift,
    fit_transform,
)
from planeloc.transforms.camera_transform import Affine, Registration

_LOG = logging.getLogger(__name__)

_MOST_FRAMES = 500  # of a movie of moving particles
_MOST_SLICES = 1000  # more is a movie


def register(
    beads: Sequence[Path],
    microscope: Microscope,
    output: Path,
    figure: Path,
    quality: Path,
    settings: RegisterSettings | None = None,
) -> None:
    """Find the transform from the reference camera to every other one; write it with its figure and quality values.

    Parameters
    ----------
    beads : one image or a z-stack per camera, in the microscope's layout.

    Raises
    ------
    PlanelocError : too few beads, a missing or ambiguous match, or a failed quality check. After a failed check, figure
        and quality values are left beside `figure` and `quality`, with `.failed` in their names. Nothing else is
        written then.
    """
    settings = settings or RegisterSettings()
    check_settings(settings)
    pixel = microscope.pixel_size_nm
    with progress_bar(2 * microscope.planes, "registering", "step", log_every_s=LOG_EVERY_S) as bar:
        with open_cameras([Path(path) for path in beads], microscope) as source:
            files, shape = source.files, source.shape[2:]
            positions, cameras = _find_beads(source, microscope, settings, bar.update)
        matches = []
        for p in range(1, microscope.planes):
            matches.append(match_beads(positions, p, shape, cameras, camera_file(files, p), settings))
            bar.update()
        steady = without_stage_drift(positions, matches, settings.minimum_matched)
        registered = [
            _register_plane(camera_file(files, p), cameras[p].name, match, plane, shape, settings)
            for p, match, plane in zip(range(1, len(cameras)), matches, steady, strict=True)
        ]
        registration = _registration(registered, len(positions[0].label), shape, pixel)
        values = quality_values(registration, registered, positions)
        checks = quality_checks(values, registered, shape, settings)

        def draw(path: Path) -> None:
            draw_registration(path, registration, cameras[0].name, positions[0].position_px, registered)

        stop_on_failure(files[0], values, checks, Path(figure), Path(quality), draw)
        draw(figure)
        bar.update()
    write_quality(quality, values, checks)
    print_warnings(checks)
    details = {
        "height_px": shape[0],
        "width_px": shape[1],
        "pixel_size_nm": pixel,
        "orientation": ["reference", *(plane.orientation for plane in registered)],
        "quality": quality_dict(values, checks),
        "settings": asdict(settings),
    }
    registration.write(output, details)
    for p, plane in enumerate(registered, start=1):
        _LOG.info(_described(registration, p, plane))


def _find_beads(
    source: CameraSource, microscope: Microscope, settings: RegisterSettings, advance: Callable[[], object]
) -> tuple[list[BeadPositions], tuple[Camera, ...]]:
    """Positions of the beads on every camera, and the cameras as their files limit them; `advance` after each.

    All slices of a scan are used; of a movie of moving particles, frames spread over it.
    """
    total = source.shape[0]
    if total > _MOST_SLICES and not settings.beads_move:
        raise PlanelocError(
            f"{source.files[0]}: {total} frames, a movie and not a bead scan: give bead images, or set beads_move"
        )
    most = min(total, _MOST_FRAMES) if settings.beads_move else total
    frames = np.unique(np.linspace(0, total - 1, most).astype(np.int64))
    counts, cameras = read_slices(source, microscope.cameras, frames)
    search = BeadSearch.in_pixels(
        microscope.pixel_size_nm, settings.window_nm, settings.isolation_nm, settings.border_nm, settings.minimum_snr
    )
    found = []
    for p, camera in enumerate(cameras):
        if settings.beads_move:
            found.append(find_moving_positions(counts[:, p], frames, camera, search))
        else:
            found.append(find_positions(counts[:, p], camera, search))
        advance()
    return found, cameras


def _register_plane(
    file: Path, name: str, match: Match, plane: MatchedPlane, shape: tuple[int, int], settings: RegisterSettings
) -> RegisteredPlane:
    """Fit the transform of one camera."""
    source = plane.beads.source
    # Beads in a corner of the field determine its position, but their errors would rotate and stretch the rest.
    narrow = covered_fraction(source, shape) < settings.affine_area
    if settings.model == "quadratic" and (narrow or len(source) < FEWEST_FOR_QUADRATIC):
        raise PlanelocError(
            f"{file}: {len(source)} matched beads on {camera_called(name)} are too few or too close together for a "
            "quadratic "
            f"transform; {FEWEST_FOR_QUADRATIC} all over the field are needed: image more, or set register: model: auto"
        )
    fit = fit_shift(plane.beads) if narrow else fit_transform(plane.beads, settings.model)
    return RegisteredPlane(name, match, plane, fit)


def _registration(
    registered: Sequence[RegisteredPlane], reference_beads: int, shape: tuple[int, int], pixel_size_nm: float
) -> Registration:
    fits = [plane.fit for plane in registered]
    return Registration(
        transforms=(Affine.identity(), *(fit.transform for fit in fits)),
        residual_nm=(0.0, *(fit.residual_rms_px * pixel_size_nm for fit in fits)),
        field_px=shape,
        uncertainty=(None, *(fit.uncertainty for fit in fits)),
        beads=(reference_beads, *(plane.used for plane in registered)),
        pixel_size_nm=pixel_size_nm,
    )


def _described(registration: Registration, plane: int, found: RegisteredPlane) -> str:
    """One line for the log."""
    field_nm, corner_nm = registration.transform_sd_nm(plane)
    out = f", {found.excluded} left out" if found.excluded else ""
    return (
        f"{found.name}: {found.orientation}, {found.used} beads{out}, {found.fit.transform.model} transform, "
        f"residual {registration.residual_nm[plane]:.1f} nm, uncertainty {field_nm:.1f} nm over "
        f"the field (worst corner {corner_nm:.1f} nm)"
    )
