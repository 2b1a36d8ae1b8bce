"""Time, memory and size of the 3D view's page, and how fast a browser without a graphics device shows it.

    python -m benchmarks.speed.view_3d --rows 500000 5000000 --folder /tmp

The page of a table of filaments is written in a process of its own. With ``--browser``, Chromium then opens it in a
window of 1400 × 900 pixels, and draws by the processor (SwiftShader): a floor, since every graphics device is faster.
Stated are the time until the first picture, the time of one drawing of all localizations, the share of them that is
drawn while the view turns, with the pictures per second, and what a drawing asks of the device: calls, vertices, and
fragments (pixels of all spots together).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from benchmarks.support.record import Record, add_json_option, largest_memory_mb, run_again
from benchmarks.tables import Column
from tests.support.browser import DESKTOP, SOFTWARE_3D, chromium

from planeloc.io import localization_table
from planeloc.rendering.view_3d.settings import View3DSettings
from planeloc.rendering.view_3d.view_3d import view_3d

SIZE_PX, PIXEL_NM, DEPTHS_NM, FRAMES = 256, 192.0, (-600.0, 600.0), 40_000
FILAMENTS, WIDTH_NM, PRECISION_NM = 150, 12.0, 9.0
PORTION = 100_000
COLUMNS = (
    Column("localizations", "rows", ","),
    Column("in the page", "shown", ","),
    Column("writing, CPU s", "cpu_s", ".1f"),
    Column("memory, MB", "memory_mb", ",.0f"),
    Column("file, MB", "file_mb", ".1f"),
    Column("first picture, s", "first_picture_s", ".1f"),
    Column("one drawing, s", "drawing_s", ".2f"),
    Column("pictures per second, turning", "turning_per_s", ".1f"),
    Column("share drawn, turning", "turning_share", ".2f"),
    Column("calls", "calls"),
    Column("vertices", "vertices", ","),
    Column("fragments", "fragments", ",.0f"),
)
MEASURE = """(async () => {
  const view = planelocView, {renderer, uniforms} = view.spots, gl = renderer.getContext(), pixel = new Uint8Array(4);
  const draw = () => { view.draw(1); gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel); };
  draw();
  const start = performance.now();
  for (let i = 0; i < 3; i++) draw();
  const drawing_s = (performance.now() - start) / 3000;
  const {calls, points: vertices} = renderer.info.render;
  const [least, step] = uniforms.sdCode.value.toArray(), scale = view.camera.zoom * view.ratio, {sd} = view.data;
  let fragments = 0;
  for (let i = 0; i < sd.length; i += 4) {
    const widest = 2 ** (least + step * Math.max(sd[i], sd[i + 1])) * scale;
    fragments += Math.max(1, 6 * Math.hypot(widest, 0.5)) ** 2;
  }
  document.getElementById("motion").value = "turn";
  view.ask();
  await new Promise(done => setTimeout(done, 10000));
  const before = view.frames, from = performance.now();
  await new Promise(done => setTimeout(done, 8000));
  const turning_per_s = (view.frames - before) / (performance.now() - from) * 1000;
  const device = gl.getParameter(gl.getExtension("WEBGL_debug_renderer_info").UNMASKED_RENDERER_WEBGL);
  return {drawing_s, calls, vertices, fragments, turning_per_s, turning_share: view.share, device};
})()"""


def write_table(path: Path, rows: int) -> None:
    """A table of filaments, written in portions."""
    metadata = {"frames": FRAMES, "width_px": SIZE_PX, "height_px": SIZE_PX, "pixel_size_nm": PIXEL_NM}
    metadata |= {"voxel_nm": [25.0, 25.0, 50.0], "depth_range_nm": list(DEPTHS_NM)}
    corner = np.array([SIZE_PX * PIXEL_NM, SIZE_PX * PIXEL_NM, DEPTHS_NM[1]])
    ends = np.random.default_rng(0).uniform([0, 0, DEPTHS_NM[0]], corner, (2, FILAMENTS, 3))
    with localization_table.LocalizationsWriter(path, metadata) as table:
        for start in range(0, rows, PORTION):
            random = np.random.default_rng([1, start])
            count = min(PORTION, rows - start)
            filament, along = random.integers(0, FILAMENTS, count), random.random((count, 1))
            sd = random.lognormal(np.log(PRECISION_NM), 0.35, (count, 1)) * [1.0, 1.0, 2.4]
            place = ends[0, filament] * along + ends[1, filament] * (1 - along)
            place += random.normal(0, np.hypot(WIDTH_NM, sd))
            frame = (start + np.arange(count)) * FRAMES // rows
            table.append(
                {"frame": frame, **dict(zip("xyz", place.T, strict=True))}
                | dict(zip(("x_sd", "y_sd", "z_sd"), sd.T, strict=True))
            )


def write_page(folder: Path) -> None:
    """Write the page, and print what it took."""
    start = time.process_time()
    used = view_3d(folder / "t.h5", folder / "view.html", View3DSettings())
    cost = {"cpu_s": time.process_time() - start, "memory_mb": largest_memory_mb()}
    print(json.dumps({"shown": used["localizations_shown"], **cost}))


def browse(page: Path, folder: Path) -> dict:
    """What Chromium says of the page."""
    with chromium(folder, *SOFTWARE_3D) as browser:
        browser.size(*DESKTOP)
        start = time.perf_counter()
        browser.open(page)
        browser.wait("window.planelocView && planelocView.frames")
        browser.run("planelocView.settled()")
        return {"first_picture_s": time.perf_counter() - start, **browser.run(MEASURE)}


def main() -> None:
    """Measure every length, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[500_000])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--browser", action="store_true", help="open the pages in Chromium, too")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    add_json_option(parser)
    options = parser.parse_args()
    if options.write:
        return write_page(options.write)
    record = Record("view_3d", options.json)
    for rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            folder = Path(name)
            write_table(folder / "t.h5", rows)
            row = {"rows": rows, **json.loads(run_again(["--write", str(folder)]).splitlines()[-1])}
            row["file_mb"] = (folder / "view.html").stat().st_size / 1e6
            record.add(**row, **(browse(folder / "view.html", folder) if options.browser else {}))
    record.show(*COLUMNS)


if __name__ == "__main__":
    main()
