"""The `view-3d` stage: one HTML file in which a browser shows the localizations in 3D, to turn, zoom and cut.

The file holds everything that it needs: the localizations (points.py), and a program that draws them by the graphics
device, made with three.js from ``web/``. Its security policy forbids every access to the network. How spots become a
picture follows `planeloc render`: mean colour, summed brightness, the same saturation and gamma.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from planeloc.core import marks
from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path
from planeloc.core.settings import check
from planeloc.io import localization_table
from planeloc.io.localization_table import metadata_value
from planeloc.rendering.colours import colour_map
from planeloc.rendering.settings import RenderSettings
from planeloc.rendering.view_3d.points import STEP_NM, Points, pack
from planeloc.rendering.view_3d.settings import View3DSettings

_LOG = logging.getLogger(__name__)
_PAGE = resources.files(__package__) / "page"


def view_3d(localizations_file: Path, output: Path, settings: View3DSettings) -> dict[str, int]:
    """Write the page; returns how many localizations the table has and how many the page shows.

    Parameters
    ----------
    localizations_file : any table of localizations: as localized, filtered or linked.
    output : the HTML file.

    Raises
    ------
    PlanelocError : the table cannot be read, lacks its depth range, or spreads over more than a page holds.
    """
    check(settings)
    columns, metadata = localization_table.read_columns(localizations_file)
    depths = [float(depth) for depth in metadata_value(localizations_file, metadata, "depth_range_nm")]
    if not depths[1] > depths[0]:
        raise PlanelocError(
            f"{localizations_file}: the table's metadata are wrong: depths {depths[0]} to {depths[1]} nm; "
            "create the table again with `planeloc localize`"
        )
    points = pack(localizations_file, columns, settings.maximum_points, settings.sigma_nm, settings.maximum_sigma_nm)
    note = _shown(points, "blinks" if "frames" in columns else "localizations")
    del columns
    if points.shown < points.total:
        _LOG.info(f"note: {output}: {note}")
    title = settings.title or localizations_file.absolute().parent.name
    _write(output, title, points, _about(title, points, depths, settings), note)
    return {"localizations": points.total, "localizations_shown": points.shown}


def _about(title: str, points: Points, depths_nm: list[float], settings: View3DSettings) -> dict[str, Any]:
    """What the program of the page has to know."""
    look = RenderSettings()
    colours = np.rint(colour_map(settings.colour_map)(np.linspace(0, 1, 256)) * 255).astype(np.uint8)
    about = {key: value for key, value in vars(points).items() if key != "packed"}
    return about | {
        "title": title,
        "step_nm": STEP_NM,
        "depth_nm": depths_nm,
        "colours": base64.b64encode(colours.tobytes()).decode("ascii"),
        "saturation_percent": look.saturation_percent,
        "gamma": look.gamma,
    }


def _shown(points: Points, rows: str) -> str:
    text = f"{points.shown:,} of {points.total:,} {rows} shown"
    if points.shown < points.total - points.unplaced:
        text += ", a random sample"
    return text if not points.unplaced else f"{text}; {points.unplaced:,} have no position"


def _write(output: Path, title: str, points: Points, about: Mapping[str, Any], note: str) -> None:
    environment = Environment(
        loader=PackageLoader(__package__, "page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    script, style = ((_PAGE / name).read_text(encoding="utf-8") for name in ("viewer.min.js", "view_3d.css"))
    page = environment.get_template("view_3d.html.j2").render(
        title=title,
        generator=marks.generator("view-3d"),
        note=note,
        script=script,
        script_hash=_policy_hash(script),
        style=style,
        style_hash=_policy_hash(style),
        # a `<` in a title must not end the element
        about=json.dumps(about, allow_nan=False).replace("<", "\\u003c"),
        localizations=base64.b64encode(points.packed).decode("ascii"),
    )
    with atomic_path(output, marks.page("view-3d")) as partial:
        partial.write_text(page, encoding="utf-8", newline="\n")


def _policy_hash(text: str) -> str:
    """How a content security policy names a script or a style that may be used."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
