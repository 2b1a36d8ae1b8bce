"""How much a picture is blurred so that single molecules are seen on a screen.

A field of 12 µm on a screen of 1,000 lines has 12 nm per line: a molecule localized to 8 nm is a dot of two lines,
which nobody sees from the last row. Pictures are therefore blurred by the little that makes it visible. Stacks to
measure in are not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from planeloc.rendering.settings import GaussianWidths

_DOTS = 600  # standard deviations of a dot along the picture's shorter side
_WIDEST_NM = 40.0  # of a dot: a third of that of a wide-field image
_NEARLY = 0.9  # of the width that is wanted, from which nothing is done


def display_blur_nm(rows: Mapping[str, NDArray], widths: GaussianWidths, side_nm: float) -> float:
    """Standard deviation of the blur with which a typical localization is wide enough to be seen; 0: it is.

    Parameters
    ----------
    rows : columns of the localizations.
    side_nm : shorter side of what is seen at once.
    """
    wanted = min(side_nm / _DOTS, _WIDEST_NM)
    sd = rows["x_sd"]
    if not len(sd):
        return 0.0
    drawn = np.clip(np.where(sd > 0, sd, widths.sigma_nm), widths.minimum_sigma_nm, widths.maximum_sigma_nm)
    own = float(np.median(drawn))
    return float(np.sqrt(wanted**2 - own**2)) if own < _NEARLY * wanted else 0.0


def blur_note(blur_nm: float) -> str:
    """Text below a picture that is blurred; empty if it is not."""
    return f" · blurred by {blur_nm:.0f} nm to be visible" if blur_nm else ""
