"""Panels of one scene: three directions of view, and a montage of slices."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from planeloc.rendering.colouring import Colouring
from planeloc.rendering.colours import ColourMixture, brightness, colour_map, sensible_size, white_of
from planeloc.rendering.display_blur import blur_note, display_blur_nm
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

    def pictures(
        self, mixtures: list[ColourMixture], blur_px: tuple[float, float] = (0.0, 0.0)
    ) -> list[NDArray[np.uint8]]:
        """The pictures of mixtures of one size, blurred (to the right, downwards) and all with the same white."""
        for mixture in mixtures:
            mixture.blur(*blur_px)
        amounts = np.stack([mixture.amount for mixture in mixtures])
        self._white = self._white or white_of(amounts, self._saturation)
        bright = brightness(amounts, self._saturation, self._gamma)
        if self._colouring.by_density:
            colours = np.rint(colour_map(self._colouring.colour_map)(np.arange(256))[:, :3] * 255).astype(np.uint8)
            return [colours[np.rint(each * 255).astype(np.uint8)] for each in bright]
        return [mixture.picture(each) for mixture, each in zip(mixtures, bright, strict=True)]


def orthogonal(
    scene: Scene, pixel_nm: float, stretch: float, colouring: Colouring, tone: Tone
) -> tuple[list[Panel], str]:
    """The scene from the objective, below it from the front, beside it from the right; z is enlarged by `stretch`.

    All share their scale, so that a structure is found along rows and columns. Returns the panels, and what is to be
    said of them.
    """
    scene = scene.no_sharper_than(pixel_nm)
    blur_nm = display_blur_nm(scene.rows, scene.widths, min(scene.size_nm("x"), scene.size_nm("y")))
    stretch = stretch or nice_stretch(max(scene.size_nm("x"), scene.size_nm("y")), scene.size_nm("z"))
    (front,) = tone.pictures([scene.mixture("xy", (pixel_nm, pixel_nm), colouring)], (blur_nm / pixel_nm,) * 2)
    factor = max(1, min(_LONGEST_PX // max(front.shape[:2]), -(-_LEAST_PX // min(front.shape[:2]))))
    fine = pixel_nm / factor / stretch  # nm of z per pixel of the picture
    steps = max(1, round(factor * stretch / 2))  # pixels of the picture per row of z that is drawn
    blur_px = (blur_nm / pixel_nm, blur_nm / stretch / (steps * fine))  # as wide on the screen along z
    (below,) = tone.pictures([scene.mixture("xz", (pixel_nm, steps * fine), colouring)], blur_px)
    (beside,) = tone.pictures([scene.mixture("zy", (steps * fine, pixel_nm), colouring)], blur_px[::-1])
    front = front.repeat(factor, axis=0).repeat(factor, axis=1)
    below = below.repeat(steps, axis=0).repeat(factor, axis=1)
    beside = beside.repeat(factor, axis=0).repeat(steps, axis=1)
    rows, columns = front.shape[:2]
    lateral = pixel_nm / factor
    panels = [
        Panel(front, (lateral, lateral), title="xy", bars=""),
        Panel(below, (lateral, fine), top=rows + GAP_PX, title=f"xz, z{_times(stretch)} ↑", bars="across down"),
        Panel(beside, (fine, lateral), left=columns + GAP_PX, title=f"yz, z{_times(stretch)} →", bars=""),
    ]
    return panels, blur_note(blur_nm)


def side_view(
    scene: Scene, side: str, pixel_nm: float, stretch: float, colouring: Colouring, tone: Tone
) -> tuple[Panel, str]:
    """The scene from a side, z enlarged by `stretch`, in a size to look at, and what is to be said of it."""
    mixture = scene.mixture(side, (pixel_nm, pixel_nm / stretch), colouring)
    blur_nm = display_blur_nm(scene.rows, scene.widths, min(scene.size_nm(side[0]), scene.size_nm("z") * stretch))
    (picture,) = tone.pictures([mixture], (blur_nm / pixel_nm,) * 2)
    picture, lateral = sensible_size(picture, pixel_nm)
    bars = "across" if stretch == 1 else "across down"
    title = f"{side}, z{_times(stretch)} ↑"
    return Panel(picture, (lateral, lateral / stretch), title=title, bars=bars), blur_note(blur_nm)


def _times(stretch: float) -> str:
    return "" if stretch == 1 else f" × {stretch:g}"


def overview_pixel(scene: Scene, pixel_nm: float) -> float:
    """The smallest multiple of `pixel_nm` with which the field is no larger than a figure needs."""
    longest = max(scene.size_nm("x"), scene.size_nm("y"))
    return pixel_nm * max(1, int(np.ceil(longest / pixel_nm / _LONGEST_PX)))


def montage(scene: Scene, pixel_nm: float, number: int, colouring: Colouring, tone: Tone) -> tuple[list[Panel], str]:
    """Slices of the depths that are shown, the lowest first, each with its depths; all with the same white.

    Returns the panels, and what is to be said of them.
    """
    width, height = scene.size_nm("x"), scene.size_nm("y")
    columns = min(number, max(1, round((number * height / width * 4 / 3) ** 0.5)))
    seen_nm = min(columns * width, -(-number // columns) * height)  # all slices at once
    blur_nm = display_blur_nm(scene.rows, scene.widths, seen_nm)
    pixel_nm *= max(1, int(np.ceil(width * columns / pixel_nm / _MONTAGE_PX)))
    edges = map(float, np.linspace(*scene.box["z"], number + 1))
    scenes = [scene.no_sharper_than(pixel_nm).sliced(depths) for depths in itertools.pairwise(edges)]
    mixtures = [each.mixture("xy", (pixel_nm, pixel_nm), colouring) for each in scenes]
    pictures = tone.pictures(mixtures, (blur_nm / pixel_nm,) * 2)
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
    return panels, blur_note(blur_nm)
