"""What the commands share: files and settings as options, their order in the help, and the record of a run."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from planeloc.core import marks
from planeloc.core.errors import PlanelocError
from planeloc.core.marks import Kind, refuse_foreign
from planeloc.core.provenance import write_provenance
from planeloc.core.settings import from_mapping

_FILES, _OPTIONS, _ADVANCED, _THRESHOLDS = "Files", "Options", "Advanced options", "Thresholds"


class _Option(click.Option):
    """An option that says under which heading the help lists it, and which names it had in earlier versions."""

    def __init__(
        self,
        *arguments: Any,
        heading: str = _OPTIONS,
        was: Iterable[str] = (),
        kind: Kind | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__(*arguments, **keywords)
        self.heading = heading
        self.was = was
        self.kind = kind  # of the file that is written there


class _WholeNumber(click.ParamType):
    """A whole number, which may be written 2.0e+5."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int:
        with suppress(ValueError):
            return int(str(value))
        with suppress(ValueError):
            if float(value).is_integer():
                return int(float(value))
        self.fail(f"{value!r} is not a whole number", param, context)


class StageCommand(click.Command):
    """A command whose help lists files first, then the settings by how often they are changed."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Read the command line; the former name of an option is refused with the present one."""
        try:
            return super().parse_args(context, args)
        except click.NoSuchOption as error:
            for option in self.params:
                if error.option_name in getattr(option, "was", ()):
                    message = f"{error.option_name} is now {option.opts[0]}; rename it"
                    raise click.UsageError(message, context) from None
            raise

    def invoke(self, context: click.Context) -> Any:
        """Run the command, unless it would replace an input, or what it did not make."""
        check_outputs(self, context.params)
        return super().invoke(context)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings: files, options, advanced options, thresholds."""
        rows: dict[str, list] = {heading: [] for heading in (_FILES, _OPTIONS, _ADVANCED, _THRESHOLDS)}
        for option in self.get_params(context):
            if row := option.get_help_record(context):
                rows[getattr(option, "heading", _OPTIONS)].append(row)
        for heading, listed in rows.items():
            if listed:
                with formatter.section(heading):
                    formatter.write_dl(listed)


def check_outputs(command: click.Command, values: Mapping[str, Any]) -> None:
    """Raise a `PlanelocError` before anything is computed, if an output of a command would spoil another file.

    An output may be neither an input nor another output, and replaces nothing but a result of its kind.
    """
    read: dict[Path, str] = {}
    written: dict[Path, str] = {}
    for parameter in command.params:
        if not isinstance(parameter.type, click.Path) or not (given := values.get(parameter.name or "")):
            continue
        for path in given if isinstance(given, tuple) else (given,):
            name, kind = parameter.opts[0], getattr(parameter, "kind", None)
            if kind is None:
                read[path.resolve()] = name
                continue
            refuse_foreign(path, kind)
            if other := written.get(path.resolve()):
                raise PlanelocError(f"{path}: is given for {other} and for {name}; name two files")
            written[path.resolve()] = name
    for path in read.keys() & written.keys():
        raise PlanelocError(
            f"{path}: is read ({read[path]}) and would be replaced ({written[path]}); name another file"
        )


@dataclass(frozen=True)
class File:
    """A file that a command reads or writes, or several if `multiple`. As a decorator, it adds its option.

    `kind` is that of a file that is written, or makes it from the command's name: only such a file is replaced.
    """

    option: str
    help: str
    required: bool = True
    multiple: bool = False
    kind: Kind | Callable[[str], Kind] | None = None

    @property
    def written(self) -> bool:
        """Whether the command writes it."""
        return self.kind is not None

    def of(self, name: str) -> File:
        """The file of the command of that name."""
        return dataclasses.replace(self, kind=self.kind(name)) if callable(self.kind) else self

    def __call__(self, command: Callable) -> Callable:
        return click.option(
            self.option,
            kind=self.kind,
            cls=_Option,
            heading=_FILES,
            type=click.Path(path_type=Path),
            metavar="FILE",
            help=self.help,
            required=self.required,
            multiple=self.multiple,
        )(command)

    def paths(self, arguments: Mapping[str, Any]) -> list[Path]:
        """The paths that a command was given for it."""
        given = arguments[self.option.removeprefix("--").replace("-", "_")]
        return list(given) if self.multiple else [given] if given else []


def output(option: str, text: str, kind: Kind | Callable[[str], Kind], required: bool = True) -> File:
    """A file that a command writes."""
    return File(option, text, required, kind=kind)


_ENDINGS = {"(PNG)": (".png",), "(OME-TIFF)": (".tif", ".tiff"), "(HTML)": (".html", ".htm")}
"""What the name of an output ends with whose help states its format: other programs choose their reader by it."""


def _check_ending(file: File, paths: Iterable[Path]) -> None:
    """Refuse the name of an output that says another format than the one that is written."""
    for kind, endings in _ENDINGS.items():
        for path in paths:
            if kind in file.help and path.suffix.lower() not in endings:
                raise click.UsageError(f"{file.option} {path}: {kind[1:-1]} is written; end the name with {endings[0]}")


def options(cls: type, *only: str) -> Callable:
    """Turn every field of a settings dataclass, or `only` the named ones, into a click option.

    The command gets them as one `settings` argument.
    """
    kinds = typing.get_type_hints(cls)
    fields = [field for field in dataclasses.fields(cls) if not only or field.name in only]

    def decorate(command: Callable) -> Callable:
        @functools.wraps(command)
        def wrapper(**arguments: Any) -> Any:
            values = {field.name: arguments.pop(field.name) for field in fields}
            return command(settings=from_mapping(cls, values, "command line"), **arguments)

        for each in reversed(fields):
            wrapper = _setting_option(each, kinds[each.name])(wrapper)
        return wrapper

    return decorate


def _setting_option(field: dataclasses.Field, kind: type) -> Callable:
    name, about = _option_name(field.name), field.metadata
    heading = _THRESHOLDS if about["group"] else _ADVANCED if about["advanced"] else _OPTIONS
    types = {int: _WholeNumber(), float: click.FLOAT, str: click.STRING, bool: click.BOOL}
    return click.option(
        f"{name}/--no-{name.removeprefix('--')}" if kind is bool else name,
        field.name,
        cls=_Option,
        heading=heading,
        was=tuple(_option_name(old) for old in about["was"]),
        type=click.Choice(about["choices"]) if about["choices"] else types[kind],
        metavar=about["unit"] or None,
        default=field.default,
        show_default=True,
        help=about["help"],
    )


def _option_name(setting: str) -> str:
    return "--" + setting.replace("_", "-")


BEADS = File("--beads", "Bead scan; one file per camera, in plane order.", multiple=True)
MICROSCOPE = File("--microscope", "Microscope file (YAML).")
FIGURE = output("--figure", "Figure (PNG).", marks.figure)
QUALITY = output("--quality", "Quality values and verdicts (JSON).", marks.QUALITY)
PROVENANCE = output("--provenance", "Record of this run (JSON).", marks.PROVENANCE, required=False)


@dataclass(frozen=True)
class Used:
    """What only the run itself knows, for its record: values, SHA-256 of inputs by path, and further outputs."""

    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    checksums: dict[str, str] = dataclasses.field(default_factory=dict)
    outputs: tuple[Path, ...] = ()


def stage_command(name: str, settings: type, *files: File) -> Callable[[Callable[..., Used | None]], click.Command]:
    """Make a function the command of a stage, with options for its files, its settings and the record of the run.

    Parameters
    ----------
    name : name of the command.
    settings : dataclass of the stage's settings.
    files : files that the stage reads and writes; they stand in the record in this order.

    Returns
    -------
    A decorator. The function gets a path for every file, a tuple of paths where there may be several, None where none
    is given; and `settings`; all by the names of the options, which a stage's own function has, too, so that most are
    just passed on. It may return what it `Used`.
    """

    files = tuple(file.of(name) for file in files)

    def decorate(function: Callable[..., Used | None]) -> click.Command:
        @functools.wraps(function)
        def command(*, provenance: Path | None, settings: Any, **arguments: Any) -> None:
            for file in (file for file in files if file.written):
                _check_ending(file, file.paths(arguments))
            used = function(settings=settings, **arguments) or Used()
            if provenance:
                inputs = [path for file in files if not file.written for path in file.paths(arguments)]
                outputs = [path for file in files if file.written for path in file.paths(arguments)]
                outputs += used.outputs
                values = dataclasses.asdict(settings)
                write_provenance(provenance, name, values, inputs, outputs, used.values, used.checksums)

        wrapped = options(settings)(command)
        for file in (PROVENANCE, *reversed(files)):
            wrapped = file(wrapped)
        return click.command(name, cls=StageCommand)(wrapped)

    return decorate
