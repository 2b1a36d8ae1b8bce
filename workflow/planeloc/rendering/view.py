"""The `view` stage: a picture and a stack of a part of the sample, from a chosen side, coloured by a chosen quantity.

Only the localizations in the region are drawn. A view is the same as that part of a larger one: Gaussians that reach
into it are drawn, too.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from planeloc.core.errors import PlanelocError
from planeloc.core.settings import check
from planeloc.io.ome_tiff import write_z_stack
from planeloc.rendering import view_rules
from planeloc.rendering.colouring import Colouring, limits_of
from planeloc.rendering.colours import reduction
from planeloc.rendering.display_blur import blur_note, display_blur_nm
from planeloc.rendering.figure import Panel, write_panels, write_picture
from planeloc.rendering.layouts import Tone, montage, orthogonal, overview_pixel, side_view
from planeloc.rendering.scene import SIDES, Scene, read_scene
from planeloc.rendering.settings import ViewSettings

_LOG = logging.getLogger(__name__)


def view(localizations_file: Path, picture: Path, tiff: Path | None, settings: ViewSettings) -> dict[str, Any]:
    """Draw a view; returns what it shows: its box (nm), number of localizations and ends of the colour map.

    Parameters
    ----------
    localizations_file : any table of localizations: as localized, filtered or linked.
    picture : PNG.
    tiff : OME-TIFF, localizations per µm² (float32) in slices across the direction of view; of an orthogonal view and a
        montage, across z. None: not written.

    Raises
    ------
    PlanelocError : the settings contradict each other, the region is outside the field, or the table cannot be read.
    """
    check(settings)
    for name, mistake in view_rules.view_mistakes(asdict(settings)):
        raise PlanelocError(f"setting {name} {mistake}")
    wanted = view_rules.intervals(settings.region, ("x", "y")) | view_rules.intervals(settings.depth_range, ("z",))
    scene, metadata = read_scene(localizations_file, wanted, settings)
    if mistake := view_rules.size_mistake(scene.size_nm("x"), scene.size_nm("y"), settings.pixel_nm, settings.slices):
        raise PlanelocError(f"setting pixel_nm is {settings.pixel_nm:g}: {mistake}")
    shown = scene.within()
    colouring = _colouring(scene, shown, int(metadata.get("frames", 0)), settings)
    _write_picture(picture, scene, colouring, _note(scene, int(shown.sum())), settings)
    if tiff:
        _write_tiff(tiff, scene, settings)
    _tell(picture, scene, int(shown.sum()))
    box = {axis: list(limits) for axis, limits in scene.box.items()}
    return {"box_nm": box, "localizations": int(shown.sum()), "colour_range": list(colouring.limits)}


def _colouring(scene: Scene, shown: NDArray, frames: int, settings: ViewSettings) -> Colouring:
    given = view_rules.intervals(settings.colour_range, ("colour",)).get("colour")
    limits = given or limits_of(settings.colour_by, scene.rows, shown, frames, scene.box["z"])
    automatic = "grey" if settings.colour_by == "none" else "depth"
    return Colouring(settings.colour_by, limits, automatic if settings.colour_map == "auto" else settings.colour_map)


def _note(scene: Scene, number: int) -> str:
    x, y = (f"{axis} {scene.box[axis][0] / 1000:g}–{scene.box[axis][1] / 1000:g} µm" for axis in "xy")
    return f"{number:,} {_rows_are(scene)} · {x}, {y}"


def _rows_are(scene: Scene) -> str:
    return "blinks" if "frames" in scene.rows else "localizations"


def _tell(picture: Path, scene: Scene, number: int) -> None:
    """Say how many rows are shown; warn if there is none."""
    text = f"{picture}: {number:,} {_rows_are(scene)} in the view"
    if number:
        _LOG.info(text)
    else:
        ends = ", ".join(f"{axis} {low:g} to {high:g} nm" for axis, (low, high) in scene.box.items())
        _LOG.warning(f"{text} ({ends}); check region and depth_range, which are in nm")


def _write_picture(path: Path, scene: Scene, colouring: Colouring, note: str, settings: ViewSettings) -> None:
    tone = Tone(settings.saturation_percent, settings.gamma, colouring)
    panels: list[Panel]
    if settings.projection == "orthogonal":
        pixel_nm = overview_pixel(scene, settings.pixel_nm)
        panels, remark = orthogonal(scene, pixel_nm, settings.z_stretch, colouring, tone)
    elif settings.projection == "slices":
        panels, remark = montage(scene, settings.pixel_nm, settings.montage_slices, colouring, tone)
    elif settings.projection == "xy":
        blur_nm = display_blur_nm(scene.rows, settings, min(scene.size_nm("x"), scene.size_nm("y")))
        mixture = scene.mixture("xy", (settings.pixel_nm, settings.pixel_nm), colouring)
        (drawn,) = tone.pictures([mixture], (blur_nm / settings.pixel_nm,) * 2)
        reduced = reduction(*drawn.shape[:2])
        note += "" if reduced == 1 else f" · pixels of {settings.pixel_nm * reduced:g} nm"
        note += blur_note(blur_nm)
        write_picture(path, drawn, settings.pixel_nm, note, tone.bar(), verb="view")
        return
    else:
        stretch = settings.z_stretch or 1.0
        panel, remark = side_view(scene, settings.projection, settings.pixel_nm, stretch, colouring, tone)
        panels = [panel]
    write_panels(path, panels, note + remark, tone.bar(), 2 if settings.projection == "slices" else 1, "view")


def _write_tiff(path: Path, scene: Scene, settings: ViewSettings) -> None:
    side = settings.projection if settings.projection in SIDES else "xy"
    across, down, through = SIDES[side]
    grid, slices = scene.stack(side, settings.pixel_nm, settings.slices)
    axes = {axis: f"{scene.box[axis][0]:g} to {scene.box[axis][1]:g} nm" for axis in "xyz"}
    text = f"localizations per square micrometre; columns: {across} from {axes[across]}, rows: {down} from {axes[down]}"
    text += f"{', the highest first' if down == 'z' else ''}, slices: {through} from {axes[through]}"
    corner = (scene.box["x"][0], scene.box["y"][0], float(grid.depths_nm[0])) if side == "xy" else None
    description = {"Name": "density of localizations", "Description": text}
    write_z_stack(path, slices, grid.shape, "float32", grid.voxel_nm, description, corner, "view")
