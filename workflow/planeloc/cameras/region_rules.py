"""What the regions of a shared sensor must fulfil.

The workflow runs this file by itself before its first job, where the package may live only in a container: it needs
nothing but Python.
"""

from __future__ import annotations

from collections.abc import Sequence


def region_mistake(layout: str, cameras: int, sizes: Sequence[tuple[int, int]]) -> str:
    """What to correct in the regions, or nothing; `sizes` are the (width, height) of all regions."""
    if layout == "regions" and len(sizes) != cameras:
        return f"{len(sizes)} regions for {cameras} cameras; layout regions needs one region per camera"
    if layout == "regions" and len(set(sizes)) > 1:
        return "the regions differ in size; give all the same width and height"
    return ""
