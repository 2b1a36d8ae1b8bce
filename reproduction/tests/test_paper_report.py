"""The report of the reproduction: measures against brute force, the page against values worked out here."""

import base64
import html
import json
import math
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from paper_results import (
    SECONDS,
    SPREAD,
    TRAINED,
    VOXEL_NM,
    helix,
    one_molecule,
    training_record,
    write_json,
    write_results,
)

from planeloc.core.errors import PlanelocError
from planeloc.core.quality_labels import number
from planeloc_reproduction import measures, published, results, wording
from planeloc_reproduction.report import Context, read_evaluation, write_report

INTERVAL_TOLERANCE = 0.1  # of the interval's half width: the bootstrap's own scatter and that of the sample's sd
MONTE_CARLO_TOLERANCE = 0.005
MARK = "images, 11 %"
PICTURES = 14


# ----------------------------------------------------------------------------------------------- measures


def test_the_interval_of_a_mean_is_that_of_the_normal_law():
    values = np.random.default_rng(3).normal(20, 6, 4000)
    interval = measures.mean_and_interval(values, seed=1)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert interval.value == values.mean()
    assert interval.low == pytest.approx(values.mean() - half, abs=INTERVAL_TOLERANCE * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=INTERVAL_TOLERANCE * half)
    assert interval == measures.mean_and_interval(values, seed=1) != measures.mean_and_interval(values, seed=2)
    assert math.isnan(measures.mean_and_interval([]).value)


def test_voxel_jaccard_is_that_of_the_sets():
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 3, (300, 3)), rng.integers(0, 3, (300, 3))
    sets = [{(n, *v) for n, v in enumerate(voxels.tolist())} for voxels in (truth, found)]
    expected = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    summary = measures.error_summary(truth * VOXEL_NM, found * VOXEL_NM, truth, found, VOXEL_NM)
    assert summary.jaccard.value == pytest.approx(expected, rel=1e-12)
    assert summary.jaccard.low < expected < summary.jaccard.high


def test_error_measures_by_hand():
    truth_nm, found_nm = np.array([[10.0, 10, 0], [30, 10, 60]]), np.array([[13.0, 14, 2], [30, 10, 30]])
    voxels = np.array([[0, 0, 0], [1, 0, 1]]), np.array([[3, 4, 0], [1, 0, 3]])
    errors = measures.error_summary(truth_nm, found_nm, *voxels, (24.0, 24.0, 50.0))
    assert errors.voxel_lateral.value == pytest.approx(60)  # (5 voxels of 24 nm, 0)
    assert errors.voxel_axial.value == pytest.approx(50)
    assert errors.mean_lateral.value == pytest.approx(2.5)
    assert errors.mean_axial.value == pytest.approx(16)
    assert errors.rmse_lateral.value == pytest.approx(math.sqrt(25 / 2))
    assert errors.rmse_axial.value == pytest.approx(math.sqrt((4 + 900) / 2))


def test_histogram_counts_everything_once():
    truth = np.zeros((4, 3), dtype=int)
    found = np.array([[0, 0, 5], [2, -1, 0], [2, -1, 0], [7, 0, 0]])
    counts, beyond = measures.error_counts(found, truth, reach=6)
    assert (counts[6, 6], counts[5, 8], beyond) == (1, 2, 1)  # rows along y, columns along x
    assert counts.sum() + beyond == len(found)


def test_voxel_errors_of_molecules_anywhere_are_on_average_those_of_the_positions():
    place = np.random.default_rng(0).uniform(0, 1, 200_000)
    for error in (0.13, 0.7, 2.4):
        distance = np.abs(np.floor(place + error) - np.floor(place)).mean()
        assert distance == pytest.approx(error, abs=MONTE_CARLO_TOLERANCE)


def test_share_in_the_same_voxel_is_that_of_random_errors():
    rng = np.random.default_rng(1)
    for sd in (4.0, 15.0, 60.0):
        place, error = rng.uniform(0, 24, 400_000), rng.normal(0, sd, 400_000)
        kept = (np.floor((place + error) / 24) == 0).mean()
        share = measures.same_voxel_share(sd * math.sqrt(2 / math.pi), 24.0)
        assert share == pytest.approx(kept, abs=MONTE_CARLO_TOLERANCE)


def test_distance_to_a_curve_is_that_to_its_segments():
    angle = np.linspace(0, 2 * np.pi, 2001)
    circle = np.stack([100 * np.cos(angle), 100 * np.sin(angle), np.zeros_like(angle)], axis=1)
    points = np.array([[130.0, 0, 0], [0, 0, 0], [0, 100, 40]])
    assert measures.distance_to_curve(points, circle) == pytest.approx([30, 100, 40], abs=0.001)
    line = np.array([[0.0, 0, 0], [100, 0, 0]])
    assert measures.distance_to_curve([[50.0, 24, 50]], line, (24, 24, 50)) == pytest.approx([math.sqrt(2)])
    assert len(measures.distance_to_curve(np.empty((0, 3)), line)) == 0


def test_errors_fall_into_their_bins_of_depth():
    depth, error = np.array([-100.0, -60, 10, 100]), np.array([[1.0, -3], [-3, 5], [7, 9], [9, 1]])
    by_axis = measures.error_by_depth(depth, error, np.array([-100.0, 0, 100]))
    assert [[i.value for i in axis] for axis in by_axis] == [[2, 8], [4, 5]]
    assert measures.depth_bins((-800.0, 800.0), 500)[1] == -700
    assert measures.depth_bins((-800.0, 800.0), 5000)[1] == -750


# ------------------------------------------------------------------------------------------------ the page


class Page(HTMLParser):
    """Rows of all tables as lists of texts, pictures as bytes, and everything that would be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows, self.pictures, self.fetched, self.scripts, self._in_cell = [], [], [], 0, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        self._in_cell = tag in ("td", "th")
        if self._in_cell:
            self.rows[-1].append("")
        if tag == "img":
            self.pictures.append(base64.b64decode(attributes["src"].removeprefix("data:image/png;base64,")))
        self.scripts += tag == "script"
        self.fetched += [
            v for k, v in attrs if k in ("src", "href") and not v.startswith(("data:image/png;base64,", "#"))
        ]

    def handle_endtag(self, tag):
        self._in_cell = False

    def handle_data(self, data):
        if self._in_cell:
            self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        return next(row[1:] for row in self.rows if row[0] == name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("paper")
    write_results(path)
    return path


@pytest.fixture(scope="module")
def written(folder, tmp_path_factory):
    """The report of everything: path of the page, its text, and the notes under the figures."""
    output = tmp_path_factory.mktemp("report") / "report.html"
    image = output.parent / "voxels.png"
    Figure(figsize=(1, 1)).savefig(image)
    values = {"voxel_error_lateral_nm": 18.2, "voxel_error_axial_nm": 21.0, "recall": 0.8, "rmse_lateral_nm": None}
    write_json(output.parent / "evaluation.json", {"values": values, "checks": []})
    notes, original = [], Figure.supxlabel
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "supxlabel", lambda self, text, **kw: notes.append(text) or original(self, text, **kw))
        write_report(folder, image, output, structure_threshold=0.07)
    return output, output.read_text(encoding="utf-8"), notes


@pytest.fixture(scope="module")
def page(written):
    return Page(written[1])


def small_folder(path, *, images=60, trained=300_000, spread=None, estimators=("robust", "compressed_sensing")):
    """As little as draws Fig. 7, Fig. 8 and Table 3."""
    for name in estimators:
        content = one_molecule(1, spread or SPREAD.get(name, (20.0, 20.0, 0.0)), images=images)
        write_json(path / "one_molecule" / "paper" / f"{name}.json", content)
    write_json(path / "training" / "robust.json", training_record(trained, 10.5))
    return path


def test_page_is_self_contained(written, page):
    assert page.scripts == 0
    assert page.fetched == []
    assert "http" not in written[1]
    assert '<meta name="viewport"' in written[1]
    assert "among voxels above 0.07," in written[1]


def test_figures_are_in_the_page_and_in_their_folder(written, page):
    files = sorted(path.read_bytes() for path in (written[0].parent / "figures").glob("*.png"))
    assert files == sorted(page.pictures)
    assert len(files) == PICTURES
    assert not list(written[0].parent.rglob(".partial*"))


def test_table_3_holds_the_means_worked_out_here(folder, page):
    for name in SPREAD:
        one = json.loads((folder / "one_molecule" / "paper" / f"{name}.json").read_text())
        voxel = (np.array(one["found_voxel"]) - np.array(one["truth_voxel"])) * VOXEL_NM
        position = np.array(one["found_nm"]) - np.array(one["truth_nm"])
        label = wording.label(name)
        lateral, axial = np.hypot(voxel[:, 0], voxel[:, 1]).mean(), np.abs(voxel[:, 2]).mean()
        assert page.row(f"{label}: lateral error, nm")[1].split()[0] == number(lateral)
        assert page.row(f"{label}: axial error, nm")[1].split()[0] == number(axial)
        three = next(row[1:] for row in page.rows if row[0] == label and len(row) == 6 and "(" in row[1])
        distance = np.hypot(position[:, 0], position[:, 1])
        expected = [lateral, distance.mean(), np.sqrt((distance**2).mean()), distance.mean() / 15.7]
        assert [cell.split()[0] for cell in three[:4]] == [number(value) for value in expected]
        if name in SECONDS:
            assert page.row(f"{label}: frames per second")[1] == number(500 / SECONDS[name])


def test_the_paper_s_numbers_stand_beside_ours(page):
    paper = {
        "robust network: lateral error, nm": "16.7",
        "robust network: axial error, nm": "8.90",
        "robust network: frames per second": "125",
        "compressed sensing: lateral error, nm": "57.6",
        "compressed sensing: axial error, nm": "0.400",
        "compressed sensing: frames per second": "0.129",
        "16 × 16": "125",
    }
    assert {name: page.row(name)[0] for name in paper} == paper


def test_voxel_jaccard_of_fig_7(folder, page):
    for name in ("robust", "nonrobust"):
        one = json.loads((folder / "one_molecule" / "paper" / f"{name}.json").read_text())
        same = [f == t for f, t in zip(one["found_voxel"], one["truth_voxel"], strict=True)]
        expected = sum(same) / (2 * len(same) - sum(same))
        cell = page.row(f"{wording.label(name)}: voxel Jaccard index")[1]
        assert cell.split()[0] == number(expected)


def test_fraction_trained_is_marked_on_every_figure_and_table_of_a_network(written):
    _, text, notes = written
    sections = re.findall(r'<section id="([^"]+)">(.*?)</section>', text, flags=re.S)
    of_networks = [body for name, body in sections if name not in ("architecture", "fig12")]
    tables = sum(body.count("<table>") for body in of_networks) - 1  # without that of the limits
    marks = sum(MARK in mark for body in of_networks for mark in re.findall(r'<p class="mark">(.*?)</p>', body))
    assert marks == tables
    assert sum(MARK in note for note in notes) == PICTURES - 2  # all but Fig. 12 and the study, which has its own
    assert any("8,000 images" in note for note in notes)


def test_bytes_are_the_same_in_every_run(tmp_path):
    folder = small_folder(tmp_path / "results")
    write_json(folder / "helix" / "robust.json", helix(frames=12))
    for name in "ab":
        write_report(folder, None, tmp_path / name / "report.html")
    files = [sorted(p for p in (tmp_path / name).rglob("*") if p.is_file()) for name in "ab"]
    assert len(files[0]) > 4
    for first, second in zip(*files, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_names_are_escaped_and_drawn_as_they_are(tmp_path):
    name = "<i>$x^&y"
    folder = small_folder(tmp_path / "results", estimators=("robust", name))
    write_json(folder / "speed.json", {"device": "<V100> $a_$", "points": [{"size_px": 16, "seconds_per_frame": 0.01}]})
    write_report(folder, None, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<i>" not in text
    assert "<V100>" not in text
    assert "&lt;i&gt;$x^&amp;y" in text


def test_as_little_as_there_can_be(tmp_path):
    """One image, one point, nothing found: parts are missing or empty, and the page is still made."""
    folder = small_folder(tmp_path / "results", images=1, estimators=("nonrobust",))
    write_json(folder / "training" / "nonrobust.json", training_record(10_000, 12.0) | {"history": []})
    nothing = {"value": 0.0, "images": 1, "molecules": 0, "jaccard": None, "lateral_nm": None}
    write_json(folder / "sweeps" / "drift" / "robust.json", {"points": [nothing]})
    empty = {"truth_nm": [[0, 0, 0]], "found_nm": [], "peaks_nm": []}
    content = {"threshold": 0.1, "curve_nm": [[0, 0, 0]], "frames": [empty], "examples": []}
    write_json(folder / "helix" / "nonrobust.json", content)
    write_report(folder, None, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "non-robust network was trained is not recorded" in text
    assert "(sweeps/photons/*.json)" in text
    assert "(speed.json)" in text
    assert "nan" not in re.sub(r"base64,[^\"]+", "", text)


# ------------------------------------------------------------------------------------------- explanations


def why(tmp_path, section, folder=None, **changes) -> str:
    """The sentence that explains a section, drawn without its figures."""
    folder = folder or small_folder(tmp_path / "results", **changes)
    picture = tmp_path / "any.png"
    Figure(figsize=(1, 1)).savefig(picture)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Context, "draw", lambda *_: dict.fromkeys(("training", "fig7", "table3", "fig8", "fig10"), picture)
        )
        write_report(folder, None, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    body = text.partition(f'<section id="{section}">')[2].partition("</section>")[0]
    return " ".join(html.unescape(re.search(r'<p class="why">(.*?)</p>', body, flags=re.S)[1]).split())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"spread": (30.0, 12.0, 0.0)}, "above the paper's 16.7 nm; it has seen 11 % of the paper's images"),
        ({"spread": (30.0, 12.0, 0.0), "trained": 2_700_000}, "which leaves the architecture"),
        ({"spread": (3.0, 3.0, 0.0)}, "below the paper's 16.7 nm."),
        ({"spread": (11.0, 9.0, 0.0)}, "agrees with the paper's 16.7 nm"),
    ],
)
def test_what_explains_table_3(tmp_path, changes, expected):
    assert expected in why(tmp_path, "table3", **changes)


def test_what_the_learning_curve_says(tmp_path):
    text = why(tmp_path, "training")
    assert text.startswith("The robust network has seen 11 % of the paper's images")
    assert text.endswith("the end of a curve does not show what more images would bring.")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ((0.01, 0.04), "the speed follows 1 / pixels"),
        ((0.01, 0.02), "small images reach 50 %"),
        ((0.01, 0.08), "large images are slower than the 1 / pixels law"),
        ((0.1, 0.4), "frames per second at no size measured"),
    ],
)
def test_what_explains_fig_10(tmp_path, seconds, expected):
    points = [{"size_px": s, "seconds_per_frame": t} for s, t in zip((16, 32), seconds, strict=True)]
    write_json(tmp_path / "results" / "speed.json", {"device": "a GPU", "precision": "float32", "points": points})
    assert expected in why(tmp_path, "fig10", tmp_path / "results")


@pytest.mark.parametrize(
    ("images", "networks", "expected"),
    [
        (
            {"robust": 300_000, "nonrobust": 300_000},
            2,
            "Robust network: 300,000 training images, 11 %; non-robust network: 300,000 training images, 11 % "
            "(the paper: 2,700,000)",
        ),
        ({"robust": 300_000}, 1, "Robust network: 300,000 training images, 11 % (the paper: 2,700,000)"),
        ({"robust": 2_700_000, "nonrobust": 5_400_000}, 2, ""),
        ({"robust": 2_699_990}, 1, "Robust network: 2,699,990 training images, 99.9 % (the paper: 2,700,000)"),
        ({}, 1, "How far the robust network was trained is not recorded"),
    ],
)
def test_how_far_networks_were_trained(tmp_path, images, networks, expected):
    for name, seen in images.items():
        record = training_record(10_000, 12.0)
        record["history"][-1]["samples"] = seen
        write_json(tmp_path / "training" / f"{name}.json", record)
    write_json(tmp_path / "speed.json", {"points": [{"size_px": 16, "seconds_per_frame": 1}]})
    training = results.read_results(tmp_path).training
    assert wording.training_mark(training, ("robust", "nonrobust")[:networks]) == expected


def test_an_adopted_network_has_the_images_of_its_own_training(tmp_path):
    record = training_record(130_000, 12.0) | {"decision": "adopted"}
    record["settings"] = {"samples": 7, "seed": 99}  # of the run that adopted it
    write_json(tmp_path / "training" / "robust.json", record)
    training = results.read_results(tmp_path).training["robust"]
    assert (training.images, dict(training.settings)) == (130_000, {})
    assert training.fraction == pytest.approx(130_000 / published.TRAINING_IMAGES.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (16.7, "16.7"),
        (0.4, "0.400"),
        (125, "125"),
        (0.00145, "0.00145"),
        (2.5e-5, "2.5 × 10⁻⁵"),
        (-0.5, "−0.500"),
        (0, "0.00"),
    ],
)
def test_numbers_as_text(value, text):
    assert number(value) == text


# ---------------------------------------------------------------------------------------------- bad input

FILES = (
    "training/robust.json",
    "architecture.json",
    "one_molecule/paper/robust.json",
    "one_molecule/camera/robust.seconds.json",
    "bound.json",
    "sweeps/density/fit_with_drift.json",
    "helix/robust.json",
    "speed.json",
)


def refusal(folder, tmp_path, file, content) -> str:
    broken = tmp_path / "results"
    shutil.copytree(folder, broken)
    (broken / file).write_text(content, encoding="utf-8")
    with pytest.raises(PlanelocError) as caught:
        write_report(broken, None, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"history": 1, "a": 2, "points": 3, "frames": [4]}'])
def test_damaged_files_are_named(folder, tmp_path, file, content):
    assert file in refusal(folder, tmp_path, file, content)


@pytest.mark.parametrize(
    ("file", "change", "what"),
    [
        ("one_molecule/paper/robust.json", {"found_nm": [[1, 2, 3]]}, "one estimate for every molecule"),
        ("one_molecule/paper/robust.json", {"truth_nm": []}, "holds no molecules"),
        ("one_molecule/paper/robust.json", {"found_nm": [[1, 2], [3]]}, "not a table of numbers"),
        ("one_molecule/paper/robust.json", {"found_nm": [[1, 2, math.nan]]}, "not finite"),
        ("one_molecule/paper/robust.json", {"voxel_nm": [24, 24, 0]}, "voxel_nm"),
        ("one_molecule/paper/robust.seconds.json", {"seconds": 0}, "above 0"),
        ("bound.json", {"depth_nm": [0.0]}, "one value for every depth"),
        ("helix/robust.json", {"examples": [300]}, "beyond the 300"),
        ("speed.json", {"points": []}, "no points"),
        ("sweeps/drift/robust.json", {"points": [{"value": None}]}, "'value'"),
        ("training/robust.json", {"history": [{"samples": 5}]}, "training_loss"),
    ],
)
def test_values_that_cannot_be_are_named(folder, tmp_path, file, change, what):
    content = json.loads((folder / file).read_text()) | change
    message = refusal(folder, tmp_path, file, json.dumps(content))
    assert file in message
    assert what in message


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(PlanelocError, match="holds no result of the paper's experiments"):
        write_report(tmp_path, None, tmp_path / "report.html")


@pytest.mark.parametrize("content", [None, b"no picture"])
def test_a_picture_that_is_none_is_refused(tmp_path, content):
    image = tmp_path / "voxels.png"
    if content is not None:
        image.write_bytes(content)
    with pytest.raises(PlanelocError, match=r"voxels\.png"):
        Context(results.Results(), tmp_path / "figures").draw(image)


def test_a_damaged_evaluation_is_named(tmp_path):
    Figure(figsize=(1, 1)).savefig(tmp_path / "voxels.png")
    write_json(tmp_path / "evaluation.json", {"values": [1]})
    with pytest.raises(PlanelocError, match=r"evaluation\.json"):
        read_evaluation(tmp_path / "voxels.png")


def test_the_made_up_trainings_are_those_of_the_mark():
    assert wording.percent(TRAINED["robust"] / published.TRAINING_IMAGES.value) == "11 %"
