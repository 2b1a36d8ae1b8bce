"""The quality page, from quality values, figures and tables that are made up."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from planeloc.cli.main import planeloc
from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table
from planeloc.reporting.key_numbers import key_numbers, verdict_of
from planeloc.reporting.network_check import network_checks
from planeloc.reporting.quality_page import PageFiles, write_quality_page
from planeloc.reporting.sections import CAPTIONS, SECTIONS
from planeloc.reporting.shown_checks import UNKNOWN, ShownCheck, overall, shown, stage_verdict

GOOD = {"name": "recall", "value": 0.9, "threshold": 0.7, "verdict": "pass", "advice": "raise the light", "side": "≥"}
BAD = {
    "name": "bead_motion_nm",
    "value": 31.2,
    "threshold": 15.0,
    "verdict": "warn",
    "advice": "fix <beads>",
    "side": "≤",
}
FAILED = {"name": "residual_px", "value": 0.4, "threshold": 0.3, "verdict": "fail", "advice": "look", "side": "≤"}
VALUES = {
    "waist_nm": 133.5,
    "waist_sd_nm": 0.0727,
    "recall": 0.938,
    "unknown_nm": None,
    "per_plane": [1.0, 2.0],
    "plane_0_depth_nm": -600.9,
    "plane_1_depth_nm": 1199.7,
    "plane_1_depth_sd_nm": 1.21,
    "plane_1_mirrored": 1.0,
}
EVALUATION = {
    "localizations": 5797,
    "frames": 600,
    "lateral_sd_median_nm": 8.61,
    "axial_sd_median_nm": 16.3,
    "photons_median": 2735.7,
    "background_median": 4.35,
}
MOVIE = {
    "background": {"measured": [3.8, 4.2], "trained": [2.0, 10.0], "verdict": "inside"},
    "brightness": {"measured": None, "trained": [250.0, 5425.0], "verdict": "unknown"},
    "density": {"measured": 17.3, "trained": 5.0, "verdict": "outside"},
    "spot_width": {"measured": [None, 1.02], "trained": 1.0, "verdict": "inside"},
}


def quality_file(folder: Path, name: str, *checks: dict, values: dict | None = None) -> Path:
    path = folder / f"{name}.quality.json"
    path.write_text(json.dumps({"values": values or {}, "checks": checks}))
    return path


def figure(folder: Path, name: str, size: tuple[int, int] = (40, 30)) -> Path:
    path = folder / f"{name}.png"
    Image.linear_gradient("L").resize(size).save(path)
    return path


def written(output: Path, **files: dict[str, Path]) -> tuple[str, str]:
    """Verdict and text of a page, without its style."""
    verdict = write_quality_page(output, PageFiles(**files))
    return verdict, output.read_text(encoding="utf-8").partition("</style>")[2]


@pytest.fixture
def page(tmp_path: Path) -> str:
    stages = {
        "evaluation": quality_file(tmp_path, "evaluation", GOOD, values=EVALUATION),
        "calibration": quality_file(tmp_path, "psf", GOOD, BAD, values=VALUES),
    }
    figures = {name: figure(tmp_path, name) for name in ("evaluation", "calibration", "depth")}
    verdict, text = written(tmp_path / "cells" / "quality.html", stages=stages, figures=figures)
    assert verdict == "warn"
    return text


def test_the_page_begins_with_sample_verdict_picture_and_numbers(page: str) -> None:
    head = page.partition("Step by step")[0]
    assert "<h1>cells</h1>" in head
    assert 'banner warn"><strong>warn</strong>' in head and "1 of 3 checks gives a warning, none failed" in head
    assert head.count("data:image/webp;base64,") == 1 and 'alt="Super-resolution image of cells' in head
    assert "<dt>Localizations</dt><dd>5,797 <small>in 600 frames, 9.66 per frame</small>" in head
    assert "<dd>8.61 nm lateral, 16.3 nm axial" in head


def test_it_says_what_to_do(page: str) -> None:
    todo = page.partition('<ul class="todo">')[2].partition("</ul>")[0]
    assert "Calibration: motion of individual beads</b>: 31.2 nm (≤ 15 nm is good)." in todo
    assert "Fix &lt;beads&gt;." in todo
    assert "raise the light" not in page.lower()


def test_stages_are_in_the_order_of_the_chain_and_folded_if_they_passed(page: str) -> None:
    folded = re.findall(r'<details class="stage"( open)?>\s*<summary><h2>([^<]+)</h2>', page)
    assert folded == [(" open", "Calibration"), ("", "Evaluation")]
    assert page.count("<figcaption>") == 3


def test_values_have_units_and_standard_deviations(page: str) -> None:
    assert '<tr><th scope="row">waist, w₀</th><td class="number">133.500 ± 0.073 nm</td></tr>' in page
    assert '<tr><th scope="row">unknown</th><td class="number">not measured</td></tr>' in page
    assert "per plane 1" in page
    assert 'depth</th><td class="number">−601 nm</td><td class="number">1,199.7 ± 1.2 nm</td>' in page
    assert 'mirrored</th><td class="number">—</td><td class="number">yes</td>' in page


class Tags(HTMLParser):
    """Whether all tags are closed in order, all images described, and which addresses are named."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting, self.seen, self.addresses = [], [], []

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.seen.append(tag)
        given = dict(attributes)
        self.addresses += [given[name] for name in ("src", "href") if name in given]
        if tag == "img":
            assert given["alt"]
        if tag == "th":
            assert given["scope"] in ("row", "col")
        if tag not in ("img", "meta", "br"):
            self.waiting.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.waiting.pop() == tag


def test_the_page_is_well_formed_and_needs_nothing_else(page: str, tmp_path: Path) -> None:
    tags = Tags()
    tags.feed((tmp_path / "cells" / "quality.html").read_text(encoding="utf-8"))
    assert not tags.waiting and "script" not in tags.seen
    assert all(address.startswith("data:") for address in tags.addresses)
    assert tags.seen.count("h1") == tags.seen.count("main") == 1


def test_equal_files_give_equal_bytes(tmp_path: Path) -> None:
    stages = {"evaluation": quality_file(tmp_path, "evaluation", GOOD, values=EVALUATION)}
    figures = {"depth": figure(tmp_path, "depth", (300, 200))}
    texts = [written(tmp_path / "cells" / f"{name}.html", stages=stages, figures=figures)[1] for name in "ab"]
    assert texts[0] == texts[1]


def test_large_figures_are_reduced(tmp_path: Path) -> None:
    noise = Image.effect_noise((4000, 4000), 60)
    noise.save(tmp_path / "depth.png")
    output = tmp_path / "quality.html"
    written(output, stages={}, figures={"depth": tmp_path / "depth.png"})
    assert output.stat().st_size < 0.4 * (tmp_path / "depth.png").stat().st_size


def test_a_figure_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "depth.png").write_text("no picture")
    with pytest.raises(PlanelocError, match=r"depth\.png: not a readable picture"):
        written(tmp_path / "quality.html", stages={}, figures={"depth": tmp_path / "depth.png"})
    with pytest.raises(PlanelocError, match=r"absent\.png"):
        written(tmp_path / "quality.html", stages={}, figures={"depth": tmp_path / "absent.png"})


def test_stages_and_figures_without_an_entry_are_shown_by_their_words(tmp_path: Path) -> None:
    stages = {"something_new": quality_file(tmp_path, "new", GOOD)}
    _, text = written(tmp_path / "quality.html", stages=stages, figures={"one_more": figure(tmp_path, "one_more")})
    assert re.findall("<h2>([^<]+)</h2>", text) == ["One more", "Something new"]


def test_every_figure_belongs_to_a_section() -> None:
    assert {caption.section for caption in CAPTIONS.values()} - set(SECTIONS) == {""}  # the picture on top


def check(verdict: str, label: str = "x") -> ShownCheck:
    return ShownCheck(label, "1", "", verdict)


@pytest.mark.parametrize(
    ("verdicts", "worst", "why"),
    [
        ("pass pass", "pass", "All 2 checks passed."),
        ("pass unknown", "pass", "The only check passed. Not known: x."),
        ("pass warn", "warn", "The result can be used with care: 1 of 2 checks gives a warning, none failed."),
        ("fail warn pass", "fail", "Do not rely on this result yet: 1 of 3 checks failed, and 1 gave a warning."),
        ("unknown", "unknown", "No check could be made."),
        ("", "unknown", "No check could be made."),
    ],
)
def test_the_overall_verdict(verdicts: str, worst: str, why: str) -> None:
    assert overall([check(verdict) for verdict in verdicts.split()]) == (worst, why)


def test_a_stage_that_passed_in_part_is_not_said_to_have_passed() -> None:
    assert stage_verdict([check("pass"), check(UNKNOWN)]) == UNKNOWN
    assert stage_verdict([check(UNKNOWN), check("warn")]) == "warn"
    assert stage_verdict([check("pass")]) == "pass"


def test_limits_say_which_side_is_good() -> None:
    assert shown(GOOD).limit == "≥ 70 % is good"
    assert shown(BAD).limit == "≤ 15 nm is good"
    assert shown(FAILED).limit == "above 0.300 px fails"
    assert shown({**GOOD, "value": 0.1, "verdict": "fail"}).limit == "below 70 % fails"
    older = {key: value for key, value in BAD.items() if key != "side"}  # files of earlier versions do not state it
    assert shown(older).limit == "≤ 15 nm is good"
    assert shown({**older, "value": 3.0, "verdict": "pass"}).limit == "≤ 15 nm is good"
    assert shown({**older, "value": 3.0, "verdict": "warn"}).limit == "≥ 15 nm is good"
    assert shown({**FAILED, "value": None}).limit == "limit 0.300 px"


def test_the_check_of_the_network_is_read_from_the_table(tmp_path: Path) -> None:
    table = tmp_path / "localizations.h5"
    localization_table.write(table, localization_table.empty_columns(), {"distribution_check": MOVIE})
    verdict, text = written(tmp_path / "quality.html", stages={"network": table})
    assert verdict == "warn"
    assert '17.3 per 16×16 pixels</td><td class="limit">trained with up to 5 per 16×16 pixels' in text
    assert "3.80 to 4.20 photons per pixel" in text
    assert "Not known: brightness of the molecules." in text
    assert "Train a network for this movie" in text.partition("Step by step")[0]
    assert [each.verdict for each in network_checks({"distribution_check": MOVIE})] == ["pass", UNKNOWN, "warn", "pass"]
    (missing,) = network_checks({"frames": 1})
    assert missing.verdict == UNKNOWN


def test_a_stage_that_stopped_fails_with_its_error(tmp_path: Path) -> None:
    log = tmp_path / "localize.log"
    log.write_text("planeloc: warning: dim\nplaneloc: movie.json: damaged <manifest>; convert it again\n")
    stages = {"calibration": quality_file(tmp_path, "psf", GOOD)}
    verdict, text = written(tmp_path / "quality.html", stages=stages, failures={"localization": log})
    assert verdict == "fail"
    todo = text.partition('<ul class="todo">')[2].partition("</ul>")[0]
    assert "Localization: completed</b>: no, it stopped with an error." in todo
    assert "It said: movie.json: damaged &lt;manifest&gt;; convert it again. What follows" in todo


def numbers(**stages: dict) -> dict[str, tuple[str, str]]:
    return {name: (value, remark) for name, value, remark in key_numbers(stages)}


def test_numbers_of_stages_that_did_not_run_are_left_out() -> None:
    assert numbers() == {}
    assert set(numbers(evaluation=EVALUATION)) == {
        "Localizations",
        "Localization precision",
        "Photons per localization",
    }
    assert numbers(evaluation={"localizations": 0, "frames": 0}) == {"Localizations": ("0", "in 0 frames")}


def test_drift_and_truth() -> None:
    ranges = {f"sample_drift_range_{axis}_nm": value for axis, value in zip("xyz", (312.4, 154.0, 7.66), strict=True)}
    moved = numbers(sample_drift={"sample_drift_corrected": 1, **ranges})
    assert moved == {"Sample drift": ("312 nm x, 154 nm y, 7.66 nm z", "range, removed")}
    assert numbers(sample_drift={"sample_drift_corrected": 0})["Sample drift"][1] == "not looked for"
    still = {"sample_drift_corrected": 0, "sample_drift_significance": -2.3}
    assert numbers(sample_drift=still)["Sample drift"] == ("none removed", "no significant drift found")
    warned, passed = ({verdict_of("unconfirmed_drift"): verdict} for verdict in ("warn", "pass"))
    assert "not confirmed" in numbers(sample_drift=still | warned)["Sample drift"][1]
    assert numbers(sample_drift=still | passed)["Sample drift"][1] == "no significant drift found"
    truth = numbers(evaluation={"recall": 0.938, "precision": 0.9991, "rmse_lateral_nm": 19.7, "rmse_axial_nm": 30.2})
    assert truth["Molecules of the ground truth"] == ("93.8 % found", "99.9 % of the localizations are true")
    assert truth["Error"][0] == "19.7 nm lateral, 30.2 nm axial" and "13.9 nm along one axis" in truth["Error"][1]
    kept = {"filter": {"rows_read": 5797, "rows_kept": 5058}, "evaluation": {"recall": 0.818, "precision": 1.0}}
    removed = "the filter removed 739 of 5,797 (12.7 %)"
    assert removed in numbers(**kept)["Molecules of the ground truth"][1]
    assert numbers(evaluation=EVALUATION, filter=kept["filter"])["Localizations"][1].endswith(removed)
    kept["filter"]["rows_kept"] = 5797
    assert "filter" not in numbers(**kept)["Molecules of the ground truth"][1]


@pytest.mark.parametrize("verdict", ["pass", "warn"])
def test_the_number_of_the_drift_says_what_its_check_says(tmp_path: Path, verdict: str) -> None:
    check = {**GOOD, "name": "unconfirmed_drift", "verdict": verdict}
    drift = {"sample_drift_corrected": 0, "sample_drift_significance": 1.0}
    path = quality_file(tmp_path, "sample_drift", check, values=drift)
    _, text = written(tmp_path / "quality.html", stages={"sample_drift": path})
    assert ("a drift may be there, but is not confirmed" in text) == (verdict == "warn")


def test_linking_and_resolution() -> None:
    linked = {"localizations_linked": 1, "linked_rows": 1203, "localizations": 5797}
    assert numbers(linking=linked) == {
        "Blinks": ("1,203", "4.82 localizations each; a molecule may blink several times")
    }
    assert numbers(linking={**linked, "localizations_linked": 0})["Blinks"][0] == "not linked"
    measured = {"frc_nm": 31.2, "fsc_axial_nm": None}
    how = "Fourier correlation: precision, density and structure together"
    assert numbers(resolution=measured) == {"Resolution": ("31.2 nm lateral", how)}
    assert numbers(resolution={**measured, "fsc_axial_nm": 58.0})["Resolution"][0] == "31.2 nm lateral, 58.0 nm axial"
    assert numbers(resolution={"frc_nm": None})["Resolution"][0] == "not known"
    assert "not linked" in numbers(resolution={**measured, "rows_are_blinks": 0})["Resolution"][1]


def test_command(tmp_path: Path) -> None:
    quality, picture = quality_file(tmp_path, "psf", GOOD), figure(tmp_path, "psf")
    output = ["report", "quality", "--output", f"{tmp_path}/q.html"]
    words = [f"calibration={quality}", f"figure:calibration={picture}", f"link:view_3d={tmp_path}/view_3d.html"]
    counted = quality_file(tmp_path, "linking", values={"localizations": 12.0})
    result = CliRunner().invoke(planeloc, [*output, "--verdict", f"{tmp_path}/v.json", f"linking={counted}", *words])
    assert result.output == f"{tmp_path.name}: quality pass; see {tmp_path}/q.html\n", result.exception
    verdict = json.loads((tmp_path / "v.json").read_text())
    said = "The only check passed."
    assert verdict.pop("format") == "planeloc verdicts 1"
    expected = {"sample": tmp_path.name, "verdict": "pass", "why": said, "localizations": 12}
    assert verdict == expected and isinstance(verdict["localizations"], int)
    text = (tmp_path / "q.html").read_text(encoding="utf-8")
    assert '<a href="view_3d.html">Interactive 3D view' in text and "data:image/webp" in text
    refused = CliRunner().invoke(planeloc, [*output, f"picture:depth={picture}"])
    assert refused.exit_code == 2 and "write STAGE, figure:NAME" in refused.output
    (tmp_path / "list.json").write_text("[]")
    damaged = CliRunner().invoke(planeloc, [*output, f"calibration={tmp_path}/list.json"])
    assert isinstance(damaged.exception, PlanelocError) and "not a file of quality values" in str(damaged.exception)


def test_the_filter_has_numbers_and_a_verdict(tmp_path: Path) -> None:
    failing = {"minimum_photons": 739, "border_nm": 0}
    for kept, verdict in ((5058, "pass"), (0, "fail")):
        record = {"rows_read": 5797, "rows_kept": kept, "failing": failing}
        table = tmp_path / "filtered.h5"
        localization_table.write(table, localization_table.empty_columns(), {"filter": record})
        found, text = written(tmp_path / "quality.html", stages={"filter": table})
        assert found == verdict and f"{kept:,} of 5,797" in text
        assert "minimum photons removes" in text and "border" not in text
    localization_table.write(table, localization_table.empty_columns(), {})
    assert written(tmp_path / "quality.html", stages={"filter": table})[0] == UNKNOWN


def test_views_are_on_the_page_by_their_names(tmp_path: Path) -> None:
    figures = {name: figure(tmp_path, name) for name in ("view_tip", "view_3d-like", "projections")}
    _, text = written(tmp_path / "quality.html", stages={}, figures=figures)
    assert re.findall("<h2>([^<]+)</h2>", text) == ["Views"]
    assert "<figcaption>View tip.</figcaption>" in text and "<figcaption>View 3d-like.</figcaption>" in text
