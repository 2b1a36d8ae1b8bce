"""Results of a benchmark with what they depend on: commit, date, processor, threads, versions, command line.

The variables COMMIT and CLEAN ("yes") state the commit where a copy of the code has no git.

Every script records its rows here, and the table that it prints is made from the file. Without ``--json`` the file
goes to benchmarks/scratch, which git ignores. ``--json benchmarks/results/NAME.json`` publishes it: then
`python benchmarks/tables.py` generates the table of the documents from it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.tables import ROOT, Column

from planeloc.core.files import write_json
from planeloc.core.marks import BENCHMARK

SCRATCH = ROOT / "benchmarks" / "scratch"
_INSTRUCTION_SETS = {"avx2": "avx2", "avx512f": "avx512", "avx512_bf16": "bf16", "amx_bf16": "bf16"}


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``, the file of the results."""
    parser.add_argument("--json", type=Path, help="file of the results (default: benchmarks/scratch/NAME.json)")


class Record:
    """Rows of one benchmark, saved after each, so that a run that is stopped keeps what it measured.

    Parameters
    ----------
    name : str
        Of the file in benchmarks/scratch, where no path is given.
    path : Path, optional
        The file.
    extend : bool
        Keep the rows that the file holds from the same commit.
    """

    def __init__(self, name: str, path: Path | None = None, extend: bool = False) -> None:
        self.path = path or SCRATCH / f"{name}.json"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._content: dict[str, Any] = {"measurement": measurement(), "results": []}
        if extend and self.path.exists():
            earlier = json.loads(self.path.read_text(encoding="utf-8"))
            if earlier["measurement"]["commit"] == self._content["measurement"]["commit"]:
                self._content["results"] = earlier["results"]

    def describe(self, **values: Any) -> None:
        """Add to what the results depend on."""
        self._content["measurement"] |= values
        write_json(self.path, self._content, BENCHMARK)

    def add(self, **row: Any) -> None:
        """Save one more row; values are text, numbers, lists of them or None. What is not finite becomes None."""
        plain = {key: _plain(value) for key, value in row.items()}
        self._content["results"].append(plain)
        write_json(self.path, self._content, BENCHMARK)
        print(
            ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else str(value) for key, value in plain.items())
        )

    def show(self, *columns: Column) -> None:
        """Print the table of the file."""
        rows = json.loads(self.path.read_text(encoding="utf-8"))["results"]
        lines = [[column.header for column in columns], *([column.cell(row) for column in columns] for row in rows)]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        for line in lines:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        print(f"written to {self.path}")


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def measurement() -> dict[str, Any]:
    """What results depend on besides the code of the benchmark."""
    return {
        "commit": os.environ.get("COMMIT") or _git("rev-parse", "HEAD"),
        "clean": os.environ["CLEAN"] == "yes" if "CLEAN" in os.environ else not _git("status", "--porcelain"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "command": ["python", "-m", _module(), *sys.argv[1:]],
    }


def processor() -> dict[str, Any]:
    """Model, instruction sets and the cores that this process may use."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    model = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    flags = (
        set(re.findall(r"\S+", found[1])) if (found := re.search(r"^flags\s*: (.+)$", text, re.MULTILINE)) else set()
    )
    return {
        "model": model[1] if model else platform.processor() or platform.machine(),
        "instruction_sets": sorted({name for flag, name in _INSTRUCTION_SETS.items() if flag in flags}),
        "cores": len(os.sched_getaffinity(0)),
    }


def largest_memory_mb() -> float:
    """Largest resident memory of this process so far, MB; `getrusage` would include that of the parent."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1.024e-3


def run_again(arguments: Sequence[str]) -> str:
    """Run the calling script in a process of its own; returns what it prints."""
    command = [sys.executable, "-m", _module(), *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def _module() -> str:
    """The dotted name of the script that runs; `__main__` has no file in a process started by pytest-xdist."""
    main = Path(getattr(sys.modules["__main__"], "__file__", None) or sys.argv[0]).resolve()
    return ".".join(main.relative_to(ROOT).with_suffix("").parts) if main.is_relative_to(ROOT) else main.stem


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
