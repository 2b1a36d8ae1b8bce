"""Registries: objects of one kind by name, to which other packages add by an entry point.

Nothing is imported before it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from planeloc.core.errors import PlanelocError


@dataclass(frozen=True)
class Registry:
    """Objects of one kind by name; other packages cannot replace a built-in one."""

    kind: str  # for messages: "exporter"
    group: str  # entry points of other packages
    built_in: Mapping[str, str]  # name → "package.module" or "package.module:object"

    def names(self) -> list[str]:
        """All names: the built-in ones, then those of other packages."""
        return list(self._entries())

    def load(self, name: str) -> Any:
        """Import and return the object called `name`.

        Raises
        ------
        PlanelocError : there is none, or it cannot be imported.
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
        except (ImportError, AttributeError, TypeError) as error:  # TypeError: an abstract class with methods missing
            package = entry.dist.name if entry.dist else entry.module
            raise PlanelocError(
                f"{self.kind} {name!r} of package {package} cannot be loaded ({error}); update or uninstall the package"
                f" (entry point {entry.value})"
            ) from error

    def _entries(self) -> dict[str, EntryPoint]:
        foreign = sorted(entry_points(group=self.group), key=lambda entry: entry.name)
        built_in = [EntryPoint(name, value, self.group) for name, value in self.built_in.items()]
        return {entry.name: entry for entry in (*built_in, *(e for e in foreign if e.name not in self.built_in))}
