"""Settings of a small simulated acquisition."""

from pathlib import Path

import yaml

from support.repository import REPOSITORY

DEMO = REPOSITORY / "config" / "demo" / "simulation.yaml"
SMALL = {
    "frames": 40,
    "width_px": 40,
    "height_px": 36,
    "beads": {"count": 4, "scan_range_nm": 300, "z_step_nm": 100},
    "structure": {"filaments": 3},
    "blinking": {"mean_off_s": 20},
    "camera_movies": {"frames": 0, "sheet_offset_counts": 0, "sheet_gain": 1},
}


def write_settings(folder: Path, **changes) -> Path:
    """The demo's simulation file with some keys changed, sections merged."""
    content = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    for key, value in [*SMALL.items(), *changes.items()]:
        merge = isinstance(content.get(key), dict) and isinstance(value, dict)
        content[key] = {**content[key], **value} if merge else value
    path = folder / "simulation.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path
