"""Panels of one scene: three directions of view, and a montage of slices."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from planeloc.rendering.colouring import Colouring
from planeloc.rendering.colours import ColourMixture, brightness, colour_map, sensible_size, white_of
from planeloc.rendering.figure import GAP_PX, ColourBar, Panel
from planeloc.rendering.scene import Scene, nice_stretch

_LONGEST_PX, _LEAST_PX = 1600, 900  # of the view from the objective, where the pixels allow a choice
_MONTAGE_PX = 3200  # width of a montage


class Tone:
    """How density becomes brightness: share of saturated pixels, gamma, and whether the colour map shows it."""

    def __init__(self, saturation_percent: float, gamma: float, colouring: Colouring) -> None:
        self._saturation, self._gamma, self._colouring = saturation_percent, gamma, colouring
        self._white = 0.0  # of the first pictures

    def bar(self) -> ColourBar:
        """The colour bar of the pictures drawn so far: of the quantity, or of the density of the first of them."""
        name, limits = self._colouring.colour_map, self._colouring.limits
        if not self._colouring.by_density:
            return ColourBar(name, limits, self._colouring.label)
        return ColourBar(name, (0.0, self._white or 1.0), "localizations per µm²", self._gamma)

    def pictures(self, mixtures: list[ColourMixture]) -> list[NDArray[np.uint8]]:
        """The pictures of mixtures of one size, all with the same white."""
        amounts = np.stack([mixture.amount for mixture in mixtures])
        self._white = self._white or white_of(amounts, self._saturation)
        bright = brightness(amounts, self._saturation, self._gamma)
        if self._colouring.by_density:
            colours = np.rint(colour_map(self._colouring.colour_map)(np.arange(256))[:, :3] * 255).astype(np.uint8)
            return [colours[np.rint(each * 255).astype(np.uint8)] for each in bright]
        return [mixture.picture(each) for mixture, each in zip(mixtures, bright, strict=True)]


def orthogonal(scene: Scene, pixel_nm: float, stretch: float, colouring: Colouring, tone: Tone) -> list[Panel]:
    """The scene from the objective, below it from the front, beside it from the right; z is enlarged by `stretch`.

    All share their scale, so that a structure is found along rows and columns.
    """
    scene = scene.no_sharper_than(pixel_nm)
    stretch = stretch or nice_stretch(max(scene.size_nm("x"), scene.size_nm("y")), scene.size_nm("z"))
    (front,) = tone.pictures([scene.mixture("xy", (pixel_nm, pixel_nm), colouring)])
    factor = max(1, min(_LONGEST_PX // max(front.shape[:2]), -(-_LEAST_PX // min(front.shape[:2]))))
    fine = pixel_nm / factor / stretch  # nm of z per pixel of the picture
    steps = max(1, round(factor * stretch / 2))  # pixels of the picture per row of z that is drawn
    (below,) = tone.pictures([scene.mixture("xz", (pixel_nm, steps * fine), colouring)])
    (beside,) = tone.pictures([scene.mixture("zy", (steps * fine, pixel_nm), colouring)])
    front = front.repeat(factor, axis=0).repeat(factor, axis=1)
    below = below.repeat(steps, axis=0).repeat(factor, axis=1)
    beside = beside.repeat(factor, axis=0).repeat(steps, axis=1)
    rows, columns = front.shape[:2]
    enlarged = "" if stretch == 1 else f", z × {stretch:g}"
    lateral = pixel_nm / factor
    return [
        Panel(front, (lateral, lateral), title="xy"),
        Panel(below, (lateral, fine), top=rows + GAP_PX, title="xz" + enlarged, bars="down"),
        Panel(beside, (fine, lateral), left=columns + GAP_PX, title="zy" + enlarged),
    ]


def side_view(scene: Scene, side: str, pixel_nm: float, stretch: float, colouring: Colouring, tone: Tone) -> Panel:
    """The scene from a side, z enlarged by `stretch`, in a size to look at."""
    mixture = scene.mixture(side, (pixel_nm, pixel_nm / stretch), colouring)
    (picture,) = tone.pictures([mixture])
    picture, lateral = sensible_size(picture, pixel_nm)
    enlarged = "" if stretch == 1 else f", z × {stretch:g}"
    bars = "across" if stretch == 1 else "across down"
    return Panel(picture, (lateral, lateral / stretch), title=side + enlarged, bars=bars)


def overview_pixel(scene: Scene, pixel_nm: float) -> float:
    """The smallest multiple of `pixel_nm` with which the field is no larger than a figure needs."""
    longest = max(scene.size_nm("x"), scene.size_nm("y"))
    return pixel_nm * max(1, int(np.ceil(longest / pixel_nm / _LONGEST_PX)))


def montage(scene: Scene, pixel_nm: float, number: int, colouring: Colouring, tone: Tone) -> list[Panel]:
    """Slices of the depths that are shown, the lowest first, each with its depths; all with the same white."""
    width, height = scene.size_nm("x"), scene.size_nm("y")
    columns = min(number, max(1, round((number * height / width * 4 / 3) ** 0.5)))
    pixel_nm *= max(1, int(np.ceil(width * columns / pixel_nm / _MONTAGE_PX)))
    edges = map(float, np.linspace(*scene.box["z"], number + 1))
    scenes = [scene.no_sharper_than(pixel_nm).sliced(depths) for depths in itertools.pairwise(edges)]
    pictures = tone.pictures([each.mixture("xy", (pixel_nm, pixel_nm), colouring) for each in scenes])
    factor = max(1, _MONTAGE_PX // (columns * pictures[0].shape[1]))
    panels = []
    for index, (picture, each) in enumerate(zip(pictures, scenes, strict=True)):
        picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
        row, column = divmod(index, columns)
        place = (column * (picture.shape[1] + GAP_PX), row * (picture.shape[0] + GAP_PX))
        low, high = each.box["z"]
        title = f"{low:.0f} to {high:.0f} nm".replace("-", "−")
        bars = "across" if index == number - 1 else ""
        panels.append(Panel(picture, (pixel_nm / factor,) * 2, *place, title, bars))
    return panels
