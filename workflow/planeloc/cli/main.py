"""The command line: finds the verb, turns expected errors into one line and exit code 1."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

import click

from planeloc import __version__
from planeloc.core import messages
from planeloc.core.errors import PlanelocError
from planeloc.core.files import unreadable

_VERBS = {
    "simulate": "Write an acquisition as a microscope would leave it, with the truth beside it.",
    "cameras": "Measure offset, gain and noise of every camera by photon transfer.",
    "register": "Find how the cameras' fields lie on each other, from images of the same beads.",
    "calibrate": "Fit the PSF of every plane to z-stacks of beads.",
    "convert": "Gather camera files into one compressed, checksummed movie of raw counts.",
    "train": "Provide the network for a microscope: adopt given weights if they fit it, else train.",
    "localize": "Find the molecules in every frame of a movie.",
    "filter": "Keep the localizations that can be trusted, and export them.",
    "render": "Draw the super-resolution pictures.",
    "evaluate": "Measure a table, against the truth where it is known.",
    "report": "Gather quality values: verdicts in one file, a page, a summary.",
}


class _Verbs(click.Group):
    """Verbs of which only the one that is called is loaded: loading PyTorch alone takes seconds."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _VERBS:
            return None
        command = import_module(f"planeloc.cli.{name}").command
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)  # a workflow runs several commands at once; `train` asks for more
        return command

    def resolve_command(self, context: click.Context, words: list[str]) -> tuple[Any, Any, list[str]]:
        if words and words[0] not in _VERBS and (near := get_close_matches(words[0], _VERBS, 1)):
            context.fail(f"No such command {words[0]!r}; did you mean {near[0]}?")
        return super().resolve_command(context, words)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, package_name="planeloc")
def planeloc() -> None:
    """3D super-resolution images from the movies of a multi-plane microscope.

    The verbs stand in the order in which they are used. The Snakemake workflow calls them for every sample of a
    sheet; see README.md. `simulate` makes the demo's acquisition.
    """


def main() -> None:
    """Entry point of `planeloc`."""
    run(planeloc)


def run(command: click.Command) -> None:
    """Run a command, with messages and progress. What the user can fix is one line and exit code 1, wrong usage 2."""
    messages.show()
    try:
        command(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        print("planeloc: interrupted; run the same command again, what is finished is not repeated", file=sys.stderr)
        sys.exit(130)
    except PlanelocError as error:
        _stop(error)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        if not error.filename:
            raise
        _stop(unreadable(error.filename, error))


def _stop(error: PlanelocError) -> NoReturn:
    print(f"planeloc: {error}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
