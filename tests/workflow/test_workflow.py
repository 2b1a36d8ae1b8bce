"""The workflow around the stages: what it runs, and what it runs again.

The stages are replaced by a stub, so that these tests are about the rules only.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import click
import pytest
import yaml

from planeloc.cli.main import planeloc
from planeloc.networks.weight_files import load_network
from planeloc.training.advice import training_advice
from support.checkout import SNAKEMAKE_TIMEOUT_S, Checkout
from support.plugins import install
from support.repository import REGRESSION_WEIGHTS, REPOSITORY

BEFORE_TRAINING = ("convert", "synchronize", "update-registration")  # of a movie
FROM_LOCALIZE = (
    *("localize", "overlay", "correct-drift", "filter", "link", "measure-resolution", "render", "view-3d", "evaluate"),
)
CHAIN = ["simulate", "cameras", "calibrate", "register", *BEFORE_TRAINING, "train", *FROM_LOCALIZE]
QUALITY_TITLES = [
    *(
        "Cameras",
        "Registration",
        "Calibration",
        "Movie",
        "Synchronization",
        "Transforms in the movie",
        "Network",
        "Drift of the cameras",
        "Localization",
        "Sample drift",
        "Filter",
        "Linking",
        "Resolution",
        "Views",
        "Evaluation",
    ),
]
DEMO = "results/demo"


@pytest.mark.slow
def test_demo_runs_every_stage_once_and_then_nothing(checkout: Checkout) -> None:
    run = checkout.demo()
    assert run.returncode == 0, run.stderr
    assert checkout.verbs() == sorted(CHAIN)
    for stage in CHAIN[1:]:
        assert list((checkout.folder / DEMO).glob(f"*/**/{stage}.provenance.json")), stage
    assert (checkout.folder / DEMO / "logs" / "localize" / "filaments.log").is_file()
    page = (checkout.folder / DEMO / "filaments" / "quality.html").read_text()
    assert "a check" in page
    assert re.findall("<summary><h2>([^<]+)</h2>", page) == QUALITY_TITLES
    assert "<h1>filaments</h1>" in page and "not recorded" in page  # by the stub, which compares no movie
    assert page.count("data:image/webp") == 17
    verdicts = json.loads((checkout.folder / DEMO / "calibration" / "quadplane" / "qc.json").read_text())
    assert verdicts["verdict"] == "warn"
    assert list(verdicts["stages"]) == ["cameras", "calibration", "registration"]
    assert verdicts["stages"]["calibration"]["checks"][0]["threshold"] == 1.0
    log = (checkout.folder / DEMO / "logs" / "qc" / "quadplane.log").read_text()
    assert "warn: registration: a check 2 (threshold 1): Do <this>." in log

    again = checkout.demo()
    assert again.returncode == 0
    assert "Nothing to be done" in again.stderr
    assert checkout.verbs() == []

    report = checkout.demo("--report", f"{DEMO}/report.html")
    assert report.returncode == 0, report.stderr
    assert (checkout.folder / DEMO / "report.html").stat().st_size > 0


@pytest.mark.slow
def test_only_what_depends_on_a_change_runs_again(checkout: Checkout) -> None:
    assert checkout.demo().returncode == 0
    checkout.calls()

    # Settings: a stage and those after it. What comes out the same does not repeat what follows.
    checkout.edit("config/demo/config.yaml", "pathvars:", "render:\n  gamma: 0.5\n\npathvars:")
    assert checkout.demo().returncode == 0
    calls = checkout.calls()
    assert [call[0] for call in calls] == ["render"]
    assert "--gamma=0.5" in calls[0]

    # Code: the file of a stage changes nothing; the stage's version does.
    evaluation = checkout.folder / "workflow" / "planeloc" / "evaluation" / "evaluate.py"
    evaluation.write_text(evaluation.read_text() + "\n_CHANGED = True\n")
    assert checkout.demo().returncode == 0
    assert checkout.verbs() == []
    checkout.raise_version("evaluate")
    assert checkout.demo().returncode == 0
    assert checkout.verbs() == ["evaluate"]

    # A store that was deleted, to save space, is made again when it is needed.
    shutil.rmtree(checkout.folder / DEMO / "filaments" / "movie.zarr")
    checkout.edit("config/demo/config.yaml", "pathvars:", "localize:\n  threshold: 0.1\n\npathvars:")
    assert checkout.demo().returncode == 0
    assert {"convert", "localize"} <= set(checkout.verbs())


@pytest.mark.slow
def test_a_view_is_drawn_when_it_is_new_or_changed_and_no_other(checkout: Checkout) -> None:
    file = "config/demo/config.yaml"
    views = "views:\n  whole:\n  tip:\n    region: 0,900,0,900\n    samples: [filaments]\n\npathvars:"
    checkout.edit(file, "pathvars:", views)
    assert checkout.demo().returncode == 0
    drawn = [call for call in checkout.calls() if call[0] == "view"]
    assert sorted("--region=0,900,0,900" in call for call in drawn) == [False, True]
    folder = checkout.folder / DEMO / "filaments" / "views"
    names = ["tip.ome.tif", "tip.png", "tip.view.provenance.json"]
    assert sorted(path.name for path in folder.glob("tip*")) == names
    assert "<figcaption>View tip.</figcaption>" in (folder.parent / "quality.html").read_text()

    checkout.edit(file, "0,900,0,900", "0,800,0,900")
    checkout.edit(file, "  whole:\n", "  whole:\n  side:\n    projection: xz\n")
    assert checkout.demo().returncode == 0
    calls = checkout.calls()
    assert [call[0] for call in calls] == ["view", "view"]
    assert {path for call in calls for path in call if path.endswith(".png")} == {
        f"{DEMO}/filaments/views/{name}.png" for name in ("tip", "side")
    }

    report = checkout.demo("--report", f"{DEMO}/report.html")
    assert report.returncode == 0, report.stderr


@pytest.mark.slow
def test_an_exporter_of_another_package_is_a_setting(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    install(checkout.folder / "site", monkeypatch, "planeloc.exporters", "toy", 'endings = (".xyz", ".txt")\n')
    checkout.edit("config/demo/config.yaml", "pathvars:", "filter:\n  exports: [picasso, toy]\n\npathvars:")
    run = checkout.demo("--dry-run", "--printshellcmds", PYTHONPATH=str(checkout.folder / "site"))
    assert run.returncode == 0, run.stderr
    for file in ("picasso.hdf5", "picasso.yaml", "toy.xyz", "toy.txt"):
        assert f"localizations.{file}" in run.stdout
    assert f"--export toy={DEMO}/filaments/localizations.toy.xyz" in run.stdout
    assert "thunderstorm" not in run.stdout
    checkout.edit("config/demo/config.yaml", "[picasso, toy]", "[]")
    assert "--export" not in checkout.demo("--dry-run", "--printshellcmds").stdout


@pytest.mark.slow
def test_an_edited_message_runs_nothing_again(checkout: Checkout) -> None:
    """Neither does the title of a figure, a help text, a comment or a module that was moved."""
    assert checkout.demo().returncode == 0
    checkout.calls()
    package = checkout.folder / "workflow" / "planeloc"
    for module, old, new in (
        ("core/files.py", "no such file; check the path", "this file is missing; correct its path"),
        ("training/figure.py", 'title="Learning curve"', 'title="Training"'),
        ("localization/settings.py", "How to find molecules, and on what.", "How molecules are found."),
        ("localization/refine.py", "# of its photons, in standard deviations", "# in standard deviations"),
    ):
        text = (package / module).read_text()
        assert old in text, module
        (package / module).write_text(text.replace(old, new))
    (package / "cameras" / "camera.py").rename(package / "core" / "camera.py")
    again = checkout.demo()
    assert again.returncode == 0 and "Nothing to be done" in again.stderr
    assert checkout.calls() == []


@pytest.mark.slow
def test_a_failing_stage_shows_its_line_and_leaves_nothing(checkout: Checkout) -> None:
    run = checkout.demo(STUB_FAIL="localize")
    assert run.returncode == 1
    assert "planeloc: localize went wrong; correct it" in run.stderr
    assert not (checkout.folder / DEMO / "filaments" / "localizations.h5").exists()
    page = checkout.folder / DEMO / "filaments" / "quality.html"
    assert "<strong>fail</strong>" in page.read_text()
    assert "It said: localize went wrong; correct it." in page.read_text()
    assert "<h2>Movie</h2>" in page.read_text() and "<h2>Evaluation</h2>" not in page.read_text()
    checkout.calls()

    assert checkout.demo().returncode == 0
    assert checkout.verbs() == sorted(FROM_LOCALIZE)
    assert "<strong>warn</strong>" in page.read_text()


def outcome_of(checkout: Checkout) -> dict[str, dict[str, str]]:
    with (checkout.folder / "results" / "outcome.tsv").open(newline="") as file:
        return {row.pop("sample"): row for row in csv.DictReader(file, delimiter="\t")}


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["convert", "evaluate"])
def test_one_bad_sample_costs_that_sample(own_data: Checkout, verb: str) -> None:
    """The others are finished without an option; the end says which failed and why, also in a file and the report."""
    run = own_data.snakemake("--cores", "2", STUB_FAIL=f"{verb}:two")
    assert run.returncode == 1
    results = own_data.folder / "results"
    for name in ("one", "three"):
        assert "<strong>warn</strong>" in (results / name / "quality.html").read_text()
        assert (results / name / "depth.png").is_file()
    assert (results / "two" / "depth.png").is_file() == (verb == "evaluate")

    name = {"convert": "movie", "evaluate": "evaluation"}[verb]
    rows = outcome_of(own_data)
    assert [rows[sample]["verdict"] for sample in ("one", "two", "three")] == ["warn", "fail", "warn"]
    assert rows["two"]["error"] == f"{name}: {verb} went wrong; correct it"
    assert rows["two"]["where to look"] == "results/two/quality.html"
    assert rows["one"]["error"] == ""
    (printed,) = (line for line in run.stderr.splitlines() if line.startswith("two "))
    assert printed.split()[:2] == ["two", "fail"] and printed.endswith(f"{verb} went wrong; correct it")

    report = own_data.snakemake("--report", "results/report.html")
    assert report.returncode == 0, report.stderr
    assert f"{verb} went wrong; correct it" in (results / "report.html").read_text()

    assert own_data.snakemake("--cores", "2").returncode == 0
    assert "went wrong" not in (results / "outcome.tsv").read_text()


@pytest.mark.slow
def test_a_stage_that_crashes_is_on_the_page_of_an_earlier_run(checkout: Checkout) -> None:
    assert checkout.demo().returncode == 0
    page = checkout.folder / DEMO / "filaments" / "quality.html"
    assert "<strong>warn</strong>" in page.read_text()
    run = checkout.demo("--forcerun", "measure_resolution", STUB_CRASH="measure-resolution")
    assert run.returncode != 0
    assert "<strong>fail</strong>" in page.read_text()
    assert "It said: ZeroDivisionError: nobody expected this of measure-resolution." in page.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "file"), [("render", "depth.png"), ("overlay", "overlay.png"), ("view-3d", "view_3d.html")]
)
def test_a_picture_that_fails_is_on_the_page(checkout: Checkout, verb: str, file: str) -> None:
    assert checkout.demo().returncode == 0
    folder = checkout.folder / DEMO / "filaments"
    (folder / file).unlink()
    assert checkout.demo("--forcerun", verb.replace("-", "_"), STUB_FAIL=verb).returncode != 0
    page = (folder / "quality.html").read_text()
    assert "<strong>fail</strong>" in page and f"It said: {verb} went wrong; correct it." in page


@pytest.mark.slow
def test_a_stage_that_ctrl_c_interrupts_can_still_say_so(checkout: Checkout) -> None:
    run = checkout.demo(STUB_CTRL_C="simulate")
    assert run.returncode != 0
    assert "planeloc: simulate was interrupted" in (checkout.folder / DEMO / "logs" / "simulate.log").read_text()
    assert checkout.verbs() == ["simulate"]
    assert checkout.demo().returncode == 0  # no lock is left


@pytest.mark.slow
def test_a_failed_calibration_is_in_its_verdicts_whatever_was_there_before(checkout: Checkout) -> None:
    assert checkout.demo().returncode == 0
    verdicts = checkout.folder / DEMO / "calibration" / "quadplane" / "qc.json"
    assert json.loads(verdicts.read_text())["verdict"] == "warn"
    (verdicts.parent / "psf.png").unlink()
    assert checkout.demo(STUB_FAIL="calibrate").returncode != 0
    content = json.loads(verdicts.read_text())
    assert content["verdict"] == content["stages"]["calibration"]["verdict"] == "fail"
    assert content["stages"]["registration"]["verdict"] == "warn"
    page = (checkout.folder / DEMO / "filaments" / "quality.html").read_text()
    assert "<strong>fail</strong>" in page and "It said: calibrate went wrong; correct it." in page


def test_the_training_that_is_offered_for_a_movie_runs_in_the_workflow(checkout: Checkout) -> None:
    """With the workflow's own weights at hand, which rule `train` cannot start from."""
    _, record = load_network(REGRESSION_WEIGHTS)
    folder = Path("results/demo")
    files = {
        "movie": "s/movie.json",
        "registration": "c/registration.json",
        "calibration": "c/psf.h5",
        "weights": "networks/c/weights.safetensors",
        "output": "s/table.h5",
    }
    paths = {name: folder / file for name, file in files.items()}
    words = training_advice({"density": "0.1-20"}, False, record, record.psf, **paths)
    configured = yaml.safe_load(words.split("`")[3])
    file = checkout.folder / "config/demo/config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | configured))
    run = checkout.demo("--dry-run", "--printshellcmds")
    assert run.returncode == 0, run.stderr
    (command,) = (line for line in run.stdout.splitlines() if "planeloc train" in line)
    assert "--start-from resources/" in command
    assert "--density=0.1-20" in command and "--on-mismatch" not in command  # whose default is to train


@pytest.mark.slow
def test_samples_share_a_calibration_and_calibrations_share_a_run(own_data: Checkout) -> None:
    run = own_data.snakemake("--cores", "2")
    assert run.returncode == 0, run.stderr
    calls = own_data.calls()
    assert Counter(call[0] for call in calls) == {
        **dict.fromkeys(("calibrate", "register", "train"), 2),
        **dict.fromkeys((*BEFORE_TRAINING, *FROM_LOCALIZE), 3),
    }
    movies = {call.count("--movie") for call in calls if call[0] == "train"}
    assert movies == {1}  # the light is measured in a calibration's first sample
    assert all("--truth" not in call for call in calls if call[0] == "evaluate")
    assert "results/calibration/b/psf.h5" in next(c for c in calls if c[0] == "localize" and "results/three" in str(c))


@pytest.mark.slow
def test_a_recording_may_be_a_folder_or_a_pattern(own_data: Checkout) -> None:
    data = own_data.folder / "my data"
    (data / "two").mkdir()
    (data / "two.0.tif").rename(data / "two" / "0001.tif")
    own_data.edit("config/samples.tsv", "my data/two.0.tif;my data/two.1.tif", "my data/two;my data/two.1.*")
    run = own_data.snakemake("--cores", "2", "results/two/movie.manifest.json")
    assert run.returncode == 0, run.stderr
    (call,) = (call for call in own_data.calls() if call[0] == "convert")
    given = [call[k + 1] for k, word in enumerate(call) if word == "--movie"]
    assert given == ["my data/two", "my data/two.1.*"]
    own_data.calls()

    def repeated() -> list[str]:
        again = own_data.snakemake("--cores", "2", "results/two/movie.manifest.json")
        assert again.returncode == 0, again.stderr
        return own_data.verbs()

    assert repeated() == []
    (data / "another.tif").write_text("of another sample, in the folder of the pattern")
    assert repeated() == []
    for name in ("two/0001.tif", "two.1.tif"):  # written again, which changes no date of a folder
        (data / name).write_text("other counts")
        assert repeated() == ["convert"], name
    (data / "two" / "0002.tif").write_text("counts")
    assert repeated() == ["convert"]


@pytest.mark.slow
def test_measured_cameras_are_used_where_there_are_movies_to_measure_them_by(own_data: Checkout) -> None:
    own_data.give_camera_movies()
    run = own_data.snakemake("--cores", "2")
    assert run.returncode == 0, run.stderr
    calls = own_data.calls()
    assert Counter(call[0] for call in calls)["cameras"] == 1
    for call in calls:
        if "--microscope" in call:
            given = call[call.index("--microscope") + 1]
            measured = call[0] != "cameras" and any("calibration/a/" in w or "networks/a/" in w for w in call)
            measured |= call[0] == "convert" and "my data/three.0.tif" not in call
            expected = "results/calibration/a/microscope.yaml" if measured else "my data/microscope.yaml"
            assert given == expected, call
    pages = [(own_data.folder / "results" / name / "quality.html").read_text() for name in ("one", "three")]
    assert ["<h2>Cameras<" in page for page in pages] == [True, False]


@pytest.mark.slow
def test_samples_whose_network_waits_for_the_first_say_so(own_data: Checkout) -> None:
    assert own_data.snakemake("--cores", "2", STUB_FAIL="convert:one").returncode == 1
    rows = outcome_of(own_data)
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "one": "fail",
        "two": "not finished",
        "three": "warn",
    }
    assert rows["two"]["error"] == "network: waits for sample one, the first of calibration a; correct that one"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["STUB_KILLED", "STUB_CRASH"])
def test_a_step_that_ends_among_older_results_is_told_and_repeated(own_data: Checkout, how: str) -> None:
    """The verdict from before does not count; a killed step says nothing in its log."""
    assert own_data.snakemake("--cores", "2").returncode == 0
    (own_data.folder / "my data" / "two.0.tif").write_text("other counts")
    assert own_data.snakemake("--cores", "2", **{how: "localize"}).returncode == 1
    rows = outcome_of(own_data)
    verdict = "not finished" if how == "STUB_KILLED" else "fail"
    assert {name: row["verdict"] for name, row in rows.items()} == {"one": "warn", "two": verdict, "three": "warn"}
    assert bool(rows["two"]["error"]) == (verdict == "fail")
    own_data.calls()
    assert own_data.snakemake("--cores", "2").returncode == 0
    assert "localize" in own_data.verbs()
    assert outcome_of(own_data)["two"]["verdict"] == "warn"


@pytest.mark.slow
def test_a_report_can_follow_a_run(own_data: Checkout) -> None:
    run = own_data.snakemake("--cores", "2", "--report", "results/report.html", "--report-after-run")
    assert run.returncode == 0, run.stderr
    assert "measure-resolution" in own_data.verbs()
    report = (own_data.folder / "results" / "report.html").read_text()
    assert "where to look" in report and "results/two/quality.html" in report


@pytest.mark.slow
def test_an_old_error_of_cameras_that_are_no_longer_measured_is_none_of_a_sample(own_data: Checkout) -> None:
    tables = {path: path.read_text() for path in (own_data.folder / "config").glob("*.tsv")}
    own_data.give_camera_movies()
    assert own_data.snakemake("--cores", "2", STUB_FAIL="cameras").returncode == 1
    rows = outcome_of(own_data)
    assert rows["one"]["error"] == "cameras: cameras went wrong; correct it"
    for path, text in tables.items():
        path.write_text(text)
    run = own_data.snakemake("--cores", "2")
    assert run.returncode == 0, run.stderr
    assert {row["verdict"] for row in outcome_of(own_data).values()} == {"warn"}


def test_a_calibration_can_be_looked_at_before_there_are_samples(own_data: Checkout) -> None:
    own_data.table("samples", "sample calibration movie")
    run = own_data.snakemake("--dry-run", "--quiet", "rules")
    assert run.returncode == 0, run.stderr
    assert "calibrate" in run.stdout + run.stderr


def test_lint() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "snakemake", "--lint", "--configfile", "config/demo/config.yaml"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=SNAKEMAKE_TIMEOUT_S,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_every_stage_is_called_by_a_known_verb(checkout: Checkout) -> None:
    """Options in the rules exist on the command line: parsed by click, not run."""
    view = "views:\n  tip:\n    region: 0,900,0,900\n    depth_range: -300,300\n    colour_by: frame\n\npathvars:"
    checkout.edit("config/demo/config.yaml", "pathvars:", view)
    run = checkout.demo("--dry-run")
    commands = [line.removeprefix("Shell command: ") for line in run.stdout.splitlines() if "planeloc " in line]
    seen = set()
    for command in commands:
        words = shlex.split(command.split(" 2>&1")[0])
        if words[0] != "planeloc":
            continue
        verb, given = planeloc.get_command(click.Context(planeloc), words[1]), words[2:]
        if isinstance(verb, click.Group):
            verb, given = verb.commands[given[0]], given[1:]
        with verb.make_context(words[1], given):
            seen.add(words[1])
    assert seen == {*CHAIN, "view", "report"}, run.stderr
