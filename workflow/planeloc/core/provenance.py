"""Provenance: what is needed to reproduce a result, written beside it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from planeloc import __version__
from planeloc.core.files import sha256, write_json
from planeloc.core.marks import PROVENANCE

_PACKAGES = ("numpy", "scipy", "torch", "h5py", "zarr", "dask", "pandas", "tifffile")


def write_provenance(
    path: Path,
    stage: str,
    settings: Mapping[str, Any],
    inputs: list[Path],
    outputs: list[Path],
    used: Mapping[str, Any] | None = None,
    known: Mapping[str, str] | None = None,
) -> None:
    """Record one run of one stage.

    Parameters
    ----------
    settings : all settings, defaults included.
    inputs, outputs : files, recorded with their SHA-256. A folder is represented by the manifest that lists its
        checksums.
    used : what only the run knows: device, seeds, decisions.
    known : path → SHA-256 of inputs that the run has hashed already: movies are too large to be read twice.
    """
    known = known or {}
    content = {
        "stage": stage,
        "planeloc": __version__,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "settings": dict(settings),
        "inputs": {str(file): known.get(str(file)) or sha256(file) for file in inputs if file.is_file()},
        "outputs": {str(file): sha256(file) for file in outputs if file.is_file()},
        "used": dict(used or {}),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(path, content, PROVENANCE)


def _version(package: str) -> str:
    """A finished stage must not fail on a package that is installed without its metadata."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
