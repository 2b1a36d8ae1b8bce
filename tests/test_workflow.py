"""The workflow around the stages: what it runs, what it runs again, and what it says about mistakes.

The stages are replaced by a stub, so that these tests are about the rules, the configuration and the sheets only.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "workflow"))

from planeloc.domain import Paths, Quantity, offer  # noqa: E402
from planeloc.networks import load_network  # noqa: E402
from preflight import schema as schemas  # noqa: E402
from preflight.configuration import complete_configuration  # noqa: E402
from preflight.errors import ConfigurationError  # noqa: E402
from preflight.experiment import read_experiment  # noqa: E402

CHAIN = [
    *("simulate", "cameras", "calibrate", "register", "convert", "train"),
    *("localize", "filter", "render", "evaluate"),
]
QUALITY_TITLES = ["Cameras", "Calibration", "Registration", "Movie", "Evaluation"]
DEMO = "results/demo"
SNAKEMAKE_TIMEOUT_S = 120
CAMERA = {
    "offset_counts": 100,
    "electrons_per_count": 0.5,
    "em_gain": 1,
    "quantum_efficiency": 0.9,
    "read_noise_electrons": 1.5,
}


@dataclasses.dataclass
class Checkout:
    """A copy of the workflow with a stub in the place of planeloc."""

    folder: Path

    def __post_init__(self) -> None:
        for name in ("workflow", "config", "profiles"):
            shutil.copytree(REPOSITORY / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(REPOSITORY / "Snakefile", self.folder)
        (self.folder / "resources").mkdir()
        for name in (
            *("regression.safetensors", "quadplane.safetensors", "robust.safetensors", "nonrobust.safetensors"),
            "architecture.json",
        ):
            (self.folder / "resources" / name).write_text("weights")
        stub = self.folder / "bin" / "planeloc"
        stub.parent.mkdir()
        stub.write_text(f"#!{sys.executable}\n" + (REPOSITORY / "tests" / "stub_planeloc.py").read_text())
        stub.chmod(0o755)

    def snakemake(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        path = os.pathsep.join([str(self.folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.folder,
            env={**os.environ, "PATH": path, "STUB_CALLS": str(self.calls_file), **environment},
            capture_output=True,
            text=True,
            timeout=SNAKEMAKE_TIMEOUT_S,
            check=False,
        )

    def demo(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return self.snakemake("--cores", "2", "--configfile", "config/demo/config.yaml", *arguments, **environment)

    @property
    def calls_file(self) -> Path:
        return self.folder / "calls.jsonl"

    def calls(self) -> list[list[str]]:
        """What the stub was called with since the last look."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def verbs(self) -> list[str]:
        return sorted(call[0] for call in self.calls())

    def message(self, monkeypatch: pytest.MonkeyPatch) -> str:
        """What is wrong with the configuration and the sheets."""
        monkeypatch.chdir(self.folder)
        file = "config/config.yaml"
        with pytest.raises(ConfigurationError) as caught:
            schemas.YamlLines([file])
            config = complete_configuration(yaml.safe_load(Path(file).read_text()), [file])
            read_experiment(config["samples"], config["calibrations"])
        (line,) = str(caught.value).splitlines()
        return line

    def write_own_data(self, cameras: int = 2) -> None:
        """Two samples that share a calibration, one that has its own, and the configuration for them."""
        data = self.folder / "my data"
        data.mkdir()
        names = ("beads-a", "beads-b", "one", "two", "three")
        files = {name: [f"my data/{name}.{i}.tif" for i in range(cameras)] for name in names}
        for path in (path for paths in files.values() for path in paths):
            (self.folder / path).write_text("counts")
        microscope = {"pixel_size_nm": 100, "cameras": [{"name": str(i), **CAMERA} for i in range(cameras)]}
        (data / "microscope.yaml").write_text(yaml.safe_dump(microscope, sort_keys=False))
        self.sheet("calibrations", "calibration microscope beads z_step_nm scan", *(
            [name, "my data/microscope.yaml", ";".join(files[f"beads-{name}"]), "50", "sample"] for name in "ab"
        ))  # fmt: skip
        self.sheet("samples", "sample calibration movie truth", *(
            [name, calibration, ";".join(files[name]), ""] for name, calibration in
            (("one", "a"), ("two", "a"), ("three", "b"))
        ))  # fmt: skip

    def give_camera_movies(self) -> None:
        """Dark and bright movies for calibration a."""
        for name in ("dark", "bright"):
            for i in range(2):
                (self.folder / f"my data/{name}.{i}.tif").write_text("counts")
        self.edit("config/calibrations.tsv", "scan", "scan\tdark\tbright")
        movies = [";".join(f"my data/{name}.{i}.tif" for i in range(2)) for name in ("dark", "bright")]
        self.edit("config/calibrations.tsv", "sample", "\t".join(["sample", *movies]))

    def sheet(self, name: str, header: str, *rows: list[str]) -> None:
        lines = ["\t".join(cells) for cells in (header.split(), *rows)]
        (self.folder / "config" / f"{name}.tsv").write_text("\n".join(lines) + "\n")

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.folder / path).read_text()
        assert old in text
        (self.folder / path).write_text(text.replace(old, new, 1))


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def own_data(checkout: Checkout) -> Checkout:
    checkout.write_own_data()
    return checkout


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
    assert [title for title in QUALITY_TITLES if f"<h2>{title}</h2>" in page] == QUALITY_TITLES
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

    # Code: a comment changes nothing; a statement reruns the stages that reach it.
    evaluation = checkout.folder / "workflow" / "planeloc" / "evaluation.py"
    evaluation.write_text(evaluation.read_text() + "\n# a comment\n")
    assert checkout.demo().returncode == 0
    assert checkout.verbs() == []
    evaluation.write_text(evaluation.read_text() + "\n_CHANGED = True\n")
    assert checkout.demo().returncode == 0
    assert checkout.verbs() == ["evaluate"]

    # A store that was deleted, to save space, is made again when it is needed.
    shutil.rmtree(checkout.folder / DEMO / "filaments" / "movie.zarr")
    checkout.edit("config/demo/config.yaml", "pathvars:", "localize:\n  threshold: 0.1\n\npathvars:")
    assert checkout.demo().returncode == 0
    assert {"convert", "localize"} <= set(checkout.verbs())


@pytest.mark.slow
def test_a_failing_stage_shows_its_line_and_leaves_nothing(checkout: Checkout) -> None:
    run = checkout.demo(STUB_FAIL="localize")
    assert run.returncode == 1
    assert "planeloc: localize went wrong; mend it" in run.stderr
    assert not (checkout.folder / DEMO / "filaments" / "localizations.h5").exists()
    checkout.calls()

    assert checkout.demo().returncode == 0
    assert checkout.verbs() == ["evaluate", "filter", "localize", "render"]


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


@pytest.mark.slow
def test_the_paper_s_experiments_run_once_and_a_killed_one_alone_again(checkout: Checkout) -> None:
    """At the small size: every estimator on every data set and sweep, with the weights that are shipped."""
    paper = ("paper", "--cores", "2", "--configfile", "config/paper/small.yaml")
    run = checkout.snakemake(*paper)
    assert run.returncode == 0, run.stderr
    calls = checkout.calls()
    assert Counter(call[0].removeprefix("paper ") for call in calls) == {
        "train": 2,
        "one-molecule": 4 * 7,
        "sweep": 6 + 6 + 4,
        "helix": 2,
        **dict.fromkeys(("speed", "bound", "report"), 1),
    }
    for call in calls:
        if "--estimator" in call:
            is_network = call[call.index("--estimator") + 1] in ("robust", "nonrobust")
            assert is_network == ("--weights" in call), call
    drifts = {call[call.index("--drift-voxels") + 1] for call in calls if call[0] == "train"}
    assert drifts == {"2", "0"}
    assert "Nothing to be done" in checkout.snakemake(*paper).stderr

    results = checkout.folder / "results" / "paper-small" / "experiments"
    (results / "sweeps" / "drift" / "robust.json").unlink()
    (results.parent / "report.html").unlink()
    assert checkout.snakemake(*paper).returncode == 0
    assert [call[0] for call in checkout.calls()] == ["paper sweep", "paper report"]

    # What finds molecules is chosen by name, and a change of it repeats what it was used for.
    pursuit = checkout.folder / "workflow" / "planeloc" / "matching_pursuit.py"
    pursuit.write_text(pursuit.read_text() + "\n_CHANGED = True\n")
    assert checkout.snakemake(*paper).returncode == 0
    assert Counter(call[0].removeprefix("paper ") for call in checkout.calls()) == {
        "one-molecule": 4 * 7,
        "sweep": 6 + 6 + 4,
        "report": 1,
    }


def test_the_paper_in_full_trains_its_networks(checkout: Checkout) -> None:
    run = checkout.snakemake("paper", "--dry-run", "--printshellcmds", "--configfile", "config/paper/full.yaml")
    assert run.returncode == 0, run.stderr
    commands = [line for line in run.stdout.splitlines() if "planeloc train" in line and "experiments/training" in line]
    assert len(commands) == 2
    for command in commands:
        assert "--samples=2700000 --batch=100" in command and "--start-from" not in command
    assert any("--structure results/paper-full/filaments/voxels.png" in line for line in run.stdout.splitlines())
    assert "--structure-localizations results/paper-full/filaments/localizations.h5" in run.stdout


@pytest.mark.parametrize("size", ["config", "full"])
def test_the_paper_s_structure_is_found_by_the_paper_s_network_alone(checkout: Checkout, size: str) -> None:
    run = checkout.snakemake("paper", "--dry-run", "--printshellcmds", "--configfile", f"config/paper/{size}.yaml")
    assert run.returncode == 0, run.stderr
    commands = [line for line in run.stdout.splitlines() if "results/" in line and "planeloc" in line]
    (train,) = (line for line in commands if "planeloc train" in line and "/networks/" in line)
    (localize,) = (line for line in commands if "planeloc localize" in line)
    assert "--start-from resources/quadplane.safetensors" in train and "--network=upsampling" in train
    assert "--refine=none" in localize and "--threshold=0.05" in localize


def test_a_structure_that_is_no_sample_is_named(checkout: Checkout) -> None:
    checkout.edit("config/paper/config.yaml", "structure: filaments", "structure: filament")
    run = checkout.snakemake("paper", "--dry-run", "--configfile", "config/paper/config.yaml")
    assert run.returncode == 1
    assert "config.yaml:18: paper.structure: unknown sample 'filament'; did you mean filaments?" in run.stderr


def test_the_training_that_is_offered_for_a_movie_runs_in_the_workflow(checkout: Checkout) -> None:
    """With the workflow's own weights at hand, which rule `train` cannot start from."""
    _, record = load_network(REPOSITORY / "resources" / "regression.safetensors")
    folder = Path("results/demo")
    files = ("s/movie.json", "c/registration.json", "c/psf.h5", "networks/c/weights.safetensors", "s/table.h5")
    denser = Quantity("density", 40.0, 10.0, True, "", {"density": "0.1-20"})
    words = offer([denser], record, record.psf, Paths(*(folder / file for file in files)))
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
        **dict.fromkeys(("convert", "localize", "filter", "render", "evaluate"), 3),
    }
    movies = {call.count("--movie") for call in calls if call[0] == "train"}
    assert movies == {1}  # the light is measured in a calibration's first sample
    assert all("--truth" not in call for call in calls if call[0] == "evaluate")
    assert "results/calibration/b/psf.h5" in next(c for c in calls if c[0] == "localize" and "results/three" in str(c))


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
    assert ["<h2>Cameras</h2>" in page for page in pages] == [True, False]


def test_a_calibration_can_be_looked_at_before_there_are_samples(own_data: Checkout) -> None:
    own_data.sheet("samples", "sample calibration movie")
    run = own_data.snakemake("--dry-run", "--quiet", "rules")
    assert run.returncode == 0, run.stderr
    assert "calibrate" in run.stdout + run.stderr


def test_an_untouched_checkout_says_what_to_fill_in(checkout: Checkout) -> None:
    run = checkout.snakemake("--dry-run")
    lines = [line for line in (run.stdout + run.stderr).splitlines() if line and not line.startswith("Using ")]
    assert run.returncode == 1
    assert len(lines) == 1, lines
    assert lines[0].startswith("config/samples.tsv: no samples yet")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localise:\n  threshold: 0.1\n", "config.yaml:1: unknown key localise; did you mean localize?"),
        ("localize:\n  treshold: 0.1\n", "config.yaml:2: unknown key localize.treshold; did you mean threshold?"),
        ("localize:\n  threshold: 1e-3\n", "config.yaml:2: localize.threshold is '1e-3'; give a number"),
        ("localize:\n  threshold: 7\n", "config.yaml:2: localize.threshold is 7; give 0.999 or less"),
        ("localize:\n  device: gpu\n", "localize.device is 'gpu'; choose one of 'auto', 'cpu', 'cuda'"),
        ("localize: fast\n", "config.yaml:1: localize is 'fast'; give a group of keys"),
        ("samples: a\nsamples: b\n", "config.yaml:2: key samples was already given in line 1"),
        ("samples: nowhere.tsv\n", "nowhere.tsv: no such sheet"),
        ("train:\n  network: upsamling\n", "train.network is 'upsamling'; choose one of 'upsampling', 'regression'"),
        ("train:\n  start_from: lost.safetensors\n", "config.yaml:2: train.start_from: lost.safetensors not found"),
        ("localize:\n\tthreshold: 1\n", "config.yaml:2: not valid YAML"),
    ],
)
def test_mistakes_in_the_configuration(
    own_data: Checkout, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    (own_data.folder / "config" / "config.yaml").write_text(text)
    assert expected in own_data.message(monkeypatch)


@pytest.mark.parametrize(
    ("sheet", "old", "new", "expected"),
    [
        ("samples", "two\ta", "two\tc", "samples.tsv:3: unknown calibration 'c'; known are a, b"),
        ("samples", "two\ta", "one\ta", "samples.tsv:3: sample 'one' is already in line 2"),
        ("samples", "two\ta", "two cells\ta", "samples.tsv:3: sample is 'two cells'; use letters, digits"),
        ("samples", "two\ta", "networks\ta", "samples.tsv:3: sample cannot be called 'networks'"),
        ("samples", "two\ta", "demo\ta", "samples.tsv:3: sample cannot be called 'demo'"),
        ("calibrations", "a\t", "Demo\t", "calibrations.tsv:2: calibration cannot be called 'Demo'"),
        ("samples", "two\ta", "\ta", "samples.tsv:3: column sample is empty"),
        ("samples", "movie", "film", "samples.tsv:1: unknown column 'film'"),
        ("samples", "sample\tcalibration", "sample calibration", "samples.tsv:1: unknown column 'sample calibration'"),
        ("samples", "two.0.tif", "too.0.tif", "too.0.tif not found; did you mean two.0.tif?"),
        ("samples", "my data/two.0.tif", "mine/two.0.tif", "there is no folder mine"),
        (
            "samples",
            "my data/two.0.tif;",
            "",
            "names 1 file(s), but my data/microscope.yaml lists 2 cameras",
        ),
        ("samples", "two.1.tif", "two.0.tif", "column movie names my data/two.0.tif twice"),
        ("calibrations", "\t50", "\tfifty", "calibrations.tsv:2: z_step_nm is 'fifty'; give a number"),
        ("calibrations", "\t50", "\tinf", "calibrations.tsv:2: z_step_nm is inf; give a number that is finite"),
        ("calibrations", "\t50", "\t0", "calibrations.tsv:2: z_step_nm is 0.0; give more than 0"),
        ("calibrations", "sample", "stage", "scan is 'stage'; choose one of 'objective', 'sample'"),
        ("calibrations", "\tscan", "", "calibrations.tsv:1: column scan is missing"),
    ],
)
def test_mistakes_in_the_sheets(
    own_data: Checkout, monkeypatch: pytest.MonkeyPatch, sheet: str, old: str, new: str, expected: str
) -> None:
    own_data.edit(f"config/{sheet}.tsv", old, new)
    assert expected in own_data.message(monkeypatch)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (";my data/dark.1.tif", "", "column dark names 1 file(s), but my data/microscope.yaml lists 2 cameras"),
        ("dark.1.tif", "drak.1.tif", "drak.1.tif not found; did you mean dark.1.tif?"),
        (
            "my data/dark.0.tif;my data/dark.1.tif",
            "",
            "calibrations.tsv:2: column dark is empty, but bright is not; cameras are measured from a dark and a",
        ),
        (
            "\tmy data/bright.0.tif;my data/bright.1.tif",
            "",
            "calibrations.tsv:2: column bright is empty, but dark is not",
        ),
        (
            "dark\tbright",
            "bright_without_em\tbright",
            "calibrations.tsv:2: column dark is empty, but bright is not",
        ),
    ],
)
def test_mistakes_in_the_movies_of_the_cameras(
    own_data: Checkout, monkeypatch: pytest.MonkeyPatch, old: str, new: str, expected: str
) -> None:
    own_data.give_camera_movies()
    own_data.edit("config/calibrations.tsv", old, new)
    assert expected in own_data.message(monkeypatch)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("pixel_size_nm", "pixel_size", "microscope.yaml:1: unknown key pixel_size; did you mean pixel_size_nm?"),
        ("pixel_size_nm: 100", "pixel_size_nm: 0.1", "microscope.yaml:1: pixel_size_nm is 0.1; give 1 or more"),
        (
            "pixel_size_nm: 100",
            "pixel_size_nm: .inf",
            "microscope.yaml:1: pixel_size_nm is inf; give a number that is fin",
        ),
        (
            "pixel_size_nm: 100",
            "pixel_size_nm: .nan",
            "microscope.yaml:1: pixel_size_nm is nan; give a number that is fin",
        ),
        (
            "pixel_size_nm: 100",
            "name: x",
            "pixel_size_nm is missing; add it (Size of a camera pixel in the sample, in nm)",
        ),
        ("em_gain: 1", "gain: 1", "unknown key cameras[0].gain; did you mean em_gain?"),
        (
            "  em_gain: 1\n",
            "",
            "microscope.yaml:3: cameras[0].em_gain is missing; add it (Electron-multiplying gain; 1 for CCD and sCMOS)",
        ),
        ("pixel_size_nm: 100", "layout: regions\npixel_size_nm: 100", "0 regions for 2 cameras"),
        ("pixel_size_nm: 100", "pixel_size_nm: 100\nregions: [{x: 0, y: 0}]", "regions[0].width is missing; add it"),
        (
            "pixel_size_nm: 100",
            "pixel_size_nm: 100\nlayout: regions\nregions: [{width: 5, height: 6}, {width: 5, height: 5}]",
            "microscope.yaml:3: the regions differ in size; give all the same width and height",
        ),
    ],
)
def test_mistakes_in_the_microscope_file(
    own_data: Checkout, monkeypatch: pytest.MonkeyPatch, old: str, new: str, expected: str
) -> None:
    own_data.edit("my data/microscope.yaml", old, new)
    assert expected in own_data.message(monkeypatch)


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
    from click.testing import CliRunner

    from planeloc.cli import planeloc

    run = checkout.demo("--dry-run")
    commands = [line.removeprefix("Shell command: ") for line in run.stdout.splitlines() if "planeloc " in line]
    seen = set()
    for command in commands:
        words = shlex.split(command.split(" 2>&1")[0])
        if words[0] != "planeloc":
            continue
        verb = planeloc.commands[words[1]]
        with verb.make_context(words[1], words[2:]):
            seen.add(words[1])
    assert seen == set(CHAIN), run.stderr
    assert CliRunner().invoke(planeloc, ["--help"]).exit_code == 0
