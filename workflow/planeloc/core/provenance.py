"""Where a result comes from: written beside every output, enough to make it again years later."""

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
    settings : everything that was set, defaults included.
    inputs : files; each is named with its SHA-256. Folders are named by the manifest that lists their checksums.
    used : what only the run itself knows: the device really used, seeds, decisions.
    known : SHA-256 of inputs, by path, that the run has worked out already: movies are too large to be read twice.
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
    write_json(path, content)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
