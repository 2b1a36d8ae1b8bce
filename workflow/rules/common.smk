# Read and check the configuration and the sample tables, and the few functions that the rules share.
# Rules write their logs by `tee -i`, which Ctrl-C does not stop before the stage has said how to go on.
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from outcome.samples import (
    NOT_FINISHED,
    Row,
    error_in,
    in_columns,
    in_restructured_text,
    is_current,
    read_verdict,
    write_table,
)
from preflight.configuration import (
    command_options,
    export_endings,
    read_all,
    simulated_folder,
)
from preflight.errors import ConfigurationError
from preflight.recordings import content, watched_path
from preflight.results_of_others import is_foreign, refuse_foreign
from preflight.schema import YamlLines
from preflight.stage_versions import stage_version
from preflight.views import views_of
from snakemake.io import IOFile

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

# Of what is there, without running anything.
MAKES_REPORT = (
    any(word.split("=")[0] == "--report" for word in sys.argv)
    and "--report-after-run" not in sys.argv
)

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


def recordings(option, paths):
    """A function for `params:` that gives every recording, as the tables name it, with `option` before it."""
    return lambda wildcards: " ".join(
        f"{option} {shlex.quote(path)}" for path in paths(wildcards)
    )


def watched(paths):
    """An input function: what of recordings has to be there: the file or folder, and of a pattern the folder.

    Dates count only of files: for folders, see `contents`.
    """
    return lambda wildcards: [
        ancient(file) if Path(file).is_dir() else file
        for file in map(watched_path, paths(wildcards))
    ]


def contents(*paths):
    """A function for `params:`, whose changes repeat a step: what is in the recordings that are folders or patterns."""
    return lambda wildcards: " | ".join(
        f"{path}: {state}"
        for of_rule in paths
        for path in of_rule(wildcards)
        if (state := content(path))
    )


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


def measures_cameras(sample):
    """Whether the calibration of a sample measures its cameras."""
    return experiment.calibrations[
        experiment.samples[sample].calibration
    ].measures_cameras


def on_page(sample):
    """The files on the quality page of a sample by name."""
    measured = measures_cameras(sample)
    names = [name for name in ON_PAGE if measured or "cameras" not in name]
    views = {
        f"figure:view_{view}": f"<results>/{sample}/views/{view}.png"
        for view in views_of(config["views"], sample)
    }
    files = {name: ON_PAGE[name] for name in names} | views
    return {name: of_one_sample(path, sample) for name, path in files.items()}


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
            output = folder / "qc.json"
            report_failure("qc", [output], ["--output", output, *named_files(files)])
    for sample in experiment.samples:
        files = {name: if_failed(path) for name, path in on_page(sample).items()}
        files = {name: file for name, file in files.items() if file.exists()}
        stopped = {f"failed:{name}": log for name, log in stopped_steps(sample).items()}
        if stopped:
            page, verdict = (
                Path(of_one_sample(path, sample)) for path in rules.quality.output
            )
            words = ["--output", page, "--verdict", verdict]
            report_failure(
                "quality", [page, verdict], [*words, *named_files(files | stopped)]
            )
        if any(not Path(path).exists() for path in on_page(sample).values()):
            mark_outdated(rules.quality.output, sample)


def mark_outdated(outputs, sample):
    """Let the next run make them again, and so what they lack: Snakemake makes missing files only for what it makes."""
    for path in (Path(of_one_sample(output, sample)) for output in outputs):
        if path.is_file() and not is_foreign(path):
            workflow.persistence.cleanup_metadata(IOFile(str(path)))
            os.utime(path, (0, 0))


def stopped_steps(sample):
    """The logs of the steps of a sample that ended with an error, by the names of the steps on its page."""
    steps = {
        name: (
            of_one_sample(rule.output[0], sample),
            of_one_sample(rule.log[0], sample),
        )
        for name, rule in TOLD_IF_STOPPED.items()
        if name != "cameras" or measures_cameras(sample)
    }
    for view in views_of(config["views"], sample):
        files = rules.view.output[0], rules.view.log[0]
        steps[f"view_{view}"] = [
            of_one_sample(path.replace("{view}", view), sample) for path in files
        ]
    return {
        name: Path(log)
        for name, (output, log) in steps.items()
        if not Path(output).exists() and error_in(Path(log))
    }


def outcome(failed=False):
    """A row for every sample: verdict, localizations, where to look, and the error that stopped it.

    `failed`: after an error, a verdict counts only if nothing on the page is missing, or newer than the verdict.
    """
    rows = []
    for sample in experiment.samples:
        page, file = (
            Path(of_one_sample(path, sample)) for path in rules.quality.output
        )
        said = read_verdict(file)
        logs = stopped_steps(sample)
        if not logs and not said:
            logs = {"quality": Path(of_one_sample(rules.quality.log[0], sample))}
        errors = {name: error for name, log in logs.items() if (error := error_in(log))}
        if failed and not errors and not is_current(file, on_page(sample).values()):
            said = {}
        name, error = next(iter(errors.items()), ("", ""))
        row = Row(
            name=sample,
            verdict="fail" if errors else said.get("verdict", NOT_FINISHED),
            localizations=said.get("localizations"),
            where=f"{page if (said or errors) and page.is_file() else logs[name] if errors else of_one_sample('<logs>', sample)}",
            error=(
                f"{name}: {error}"
                if errors
                else "" if said else awaited_network(sample)
            ),
        )
        rows.append(row)
    return rows


def awaited_network(sample):
    """Says which sample the network of an unfinished one waits for: the first of its calibration; "" if for none."""
    calibration = experiment.samples[sample].calibration
    first = experiment.samples_of(calibration)[0]
    network = Path(of_one_sample(rules.train.output.weights, sample))
    if first == sample or network.exists() or not stopped_steps(first):
        return ""
    return f"network: waits for sample {first}, the first of calibration {calibration}; correct that one"


def tell_outcome(failed=False):
    """Print the table of all samples and write it; a run that was to make something else says nothing."""
    rows = outcome(failed)
    if any(row.verdict != NOT_FINISHED for row in rows):
        path = Path(config["pathvars"]["results"]) / "outcome.tsv"
        why = write_table(path, rows)
        where = f"{path} was not written: {why}" if why else f"This table is in {path}"
        config["outcome"] = in_restructured_text(rows)  # of a report that follows
        print(f"\n{in_columns(rows)}\n\n{where}.", file=sys.stderr)


def targets_of_calibration(name):
    """What is made of a calibration whether or not it has samples."""
    cameras = ["cameras.png"] if experiment.calibrations[name].measures_cameras else []
    files = ["psf.png", "registration.png", "qc.json", *cameras]
    return [f"<results>/calibration/{name}/{file}" for file in files]


def targets_of_sample(name):
    """What is made of a sample, besides what that needs."""
    files = ["depth.png", "view_3d.html", "evaluation.json", "quality.html"]
    views = [f"views/{view}.png" for view in views_of(config["views"], name)]
    exports = expand(
        [*rules.filter.output.exports, *rules.link.output.exports], sample=name
    )
    return [*exports, *(f"<results>/{name}/{file}" for file in [*files, *views])]


def in_report(files):
    """Files for the target; none where a report is made and one is missing, with which Snakemake would make no report."""
    results = config["pathvars"]["results"]
    paths = (Path(file.replace("<results>", results)) for file in files)
    return [] if MAKES_REPORT and not all(path.exists() for path in paths) else files


def named_files(files):
    """NAME=FILE words of a command."""
    return [f"{name}={file}" for name, file in files.items()]


def report_failure(kind, outputs, arguments):
    """Write verdicts or a page anew."""
    if any(map(is_foreign, outputs)):
        return
    for output in outputs:
        output.unlink(missing_ok=True)
    # Where the steps run in a container, the command may be missing here: better no verdict than an old one.
    if shutil.which("planeloc"):
        command = ["planeloc", "report", kind, *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            print(done.stdout + done.stderr, file=sys.stderr)
    else:
        print(
            f"{outputs[0]} is not written, since planeloc is not installed beside Snakemake",
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
