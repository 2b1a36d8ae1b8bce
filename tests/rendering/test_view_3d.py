"""The page holds what the table says, within what it states; it is safe, small, and made from the sources beside it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from planeloc.core.errors import PlanelocError
from planeloc.io import localization_table
from planeloc.rendering.settings import RenderSettings
from planeloc.rendering.view_3d import points as points_module
from planeloc.rendering.view_3d.points import pack, random_order
from planeloc.rendering.view_3d.settings import View3DSettings
from planeloc.rendering.view_3d.view_3d import view_3d
from support.rendered_tables import METADATA, table
from support.repository import REPOSITORY

FOLDER = REPOSITORY / "workflow/planeloc/rendering/view_3d"
WEB = FOLDER / "web"
BUNDLE = json.loads((WEB / "bundle.json").read_text(encoding="utf-8"))


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def page_of(folder, rows, **changes) -> str:
    localization_table.write(folder / "t.h5", rows, METADATA)
    view_3d(folder / "t.h5", folder / "view.html", View3DSettings(**changes))
    return (folder / "view.html").read_text(encoding="utf-8")


def element(page: str, name: str) -> str:
    return re.search(rf'<script [^>]*id="{name}">(.*?)</script>', page, re.DOTALL)[1]


def unpacked(page: str) -> tuple[dict, dict[str, np.ndarray]]:
    """What the page says and holds, read as its program does."""
    about = json.loads(element(page, "about"))
    data = np.frombuffer(gzip.decompress(base64.b64decode(element(page, "localizations"))), np.uint8)
    planes = iter(data.reshape(14, about["shown"]).astype(np.int64))
    steps = [next(planes) + 256 * next(planes) + 65536 * next(planes) for _ in "xyz"]
    columns = {
        axis: values * about["step_nm"] + about["origin_nm"][i]
        for i, (axis, values) in enumerate(zip("xyz", steps, strict=True))
    }
    columns |= {f"{axis}_sd": about["sd_smallest_nm"] * about["sd_ratio"] ** next(planes) for axis in "xyz"}
    first, last = about["frames"]
    columns["frame"] = first + (next(planes) + 256 * next(planes)) / 65535 * (last - first)
    return about, columns


def wide_table(rows: int = 2000):
    random = np.random.default_rng(1)
    spread = {axis: random.uniform(0, 150_000, rows) for axis in "xy"}
    sds = {f"{axis}_sd": random.lognormal(2, 0.5, rows) for axis in "xyz"}
    return table(rows, frame=np.sort(random.integers(0, 40_000, rows)), **spread, **sds)


def test_positions_are_exact_to_a_twentieth_of_a_nanometre(tmp_path):
    rows = wide_table()
    about, columns = unpacked(page_of(tmp_path, rows))
    order = random_order(len(rows))
    stored = localization_table.read(tmp_path / "t.h5")[0].iloc[order]
    for axis in "xyz":
        assert np.abs(columns[axis] - stored[axis]).max() <= points_module.STEP_NM / 2 + 1e-6
        np.testing.assert_allclose(columns[f"{axis}_sd"], np.clip(stored[f"{axis}_sd"], 0.1, 100), rtol=0.015)
    assert np.abs(columns["frame"] - stored["frame"]).max() < 1
    assert about["shown"] == about["total"] == len(rows) and about["unplaced"] == 0
    assert about["depth_nm"] == METADATA["depth_range_nm"]


def test_same_table_same_bytes(tmp_path):
    assert page_of(tmp_path, table()) == page_of(tmp_path, table())


def test_a_large_table_is_sampled_evenly_over_space_and_time(tmp_path):
    """Each of 64 blocks in space and of 16 in time keeps its share: chi² as of independent draws."""
    rows = 60_000
    random = np.random.default_rng(2)
    block = np.sort(random.integers(0, 64, rows))  # as a table that is ordered by place would have it
    spread = {"x": 100.0 * (block % 8) + 50, "y": 100.0 * (block // 8) + 50, "frame": np.arange(rows)}
    page = page_of(tmp_path, table(rows, **spread), maximum_points=12_000)
    about, columns = unpacked(page)
    assert about["shown"] == 12_000 and about["total"] == rows
    assert "12,000 of 60,000 localizations shown, a random sample" in page
    kept = (columns["x"] // 100 + 8 * (columns["y"] // 100)).astype(int)
    for kept_in, all_in in (
        (np.bincount(kept, minlength=64), np.bincount(block, minlength=64)),
        (np.histogram(columns["frame"], 16, (0, rows))[0], np.full(16, rows / 16)),
    ):
        expected = all_in * 12_000 / rows
        chi2, degrees = ((kept_in - expected) ** 2 / (expected * 0.8)).sum(), len(kept_in) - 1
        assert abs(chi2 - degrees) < 4 * np.sqrt(2 * degrees)
    half = np.bincount(kept[:6000], minlength=64)  # what a slow device draws while the view moves
    assert np.abs(half / np.bincount(kept, minlength=64) - 0.5).max() < 0.2


def test_rows_without_a_position_are_left_out_and_counted(tmp_path):
    rows = table(10)
    rows.loc[3, "z"] = np.nan
    page = page_of(tmp_path, rows.assign(x_sd=np.nan), sigma_nm=20.0)
    about, columns = unpacked(page)
    assert (about["shown"], about["total"], about["unplaced"]) == (9, 10, 1)
    assert "9 of 10 localizations shown; 1 have no position" in page
    np.testing.assert_allclose(columns["x_sd"], 20.0, rtol=0.01)


def test_linked_and_empty_tables_make_a_page(tmp_path):
    rows = table(5)
    assert unpacked(page_of(tmp_path, rows.assign(last_frame=rows["frame"] + 1, frames=2)))[0]["shown"] == 5
    assert unpacked(page_of(tmp_path, localization_table.empty()))[0]["shown"] == 0


def test_one_localization_has_scales_that_are_not_empty(tmp_path):
    about = unpacked(page_of(tmp_path, table(1)))[0]
    assert about["precision_nm"][1] > about["precision_nm"][0] and about["sd_ratio"] > 1


def test_a_name_cannot_become_code(tmp_path):
    name = '</script><script>alert("x")</script>&\'<!--'
    page = page_of(tmp_path, table(5), title=name)
    assert "<script>alert" not in page and page.count("</script>") == 3
    assert json.loads(element(page, "about"))["title"] == name
    assert unpacked(page_of(tmp_path, table(5)))[0]["title"] == tmp_path.name


def test_the_policy_allows_the_script_and_the_style_of_the_page_only(tmp_path):
    page = page_of(tmp_path, table(5))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.startswith("default-src 'none'; ") and "http" not in policy and "unsafe" not in policy
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        text = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1]
        stated = re.search(rf"{directive} 'sha256-([^']+)'", policy)[1]
        assert base64.b64decode(stated) == hashlib.sha256(text.encode()).digest()


def test_too_wide_a_table_and_wrong_metadata_are_refused(tmp_path):
    columns = {name: np.zeros(2) for name in ("x", "y", "z", "x_sd", "y_sd", "z_sd", "frame")}
    with pytest.raises(PlanelocError, match=r"t\.h5: localizations spread over 2\.0 mm"):
        pack(tmp_path / "t.h5", columns | {"x": np.array([0, 2e6])}, 10, 15.0, 100.0)
    localization_table.write(tmp_path / "t.h5", table(2), METADATA | {"depth_range_nm": [5.0, 5.0]})
    with pytest.raises(PlanelocError, match=r"t\.h5: the table's metadata are wrong: depths 5.0 to 5.0 nm"):
        view_3d(tmp_path / "t.h5", tmp_path / "view.html", View3DSettings())


def test_half_a_million_localizations_take_less_than_12_mb(tmp_path):
    rows = 20_000
    short = len(page_of(tmp_path, wide_table(10)))
    assert (len(page_of(tmp_path, wide_table(rows))) - short) * 500_000 / rows + short < 12e6


def test_the_default_colours_are_those_of_the_images():
    assert View3DSettings().colour_map == RenderSettings().colour_map


def test_the_shipped_program_was_made_from_these_sources():
    """Otherwise run: npm ci && npm run build, in workflow/planeloc/rendering/view_3d/web"""
    sources = [*WEB.glob("src/*.js"), WEB / "package.json", WEB / "package-lock.json", WEB / "build.mjs"]
    assert {str(path.relative_to(WEB)): sha256(path) for path in sources} == BUNDLE["made_from"]
    assert sha256(FOLDER / "page" / "viewer.min.js") == BUNDLE["bundle"]
    assert (FOLDER / "page" / "viewer.min.js").stat().st_size < 1_000_000


def test_the_shipped_program_carries_the_licence_of_its_library():
    program = (FOLDER / "page" / "viewer.min.js").read_text(encoding="utf-8")
    licence = (FOLDER / "page" / "three.LICENSE.txt").read_text(encoding="utf-8").strip()
    assert "MIT License" in licence and licence in program


def test_the_lock_holds_checksums_and_no_address():
    lock = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert all(entry["integrity"].startswith("sha512-") and "resolved" not in entry for entry in packages.values())
    assert packages["node_modules/three"]["version"] == BUNDLE["three"]
    assert packages["node_modules/three"]["license"] == "MIT"


@pytest.mark.skipif(
    not shutil.which("node") or not (WEB / "node_modules").is_dir(),
    reason="Node.js or the packages of the lock are not installed (npm ci)",
)
def test_building_again_gives_the_same_bytes(tmp_path):
    for name in ("src", "package.json", "package-lock.json", "build.mjs"):
        copy = shutil.copytree if (WEB / name).is_dir() else shutil.copy
        (tmp_path / "web").mkdir(exist_ok=True)
        copy(WEB / name, tmp_path / "web" / name)
    (tmp_path / "page").mkdir()
    (tmp_path / "web" / "node_modules").symlink_to(WEB / "node_modules")
    subprocess.run(["node", "build.mjs"], cwd=tmp_path / "web", check=True, capture_output=True)
    assert sha256(tmp_path / "page" / "viewer.min.js") == BUNDLE["bundle"]
