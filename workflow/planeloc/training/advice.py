"""How to train for a movie that a network was not trained for: as a command, and in the workflow's configuration."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from planeloc.networks.kinds import network_kind
from planeloc.networks.training_match import worst_mistaken_depth
from planeloc.networks.weight_files import NetworkRecord
from planeloc.psf import PSF
from planeloc.scenes.scene import natural_depth_range
from planeloc.training.settings import DENSITY_PX, SCENE_SETTINGS, TrainSettings


def training_advice(
    remedy: Mapping[str, Any],
    spot_width_differs: bool,
    record: NetworkRecord,
    psf: PSF,
    *,
    movie: Path,
    registration: Path,
    calibration: Path,
    weights: Path,
    output: Path,
    synchronization: Path | None = None,
) -> str:
    """Return one line that says how to train a network for a movie.

    Parameters
    ----------
    remedy : settings of `train` that differ from those of the network's own training.
    spot_width_differs : the movie's spots have another width than those of the network's PSF.
    record : of the network.
    psf : the calibration in the frame of the reference camera.
    movie, registration, calibration, weights, output, synchronization : of `planeloc localize`; new weights go beside
        `output`.
    """
    settings = {**_own_training(record), **remedy}
    files = {"psf": calibration, "registration": registration, "movie": movie, "start-from": weights}
    files |= {"synchronization": synchronization} if synchronization else {}
    made = {"output": "weights.safetensors", "record": "training.json", "figure": "training.png"}
    files |= {name: output.with_name(file) for name, file in made.items()}
    command = ["planeloc", "train", *(word for name, path in files.items() for word in (f"--{name}", str(path)))]
    command += [_option(name, value) for name, value in settings.items()]
    # What to start from stays out of the configuration: there, rule `train` itself makes the weights at hand.
    keys = {"on_mismatch": "train", **settings}
    listed = ", ".join(
        f"{name}: {str(value).lower() if isinstance(value, bool) else value}" for name, value in keys.items()
    )
    first = ""
    if spot_width_differs and worst_mistaken_depth(record, psf) <= TrainSettings().maximum_depth_error_nm:
        first = f"{calibration} has the network's spot width: calibrate with beads recorded like the movie first; "
    return f"{first}train for this movie with `{shlex.join(command)}`, or in a configuration by `train: {{{listed}}}`"


def _own_training(record: NetworkRecord) -> dict[str, Any]:
    """Settings of the network's own training that are not the defaults."""
    scene = record.scene
    extent = scene.depth_range_nm[1] - scene.depth_range_nm[0]
    natural = abs(extent - natural_depth_range(record.psf)) <= scene.voxel_depth_nm
    own = {
        "network": record.kind,
        **{name: getattr(scene, name) for name in SCENE_SETTINGS},
        "depth_range_nm": 0.0 if natural else extent,
        **{name: getattr(scene, name) for name in network_kind(record.kind).scene_settings},
    }
    if "density" in own:
        fewest, most = (DENSITY_PX**2 * density for density in scene.density)
        own["density"] = f"{fewest:g}-{most:g}"
    defaults = {field.name: field.default for field in fields(TrainSettings)}
    return {name: value for name, value in own.items() if value != defaults[name]}


def _option(name: str, value: Any) -> str:
    word = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{word}" if value else f"--no-{word}"
    return f"--{word}={value}"
