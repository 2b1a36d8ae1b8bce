"""What runs again: a stage whose version was raised, and no change of results without that."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from planeloc.core.stage_versions import stage_version as of_package
from support.repository import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "workflow"))

from preflight.stage_versions import stage_version

_specification = importlib.util.spec_from_file_location("fingerprints", Path(__file__).with_name("fingerprints.py"))
fingerprints = importlib.util.module_from_spec(_specification)
sys.modules["fingerprints"] = fingerprints
_specification.loader.exec_module(fingerprints)
Line = fingerprints.Line


@pytest.mark.parametrize("stage", fingerprints.ENTRIES)
def test_no_change_of_results_without_a_raised_version(stage: str) -> None:
    current = fingerprints.fingerprint(fingerprints.ENTRIES[stage])
    wrong = fingerprints.mistakes(fingerprints.read_record().get(stage, []), fingerprints.versions()[stage], current)
    assert not wrong, (
        f"{stage}: {'; '.join(wrong)}. If its results change, raise its version in stage_versions.toml; then run"
        ' python tests/stages/fingerprints.py "what changed", or with "same numbers, checked by …"'
    )


def test_every_stage_has_a_version_and_a_fingerprint() -> None:
    assert set(fingerprints.versions()) == set(fingerprints.ENTRIES) == set(fingerprints.read_record())
    assert all(isinstance(version, int) and version > 0 for version in fingerprints.versions().values())


def test_workflow_and_package_read_the_same_versions() -> None:
    assert stage_version("localize") == of_package("localize") == fingerprints.versions()["localize"]
    of_reproduction = REPOSITORY / "reproduction" / "planeloc_reproduction" / "stage_versions.toml"
    assert stage_version("helix", of_reproduction) == fingerprints.versions()["helix"]
    with pytest.raises(KeyError):
        stage_version("no_such_stage")


def test_every_rule_that_computes_carries_the_version_of_its_stage() -> None:
    rules = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "workflow").rglob("*.smk"))
    rules += "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "reproduction").rglob("*.smk"))
    rules += "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "reproduction").glob("Snakefile"))
    for stage in fingerprints.ENTRIES:
        assert f'stage_version("{stage}"' in rules, stage


def test_a_record_needs_a_raised_version_or_how_the_numbers_were_checked() -> None:
    first = Line(1, "aaa", "first")
    assert fingerprints.mistakes([first], 1, "aaa") == []
    assert fingerprints.mistakes([first], 1, "bbb") and fingerprints.mistakes([], 1, "aaa")
    assert fingerprints.mistakes([first], 2, "aaa")
    assert fingerprints.mistakes([first, Line(2, "bbb", "photons are right")], 2, "bbb") == []
    assert fingerprints.mistakes([first, Line(1, "bbb", "same numbers, checked by the demo")], 1, "bbb") == []
    for note in ("", "tidied up", "same numbers, checked by "):
        assert fingerprints.mistakes([first, Line(1, "bbb", note)], 1, "bbb"), note
    assert fingerprints.mistakes([Line(2, "aaa", "first"), Line(1, "bbb", "back")], 1, "bbb")


FILES = {
    "__init__.py": "VERSION = 1",
    "stage.py": '"""Doc."""\nfrom package.low import x\nfrom package.readers import tiff\n'
    "from package import columns, twin_too\n"
    "def f(n):\n    '''Doc.'''\n    import package.lazy\n    print(f'doing {n}')\n"
    "    if n < 0:\n        raise ValueError(f'{n} is negative; give more')\n    return n + x\n",
    "low.py": "from . import lower\nx = setting(1, 'How many of them.', help='of them')",
    "lower.py": "unit = 'nm'",
    "lazy.py": "y = 1",
    "readers/__init__.py": "",
    "readers/tiff.py": "z = 1",
    "figure.py": "colour = 1",
    "columns.py": "names = {'x [nm]': 1}\nframes = match(label=first)\nfrom package.lower import unit as y",
    "other.py": "x = 1",
    "twin.py": "_STEP = 3\nFORMAT = 'planeloc movie 2'\n\ndef a():\n    return _STEP",
    "twin_too.py": "from package.twin import FORMAT\n_STEP = 4\n\ndef b():\n    return _STEP, FORMAT",
}


def _written(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / "package" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "package" / name).write_text(text)
    return fingerprints.fingerprint(["package.stage"], {"package": folder})


@pytest.mark.parametrize(
    "change",
    [
        {"other.py": "x = 2", "__init__.py": "VERSION = 2"},
        {"lower.py": '"""Doc."""\n\nunit  =  "nm"  # comment'},
        {"stage.py": FILES["stage.py"].replace("is negative; give more", "is below 0, which cannot be")},
        {"stage.py": FILES["stage.py"].replace("doing", "working on").replace("'''Doc.'''", "'''Other.'''")},
        {"low.py": FILES["low.py"].replace("How many of them.", "Their number, at least.").replace("of them", "each")},
        {"stage.py": "from package import figure\n" + FILES["stage.py"], "figure.py": "colour = 2"},
        # a definition moves to another file
        {"lower.py": "unit = 'nm'\ny = 1", "lazy.py": ""},
    ],
    ids=["not imported", "comment", "error", "message", "help", "figure", "moved"],
)
def test_what_changes_no_number_changes_no_fingerprint(tmp_path: Path, change: dict[str, str]) -> None:
    assert _written(tmp_path / "a", FILES) == _written(tmp_path / "b", {**FILES, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"low.py": FILES["low.py"].replace("setting(1", "setting(2")},
        {"lower.py": "unit = 'um'"},
        {"stage.py": FILES["stage.py"].replace("n + x", "n - x")},
        {"stage.py": FILES["stage.py"].replace("n < 0", "n <= 0")},
        {"lazy.py": "y = 2"},
        {"readers/tiff.py": "z = 2"},
        {"readers/__init__.py": "w = 1"},
        {"columns.py": FILES["columns.py"].replace("x [nm]", "x [px]")},
        {"columns.py": FILES["columns.py"].replace("label=first", "label=second")},
        {"columns.py": FILES["columns.py"].replace("unit as y", "x as y")},
        {"twin.py": FILES["twin.py"].replace("3", "4")},
        {
            "twin.py": FILES["twin.py"].replace("_STEP = 3", "_STEP = 4"),
            "twin_too.py": FILES["twin_too.py"].replace("_STEP = 4", "_STEP = 3"),
        },
        {"twin.py": FILES["twin.py"].replace("movie 2", "movie 3")},
    ],
    ids=[
        "default",
        "word",
        "sum",
        "condition",
        "lazy import",
        "module below",
        "package",
        "column",
        "keyword",
        "alias",
        "hidden by a twin",
        "exchanged",
        "format",
    ],
)
def test_what_changes_a_number_changes_the_fingerprint(tmp_path: Path, change: dict[str, str]) -> None:
    assert _written(tmp_path / "a", FILES) != _written(tmp_path / "b", {**FILES, **change})
