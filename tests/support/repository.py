"""Where the repository's files are."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RESOURCES = REPOSITORY / "resources"
QUADPLANE_WEIGHTS = RESOURCES / "quadplane.safetensors"
REGRESSION_WEIGHTS = RESOURCES / "regression.safetensors"
