"""Kinds of network: found by name, added from outside of the package, compared by name nowhere."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from planeloc.core.errors import PlanelocError
from planeloc.networks.kinds import NetworkKind, network_kind, network_kinds
from support.repository import REPOSITORY

PACKAGE = REPOSITORY / "workflow" / "planeloc"
OWN = ("upsampling", "regression")
LOCALIZE = """
import sys
from pathlib import Path
from planeloc.localization.localize_frames import localize_frames
from planeloc.networks.kinds import network_kinds
from support.movies import localizer_of, write_files

localizer = localizer_of(write_files(Path(sys.argv[1])), weights=sys.argv[2], refine="none")
table = localize_frames(localizer, 0, 6)
print(*network_kinds(), type(localizer.finder).__module__, *table["frame"])
"""


INCOMPLETE = """
from toy_package import Shape, Toy
from planeloc.networks.kinds import NetworkKind

class Incomplete(NetworkKind):
    name, architecture = "incomplete", Shape

    def build(self, record):
        return None

class Undescribed(Incomplete):
    task, finder = Toy.task, Toy.finder
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment in which packages that add kinds are installed."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(Path(__file__).with_name("toy_kind.py"), folder / "toy_package.py")
    for name in ("Incomplete", "Undescribed"):
        (folder / f"{name.lower()}_package.py").write_text(f"{INCOMPLETE}\nKIND = {name}()\n")
    names = ("toy", "incomplete", "undescribed")
    for name, module in (("broken", "package_that_is_gone"), *((name, f"{name}_package") for name in names)):
        distribution = folder / f"{name}_kind-1.0.dist-info"
        distribution.mkdir()
        (distribution / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-kind\nVersion: 1.0\n")
        (distribution / "entry_points.txt").write_text(f"[planeloc.network_kinds]\n{name} = {module}:KIND\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (folder, PACKAGE.parent, REPOSITORY / "tests")))}


def call(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)


def test_a_kind_from_outside_is_trained_and_localizes(environment: dict[str, str], tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    made = {"output": weights, "record": tmp_path / "training.json", "figure": tmp_path / "training.png"}
    files = [f"--{name}={path}" for name, path in made.items()]
    few = ["--network=toy", "--validation=8", "--validate-every=16", "--device=cpu"]
    trained = call(environment, "-m", "planeloc.cli.main", "train", *few, *files)
    assert trained.returncode == 0, trained.stderr
    used = call(environment, "-c", LOCALIZE, str(tmp_path), str(weights))
    known = [*OWN, "broken", "incomplete", "toy", "undescribed"]
    assert used.stdout.split() == [*known, "toy_package", *"012345"], used.stderr


def test_a_kind_whose_package_is_gone_is_one_line(environment: dict[str, str]) -> None:
    script = "from planeloc.networks.kinds import network_kind; network_kind('broken')"
    assert (
        "kind of network 'broken' of package broken-kind cannot be loaded (No module named"
        in call(environment, "-c", script).stderr
    )


@pytest.mark.parametrize(
    ("name", "missing"),
    [("incomplete", r".*class Incomplete .*methods? '?finder'?, '?task'?"),
     ("undescribed", "class Undescribed lacks training_defaults, detection_threshold")],
)  # fmt: skip
def test_an_incomplete_kind_is_one_line_that_says_what_is_missing(
    environment: dict[str, str], name: str, missing: str
) -> None:
    message = (
        rf"planeloc: kind of network '{name}' of package {name}-kind cannot be loaded \({missing}\); update or"
        rf" uninstall the package \(entry point {name}_package:KIND\)"
    )
    files = ["--output=w.safetensors", "--record=t.json", "--figure=t.png"]
    trained = call(environment, "-m", "planeloc.cli.main", "train", f"--network={name}", *files)
    assert re.fullmatch(message, trained.stderr.strip()), trained.stderr
    assert trained.returncode != 0


def test_own_kinds_are_found_by_name() -> None:
    assert network_kinds() == OWN
    for name in OWN:
        kind = network_kind(name)
        assert isinstance(kind, NetworkKind) and (kind.name, kind.architecture.kind) == (name, name)
        assert (REPOSITORY / kind.shipped_weights).is_file()
        assert kind.training_defaults.keys() == {"samples", "batch", "learning_rate", "channels"}
    with pytest.raises(
        PlanelocError, match="kind of network 'regresion' is not known; use one of upsampling, regression"
    ):
        network_kind("regresion")


def test_settings_import_no_kind() -> None:
    script = "import sys, planeloc.training.settings; print([n for n in sys.modules if n.startswith('planeloc.kinds')])"
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    assert call(environment, "-c", script).stdout.strip() == "[]"


def compared_kinds(tree: ast.AST) -> list[int]:
    """Lines where a kind's name is compared, kinds are the keys of a table, or a kind's class is asked for."""
    lines = []
    for node in ast.walk(tree):
        constants = [value.value for value in ast.walk(node) if isinstance(value, ast.Constant)]
        if isinstance(node, ast.Compare | ast.MatchValue) and set(OWN) & set(map(str, constants)):
            lines.append(node.lineno)
        if isinstance(node, ast.Dict):
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
            lines += [node.lineno] * (keys >= set(OWN))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            classes = {getattr(name, "attr", getattr(name, "id", "")) for name in ast.walk(node.args[1])}
            lines += [node.lineno] * bool(classes & {"Architecture", "RegressionNetwork", "UpsamplingNetwork"})
    return lines


@pytest.mark.parametrize(
    "package", sorted(p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name not in ("networks", "kinds"))
)
def test_kinds_are_compared_by_name_nowhere(package: str) -> None:
    found = {
        str(path.relative_to(PACKAGE)): lines
        for path in (PACKAGE / package).rglob("*.py")
        if (lines := compared_kinds(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert not found


@pytest.mark.parametrize(
    "code",
    ['if kind == "regression": pass', 'x = {"regression": 1, "upsampling": 2}',
     "isinstance(a, regression.Architecture)", 'k in ("upsampling", other)', "match k:\n    case 'regression': pass"],
)  # fmt: skip
def test_comparisons_are_recognized(code: str) -> None:
    assert compared_kinds(ast.parse(code))
