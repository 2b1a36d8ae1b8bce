"""The command line: finds the command, turns expected errors into one line and exit code 1."""

from __future__ import annotations

import errno
import gc
import sys
from difflib import get_close_matches
from importlib import import_module
from keyword import iskeyword
from typing import Any, NoReturn

import click

from planeloc import __version__
from planeloc.core import messages
from planeloc.core.errors import PlanelocError
from planeloc.core.files import unreadable

_COMMANDS = {
    "simulate": "Simulate an acquisition: camera files as a microscope writes them, and the ground truth.",
    "cameras": "Measure offset, gain and noise of every camera by photon transfer.",
    "register": "Determine the transforms between the cameras from images of the same beads.",
    "calibrate": "Fit the PSF of every plane to bead scans.",
    "convert": "Convert camera files to one compressed movie of raw counts, with checksums.",
    "synchronize": "Check that all cameras show the same moment in a frame, and put them in step.",
    "update-registration": "Compare the transforms of the beads with a movie, and update those that no longer hold.",
    "train": "Use the given network if it fits the microscope; otherwise train one.",
    "localize": "Localize the molecules in every frame of a movie.",
    "overlay": "Draw raw frames of all cameras with the localizations found in them.",
    "correct-drift": "Estimate the drift of the sample from the localizations, and take it out of them.",
    "filter": "Filter localizations, and export them to other programs.",
    "link": "Link the localizations of every blink over the frames, and merge them into one row.",
    "measure-resolution": "Measure the resolution, the precision from neighbouring frames, and what limits both.",
    "import": "Read a table of localizations that another program wrote or changed.",
    "render": "Render the super-resolution images.",
    "view-3d": "Write a page that shows the localizations in 3D.",
    "view": "Draw a part of the sample: a region, from a side, coloured by a quantity.",
    "evaluate": "Assess localizations, and compare them with the ground truth where it is known.",
    "report": "Gather quality values: verdicts in one file, a page, a summary.",
}


# What a path can be the reason of: missing, a folder or none, no permission, a read-only disk, a name too long, links.
_OF_PATHS = {
    *(errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG),
    errno.ELOOP,
}


class _Commands(click.Group):
    """Commands of which only the one that is called is loaded: loading PyTorch alone takes seconds."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = name.replace("-", "_") + "_" * iskeyword(name)
        command = import_module(f"planeloc.cli.{module}").command
        if not gc.isenabled():
            gc.freeze()
            gc.enable()
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)  # a workflow runs several commands at once; `train` asks for more
        return command

    def resolve_command(self, context: click.Context, words: list[str]) -> tuple[Any, Any, list[str]]:
        if words and words[0] not in _COMMANDS and (near := get_close_matches(words[0], _COMMANDS, 1)):
            context.fail(f"No such command {words[0]!r}; did you mean {near[0]}?")
        return super().resolve_command(context, words)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, package_name="planeloc")
def planeloc() -> None:
    """3D super-resolution images from the movies of a multi-plane microscope.

    The commands are listed in the order of their use. The Snakemake workflow runs them for every sample of the sample
    table; see README.md. `simulate` makes the acquisition of the demo.
    """


def main() -> None:
    """Entry point of `planeloc`."""
    gc.disable()  # what a command imports stays: to look through it for garbage, then and at the end, takes 0.4 s
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
    except OSError as error:
        if not error.filename or error.errno not in _OF_PATHS:
            raise
        _stop(unreadable(error.filename, error))


def _stop(error: PlanelocError) -> NoReturn:
    print(f"planeloc: {error}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
