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
from preflight.results_of_others import is_foreign, refuse_foreign
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


def of_one_sample(path, sample):
    """A path of a rule with the sample and its calibration filled in, and with the folder of the results."""
    calibration = experiment.samples[sample].calibration
    path = path.replace("{sample}", sample).replace("{calibration}", calibration)
    for name in ("logs", "results"):
        path = path.replace(f"<{name}>", config["pathvars"][name])
    return path


def on_page(sample):
    """The files on the quality page of a sample by name."""
    measured = experiment.calibrations[
        experiment.samples[sample].calibration
    ].measures_cameras
    names = [name for name in ON_PAGE if measured or "cameras" not in name]
    return {name: of_one_sample(ON_PAGE[name], sample) for name in names}


def named(pairs):
    """NAME=FILE words for the shell."""
    return " ".join(shlex.quote(f"{name}={file}") for name, file in pairs)


def if_failed(path):
    """The file that a failed step left in the place of its output `path`, or else that output."""
    failed = Path(path).with_suffix(f".failed{Path(path).suffix}")
    return failed if failed.is_file() else Path(path)


def write_failed_verdicts():
    """qc.json and quality pages after an error: what failed, and what had passed before it."""
    for name in experiment.calibrations:
        folder = Path(config["pathvars"]["results"]) / "calibration" / name
        stages = {
            stage: if_failed(folder / f"{stem}.quality.json")
            for stage, stem in QUALITY_STAGES.items()
        }
        files = {stage: file for stage, file in stages.items() if file.is_file()}
        if any(file.name.endswith(".failed.json") for file in files.values()):
            report_failure("qc", folder / "qc.json", files)
    for sample in experiment.samples:
        files = {name: if_failed(path) for name, path in on_page(sample).items()}
        files = {name: file for name, file in files.items() if file.exists()}
        stopped = {
            f"failed:{name}": log
            for name, rule in TOLD_IF_STOPPED.items()
            if (log := log_of_error(rule, sample))
        }
        if stopped:
            page = of_one_sample(rules.quality.output.page, sample)
            report_failure("quality", Path(page), files | stopped)


def log_of_error(rule, sample):
    """The log of a step of a sample that ended with an error; None if it did not."""
    log = Path(of_one_sample(rule.log[0], sample))
    if Path(of_one_sample(rule.output[0], sample)).exists() or not log.is_file():
        return None
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    stopped = last.startswith("planeloc: ") or any(
        line.startswith("Traceback ") for line in lines
    )
    return log if stopped and "planeloc: interrupted" not in last else None


def report_failure(kind, output, files):
    """Write verdicts or a page anew."""
    if is_foreign(output):
        return
    output.unlink(missing_ok=True)
    # Where the steps run in a container, the command may be missing here: better no verdict than an old one.
    if shutil.which("planeloc"):
        arguments = [f"{name}={file}" for name, file in files.items()]
        command = ["planeloc", "report", kind, "--output", output, *arguments]
        subprocess.run(command, check=False)
    else:
        print(
            f"{output} is not written, since planeloc is not installed beside Snakemake;"
            f" see {', '.join(map(str, files.values()))}",
            file=sys.stderr,
        )


def outputs_of_jobs():
    """Every output of the jobs to run, and when this workflow made it last."""
    for job in workflow.dag.needrun_jobs():
        for path in job.output:
            record = workflow.persistence.metadata(path)
            yield str(path), getattr(record, "endtime", None)


def gpus(section):
    """How many GPUs a job asks a cluster for."""
    return 1 if config[section]["device"] == "cuda" else 0


wildcard_constraints:
    sample="[A-Za-z0-9._-]+",
    calibration="[A-Za-z0-9._-]+",
    view="[A-Za-z0-9._-]+",
