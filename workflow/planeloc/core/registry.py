"""Registries: things of one kind, by name, that other packages add to without touching this one.

Built-in ones are listed by their dotted name, those of other packages by an entry point of the registry's group in
their own ``pyproject.toml``. Nothing is imported before it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from planeloc.core.errors import PlanelocError


@dataclass(frozen=True)
class Registry:
    """Objects of one kind by name.

    Parameters
    ----------
    kind : str
        What the objects are, for messages: ``"exporter"``.
    group : str
        Entry-point group in which other packages list theirs. They cannot replace a built-in name.
    built_in : mapping
        Name → ``"package.module"`` or ``"package.module:object"``.
    """

    kind: str
    group: str
    built_in: Mapping[str, str]

    def names(self) -> list[str]:
        """All names: the built-in ones, then those of other packages."""
        return list(self._entries())

    def load(self, name: str) -> Any:
        """Import and return the object called `name`.

        Raises
        ------
        PlanelocError
            The name is not registered, or the package that registers it cannot be imported.
        """
        entries = self._entries()
        if name not in entries:
            raise PlanelocError(
                f"{self.kind} {name!r} is not known; use one of {', '.join(entries)}, or install the package that "
                f"registers it (entry-point group {self.group})"
            )
        entry = entries[name]
        try:
            return entry.load()
        except (ImportError, AttributeError) as error:
            package = entry.dist.name if entry.dist else entry.module
            raise PlanelocError(
                f"{self.kind} {name!r} of package {package} cannot be loaded ({error}); update or uninstall the package"
            ) from error

    def _entries(self) -> dict[str, EntryPoint]:
        foreign = sorted(entry_points(group=self.group), key=lambda entry: entry.name)
        built_in = [EntryPoint(name, value, self.group) for name, value in self.built_in.items()]
        return {entry.name: entry for entry in (*built_in, *(e for e in foreign if e.name not in self.built_in))}
