"""How large the experiments are, and on what they run; `paper:` in the configuration."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.devices import DEVICES
from planeloc.core.settings import setting


@dataclass(frozen=True)
class PaperSettings:
    """The defaults are the paper's, where it has them."""

    images: int = setting(500, "Images with one molecule each (Table 3).", minimum=10)
    frames: int = setting(300, "Frames of the helix (Fig. 9).", minimum=2)
    largest_px: int = setting(256, "Side of the largest image whose speed is measured, px (Fig. 10).", minimum=16)
    molecules: int = setting(200, "Molecules for every value of inter-camera drift, density and photons.", minimum=10)
    device: str = setting("auto", "Where networks run.", choices=DEVICES)
