"""The report of the reproduction: the page against values worked out here."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from paper_results import SECONDS, SPREAD, VOXEL_NM, helix, small_folder, training_record, write_json

from planeloc.core.quality_labels import number
from planeloc_reproduction import wording
from planeloc_reproduction.report import write_report

MARK = "images, 11 %"
PICTURES = 14


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
