"""The views of the configuration, checked before the first job starts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from runpy import run_path
from typing import Any

from preflight import schema as schemas
from preflight.errors import ConfigurationError, Mistakes

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# One function of the package, from its file: see the docstring of `preflight`.
_RULES = Path(__file__).resolve().parents[1] / "planeloc" / "rendering" / "view_rules.py"
_view_mistakes = run_path(str(_RULES))["view_mistakes"]


def check_views(views: Mapping[str, Mapping[str, Any]], samples: Iterable[str], locate: schemas.Locate) -> None:
    """Check what the schema cannot: names, regions and samples of the views.

    Raises
    ------
    ConfigurationError
        With all mistakes.
    """
    mistakes, samples, first = Mistakes(), list(samples), {}
    for name, settings in views.items():
        with mistakes:
            _check_name(name, first, locate)
        for key, mistake in _view_mistakes(settings):
            with mistakes:
                raise ConfigurationError(f"{locate(('views', name, key))}: views.{name}.{key} {mistake}")
        for sample in settings["samples"]:
            with mistakes:
                if sample not in samples:
                    unknown = schemas.unknown_name(f"sample {sample!r}", sample, samples)
                    raise ConfigurationError(f"{locate(('views', name, 'samples'))}: views.{name}.samples: {unknown}")
    mistakes.stop()


def _check_name(name: Any, first: dict[str, str], locate: schemas.Locate) -> None:
    """Some file systems do not distinguish upper from lower case, and the name becomes a file."""
    where = locate(("views", name))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{where}: a view cannot be called {name!r}; use letters, digits, '.', '_' and '-' only, "
            "since the name becomes a file"
        )
    other = first.setdefault(name.lower(), name)
    if other != name:
        raise ConfigurationError(f"{where}: views {other!r} and {name!r} would be one file; rename one")


def views_of(views: Mapping[str, Mapping[str, Any]], sample: str) -> list[str]:
    """Names of the views that are drawn of a sample."""
    return [name for name, settings in views.items() if sample in settings["samples"] or not settings["samples"]]
