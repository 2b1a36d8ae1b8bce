"""What is wrong in configuration, sheets and microscope files is said in one line before anything runs."""

from __future__ import annotations

import pytest

from support.checkout import Checkout


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
