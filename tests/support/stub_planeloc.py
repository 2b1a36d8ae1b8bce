"""A stand-in for the command line: checks its arguments, notes the call, writes every output as a small file.

Lets the tests run the whole workflow in seconds. A test copies it to a folder on PATH under the names ``planeloc`` and
``planeloc-reproduction``, whose verbs are those that begin with ``paper``.
"""

import base64
import json
import os
import signal
import sys
import time
from pathlib import Path

CAMERAS = 4
OUTPUTS = {
    "simulate": [],
    "cameras": ["output", "figure", "quality", "provenance"],
    "calibrate": ["output", "figure", "quality", "provenance"],
    "register": ["output", "figure", "quality", "provenance"],
    "convert": ["store", "manifest", "quality", "provenance"],
    "update-registration": ["output", "figure", "quality", "provenance"],
    "synchronize": ["output", "figure", "quality", "provenance"],
    "train": ["output", "record", "figure", "provenance"],
    "localize": [
        *("output", "camera-drift", "camera-drift-figure", "camera-drift-quality"),
        "provenance",
    ],
    "overlay": ["figure", "quality", "provenance"],
    "correct-drift": ["output", "trajectory", "figure", "quality", "provenance"],
    "filter": ["output", "figure", "provenance"],
    "measure-resolution": ["output", "figure", "quality", "provenance"],
    "link": ["output", "figure", "quality", "provenance"],
    "render": [
        *("depth-image", "voxel-image", "projections", "slices", "drift-image"),
        *("tiff", "voxel-tiff", "zarr", "provenance"),
    ],
    "view": ["picture", "tiff", "provenance"],
    "view-3d": ["output", "provenance"],
    "evaluate": ["output", "figure", "provenance"],
    "paper one-molecule": ["output", "seconds", "provenance"],
    "paper sweep": ["output", "provenance"],
    "paper helix": ["output", "provenance"],
    "paper speed": ["output", "provenance"],
    "paper bound": ["output", "provenance"],
    "paper report": ["output", "provenance"],
}
CAMERA_MOVIES = ("dark", "bright", "bright-without-em")
INPUTS = (
    "beads",
    "microscope",
    "movie",
    "psf",
    "start-from",
    "registration",
    "weights",
    "localizations",
    "linked",
    "drift",
    "truth",
)
PAPER_INPUTS = ("structure", "structure-localizations", "architecture")
QUALITY = {
    "values": {"recall": 0.5, "per_plane": [1.0, 2.0], "unknown": None},
    "checks": [{"name": "a_check", "value": 2.0, "threshold": 1.0, "verdict": "warn", "advice": "Do <this>."}],
}
CAMERA = {
    "offset_counts": 100,
    "electrons_per_count": 0.5,
    "em_gain": 1,
    "quantum_efficiency": 0.9,
    "read_noise_electrons": 1.5,
}
MICROSCOPE = {"pixel_size_nm": 192, "cameras": [{"name": f"camera {i}", **CAMERA} for i in range(CAMERAS)]}
PNG = base64.b64decode(  # one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


def write_table(path: Path) -> None:
    from planeloc.io import localization_table

    localization_table.write(path, localization_table.empty_columns(), {"frames": 1})


def simulate(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("movie", "beads", "dark", "bright"):
        for camera in range(CAMERAS):
            (folder / f"{kind}_camera{camera}.ome.tif").write_text("counts")
    (folder / "microscope.yaml").write_text(json.dumps(MICROSCOPE))
    (folder / "truth.csv").write_text("frame,x_nm,y_nm,z_nm,photons\n")


def write(path: Path, name: str, verb: str) -> None:
    if name in ("store", "zarr"):
        path.mkdir()
        (path / "zarr.json").write_text("{}")
    elif path.suffix == ".json":
        path.write_text(json.dumps(QUALITY))
    elif path.suffix == ".png":
        path.write_bytes(PNG)
    elif name == "output" and verb in ("localize", "filter"):
        write_table(path)
    else:
        path.write_text(f"{verb} {name}")
    if name == "picasso":
        path.with_suffix(".yaml").write_text("Frames: 1\n")


def main() -> None:
    verb, *words = sys.argv[1:]
    if verb == "report" and Path(sys.argv[0]).name == "planeloc":  # is no stage: it reads what the stub writes
        from planeloc.cli.main import main as real

        return real()
    if Path(sys.argv[0]).name == "planeloc-reproduction":
        verb = f"paper {verb}"
    with Path(os.environ["STUB_CALLS"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps([verb, *words]) + "\n")
    values: dict[str, list[str]] = {}
    while words:
        name, separator, value = words.pop(0).removeprefix("--").partition("=")
        flag = not separator and (not words or words[0].startswith("--"))
        values.setdefault(name, []).append(value if separator else "" if flag else words.pop(0))
    for name in (*INPUTS, *CAMERA_MOVIES, *PAPER_INPUTS):
        for path in values.get(name, []):
            found = Path(path).exists() or any(Path(path).parent.glob(Path(path).name))
            assert found, f"{verb}: input {path} is missing"
    for folder in values.get("results", []):
        assert Path(folder).is_dir(), f"{verb}: folder {folder} is missing"
    if verb == os.environ.get("STUB_CTRL_C"):
        try:
            os.killpg(0, signal.SIGINT)  # a terminal interrupts everything that runs in the foreground
            time.sleep(60)
        except KeyboardInterrupt:
            sys.exit(f"planeloc: {verb} was interrupted")
    if verb == os.environ.get("STUB_CRASH"):
        print("planeloc: note: a message before it", file=sys.stderr)
        raise ZeroDivisionError(f"nobody expected this of {verb}")
    if verb == os.environ.get("STUB_KILLED"):  # as by a system without memory
        os.kill(os.getpid(), signal.SIGKILL)
    failing, _, sample = os.environ.get("STUB_FAIL", "").partition(":")
    if verb == failing and (not sample or any(f"/{sample}/" in value[0] for value in values.values())):
        Path(values[OUTPUTS[verb][0]][0]).write_text("half")
        for path in values.get("quality", []):
            checks = [{**QUALITY["checks"][0], "verdict": "fail"}]
            Path(path).with_suffix(".failed.json").write_text(json.dumps({**QUALITY, "checks": checks}))
        print(f"planeloc: {verb} went wrong; correct it", file=sys.stderr)
        sys.exit(1)
    if verb == "simulate":
        simulate(Path(values["output"][0]))
    for name in OUTPUTS[verb]:
        (path,) = values[name]
        write(Path(path), name, verb)
    for text in values.get("export", []):
        name, _, path = text.partition("=")
        write(Path(path), name, verb)


if __name__ == "__main__":
    main()
