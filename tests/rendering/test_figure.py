"""Scale bars are round, text is readable in print, and pixels stay as they are."""

import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from planeloc.rendering import figure as figures
from planeloc.rendering.figure import ColourBar, Panel, write_panels, write_picture

BAR = ColourBar("depth", (-800.0, 800.0), "depth z (nm)")


@pytest.mark.parametrize(("about", "nice"), [(2048, 2000), (1999, 1000), (5000, 5000), (99, 50), (100, 100)])
def test_scale_bars_are_round(about, nice):
    assert figures.nice_length(about) == nice


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are written."""
    found = []

    class Canvas(FigureCanvasAgg):
        def __init__(self, figure):
            super().__init__(figure)
            found.append(figure)

    monkeypatch.setattr(figures, "FigureCanvasAgg", Canvas)
    return found


@pytest.mark.parametrize(("shape", "column_mm"), [((300, 300), 85), ((600, 450), 85), ((200, 800), 170)])
def test_text_is_readable_in_print(tmp_path, drawn, shape, column_mm):
    write_picture(tmp_path / "p.png", np.zeros((*shape, 3), np.uint8), 10.0, "5,798 localizations · 600 frames", BAR)
    (figure,) = drawn
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    sizes = [text.get_fontsize() * column_mm / 25.4 / figure.get_figwidth() for text in shown]
    assert len(sizes) >= 5 and min(sizes) > 5, sorted(sizes)


def test_no_text_is_cut_off_or_covers_another_beside_the_picture(tmp_path, drawn):
    write_picture(tmp_path / "p.png", np.zeros((300, 300, 3), np.uint8), 10.0, "a note " * 30, BAR)
    (figure,) = drawn
    renderer = FigureCanvasAgg(figure).get_renderer()
    bar = figure.axes[1]
    label = bar.yaxis.label.get_window_extent(renderer)
    ticks = [text.get_window_extent(renderer) for text in bar.get_yticklabels()]
    assert all(tick.x1 < label.x0 for tick in ticks) and label.x1 <= figure.bbox.x1
    assert all(text.get_window_extent(renderer).x1 <= figure.bbox.x1 for text in figure.texts)


def test_a_bar_of_densities_has_the_brightness_of_the_picture(tmp_path, drawn):
    """Half the white of a picture with gamma 0.5 has the brightness √½, on the bar as in the picture."""
    bar = ColourBar("grey", (0.0, 400.0), "localizations per µm²", gamma=0.5)
    write_picture(tmp_path / "p.png", np.zeros((300, 300, 3), np.uint8), 10.0, "", bar)
    mesh = drawn[0].axes[1].collections[-1]
    assert mesh.norm(200.0) == pytest.approx(0.5**0.5)


def test_titles_and_scale_bars_cover_no_data_and_no_other_text(tmp_path, drawn):
    """A view from the objective, and from two sides, with bars below and beside the panels."""
    front, below, beside = (np.zeros((*shape, 3), np.uint8) for shape in ((600, 600), (160, 600), (600, 160)))
    panels = [
        Panel(front, (10.0, 10.0), title="xy", bars=""),
        Panel(below, (10.0, 5.0), top=612, title="xz, z × 2 ↑", bars="across down"),
        Panel(beside, (5.0, 10.0), left=612, title="yz, z × 2 →", bars=""),
    ]
    write_panels(tmp_path / "p.png", panels, "5,797 localizations · 600 frames", BAR)
    (figure,) = drawn
    renderer = FigureCanvasAgg(figure).get_renderer()
    pictures = [axes.get_window_extent(renderer) for axes in figure.axes if axes.images]
    texts = [text for axes in figure.axes[:3] for text in axes.texts] + figure.texts
    bars = [patch for axes in figure.axes[:3] for patch in axes.patches if patch.get_fill()]
    assert (len(pictures), len(texts), len(bars)) == (3, 6, 2)
    boxes = [artist.get_window_extent(renderer) for artist in (*texts, *bars)]
    for number, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in (*pictures, *boxes[:number], figure.axes[3].bbox))


def test_a_scale_bar_has_the_length_that_it_states(tmp_path, drawn):
    write_panels(
        tmp_path / "p.png", [Panel(np.zeros((400, 500, 3), np.uint8), (10.0, 4.0), bars="across down")], "", BAR
    )
    axes = drawn[0].axes[0]
    stated = [float(text.get_text().split()[0]) for text in axes.texts]
    across, down = axes.patches
    assert [text.get_text().split()[1] for text in axes.texts] == ["nm", "nm"]
    assert across.get_width() * 10.0 == pytest.approx(stated[0])
    assert down.get_height() * 4.0 == pytest.approx(stated[1])


def test_panels_are_drawn_pixel_for_pixel(tmp_path):
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (900, width, 3), dtype=np.uint8) for width in (400, 500)]
    panels = [Panel(pictures[0], (1, 1), bars=""), Panel(pictures[1], (1, 1), left=412, bars="")]
    write_panels(tmp_path / "p.png", panels, "", None)
    image = np.rint(matplotlib.image.imread(tmp_path / "p.png")[..., :3] * 255)
    inside = slice(5, 895)  # without the frames
    np.testing.assert_array_equal(image[inside, 5:395], pictures[0][inside, 5:-5])
    np.testing.assert_array_equal(image[inside, 417:907], pictures[1][inside, 5:-5])
