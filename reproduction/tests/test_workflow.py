"""The workflow of the reproduction: what it runs, and what it runs again. A stub stands for both commands."""

from __future__ import annotations

import dataclasses
import shutil
import typing
from collections import Counter
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from planeloc.cli.main import planeloc
from planeloc_reproduction.settings import PaperSettings
from preflight.schema import read_schema
from support.checkout import Checkout
from support.repository import REPOSITORY

RESULTS = Path("results/paper-small")
TYPES = {int: "integer", str: "string"}


class ReproductionCheckout(Checkout):
    """A copy of the product's workflow with the reproduction beside it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ignored = shutil.ignore_patterns("tests", "__pycache__")
        shutil.copytree(REPOSITORY / "reproduction", self.folder / "reproduction", ignore=ignored)
        for name in ("robust.safetensors", "nonrobust.safetensors", "architecture.json"):
            (self.folder / "resources" / name).write_text("weights")
        shutil.copy(self.folder / "bin" / "planeloc", self.folder / "bin" / "planeloc-reproduction")

    def paper(self, size: str, *arguments: str):
        """Run it with the settings of this size."""
        file = f"reproduction/config/{size}.yaml"
        return self.snakemake("--snakefile", "reproduction/Snakefile", "--configfile", file, *arguments)


@pytest.fixture
def checkout(tmp_path: Path) -> ReproductionCheckout:
    return ReproductionCheckout(tmp_path)


@pytest.mark.slow
def test_the_paper_s_experiments_run_once_and_a_killed_one_alone_again(checkout: ReproductionCheckout) -> None:
    """At the small size: every estimator on every data set and sweep, with the weights that are shipped."""
    run = checkout.paper("small", "--cores", "2")
    assert run.returncode == 0, run.stderr
    calls = checkout.calls()
    assert Counter(call[0].removeprefix("paper ") for call in calls) == {
        "train": 2,
        "one-molecule": 4 * 7,
        "sweep": 6 + 6 + 4,
        "helix": 2,
        **dict.fromkeys(("speed", "bound", "report"), 1),
    }
    for call in calls:
        if "--estimator" in call:
            is_network = call[call.index("--estimator") + 1] in ("robust", "nonrobust")
            assert is_network == ("--weights" in call), call
    drifts = {call[call.index("--inter-camera-drift-voxels") + 1] for call in calls if call[0] == "train"}
    assert drifts == {"2", "0"}
    assert "Nothing to be done" in checkout.paper("small", "--cores", "2").stderr

    results = checkout.folder / RESULTS / "experiments"
    (results / "sweeps" / "drift" / "robust.json").unlink()
    (results.parent / "report.html").unlink()
    assert checkout.paper("small", "--cores", "2").returncode == 0
    assert [call[0] for call in checkout.calls()] == ["paper sweep", "paper report"]

    # A change of what finds molecules repeats what it was used for.
    for experiment in ("one_molecule", "sweep"):
        checkout.raise_version(experiment, "reproduction/planeloc_reproduction")
    assert checkout.paper("small", "--cores", "2").returncode == 0
    assert Counter(call[0].removeprefix("paper ") for call in checkout.calls()) == {
        "one-molecule": 4 * 7,
        "sweep": 6 + 6 + 4,
        "report": 1,
    }


def test_the_paper_in_full_trains_its_networks(checkout: ReproductionCheckout) -> None:
    run = checkout.paper("full", "--dry-run", "--printshellcmds")
    assert run.returncode == 0, run.stderr
    commands = [line for line in run.stdout.splitlines() if "planeloc train" in line and "experiments/training" in line]
    assert len(commands) == 2
    for command in commands:
        assert "--samples=2700000 --batch=100" in command and "--start-from" not in command
    assert any("--structure results/paper-full/filaments/voxels.png" in line for line in run.stdout.splitlines())
    assert "--structure-localizations results/paper-full/filaments/localizations.h5" in run.stdout


@pytest.mark.parametrize("size", ["config", "full"])
def test_the_paper_s_structure_is_found_by_the_paper_s_network_alone(checkout: ReproductionCheckout, size: str) -> None:
    run = checkout.paper(size, "--dry-run", "--printshellcmds")
    assert run.returncode == 0, run.stderr
    commands = [line for line in run.stdout.splitlines() if "results/" in line and "planeloc" in line]
    (train,) = (line for line in commands if "planeloc train" in line and "/networks/" in line)
    (localize,) = (line for line in commands if "planeloc localize" in line)
    assert "--start-from resources/quadplane.safetensors" in train and "--network=upsampling" in train
    assert "--refine=none" in localize and "--threshold=0.05" in localize


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("images: 50", "imges: 50", "small.yaml:4: unknown key imges; did you mean images?"),
        ("images: 50", "images: 5", "small.yaml:4: images is 5; give 10 or more"),
        ("images: 50", "structure: filaments", "small.yaml:4: structure is 'filaments'; give true or false"),
        ("images: 50", "robust: no/weights", "small.yaml:4: robust: no/weights not found; correct the path"),
        ("images: 50", "train: {smples: 5}\nstructure: true", "small.yaml:4: unknown key train.smples; did you mean"),
    ],
)
def test_a_mistake_in_the_settings_is_named(checkout: ReproductionCheckout, old: str, new: str, message: str) -> None:
    checkout.edit("reproduction/config/small.yaml", old, new)
    run = checkout.paper("small", "--dry-run")
    assert run.returncode == 1
    assert message in run.stderr


def test_settings_and_command_line_agree() -> None:
    """Names, types, bounds and defaults in the schema are those of the dataclass."""
    schema = yaml.safe_load((REPOSITORY / "reproduction" / "config" / "schema.yaml").read_text())["properties"]
    kinds = typing.get_type_hints(PaperSettings)
    fields = {field.name: field for field in dataclasses.fields(PaperSettings)}
    assert set(schema) - set(fields) == {"results", "structure", "train", "robust", "nonrobust"}
    for key, field in fields.items():
        rule, told = schema[key], field.metadata
        assert (rule["default"], rule["type"], rule["description"]) == (field.default, TYPES[kinds[key]], told["help"])
        assert (rule.get("minimum"), rule.get("enum")) == (told["minimum"], told["choices"] and list(told["choices"]))


def test_the_product_does_not_know_it() -> None:
    """Neither its rules, nor its settings, nor its help."""
    for path in (REPOSITORY / "workflow").rglob("*"):
        if path.suffix in (".py", ".smk", ".yaml") or path.name == "Snakefile":
            assert "planeloc_reproduction" not in path.read_text(encoding="utf-8"), path
    assert "paper" not in read_schema("config")["properties"]
    assert "paper" not in CliRunner().invoke(planeloc, ["--help"]).output
