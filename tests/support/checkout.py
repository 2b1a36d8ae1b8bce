"""A copy of the workflow with a stub in the place of planeloc, for tests of rules, configuration and sample tables."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support import stub_planeloc
from support.repository import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "workflow"))

from preflight.configuration import read_all
from preflight.errors import ConfigurationError
from preflight.schema import YamlLines

SNAKEMAKE_TIMEOUT_S = 120
CAMERA = {
    "offset_counts": 100,
    "electrons_per_count": 0.5,
    "em_gain": 1,
    "quantum_efficiency": 0.9,
    "read_noise_electrons": 1.5,
}


@dataclasses.dataclass
class Checkout:
    """A copy of the workflow with a stub in the place of planeloc."""

    folder: Path

    def __post_init__(self) -> None:
        for name in ("workflow", "config", "profiles"):
            shutil.copytree(REPOSITORY / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(REPOSITORY / "Snakefile", self.folder)
        (self.folder / "resources").mkdir()
        for name in ("regression.safetensors", "quadplane.safetensors"):
            (self.folder / "resources" / name).write_text("weights")
        (self.folder / "bin").mkdir()
        stub = self.folder / "bin" / "planeloc"
        stub.write_text(f"#!{sys.executable}\n" + Path(stub_planeloc.__file__).read_text())
        stub.chmod(0o755)

    def snakemake(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        path = os.pathsep.join([str(self.folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.folder,
            env={**os.environ, "PATH": path, "STUB_CALLS": str(self.calls_file), **environment},
            capture_output=True,
            text=True,
            timeout=SNAKEMAKE_TIMEOUT_S,
            start_new_session=True,  # what interrupts it does not interrupt the tests
            check=False,
        )

    def demo(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return self.snakemake("--cores", "2", "--configfile", "config/demo/config.yaml", *arguments, **environment)

    @property
    def calls_file(self) -> Path:
        return self.folder / "calls.jsonl"

    def calls(self) -> list[list[str]]:
        """What the stub was called with since the last look."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def verbs(self) -> list[str]:
        return sorted(call[0] for call in self.calls())

    def messages(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What is wrong with the configuration and the sample tables."""
        monkeypatch.chdir(self.folder)
        file = "config/config.yaml"
        with pytest.raises(ConfigurationError) as caught:
            YamlLines([file])
            read_all(yaml.safe_load(Path(file).read_text()), [file])
        return str(caught.value).splitlines()

    def message(self, monkeypatch: pytest.MonkeyPatch) -> str:
        """The one thing that is wrong."""
        (line,) = self.messages(monkeypatch)
        return line

    def write_own_data(self, cameras: int = 2) -> None:
        """Two samples that share a calibration, one that has its own, and the configuration for them."""
        data = self.folder / "my data"
        data.mkdir()
        names = ("beads-a", "beads-b", "one", "two", "three")
        files = {name: [f"my data/{name}.{i}.tif" for i in range(cameras)] for name in names}
        for path in (path for paths in files.values() for path in paths):
            (self.folder / path).write_text("counts")
        microscope = {"pixel_size_nm": 100, "cameras": [{"name": str(i), **CAMERA} for i in range(cameras)]}
        (data / "microscope.yaml").write_text(yaml.safe_dump(microscope, sort_keys=False))
        self.table("calibrations", "calibration microscope beads z_step_nm scan", *(
            [name, "my data/microscope.yaml", ";".join(files[f"beads-{name}"]), "50", "sample"] for name in "ab"
        ))  # fmt: skip
        self.table("samples", "sample calibration movie truth", *(
            [name, calibration, ";".join(files[name]), ""] for name, calibration in
            (("one", "a"), ("two", "a"), ("three", "b"))
        ))  # fmt: skip

    def give_camera_movies(self) -> None:
        """Dark and bright movies for calibration a."""
        for name in ("dark", "bright"):
            for i in range(2):
                (self.folder / f"my data/{name}.{i}.tif").write_text("counts")
        self.edit("config/calibrations.tsv", "scan", "scan\tdark\tbright")
        movies = [";".join(f"my data/{name}.{i}.tif" for i in range(2)) for name in ("dark", "bright")]
        self.edit("config/calibrations.tsv", "sample", "\t".join(["sample", *movies]))

    def raise_version(self, stage: str, package: str = "workflow/planeloc") -> None:
        """As everyone does who changes the results of a stage."""
        file = self.folder / package / "stage_versions.toml"
        text, found = re.subn(rf"(?m)^{stage} = (\d+)$", lambda line: f"{stage} = {int(line[1]) + 1}", file.read_text())
        assert found == 1
        file.write_text(text)

    def table(self, name: str, header: str, *rows: list[str]) -> None:
        lines = ["\t".join(cells) for cells in (header.split(), *rows)]
        (self.folder / "config" / f"{name}.tsv").write_text("\n".join(lines) + "\n")

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.folder / path).read_text()
        assert old in text
        (self.folder / path).write_text(text.replace(old, new, 1))
