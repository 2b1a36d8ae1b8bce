"""Results of a camera calibration: the photon transfer line, the measured camera, and its microscope file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy import ndimage

from planeloc.camera_calibration.movie_statistics import BrightStatistics, CalibrationMovies, DarkStatistics
from planeloc.cameras.camera import Camera
from planeloc.cameras.microscope import Microscope

_SMOOTHING_PX = 3.0


@dataclass(frozen=True)
class PhotonTransferLine:
    """variance = intercept + slope · signal, counts², with the movie and its levels that were fitted."""

    bright: BrightStatistics
    intercept: float
    slope: float
    slope_sd: float
    used: NDArray[np.bool_]  # per level
    curvature: float  # nonlinearity at the brightest level used, relative to the shot noise there
    curvature_sd: float
    dark_gap_counts: float  # offset error that would explain the distance of the dark movie from the line
    dark_gap_sd_counts: float

    @property
    def linear_up_to(self) -> float:
        """Brightest level used, counts above the offset."""
        return float(self.bright.levels.signal[self.used].max())


@dataclass(frozen=True)
class CameraMeasurement:
    """One measured camera; `declared` is the camera of the microscope file."""

    camera: Camera
    declared: Camera
    sd: dict[str, float]  # standard deviation of every measured field of the camera; 0: the declared value is kept
    gain_sd: float  # of the counts per photoelectron, relative
    excess_noise: float  # F²; measured only with a movie without EM gain
    excess_noise_sd: float
    dark: DarkStatistics
    line: PhotonTransferLine
    line_without_em: PhotonTransferLine | None

    @property
    def stray_light_counts(self) -> float:
        """Mean stray light in the dark movie, counts, less its uncertainty; 0 if the illumination is even.

        It is recognised as a faint copy of the bright image.
        """
        bright = ndimage.gaussian_filter(self.line.bright.mean - self.dark.mean, _SMOOTHING_PX)[self.dark.usable]
        spread = bright.std()
        if not spread > 0.1 * abs(bright.mean()):
            return 0.0
        image = self.dark.mean[self.dark.usable]
        share = np.mean((bright - bright.mean()) * (image - image.mean())) / spread**2
        noise = (image - share * bright).std() / (spread * np.sqrt(len(bright)))
        return float(max(share - 3 * noise, 0.0) * bright.mean())


def microscope_file_text(
    microscope: Microscope, measured: Sequence[CameraMeasurement], movies: CalibrationMovies, declared_in: Path
) -> str:
    """The microscope file (YAML): every measured value with its standard deviation and the declared value."""
    files = {"dark": movies.dark, "bright": movies.bright, "bright without EM gain": movies.without_em}
    lines = [
        "# Made by `planeloc cameras`: do not edit, it is made again when its movies change.",
        f"# Measured by photon transfer; what has no ± is as in {declared_in}.",
        *(f"# {name}: {'; '.join(map(str, paths))}" for name, paths in files.items() if paths),
        *(_yaml_line(key, getattr(microscope, key)) for key in ("name", "pixel_size_nm", "layout")),
        "cameras:",
        *(_list_item(_camera_lines(m)) for m in measured),
    ]
    if microscope.regions:
        lines.append("regions:")
        lines += [_list_item([_yaml_line(*item) for item in asdict(region).items()]) for region in microscope.regions]
    return "\n".join(lines) + "\n"


def _camera_lines(m: CameraMeasurement) -> list[str]:
    lines = []
    for name, value in asdict(m.camera).items():
        sd = m.sd.get(name, 0.0)
        comment = f" # ± {sd:.2g}; declared: {getattr(m.declared, name):g}" if sd > 0 else ""
        lines.append(_yaml_line(name, _rounded(value, sd) if sd > 0 else value) + comment)
    return lines


def _list_item(lines: Sequence[str]) -> str:
    return "  - " + "\n    ".join(lines)


def _yaml_line(key: str, value: Any) -> str:
    return yaml.safe_dump({key: value}, allow_unicode=True, width=10**6).strip()


def _rounded(value: float, sd: float) -> float:
    """Rounded to a hundredth of its standard deviation or finer."""
    return float(round(value, max(0, 2 - int(np.floor(np.log10(sd))))))
