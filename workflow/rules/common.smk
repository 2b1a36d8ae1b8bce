# Read and check the configuration and the sample tables, and the few functions that the rules share.
# Rules write their logs by `tee -i`, which Ctrl-C does not stop before the stage has said how to go on.
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from preflight.configuration import (
    command_options,
    export_endings,
    read_all,
    simulated_folder,
)
from preflight.errors import ConfigurationError
from preflight.schema import YamlLines
from preflight.stage_versions import stage_version
from preflight.views import views_of

# `planeloc` is installed beside the Python that runs Snakemake, also if that environment was never activated.
os.environ.update(
    PATH=os.pathsep.join([os.environ.get("PATH", ""), os.path.dirname(sys.executable)])
)

# What a calibration is judged by: name in qc.json, and how the stage's files begin.
QUALITY_STAGES = {
    "cameras": "cameras",
    "registration": "registration",
    "calibration": "psf",
}

# Snakemake lowers this to what --cores allows; on a cluster set-threads of the profile decides.
ALL_CORES = 64


def or_stop(function, *arguments):
    """Call a check; its mistakes become lines on the terminal, and exit code 1.

    A `WorkflowError` would show them between two lines about this file, where there is nothing to correct.
    """
    try:
        return function(*arguments)
    except ConfigurationError as error:
        sys.exit(f"{error}")


def read_everything():
    """The configuration with its defaults filled in (in place), and the sample tables, all checked."""
    files = workflow.overwrite_configfiles or workflow.configfiles
    complete, experiment = read_all(config, map(os.path.relpath, files))
    config.update(complete)
    return experiment


def options(section, *only):
    """The command line options for a section of the configuration, or `only` for these keys of it."""
    return command_options(config, section, only)


def repeated(option, name):
    """A function for `params:` that gives every file of the input called `name` with `option` before it."""

    def arguments(wildcards, input):
        files = input.get(name, [])
        files = [files] if isinstance(files, str) else files
        return " ".join(f"{option} {shlex.quote(file)}" for file in files)

    return arguments


def of_calibration(field):
    """An input function: a column of the calibration named by the wildcard."""
    return lambda wildcards: getattr(
        experiment.calibrations[wildcards.calibration], field
    )


def microscope_of(calibration):
    """The microscope file of a calibration: the one with measured cameras where there are movies for it."""
    given = experiment.calibrations[calibration]
    if given.measures_cameras:
        return f"<results>/calibration/{calibration}/microscope.yaml"
    return given.microscope


def of_sample(field):
    """An input function: a column of the sample named by the wildcard."""
    return lambda wildcards: getattr(experiment.samples[wildcards.sample], field)


def made_for_sample(path):
    """An input function: a result of the sample's calibration."""
    return lambda wildcards: path.replace(
        "{calibration}", experiment.samples[wildcards.sample].calibration
    )


def where_measured(path, calibration):
    """An input function: a result of measured cameras; nothing where `calibration(wildcards)` does not measure them."""

    def result(wildcards):
        name = calibration(wildcards)
        measured = experiment.calibrations[name].measures_cameras
        return path.replace("{calibration}", name) if measured else []

    return result


def write_failed_verdicts():
    """qc.json of every calibration that a step has failed: what failed, and what had passed before it."""
    for name in experiment.calibrations:
        folder = Path(config["pathvars"]["results"]) / "calibration" / name
        files = {}
        for stage, stem in QUALITY_STAGES.items():
            failed = folder / f"{stem}.quality.failed.json"
            found = failed if failed.is_file() else folder / f"{stem}.quality.json"
            if found.is_file():
                files[stage] = found
        if any(file.name.endswith(".failed.json") for file in files.values()):
            arguments = [f"{stage}={file}" for stage, file in files.items()]
            verdicts = folder / "qc.json"
            verdicts.unlink(missing_ok=True)
            # Where the steps run in a container, the command may be missing here: better no verdict than an old one.
            if shutil.which("planeloc"):
                command = ["planeloc", "report", "qc", "--output", verdicts, *arguments]
                subprocess.run(command, check=False)
            else:
                print(
                    f"{verdicts} is not written, since planeloc is not installed beside Snakemake;"
                    f" the values are in {', '.join(map(str, files.values()))}",
                    file=sys.stderr,
                )


def gpus(section):
    """How many GPUs a job asks a cluster for."""
    return 1 if config[section]["device"] == "cuda" else 0


wildcard_constraints:
    sample="[A-Za-z0-9._-]+",
    calibration="[A-Za-z0-9._-]+",
    view="[A-Za-z0-9._-]+",
