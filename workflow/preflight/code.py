"""Which code a step depends on, as a hash.

Snakemake notices a changed command, not a changed library. Every rule therefore carries the hash of the modules
that its stage can reach, and a change reruns the steps that use it and no others. Sources are parsed, never imported.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

PACKAGE = Path(__file__).resolve().parents[1] / "planeloc"


def code_version(module: str, package: Path = PACKAGE) -> str:
    """Hash of ``package/module.py`` and of everything in the package that it imports, directly or not.

    Comments, docstrings and layout do not count. Neither does ``package/__init__.py``: it holds the version number,
    and a release that changes one stage must not recompute the others.
    """
    digest = hashlib.sha256()
    for path in sorted(_closure(package, package / f"{module}.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\n{_fingerprint(path)}\n".encode())
    return digest.hexdigest()[:12]


def _closure(package: Path, entry: Path) -> set[Path]:
    reached, waiting = set(), [entry]
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += _imports(package, path)
    return reached - {package / "__init__.py"}


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def _imports(package: Path, path: Path) -> tuple[Path, ...]:
    """Files of the package that one file imports, wherever in it the import stands."""
    names = [name for node in ast.walk(_parsed(path)) for name in _imported_names(package, path, node)]
    return tuple(file for name in names for file in _files_of(package, name))


def _imported_names(package: Path, path: Path, node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            folder = path.parents[node.level - 1].relative_to(package.parent)
            base = ".".join([*folder.parts, *([base] if base else [])])
        # `from package import name`: name may be a module of its own, or something within `base`.
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _files_of(package: Path, name: str) -> list[Path]:
    """The files that ``import name`` executes: every package on the way down, and the module."""
    parts = name.split(".")
    if parts[0] != package.name:
        return []
    files = []
    for depth in range(2, len(parts) + 1):
        below = package.joinpath(*parts[1:depth])
        files += [file for file in (below.with_suffix(".py"), below / "__init__.py") if file.is_file()]
    return files


@cache
def _fingerprint(path: Path) -> str:
    tree = _parsed(path)
    for node in ast.walk(tree):
        if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
