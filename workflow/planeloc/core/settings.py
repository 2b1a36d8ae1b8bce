"""Settings of the stages: dataclasses whose fields carry help and bounds, checked strictly.

A typo must not become a silent default, so unknown names are errors. The command line and the configuration file use
the same names: ``threshold`` in ``config.yaml`` under ``localize:`` is ``planeloc localize --threshold``.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Mapping
from typing import Any

import click

from planeloc.core.errors import PlanelocError


def setting(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field with a help text (say the unit) and the values it may take."""
    return dataclasses.field(
        default=default, metadata={"help": help, "minimum": minimum, "maximum": maximum, "choices": choices}
    )


def check(settings: Any) -> None:
    """Raise `PlanelocError` naming the first setting that is of the wrong kind or out of its bounds."""
    kinds = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if not _is_a(value, kinds[field.name]):
            raise PlanelocError(f"setting {field.name}: {value!r} is not {_KINDS[kinds[field.name]]}")
        minimum, maximum = field.metadata.get("minimum"), field.metadata.get("maximum")
        choices = field.metadata.get("choices")
        if choices and value not in choices:
            raise PlanelocError(f"setting {field.name}: {value!r} is not one of {', '.join(choices)}")
        if minimum is not None and value < minimum:
            raise PlanelocError(f"setting {field.name}: {value} is below its minimum of {minimum}")
        if maximum is not None and value > maximum:
            raise PlanelocError(f"setting {field.name}: {value} is above its maximum of {maximum}")


_KINDS = {float: "a number (write 1.0e-3, not 1e-3)", int: "a whole number", bool: "true or false", str: "text"}


def _is_a(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return kind not in _KINDS or isinstance(value, kind)


def from_mapping(cls: type, values: Mapping[str, Any], where: str) -> Any:
    """Build a settings dataclass from a mapping; unknown names raise `PlanelocError` quoting `where` and what
    is known.
    """
    known = {field.name for field in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise PlanelocError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    try:
        settings = cls(**values)
        check(settings)
    except (TypeError, PlanelocError) as error:
        raise PlanelocError(f"{where}: {error}") from None
    return settings


def options(cls: type, *only: str) -> Callable:
    """Turn every field of a settings dataclass, or `only` the named ones, into a click option.

    The command gets them as one `settings` argument.
    """
    types = typing.get_type_hints(cls)
    fields = [field for field in dataclasses.fields(cls) if not only or field.name in only]

    def decorate(command: Callable) -> Callable:
        def wrapper(**arguments: Any) -> Any:
            values = {field.name: arguments.pop(field.name) for field in fields}
            return command(settings=from_mapping(cls, values, "command line"), **arguments)

        wrapper.__name__ = command.__name__
        wrapper.__doc__ = command.__doc__
        wrapper.__click_params__ = list(getattr(command, "__click_params__", []))
        for field in reversed(fields):
            wrapper = _option(field, types[field.name])(wrapper)
        return wrapper

    return decorate


def _option(field: dataclasses.Field, kind: type) -> Callable:
    name = field.name.replace("_", "-")
    choices = field.metadata.get("choices")
    flag = f"--{name}/--no-{name}" if kind is bool else f"--{name}"
    return click.option(
        flag,
        field.name,
        type=click.Choice(choices) if choices else kind,
        default=field.default,
        show_default=True,
        help=field.metadata.get("help"),
    )
