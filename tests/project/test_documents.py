"""Documents: links, commands and modules exist, tables are current, every release says what runs again."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from planeloc.cli.main import planeloc
from support.repository import REPOSITORY

FOLDERS = (".", "config", "containers", "resources", "reproduction")
DOCUMENTS = sorted(
    {path for folder in FOLDERS for path in (REPOSITORY / folder).glob("*.md")}
    | set((REPOSITORY / "docs").rglob("*.md"))
)
RESULTS = sorted(path for top in (".", "reproduction") for path in (REPOSITORY / top).glob("benchmarks/results/*.json"))


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def without_code(document: Path) -> str:
    return re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@cache
def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(document), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


def broken_links(document: Path) -> list[str]:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(document)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (document.parent / file).resolve() if file else document
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    return broken


def commands(document: Path) -> list[list[str]]:
    """The words of every command line of a document, without comments and leading settings of variables."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for kind, block in blocks if not kind for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`((?:snakemake|planeloc|make|python|pytest) [^`…\n]+)`", text)
    lines = [line.strip() for line in lines if line.strip().partition(" ")[0] in KNOWN]
    return [shlex.split(line, comments=True) for line in lines]


def wrong_make(words: list[str]) -> list[str]:
    targets = re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return [word for word in words[1:] if "=" not in word and word not in targets]


def wrong_planeloc(words: list[str]) -> list[str]:
    if words[1].startswith("-"):
        return []
    command = planeloc.get_command(None, words[1])
    if command is None:
        return [words[1]]
    options = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    return [word for word in words[2:] if word.startswith("--") and word.partition("=")[0] not in options | {"--help"}]


def wrong_snakemake(words: list[str]) -> list[str]:
    named = [b for a, b in pairwise(words) if a in ("--configfile", "--snakefile", "--workflow-profile")]
    examples = ("FILE", "my-project/config.yaml")
    return [path for path in named if path not in examples and not (REPOSITORY / path).exists()]


def wrong_python(words: list[str]) -> list[str]:
    if words[1] == "-m" and "." in words[2]:
        places = (REPOSITORY, REPOSITORY / "workflow")
        found = any(place.joinpath(*words[2].split(".")).with_suffix(".py").exists() for place in places)
        return [] if found else [words[2]]
    return [word for word in words[1:2] if word.endswith(".py") and not (REPOSITORY / word).exists()]


KNOWN = {
    "make": wrong_make,
    "planeloc": wrong_planeloc,
    "snakemake": wrong_snakemake,
    "python": wrong_python,
    "python3": wrong_python,
    "python3.11": wrong_python,
}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_relative_links_and_their_anchors_exist(document: Path) -> None:
    assert broken_links(document) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_exist_with_their_options_and_files(document: Path) -> None:
    assert [words for words in commands(document) if KNOWN[words[0]](words)] == []


def test_readme_holds_the_two_commands_and_the_chain() -> None:
    found = commands(REPOSITORY / "README.md")
    assert ["make", "demo"] in found and ["make", "test"] in found
    assert ["snakemake", "--snakefile", "reproduction/Snakefile"] in found


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_modules_that_documents_name_exist(document: Path) -> None:
    missing = []
    for name in sorted(
        set(re.findall(r"`((?:planeloc|planeloc_reproduction)(?:\.\w+)+)`", document.read_text("utf-8")))
    ):
        try:
            import_module(name)
        except ImportError:
            module, _, attribute = name.rpartition(".")
            if find_spec(module) is None or not hasattr(import_module(module), attribute):
                missing.append(name)
    if document.name == "CONTRIBUTING.md":
        missing = [name for name in missing if name not in ENTRY_POINTS]
    assert missing == []


ENTRY_POINTS = {"planeloc.camera_formats", "planeloc.exporters", "planeloc.network_kinds"}


def test_documents_that_the_code_names_exist() -> None:
    sources = [path for top in ("workflow", "reproduction") for path in (REPOSITORY / top).rglob("*.py")]
    named = {name for path in sources for name in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8"))}
    assert [name for name in sorted(named) if not (REPOSITORY / name).exists()] == []


def test_files_that_the_guide_for_contributors_names_exist() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:workflow|tests|benchmarks)/[\w/]+\.\w+)`", text))
    assert named and [name for name in sorted(named) if not (REPOSITORY / name).exists()] == []


def test_readme_says_how_sample_drift_is_corrected() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "[Sample drift](docs/how-to/sample-drift.md) is corrected" in text


def test_tables_of_the_documents_are_those_of_the_result_files() -> None:
    command = [sys.executable, "benchmarks/tables.py", "--check"]
    checked = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("file", RESULTS, ids=name_of)
def test_a_result_file_says_where_its_numbers_come_from(file: Path) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    measurement = content["measurement"]
    assert re.fullmatch(r"[0-9a-f]{7,40}", measurement["commit"]) and re.match(r"\d{4}-\d\d-\d\d", measurement["date"])
    assert measurement["processor"] and content["results"]
    needed = ("source",) if measurement.get("transcribed") else ("clean", "threads", "versions", "command")
    assert all(key in measurement for key in needed)


BENCHMARKS = sorted(
    path
    for folder in (
        "benchmarks/speed",
        "benchmarks/accuracy",
        "benchmarks/gpu",
        "benchmarks/support",
        "reproduction/benchmarks",
    )
    for path in (REPOSITORY / folder).glob("*.py")
)


@pytest.mark.parametrize("script", BENCHMARKS, ids=name_of)
def test_a_benchmark_can_be_imported(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPOSITORY)
    assert import_module(name_of(script).removesuffix(".py").replace("/", "."))


def test_a_benchmark_records_what_its_numbers_depend_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(REPOSITORY)
    record, column = import_module("benchmarks.support.record"), import_module("benchmarks.tables").Column
    monkeypatch.setattr(record, "_git", lambda *words: "" if words[0] == "status" else "0" * 40)
    for extend in (False, True):
        rows = record.Record("unused", tmp_path / "a.json", extend=extend)
        rows.add(method="fit", error_nm=1.234, by_depth_nm=[1.0, float("nan")])
    rows.show(column("method", "method"), column("error, nm", "error_nm", ".1f"))
    content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert content["results"] == [{"method": "fit", "error_nm": 1.234, "by_depth_nm": [1.0, None]}] * 2
    measurement = content["measurement"]
    assert measurement["commit"] == "0" * 40 and measurement["clean"] is True
    assert {"model", "instruction_sets", "cores"} == set(measurement["processor"])
    assert {"python", "torch", "numpy"} == set(measurement["versions"])
    assert "fit     1.2" in capsys.readouterr().out


def test_every_release_says_what_runs_again() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert len(releases) >= 2
    for release in releases:
        first = re.search(r"^### (.+)$", release, re.MULTILINE)
        assert first and first[1] == "What runs again", release.splitlines()[0]
