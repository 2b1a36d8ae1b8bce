"""HTML pages from Jinja2 templates: one file each, without scripts, readable on a phone and on paper."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from planeloc.core import marks
from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path, require_file
from planeloc.core.quality_labels import number

_WIDEST_PX = 1600  # of a picture on a page, which is shown at half of that or less
_WEBP_QUALITY = 90


def write_page(
    output: Path,
    template: str,
    values: Mapping[str, Any],
    *,
    verb: str = "report",
    package: str = __package__,
    filters: Mapping[str, Callable] | None = None,
) -> None:
    """Fill a template and write the page.

    Parameters
    ----------
    output : the HTML file.
    template : name of a file in the folder ``templates`` of `package`. It may extend ``page.html.j2``.
    values : what the template calls by name; text is escaped.
    verb : the command that writes the page.
    package : the package that has the template.
    filters : filters of the template, besides `number`, `sentence` and `picture`.
    """
    loader = ChoiceLoader([PackageLoader(package), PackageLoader(__package__)])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "sentence": sentence, "picture": picture, **(filters or {})}
    page = environment.get_template(template).render(values, generator=marks.generator(verb))
    with atomic_path(output, marks.page(verb)) as partial:
        partial.write_text(page, encoding="utf-8")


def sentence(text: str) -> str:
    """The text with a capital letter at its beginning and a full stop at its end."""
    text = " ".join(text.split()).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('?', '!')) else '.'}" if text else ""


def embedded(path: Path, widest_px: int = _WIDEST_PX) -> str:
    """A PNG as the `data:` address of a WebP, reduced where it is larger than a page shows.

    Raises
    ------
    PlanelocError : the file is missing or no picture.
    """
    from PIL import Image

    try:
        with Image.open(require_file(path, "figure")) as opened:
            image = opened.convert("RGB")
    except (OSError, ValueError) as error:
        raise PlanelocError(f"{path}: not a readable picture ({error}); make it again") from None
    image.thumbnail((widest_px, widest_px), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    image.save(written, "WEBP", quality=_WEBP_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(written.getvalue()).decode('ascii')}"


def picture(path: Path) -> str:
    """A PNG as a `data:` address."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
