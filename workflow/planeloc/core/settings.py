"""Settings of the stages: dataclasses whose fields say everything about a setting, once, and are checked strictly.

A field holds the default, unit, bounds, choices, help and rank of a setting. The command line (`cli.options`) is made
from it, and so are the schema of the configuration and its reference (``workflow/schemas/write_reference.py``), with
the same names: ``threshold`` under ``localize:`` in ``config.yaml`` is ``planeloc localize --threshold``. Unknown names
are errors, so that a typo never becomes a silent default.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any

from planeloc.core.errors import PlanelocError

THRESHOLDS = "thresholds"

KIND_NAMES = {float: "a number (write 1.0e-3, not 1e-3)", int: "a whole number", bool: "true or false", str: "text"}


def setting(
    default: Any,
    help: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    automatic: float | None = None,
    pattern: tuple[str, str] | None = None,
    choices: tuple[str, ...] | None = None,
    entry_points: str = "",
    advanced: bool = False,
    command_line_only: bool = False,
    was: tuple[str, ...] = (),
) -> Any:
    """Declare a setting as a dataclass field.

    Parameters
    ----------
    default : value of the setting where none is given.
    help : what it sets: short sentences, without the unit.
    unit : unit of the value.
    minimum, maximum : bounds, which are allowed values themselves.
    automatic : value outside the bounds that leaves the choice to the stage.
    pattern : regular expression of a text, and what to write; checked before the workflow starts.
    choices : the words that are allowed.
    entry_points : group of the entry points whose names are allowed, too.
    advanced : whether the reference and the help list it after the settings that matter to everyone.
    command_line_only : whether the workflow sets it, such as the number of threads, and not the configuration.
    was : names that the setting had in earlier versions; they are refused with the new name.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "unit": unit,
            "minimum": minimum,
            "maximum": maximum,
            "automatic": automatic,
            "pattern": pattern,
            "choices": choices,
            "entry_points": entry_points,
            "advanced": advanced,
            "command_line_only": command_line_only,
            "was": was,
            "group": "",
        },
    )


def threshold(default: Any, when: str, quantity: str, **about: Any) -> Any:
    """Declare the threshold of a quality value, which the configuration lists under ``thresholds:`` of its stage.

    Parameters
    ----------
    default : value of the threshold where none is given.
    when : "warn", "stop" (the run) or "fail" (the verdict, where the run goes on), and "above" or "below".
    quantity : what is compared with the threshold, in lower case and without an article.
    about : unit, minimum, maximum, was: as for `setting`.
    """
    field = setting(default, f"{when.capitalize()} this {quantity}.", **about)
    more = {"group": THRESHOLDS, "when": when, "quantity": quantity}
    return dataclasses.field(default=default, metadata={**field.metadata, **more})


def former_names(cls: type) -> dict[str, str]:
    """Return the present name of every setting of a dataclass that once had another, by its earlier names."""
    return {old: field.name for field in dataclasses.fields(cls) for old in field.metadata.get("was", ())}


def check(settings: Any) -> None:
    """Raise `PlanelocError` naming the first setting that is of the wrong kind or out of its bounds.

    So does what the settings' own method `contradiction` says of two settings that exclude each other.
    """
    kinds = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if not _is_a(value, kinds[field.name]):
            raise PlanelocError(f"setting {field.name}: {value!r} is not {KIND_NAMES[kinds[field.name]]}")
        minimum, maximum, automatic, choices = map(field.metadata.get, ("minimum", "maximum", "automatic", "choices"))
        if choices and value not in choices:
            raise PlanelocError(f"setting {field.name}: {value!r} is not one of {', '.join(choices)}")
        if value == automatic:
            continue
        if minimum is not None and value < minimum:
            hint = "" if automatic is None else f" (or give {automatic:g})"
            raise PlanelocError(f"setting {field.name}: {value} is below its minimum of {minimum}{hint}")
        if maximum is not None and value > maximum:
            raise PlanelocError(f"setting {field.name}: {value} is above its maximum of {maximum}")
    if found := getattr(settings, "contradiction", str)():
        raise PlanelocError(f"setting {found}")


def _is_a(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return kind not in KIND_NAMES or isinstance(value, kind)


def from_mapping(cls: type, values: Mapping[str, Any], where: str) -> Any:
    """Build a settings dataclass from a mapping and check it.

    Parameters
    ----------
    cls : the dataclass.
    values : value of each setting by name. A whole number may be a float without a fraction, as 2.0e+5 is to YAML.
    where : where the values come from; begins the messages.

    Raises
    ------
    PlanelocError : a name is unknown, or a value is of the wrong kind or out of its bounds.
    """
    known = {field.name for field in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        if new := former_names(cls).get(unknown[0]):
            raise PlanelocError(f"{where}: {unknown[0]} is now {new}; rename it")
        raise PlanelocError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    kinds = typing.get_type_hints(cls)
    try:
        settings = cls(**{name: _whole(value) if kinds[name] is int else value for name, value in values.items()})
        check(settings)
    except (TypeError, PlanelocError) as error:
        raise PlanelocError(f"{where}: {error}") from None
    return settings


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
