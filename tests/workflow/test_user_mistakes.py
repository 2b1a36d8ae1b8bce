"""What is wrong in configuration, sample tables and microscope files is said in a line each before anything runs."""

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
        ("localize:\n  threshold: 7\n", "config.yaml:2: localize.threshold is 7; give 0.999 or less, or 0"),
        ("localize:\n  threshold: 0.00001\n", "localize.threshold is 1e-05; give 0.0001 or more, or 0"),
        (
            "localize:\n  inter_camera_drift_nm: -0.5\n",
            "config.yaml:2: localize.inter_camera_drift_nm is -0.5; give 0 or more, or -1",
        ),
        ("localize:\n  refine: true\n", "config.yaml:2: localize.refine is true; choose one of 'none', 'likelihood'"),
        (
            "filter:\n  exports: [picaso]\n",
            "config.yaml:2: filter.exports[0] is 'picaso'; choose one of 'picasso', 'thunderstorm', 'smap', 'parquet'",
        ),
        (
            "filter:\n  expression: photon > 800\n",
            "config.yaml:2: filter.expression: character 1: unknown column photon; did you mean photons? columns are",
        ),
        ("localize:\n  tile_px: 64\n", "config.yaml:2: localize.tile_px was removed: localize divides the field"),
        ("train:\n  density: '9'\n", "config.yaml:2: train.density is '9'; give an interval such as 0.06-4"),
        ("train:\n  channels: foo\n", "config.yaml:2: train.channels is 'foo'; give auto, or whole numbers"),
        ("localize:\n  device: gpu\n", "localize.device is 'gpu'; choose one of 'auto', 'cpu', 'cuda'"),
        ("localize: fast\n", "config.yaml:1: localize is 'fast'; give a group of keys"),
        ("samples: a\nsamples: b\n", "config.yaml:2: key samples was already given in line 1"),
        ("samples: nowhere.tsv\n", "nowhere.tsv: no such table"),
        ("train:\n  network: upsamling\n", "train.network is 'upsamling'; choose one of 'upsampling', 'regression'"),
        ("train:\n  start_from: lost.safetensors\n", "config.yaml:2: train.start_from: lost.safetensors not found"),
        ("localize:\n\tthreshold: 1\n", "config.yaml:2: not valid YAML"),
        (
            "cameras:\n  gain_sd_warn: 0.1\n",
            "config.yaml:2: cameras.gain_sd_warn is now cameras.thresholds.gain_sd_warn; move it",
        ),
        (
            "register:\n  thresholds:\n    map_sd_warn_nm: 4\n",
            "map_sd_warn_nm is now register.thresholds.transform_sd_warn_nm; rename it",
        ),
        (
            "localize:\n  on_domain_mismatch: stop\n",
            "config.yaml:2: localize.on_domain_mismatch is now localize.on_distribution_mismatch; rename it",
        ),
        (
            "localize:\n  drift_nm: 0\n",
            "config.yaml:2: localize.drift_nm is now localize.inter_camera_drift_nm; rename it",
        ),
        (
            "train:\n  drift_voxels: 0\n",
            "config.yaml:2: train.drift_voxels is now train.inter_camera_drift_voxels; rename it",
        ),
        ("calibrate:\n  step_wran: 0.1\n", "calibrate.step_wran; did you mean thresholds.step_warn?"),
        (
            "calibrate:\n  thresholds:\n    step_wran: 0.1\n",
            "config.yaml:3: unknown key calibrate.thresholds.step_wran; did you mean step_warn?",
        ),
        ("train:\n  threshold: 0.2\n", "unknown key train.threshold; did you mean localize.threshold?"),
        ("window_nm: 9\n", "unknown key window_nm; did you mean calibrate.window_nm or register.window_nm?"),
        ("pixel_size_nm: 100\n", "config.yaml:1: unknown key pixel_size_nm; it belongs in the microscope file"),
        ("train:\n  samples: 2.5\n", "config.yaml:2: train.samples is 2.5; give a whole number"),
        ("views: [tip]\n", "config.yaml:1: views is ['tip']; give a group of keys, indented below it"),
        ("views:\n  tip: xz\n", "config.yaml:2: views.tip is 'xz'; give a group of keys, indented below it"),
        ("views:\n  tip:\n    pixel: 2\n", "config.yaml:3: unknown key views.tip.pixel; did you mean pixel_nm?"),
        ("views:\n  tip:\n    projection: zx\n", "views.tip.projection is 'zx'; choose one of 'xy', 'xz', 'yz'"),
        (
            "views:\n  tip:\n    region: [0, 9, 0, 9]\n",
            "config.yaml:3: views.tip.region is [0, 9, 0, 9]; give x0,x1,y0,y1 in nm, without brackets",
        ),
        ("views:\n  tip:\n    region: 1,2,3\n", "views.tip.region is '1,2,3'; give x0,x1,y0,y1 in nm"),
        (
            "views:\n  tip:\n    region: 0,9,9,0\n",
            "config.yaml:3: views.tip.region is '0,9,9,0'; y0 is 9 and y1 is 0; give the smaller one first",
        ),
        (
            "views:\n  tip:\n    region: 3,6,3.5,6.5\n",
            "config.yaml:3: views.tip.region is 3,6,3.5,6.5: 3 nm along x are less than a pixel; coordinates are in nm",
        ),
        ("views:\n  tip:\n    depth_range: 300,-300\n", "z0 is 300 and z1 is -300; give the smaller one first"),
        (
            "views:\n  tip:\n    pixel_nm: 0.5\n    region: 0,20000,0,10000\n",
            "config.yaml:3: views.tip.pixel_nm is 0.5: 20 × 10 µm in pixels of 0.5 nm and 32 slices are too many; give "
            "pixel_nm 2.6 or more, or a smaller region",
        ),
        ("views:\n  tip:\n    samples: [four]\n", "views.tip.samples: unknown sample 'four'; known are one, two"),
        ("views:\n  a/b:\n    pixel_nm: 2\n", "config.yaml:2: a view cannot be called 'a/b'; use letters, digits"),
        ("views:\n  tip:\n  Tip:\n", "config.yaml:3: views 'tip' and 'Tip' would be one file; rename one"),
        (
            "views:\n  tip:\n    colour_by: none\n    colour_range: 0,1\n",
            "config.yaml:4: views.tip.colour_range is given, but colour_by is none; delete one of them",
        ),
    ],
)
def test_mistakes_in_the_configuration(
    own_data: Checkout, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    (own_data.folder / "config" / "config.yaml").write_text(text)
    assert expected in own_data.message(monkeypatch)


@pytest.mark.parametrize(
    ("table", "old", "new", "expected"),
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
        ("samples", "two.0.tif", "tow.*.tif", "no file fits the pattern my data/tow.*.tif; check the folder"),
        ("calibrations", "my data/microscope.yaml", "my data", "my data is a folder; name the file in it"),
        ("samples", "two.0.tif;", "two.0.tif, my data/two.1.tif;", "separate several files by ';', not by ','"),
        ("samples", "my data/two.0.tif", "mine/two.0.tif", "there is no folder mine"),
        (
            "samples",
            "my data/two.0.tif;",
            "",
            "names 1 file(s), but my data/microscope.yaml lists 2 cameras",
        ),
        (
            "samples",
            "two.0.tif;my data/two.1.tif",
            "one.0.tif;my data/../my data/one.1.tif",
            "samples.tsv:3: sample 'two' has the movie and the calibration of 'one' in line 2; correct the file names",
        ),
        ("samples", "two.1.tif", "two.0.tif", "column movie names my data/two.0.tif twice"),
        ("calibrations", "\t50", "\tfifty", "calibrations.tsv:2: z_step_nm is 'fifty'; give a number"),
        ("calibrations", "\t50", "\tinf", "calibrations.tsv:2: z_step_nm is inf; give a number that is finite"),
        ("calibrations", "\t50", "\t0.05", "calibrations.tsv:2: z_step_nm is 0.05; give 1 nm or more"),
        (
            "samples",
            "two\ta\t",
            "two a ",
            "samples.tsv:3: no tabs in this line; separate the columns by tabs, not by spaces",
        ),
        (
            "samples",
            "sample\tcalibration\tmovie",
            "beads\tz_step_nm\tscan",
            "samples.tsv:1: unknown columns beads, z_step_nm, scan; this table has sample, calibration, movie, truth "
            "(optional): is it the right file?",
        ),
        ("calibrations", "sample", "stage", "scan is 'stage'; choose one of 'objective', 'sample'"),
        ("calibrations", "\tscan", "", "calibrations.tsv:1: column scan is missing"),
    ],
)
def test_mistakes_in_the_tables(
    own_data: Checkout, monkeypatch: pytest.MonkeyPatch, table: str, old: str, new: str, expected: str
) -> None:
    own_data.edit(f"config/{table}.tsv", old, new)
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
        ("pixel_size_nm: 100", "pixel_size_nm: 0.1", "microscope.yaml:1: pixel_size_nm is 0.1; give 1 nm or more"),
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
            "pixel_size_nm is missing; add it: a camera pixel in the sample: pixel pitch over magnification, nm, e.g. "
            "pixel_size_nm: 100",
        ),
        ("em_gain: 1", "gain: 1", "unknown key cameras[0].gain; did you mean em_gain?"),
        (
            "  em_gain: 1\n",
            "",
            "microscope.yaml:3: cameras[0].em_gain is missing; add it: the EM gain that was set; em_gain: 1 for CCD "
            "and sCMOS",
        ),
        ("pixel_size_nm: 100", "layout: regions\npixel_size_nm: 100", "0 regions for 2 cameras"),
        (
            "pixel_size_nm: 100",
            "pixel_size_nm: 100\nregions: [{x: 0, height: 9}]",
            "regions[0].width is missing; add it",
        ),
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


def test_all_mistakes_are_told_at_once_by_file_and_line(own_data: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_data.folder / "config" / "config.yaml").write_text(
        "render:\n  gamma: 9\nlocalize:\n  treshold: 0.1\n  device: gpu\ntrain:\n  start_from: lost.safetensors\n"
    )
    own_data.edit("config/calibrations.tsv", "beads-a.0.tif", "lost.0.tif")
    own_data.edit("config/samples.tsv", "two\ta", "two\tc")
    own_data.edit("config/samples.tsv", "my data/three.0.tif", "my data/three.1.tif")
    own_data.edit("my data/microscope.yaml", "pixel_size_nm: 100", "pixel_size_nm: 0")
    told = [line.partition(": ")[::2] for line in own_data.messages(monkeypatch)]
    assert [place for place, _ in told] == [
        "config/calibrations.tsv:2",
        "config/config.yaml:2",
        "config/config.yaml:4",
        "config/config.yaml:5",
        "config/config.yaml:7",
        "config/samples.tsv:3",
        "config/samples.tsv:4",
        "my data/microscope.yaml:1",
    ]
    assert "lost.0.tif not found" in told[0][1] and "three.1.tif twice" in told[6][1]


def test_a_calibration_with_a_mistake_is_not_called_unknown(
    own_data: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_data.edit("config/calibrations.tsv", "\t50", "\tfifty")
    assert "z_step_nm is 'fifty'" in own_data.message(monkeypatch)


def test_no_more_lines_than_can_be_read(own_data: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = "".join(f"  unknown_{i}: 1\n" for i in range(25))
    (own_data.folder / "config" / "config.yaml").write_text(f"render:\n{keys}")
    lines = own_data.messages(monkeypatch)
    assert len(lines) == 21 and lines[-1] == "and 5 more"
    assert lines[0].startswith("config/config.yaml:2: unknown key render.unknown_0")
