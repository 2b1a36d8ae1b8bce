"""The 3D view in a real browser, whose graphics device is simulated: what it draws, what it answers, what it needs."""

from __future__ import annotations

import io
import time

import matplotlib.image
import numpy as np
import pytest

from planeloc.io import localization_table
from planeloc.rendering.colours import colour_map
from planeloc.rendering.view_3d.settings import View3DSettings
from planeloc.rendering.view_3d.view_3d import view_3d
from support.browser import DESKTOP, PHONE, SOFTWARE_3D, WITHOUT_3D, chromium, needs_chromium
from support.rendered_tables import DEPTHS_NM, METADATA, SIZE_NM, table

pytestmark = [pytest.mark.slow, needs_chromium]
VIEW = "planelocView"
SHIFT = 8
ROWS = 1500
WINDOW = (900, 600)  # small, because the device is simulated


def write(folder, name, rows, **changes):
    localization_table.write(folder / f"{name}.h5", rows, METADATA)
    view_3d(folder / f"{name}.h5", folder / f"{name}.html", View3DSettings(**changes))
    return folder / f"{name}.html"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Name → page: random localizations, and a few that are to be measured."""
    folder = tmp_path_factory.mktemp("pages")
    random = write(folder, "random", table(ROWS, x_sd=8.0, y_sd=8.0, z_sd=20.0), title="Random & <b>more</b>")
    rows = table(4, x=[200.0, 1000.0, 1000.0, 1800.0], y=[200.0, 800.0, 800.0, 1400.0], z=[-400.0, 0.0, 200.0, 400.0])
    rows = rows.assign(x_sd=[5.0, 80.0, 0.1, 5.0], y_sd=[5.0, 40.0, 0.1, 5.0], z_sd=[5.0, 60.0, 0.1, 5.0])
    return {"random": random, "few": write(folder, "few", rows), "empty": write(folder, "empty", table(0))}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium"), *SOFTWARE_3D) as page:
        yield page


@pytest.fixture
def page(browser, pages):
    """The page of random localizations, opened anew on a desktop; it must leave no complaint and no request."""
    browser.size(*WINDOW)
    start(browser, pages["random"])
    yield browser
    assert browser.complaints == []
    assert browser.requests == [pages["random"].as_uri()]


def start(browser, path) -> None:
    browser.leave()
    browser.open(path)
    browser.wait(f"window.{VIEW}")
    browser.run(f"{VIEW}.settled()")


def picture(browser, overlay: bool = False) -> np.ndarray:
    """What is seen of the localizations, (rows, columns, 3) from 0 to 1."""
    visible = "visible" if overlay else "hidden"
    browser.run(f"document.getElementById('overlay').style.visibility = '{visible}'; {VIEW}.settled()")
    image = matplotlib.image.imread(io.BytesIO(browser.screenshot()))[..., :3]
    width, height = browser.run(f"[{VIEW}.width, {VIEW}.height]")
    return image[:height, :width]


def change(browser, name: str, value, event: str = "input") -> None:
    """Set a control as a user does; `value` is what JavaScript understands."""
    key = {bool: "checked", str: "value"}.get(type(value), "value")
    given = f"'{value}'" if isinstance(value, str) else str(value).lower()
    browser.run(
        f"(c => {{ c.{key} = {given}; c.dispatchEvent(new Event('{event}')) }})(document.getElementById('{name}'))"
    )
    browser.run(f"{VIEW}.settled()")


def click(browser, name: str) -> None:
    browser.run(f"document.getElementById('{name}').click(), {VIEW}.settled()")


def differ(first: np.ndarray, second: np.ndarray) -> bool:
    change = np.abs(first - second).max(axis=2)[4:-4, 4:-4]  # without the frame of what has the focus
    return change.max() > 0.2 and (change > 0.1).mean() > 1e-3


def test_all_localizations_are_drawn_in_one_call_and_can_be_seen(page):
    image = picture(page)
    assert image.max() > 0.8 and 0.02 < (image.max(axis=2) > 0.05).mean() < 0.9
    counts = f"({VIEW}.draw(1), (i => [i.calls, i.points])({VIEW}.spots.renderer.info.render))"
    assert page.run(counts) == [2, ROWS]  # the second call turns the sums into the picture
    assert page.run("document.title") == "Random & <b>more</b>: 3D view"
    assert page.run("document.querySelector('h1').textContent") == "Random & <b>more</b>"
    assert page.run("document.getElementById('note').textContent") == "1,500 of 1,500 localizations shown"


def test_other_colours_change_hues_not_places(page):
    images = [picture(page)]
    for colour in ("time", "lateral precision"):
        change(page, "colour-by", colour, "change")
        images.append(picture(page))
    assert differ(images[0], images[1]) and differ(images[0], images[2])
    lit = [image.max(axis=2) > 0.1 for image in images]
    assert (lit[0] == lit[1]).mean() > 0.97


@pytest.mark.parametrize("axis", range(3))
def test_limits_cut_off_what_lies_beyond(page, axis):
    """Half of the depths are cut; of x and y, one side of the picture is empty afterwards."""
    name = "xyz"[axis]
    rows = localization_table.read(page.requests[0].removeprefix("file://").replace(".html", ".h5"))[0]
    limit = float(rows[name].median() // 20 * 20)
    before = picture(page)
    change(page, f"{name}-to", limit)
    after = picture(page)
    limit = float(page.run(f"document.getElementById('{name}-to').value"))
    page.wait(f"{VIEW}.shown < {ROWS}")
    assert abs(page.run(f"{VIEW}.shown") - (rows[name] <= limit).sum()) <= 1
    assert differ(before, after)
    if name != "z":
        here = before.max(axis=2).max(axis=1 - (name == "y") * 1 if name == "y" else 0)
        there = after.max(axis=2).max(axis=1 if name == "y" else 0)
        lit = np.flatnonzero(here > 0.1)
        middle = (lit[0] + lit[-1]) // 2
        margin = len(here) // 8
        assert there[: middle - margin].max() > 0.3 and there[middle + margin :].max() < 0.05
    click(page, "reset")
    assert not differ(before, picture(page))


def test_both_limits_move_together_where_the_thickness_is_kept(page):
    change(page, "z-to", -100)
    page.run("document.getElementById('keep-thickness').checked = true")
    change(page, "z-to", 200)
    low, high = page.run("['z-from', 'z-to'].map(id => Number(document.getElementById(id).value))")
    assert high == 200 and low == pytest.approx(-100, abs=10)
    change(page, "z-to", 400)
    again = page.run("['z-from', 'z-to'].map(id => Number(document.getElementById(id).value))")
    assert again[1] - again[0] == pytest.approx(high - low)


def test_mouse_and_keys_turn_move_and_zoom(page):
    home = picture(page)
    page.drag((300, 300), (420, 360))
    turned = picture(page)
    assert differ(home, turned)
    zoom = page.run(f"{VIEW}.camera.zoom")
    page.mouse("mouseWheel", 300, 300, deltaX=0, deltaY=-400)
    page.run(f"{VIEW}.settled()")
    assert page.run(f"{VIEW}.camera.zoom") > 1.2 * zoom
    page.run("document.getElementById('picture').focus()")
    page.key("r")
    assert not differ(home, picture(page))
    page.key("ArrowLeft")
    assert differ(home, picture(page))
    page.key("R")
    page.key("ArrowRight", SHIFT)
    moved = picture(page)
    before, after = (image.max(axis=2).mean(axis=0) for image in (home, moved))
    agreement = np.correlate(after - after.mean(), before - before.mean(), "full")
    assert abs(abs(int(agreement.argmax()) - (len(before) - 1)) - 40) <= 3  # moved by 40 pixels


def test_the_view_turns_by_itself_until_it_is_stopped(page):
    home = picture(page)
    change_without_waiting = "(c => {{ c.value = '{0}'; c.dispatchEvent(new Event('change')) }})"
    page.run(f"{change_without_waiting.format('turn')}(document.getElementById('motion'))")
    angle = f"{VIEW}.controls.getAzimuthalAngle()"
    page.wait(f"Math.abs({angle}) > 0.3")
    change(page, "motion", "still", "change")
    assert differ(home, picture(page))
    stopped = page.run(angle)
    time.sleep(0.3)
    assert page.run(angle) == stopped


@pytest.mark.parametrize(("side", "across", "down"), [("xy", "x", "y"), ("xz", "x", "-z"), ("yz", "z", "y")])
def test_distances_agree_with_the_scale_bar_at_every_zoom(browser, pages, side, across, down):
    """Of two localizations at opposite corners; the bar is measured where it is drawn."""
    browser.size(*WINDOW)
    start(browser, pages["few"])
    ends = {"x": (200, 1800), "y": (200, 1400), "z": (-400, 400), "-z": (400, -400)}
    for zoom in (1.0, 0.5):
        browser.run(
            f"{VIEW}.look('{side}'), {VIEW}.camera.zoom *= {zoom}, {VIEW}.camera.updateProjectionMatrix(), {VIEW}.ask()"
        )
        change(browser, "brightness", 2)
        image, whole = picture(browser), picture(browser, overlay=True)
        bar = whole[-18, image.shape[1] // 2 :].min(axis=1).sum()  # white, with parts of pixels at its ends
        nm_per_pixel = browser.run(f"{VIEW}.barLength") / bar
        rows, columns = np.nonzero(image.max(axis=2) > 0.15)
        far = np.hypot(rows - rows.mean(), columns - columns.mean())
        first = far > 0.5 * far.max()  # the two at the corners, without those in the middle
        for axis, place in ((across, columns[first]), (down, rows[first])):
            low, high = place[place < place.mean()].mean(), place[place > place.mean()].mean()
            assert (high - low) * nm_per_pixel == pytest.approx(abs(ends[axis][1] - ends[axis][0]), rel=0.015)
        lowest = np.argmin(columns[first])  # which of the two is at the left, by its colour
        share = ((ends[across][0] < ends[across][1]) - 0.5) * ((ends[down][0] < ends[down][1]) - 0.5) > 0
        assert (rows[first][lowest] < rows[first].mean()) == share


def test_a_spot_is_as_wide_as_its_standard_deviations_and_has_the_colour_of_its_depth(browser, pages):
    browser.size(*WINDOW)
    start(browser, pages["few"])
    for name, value in (("x-from", 600), ("x-to", 1400), ("z-to", 100)):
        change(browser, name, value)
    browser.wait(f"{VIEW}.shown === 1")
    for side, widths in (("xy", (80.0, 40.0)), ("xz", (80.0, 60.0)), ("yz", (60.0, 40.0))):
        click(browser, f"look-{side}")
        change(browser, "brightness", -2)  # nothing saturated
        image = picture(browser).astype(float)
        weight = image.max(axis=2) ** (1 / browser.run(f"{VIEW}.about.gamma"))
        assert 0.05 < weight.max() < 0.98
        nm = 1 / browser.run(f"{VIEW}.camera.zoom")
        for place, width in zip((np.arange(image.shape[1]), np.arange(image.shape[0])[:, None]), widths, strict=True):
            mean = (weight * place).sum() / weight.sum()
            sd = np.sqrt((weight * (place - mean) ** 2).sum() / weight.sum())
            assert sd * nm == pytest.approx(width, rel=0.05)
        colour = image[np.unravel_index(weight.argmax(), weight.shape)]
        stated = np.array(
            colour_map(View3DSettings().colour_map)((0 - DEPTHS_NM[0]) / (DEPTHS_NM[1] - DEPTHS_NM[0]))[:3]
        )
        np.testing.assert_allclose(colour / colour.max(), stated / stated.max(), atol=0.03)


def test_larger_spots_and_more_brightness(page):
    lit = lambda: (picture(page).max(axis=2) > 0.3).mean()  # noqa: E731
    before = lit()
    change(page, "brightness", 2)
    brighter = lit()
    change(page, "brightness", 0)
    change(page, "spot-size", 1.5)
    assert brighter > 1.2 * before and lit() > 1.2 * before


def test_a_saved_picture_is_what_is_seen(page, tmp_path):
    page.downloads_to(tmp_path)
    seen = picture(page, overlay=True)
    click(page, "save")
    end = time.monotonic() + 30
    while not (files := list(tmp_path.glob("*.png"))) and time.monotonic() < end:
        time.sleep(0.1)
    assert [file.name for file in files] == ["Random_b_more_b__3d.png"]
    np.testing.assert_allclose(matplotlib.image.imread(files[0])[..., :3], seen, atol=0.02)


def test_the_page_cannot_reach_the_network(page):
    refused = "new Promise(r => { addEventListener('securitypolicyviolation', e => r(e.violatedDirective)); %s })"
    assert page.run(refused % "fetch('https://planeloc.invalid/').catch(() => {})") == "connect-src"
    image = "document.body.append(Object.assign(new Image(), {src: 'https://planeloc.invalid/a.png'}))"
    assert page.run(refused % image) == "img-src"
    refusals = [text for text in page.complaints if "Content Security Policy" in text]
    assert len(refusals) == len(page.complaints) > 0
    page.complaints.clear()
    page.requests[:] = [url for url in page.requests if "planeloc.invalid" not in url]


def test_every_control_has_a_name_and_fits_on_a_phone(browser, pages):
    browser.size(*PHONE, scale=2, touch=True)
    start(browser, pages["random"])
    unnamed = (
        "[...document.querySelectorAll('input, select, button, canvas[tabindex]')].filter(e => !(e.ariaLabel || "
        "e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim())).map(e => e.id)"
    )
    assert browser.run(unnamed) == []
    width, high, view = browser.run(
        "[document.documentElement.scrollWidth, document.documentElement.scrollHeight, "
        "document.getElementById('view').getBoundingClientRect()].map(v => v.height ?? v)"
    )
    assert width <= PHONE[0] and high <= PHONE[1] and view > 0.5 * PHONE[1]
    small = "[...document.querySelectorAll('button, select')].filter(e => e.getBoundingClientRect().height < 40).length"
    assert browser.run(small) == 0
    sideways = (
        "(a => [a.scrollWidth - a.clientWidth, a.scrollHeight > a.clientHeight])(document.querySelector('aside'))"
    )
    assert browser.run(sideways) == [0, True]  # the controls scroll, the picture stays
    assert browser.complaints == []


def test_an_empty_table_and_a_device_without_3d_are_told_in_words(browser, pages, tmp_path):
    problem = "(e => e.hidden ? '' : e.textContent)(document.getElementById('problem'))"
    browser.open(pages["empty"])
    browser.wait(problem)
    assert browser.run(problem) == "The table holds no localizations."
    with chromium(tmp_path, *WITHOUT_3D) as other:
        other.size(*DESKTOP)
        other.open(pages["random"])
        other.wait(problem)
        assert "WebGL 2 is missing or switched off" in other.run(problem)
        assert other.run("document.getElementById('controls').disabled") is True
        image = matplotlib.image.imread(io.BytesIO(other.screenshot()))[..., :3]
        assert image[300:600, 200:900].max() > 0.8  # the line can be read, in the middle of the picture's place


def test_the_field_fills_the_view(browser, pages):
    """The box of the field, not a dot and not a part of it."""
    for size, share in ((DESKTOP, 0.8), (PHONE, 0.85)):
        browser.size(*size)
        start(browser, pages["random"])
        lit = np.argwhere(picture(browser).max(axis=2) > 0.05)
        width, height = browser.run(f"[{VIEW}.width, {VIEW}.height]")
        spread = (lit.max(axis=0) - lit.min(axis=0))[::-1]
        assert 0.97 > (spread / [width, height]).max() > share - 0.05
        assert spread[0] / spread[1] == pytest.approx((SIZE_NM[0] - 400) / (SIZE_NM[1] - 400), rel=0.1)
