"""The sentences of the report: what explains a result, how far networks were trained, numbers as text."""

import html
import re

import pytest
from matplotlib.figure import Figure
from paper_results import TRAINED, small_folder, training_record, write_json

from planeloc.core.quality_labels import number
from planeloc_reproduction import published, results, wording
from planeloc_reproduction.report import Context, write_report


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


def test_the_made_up_trainings_are_those_of_the_mark():
    assert wording.percent(TRAINED["robust"] / published.TRAINING_IMAGES.value) == "11 %"
