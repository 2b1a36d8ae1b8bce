"""What `localize` writes of the cameras' drift through a movie: table, figure and quality values."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from planeloc.core.checks import print_warnings, write_quality
from planeloc.io.camera_drift import CameraDrift, write_camera_drift
from planeloc.localization.camera_drift_text import drift_checks, drift_values, in_words, movement
from planeloc.localization.context import Inputs

_BEYOND_TRAINING = 2.0  # times the drift in the network's training, from which on it warns


class DriftFiles(NamedTuple):
    """Files to write, where they are given."""

    table: Path | None = None
    figure: Path | None = None
    quality: Path | None = None

    def write(self, drift: CameraDrift, inputs: Inputs) -> None:
        """Write them, and log a warning for every camera that drifts more than in the network's training."""
        names = [camera.name for camera in inputs.movie.microscope.cameras[1:]]
        sentences = [
            in_words(name, movement(drift.frame, drift.drift_nm[:, n], drift.sd_nm[:, n]), inputs.movie.frames)
            for n, name in enumerate(names)
        ]
        if self.table:
            write_camera_drift(self.table, drift)
        if self.figure:
            from planeloc.localization.camera_drift_figure import draw_camera_drift  # half a second, for matplotlib

            draw_camera_drift(self.figure, drift.frame, drift.drift_nm, drift.sd_nm, names, sentences)
        if not self.quality:
            return
        values = drift_values(drift.drift_nm, drift.sd_nm)
        trained = inputs.record.scene.drift_sds_nm(inputs.psf.pixel_size_nm, inputs.psf.planes)
        checks = drift_checks(values, sentences, trained, _BEYOND_TRAINING)
        print_warnings(checks)
        write_quality(self.quality, values, checks)
