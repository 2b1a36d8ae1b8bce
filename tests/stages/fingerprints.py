"""Fingerprints of the code that decides a stage's results, so that no change of them goes unnoticed.

A fingerprint covers the functions, classes and constants of all modules that a stage imports, directly or not. A
constant counts where it is used, so that two modules may have different ones of the same name. Left out is what changes
no number: docstrings, comments, layout, messages, help texts, titles, imports, paths of modules, and the modules that
only draw, report or parse (`_NO_NUMBERS`). Sources are parsed, never imported.

``python tests/stages/fingerprints.py "same numbers, checked by …"`` records the current fingerprints of the stages
that changed; without a note, it lists them. Where a version was raised, the note says what changed.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_name("fingerprints.yaml")
SAME_NUMBERS = "same numbers, checked by "

PACKAGES = {"planeloc": REPOSITORY / "workflow", "planeloc_reproduction": REPOSITORY / "reproduction"}
# Kinds of network are found by name, and bring what each stage needs of them by imports within functions.
_KINDS = ["planeloc.kinds.regression", "planeloc.kinds.upsampling"]
_TASKS = ["planeloc.training.regression_task", "planeloc.training.upsampling_task"]
_FINDERS = ["planeloc.localization.find_regression", "planeloc.localization.find_upsampling"]
ENTRIES = {
    "simulate": ["planeloc.cli.options", "planeloc.cli.simulate", "planeloc.simulation.simulate"],
    "cameras": ["planeloc.cli.options", "planeloc.cli.cameras", "planeloc.camera_calibration.measure_cameras"],
    "register": ["planeloc.cli.options", "planeloc.cli.register", "planeloc.registration.register"],
    "calibrate": ["planeloc.cli.options", "planeloc.cli.calibrate", "planeloc.calibration.calibrate"],
    "convert": ["planeloc.cli.options", "planeloc.cli.convert", "planeloc.movie.convert"],
    "update-registration": [
        *("planeloc.cli.options", "planeloc.cli.update_registration", "planeloc.registration.update_registration"),
    ],
    "synchronize": ["planeloc.cli.options", "planeloc.cli.synchronize", "planeloc.synchronization.synchronize"],
    "train": ["planeloc.cli.options", "planeloc.cli.train", "planeloc.training.train", *_KINDS, *_TASKS],
    "localize": ["planeloc.cli.options", "planeloc.cli.localize", "planeloc.localization.localize", *_KINDS, *_FINDERS],
    "overlay": ["planeloc.cli.options", "planeloc.cli.overlay", "planeloc.rendering.overlay"],
    "correct-drift": ["planeloc.cli.options", "planeloc.cli.correct_drift", "planeloc.postprocessing.correct_drift"],
    "filter": ["planeloc.cli.options", "planeloc.cli.filter", "planeloc.postprocessing.filter"],
    "link": ["planeloc.cli.options", "planeloc.cli.link", "planeloc.postprocessing.link"],
    "measure-resolution": [
        *("planeloc.cli.options", "planeloc.cli.measure_resolution", "planeloc.resolution.measure_resolution"),
    ],
    "render": [
        *("planeloc.cli.options", "planeloc.cli.render", "planeloc.rendering.render"),
        "planeloc.rendering.figure",  # its pictures are results
    ],
    "view-3d": ["planeloc.cli.options", "planeloc.cli.view_3d", "planeloc.rendering.view_3d.view_3d"],
    "view": [
        *("planeloc.cli.options", "planeloc.cli.view", "planeloc.rendering.view"),
        "planeloc.rendering.figure",
    ],
    "evaluate": ["planeloc.cli.options", "planeloc.cli.evaluate", "planeloc.evaluation.evaluate"],
    "report": ["planeloc.reporting.verdicts"],  # the page is for reading
    # The estimators are chosen by name: the experiments do not import them.
    "one_molecule": ["planeloc_reproduction.one_molecule", "planeloc_reproduction.baselines", *_KINDS],
    "sweep": ["planeloc_reproduction.sweeps", "planeloc_reproduction.baselines", *_KINDS],
    "helix": ["planeloc_reproduction.helix", "planeloc_reproduction.network_estimator", *_KINDS],
    "speed": ["planeloc_reproduction.speed", *_KINDS],
    "bound": ["planeloc_reproduction.bound"],
    "paper_report": ["planeloc_reproduction.report"],
}
# Modules in which nothing is computed that a table or a network holds.
_NO_NUMBERS = (
    *("cli", "figure", "figures", "figure_style", "errors", "progress", "provenance", "stage_versions", "logs"),
    "quality_labels",
)
_FORMAT = re.compile(r"planeloc [a-z ]+ \d+")  # of a file; to be compared, not to be read
_DOTTED = re.compile(r"[a-z_]+(\.[a-z_0-9]+)+(:\w+)?")
_SAID = {"print", "_say", "warn", "warning", "info", "debug", "error", "exception", "log"}  # calls that only speak
_TEXTS = {"help", "title", "label", "xlabel", "ylabel", "advice", "description", "desc", "caption"}


@dataclass(frozen=True)
class Line:
    """One line of a stage's record."""

    version: int
    fingerprint: str
    note: str


def versions() -> dict[str, int]:
    """The versions of all stages, as the packages state them."""
    import tomllib

    return {
        stage: version
        for package, folder in PACKAGES.items()
        for stage, version in tomllib.loads((folder / package / "stage_versions.toml").read_text("utf-8")).items()
    }


def fingerprint(entries: list[str], packages: dict[str, Path] | None = None) -> str:
    """Of the modules called `entries` and of all that they import from `packages` (name → folder that holds it)."""
    packages = PACKAGES if packages is None else packages
    paths = _closure(entries, packages)
    dumps = [dump for path in paths for dump in _definitions(path, tuple(packages.items()))]
    dumps += [code for path in paths if path.stem == "compiled_library" for code in _compiled(path.parent)]
    return hashlib.sha256("\n".join(sorted(dumps)).encode()).hexdigest()[:12]


def read_record() -> dict[str, list[Line]]:
    """The committed lines of every stage, oldest first."""
    content = yaml.safe_load(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    return {stage: [Line(**line) for line in lines] for stage, lines in content.items()}


def mistakes(lines: list[Line], version: int, current: str) -> list[str]:
    """What is wrong with the record of a stage; nothing if its last line speaks of the code as it is."""
    if not lines or lines[-1].fingerprint != current:
        return ["its code has changed"]
    found = [] if lines[-1].version == version else ["its version was changed"]
    for before, after in pairwise(lines):
        told = after.note.removeprefix(SAME_NUMBERS).strip() if after.note.startswith(SAME_NUMBERS) else ""
        if after.version < before.version or (after.version == before.version and not told):
            found.append(f"line {after.fingerprint} neither raises the version nor says '{SAME_NUMBERS}…'")
    return found


def _closure(entries: list[str], packages: dict[str, Path]) -> set[Path]:
    reached: set[Path] = set()
    named = {file for entry in entries for file in _files_of(entry, packages)}
    waiting = sorted(named)
    while waiting:
        path = waiting.pop()
        silent = any(part in _NO_NUMBERS for part in (path.stem, path.parent.name))
        if path in reached or (silent and path not in named):
            continue
        reached.add(path)
        waiting += [file for name in _imported(path, packages) for file in _files_of(name, packages)]
    return reached


def _files_of(name: str, packages: dict[str, Path]) -> list[Path]:
    """The files that ``import name`` executes: every package on the way down, and the module."""
    top, *below = name.split(".")
    if top not in packages:
        return []
    folder, files = packages[top] / top, []
    for depth in range(1, len(below) + 1):
        place = folder.joinpath(*below[:depth])
        files += [file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()]
    return files


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _imported(path: Path, packages: dict[str, Path]) -> Iterator[str]:
    """Names that a file imports, wherever in it the import stands, or lists by their dotted names in a registry.

    Of a kind of network only the imports at its top count: those within its functions belong to single stages.
    """
    tree = _parsed(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            yield node.value.partition(":")[0]
    for node in tree.body if path.parent.name == "kinds" else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                root = next(folder for name, folder in packages.items() if (folder / name) in path.parents)
                base = ".".join([*path.parents[node.level - 1].relative_to(root).parts, *([base] if base else [])])
            # `from package import name`: name may be a module of its own, or something within `base`.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _compiled(folder: Path) -> Iterator[str]:
    """C++ sources that a module calls, without comments and layout, and how they are built."""
    for path in sorted((folder / "compiled").iterdir()):
        yield " ".join(re.sub(r"//[^\n]*", "", path.read_text(encoding="utf-8")).split())
    yield from _definitions(REPOSITORY / "setup.py", ())


@cache
def _definitions(path: Path, packages: tuple[tuple[str, Path], ...]) -> tuple[str, ...]:
    """What stands on the outermost level of a file, each as text without what changes no number."""
    tree = _Plain(_constants(path, packages)).visit(ast.parse(path.read_text(encoding="utf-8")))
    return tuple(ast.dump(node) for node in tree.body)


@cache
def _constants(path: Path, packages: tuple[tuple[str, Path], ...]) -> dict[str, str]:
    """The values of names that a file sets once on its outermost level, or imports from a file that does."""
    found = {}
    for node in _parsed(path).body:
        if isinstance(node, ast.ImportFrom) and not node.level:
            for file in _files_of(node.module or "", dict(packages)):
                there = _own_constants(file)
                found |= {alias.asname or alias.name: there[alias.name] for alias in node.names if alias.name in there}
    return found | _own_constants(path)


@cache
def _own_constants(path: Path) -> dict[str, str]:
    found = {}
    for node in _parsed(path).body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                names = [name.id for name in ast.walk(target) if isinstance(name, ast.Name)]
                found |= {name: f"{names} = {ast.dump(_Plain().visit(copy.deepcopy(node.value)))}" for name in names}
    return found


class _Plain(ast.NodeTransformer):
    """Takes out what changes no number, and puts the values of `constants` in the place of their names."""

    def __init__(self, constants: dict[str, str] | None = None) -> None:
        self._constants = constants or {}

    def visit_Name(self, node: ast.Name) -> ast.AST:
        known = isinstance(node.ctx, ast.Load) and node.id in self._constants
        return ast.Constant((node.id, self._constants[node.id])) if known else node

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> list[ast.Expr]:
        """Only which name stands for another."""
        return [ast.Expr(ast.Constant((alias.name, alias.asname))) for alias in node.names if alias.asname]

    visit_ImportFrom = visit_Import  # noqa: N815

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Docstrings and calls that only speak."""
        if isinstance(node.value, ast.Constant):
            return None
        if isinstance(node.value, ast.Call) and _called(node.value) in _SAID:
            return None
        return self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        return None if names == ["__all__"] else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        """Which error, not what it says."""
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(exc=raised, cause=None)

    def visit_keyword(self, node: ast.keyword) -> ast.AST | None:
        said = node.arg in _TEXTS and isinstance(node.value, ast.Constant | ast.JoinedStr)
        return None if said else self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> ast.Dict:
        """Keys are names, of columns for example, whatever is in them."""
        return ast.Dict(node.keys, [self.visit(value) for value in node.values])

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        """Words with a space between them are meant to be read."""
        text = node.value.strip() if isinstance(node.value, str) else ""
        prose = any(map(str.isspace, text)) and not _FORMAT.fullmatch(text)
        return ast.Constant("") if prose else ast.Constant(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        words = "".join(part.value for part in node.values if isinstance(part, ast.Constant))
        return ast.Constant("") if any(map(str.isspace, words.strip())) else self.generic_visit(node)


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


_HEADER = """\
# Fingerprints of the code of every stage (fingerprints.py), oldest first. A line either raises the stage's version, and
# says what changed in its results, or says "same numbers, checked by …". Lines are added by
#     python tests/stages/fingerprints.py "same numbers, checked by comparing the demo's files"
"""


def main(arguments: list[str]) -> None:
    """List the stages whose code has changed or, with a note, record them."""
    record, stated = read_record(), versions()
    changed = {}
    for stage, entries in ENTRIES.items():
        current = fingerprint(entries)
        if mistakes(record.get(stage, []), stated[stage], current):
            changed[stage] = Line(stated[stage], current, arguments[0] if arguments else "")
    print(f"changed: {', '.join(changed) or 'no stage'}")
    if not arguments:
        return
    for stage, line in changed.items():
        lines = [*record.get(stage, []), line]
        if wrong := mistakes(lines, line.version, line.fingerprint):
            sys.exit(f"{stage}: {'; '.join(wrong)}")
        record[stage] = lines
    content = {stage: [vars(line) for line in record[stage]] for stage in ENTRIES}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    RECORD.write_text(_HEADER + text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
