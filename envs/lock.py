#!/usr/bin/env python3
"""Write envs/requirements.txt: every package that planeloc, its workflow and its tests need, with exact versions.

Make, CI and the container image install from this one file, so all of them run the same software. Any Python 3.11 with
pip will do; nothing is installed::

    python3.11 envs/lock.py

Versions already in the lock stay. Delete a line to let pip choose that package's newest version that fits; to add a
package, add it to pyproject.toml.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "envs" / "requirements.txt"

# What the profiles need and planeloc does not import, so no business of pyproject.toml.
PROFILES = ("snakemake-executor-plugin-slurm>=2.0",)

# torch pins these itself, and only in its CUDA build: naming them here would break the CPU build.
GPU = re.compile(r"(nvidia|cuda)-.+|triton")

HEADER = """\
# Exact versions of everything that planeloc, its workflow and its tests need, on Linux with Python 3.11 or newer.
# Made from pyproject.toml by `python3.11 envs/lock.py`, whose first lines say how to change a version.
# Used by make, CI and the container image.
#
# torch: PyPI has the CUDA build; for the smaller CPU build add --extra-index-url https://download.pytorch.org/whl/cpu.
# There are two builds, so there are no hashes, and torch's own pins of the CUDA libraries are not repeated.
"""


def requirements() -> list[str]:
    """What to resolve: the dependencies and all extras of pyproject.toml, and the profiles' plugins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for group in project["optional-dependencies"].values() for name in group]
    return [*project["dependencies"], *extras, *PROFILES]


def resolve(wanted: list[str], constraints: Path) -> dict[str, str]:
    """Return name → public version of everything that pip would install for `wanted`; raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        subprocess.run([*pip, "--report", str(report), "--constraint", str(constraints), *wanted], check=True)
        packages = json.loads(report.read_text(encoding="utf-8"))["install"]
    # The part after "+" names a build (2.13.0+cpu), which is the machine's choice.
    return {p["metadata"]["name"]: p["metadata"]["version"].partition("+")[0] for p in packages}


def main() -> None:
    if sys.version_info[:2] != (3, 11):
        sys.exit(f"envs/lock.py: run by Python {sys.version.split()[0]}; use 3.11, the oldest that planeloc supports")
    pins = {name: version for name, version in resolve(requirements(), LOCK).items() if not GPU.fullmatch(name.lower())}
    lines = (f"{name}=={pins[name]}\n" for name in sorted(pins, key=str.lower))
    LOCK.write_text(HEADER + "".join(lines), encoding="utf-8")
    print(f"{LOCK.relative_to(ROOT)}: {len(pins)} packages")


if __name__ == "__main__":
    main()
