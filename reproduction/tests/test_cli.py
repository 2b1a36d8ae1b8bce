"""The command line of the reproduction: `planeloc-reproduction`."""

import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from planeloc_reproduction.cli import paper


@pytest.mark.parametrize("verb", paper.list_commands(click.Context(paper)))
def test_every_verb_has_help(verb):
    """And the list of all verbs names each."""
    overview = CliRunner().invoke(paper, ["--help"], terminal_width=1000).output
    result = CliRunner().invoke(paper, [verb, "--help"])
    assert result.exit_code == 0 and "--" in result.output
    said = " ".join(paper.commands[verb].help.split()).removesuffix(".")
    assert said and f"{verb} {said}" in " ".join(overview.split())


def test_commands_compute_in_one_thread():
    """As several run at once in a workflow."""
    code = "import sys\nfrom planeloc_reproduction.cli import main\nmain()\n"
    code += "assert sys.modules['torch'].get_num_threads() == 1"
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    run = subprocess.run(
        [sys.executable, "-c", code, "one-molecule", "--help"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert run.returncode == 0, run.stderr
