"""Settings of the `train` stage."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from planeloc.core.devices import DEVICES, PRECISIONS
from planeloc.core.errors import PlanelocError
from planeloc.core.settings import setting, threshold
from planeloc.networks.kinds import GROUP, network_kind, network_kinds
from planeloc.scenes.random_density import MOST_PER_PIXEL

DENSITY_PX = 16  # side of the square that densities are given for, pixels
SCENE_SETTINGS = (
    "inter_camera_drift_voxels",
    "registration_resampling",
    "upsampling",
    "voxel_depth_nm",
)  # fields of `Scene`, too


_AMBIGUITY = "distance between the two most distant ambiguous depths, as a fraction of the depth range"
_RANGE = r"\s*[0-9.eE+]+\s*-\s*[0-9.eE+]+\s*"
_INTERVAL = "give an interval such as {}, the lower end first"
_WHOLE_NUMBERS = r"^(auto|\s*[0-9]+\s*(,\s*[0-9]+\s*)*)$"


class Bounds(NamedTuple):
    """The values that can be drawn."""

    least: float
    most: float
    unit: str


BOUNDS = {
    "photons": Bounds(1.0, 1e7, "photons per molecule"),
    "background": Bounds(0.0, 1e6, "photons per pixel"),
    "density": Bounds(0.0, MOST_PER_PIXEL * DENSITY_PX**2, "molecules per 16×16 pixels"),
}


@dataclass(frozen=True)
class TrainSettings:
    """How long, how fast and on what to train."""

    network: str = setting(
        "regression",
        "Kind of network. regression: positions with uncertainties, fast; upsampling: the paper's, probabilities of"
        " fine voxels.",
        choices=network_kinds(),
        entry_points=GROUP,
    )
    samples: int = setting(
        0,
        "Number of training images. 0: 200,000 (regression) or 40,000 (upsampling; the paper used 2,700,000).",
        minimum=0,
    )
    batch: int = setting(0, "Training images per optimizer step. 0: 8 (the paper used 100).", minimum=0, advanced=True)
    learning_rate: float = setting(
        0.0,
        "Initial learning rate of Adam, with cosine decay. 0: 0.003 (regression) or 0.001 (upsampling).",
        minimum=0,
        advanced=True,
    )
    channels: str = setting(
        "auto",
        "Channels at the camera's resolution and after each halving (regression; auto: 24,48,64), or after the"
        " first convolution and each doubling (upsampling; auto: 128,64,32,16).",
        pattern=(_WHOLE_NUMBERS, "give auto, or whole numbers such as 24,48,64"),
        advanced=True,
    )
    first_kernel: int = setting(
        9, "Kernel size of the first convolution; odd.", unit="px", minimum=1, maximum=31, advanced=True
    )
    first_layers: int = setting(
        1, "Number of convolutions at the camera's resolution; those after the first are 3×3.", minimum=1, advanced=True
    )
    upsampling_kernel: int = setting(
        4, "Kernel size of the upsampling layers; even.", minimum=2, maximum=16, advanced=True
    )
    last_kernel: int = setting(
        3, "Kernel size of the last convolution; odd.", unit="voxels", minimum=1, maximum=31, advanced=True
    )
    emitters: int = setting(
        3, "Emitters per 16×16 training image (upsampling; Table 2 of the paper).", minimum=1, advanced=True
    )
    density: str = setting(
        "0.06-4",
        "Range of the emitters per 16×16 pixels, lowest-highest, drawn for every training image (regression).",
        pattern=(f"^{_RANGE}$", _INTERVAL.format("0.06-4")),
    )
    window_px: int = setting(
        40, "Side of the training images (regression).", unit="px", minimum=16, maximum=512, advanced=True
    )
    background_error: float = setting(
        0.5,
        "Relative standard deviation of the error of the subtracted background (regression).",
        minimum=0,
        maximum=1,
        advanced=True,
    )
    edges: float = setting(
        0.0,
        "Share of the training images in which the sensors of some cameras end, as at the edges of fields that do not"
        " coincide; the network is then told where (regression). 0: no edges, and it is not told.",
        minimum=0,
        maximum=1,
        advanced=True,
    )
    photons: str = setting(
        "auto",
        "Photons per emitter, summed over all planes: lowest-highest, or auto: measured in the movies.",
        pattern=(f"^(auto|{_RANGE})$", f"{_INTERVAL.format('1600-5400')}, or auto"),
        advanced=True,
    )
    background: str = setting(
        "auto",
        "Background photons per pixel: lowest-highest, or auto: measured in the movies.",
        pattern=(f"^(auto|{_RANGE})$", f"{_INTERVAL.format('1-15')}, or auto"),
        advanced=True,
    )
    inter_camera_drift_voxels: int = setting(
        2,
        "Largest random inter-camera drift. 0 trains the paper's non-robust network.",
        unit="voxels",
        minimum=0,
        advanced=True,
        was=("drift_voxels",),
    )
    registration_resampling: bool = setting(
        True, "Resample the training images as localization resamples the movie's.", advanced=True
    )
    upsampling: int = setting(8, "Voxels per pixel along x and y; a power of 2.", minimum=2, maximum=32, advanced=True)
    voxel_depth_nm: float = setting(50.0, "Voxel size along z.", unit="nm", minimum=1, advanced=True)
    depth_range_nm: float = setting(
        0.0, "Depth range. 0: the span of the planes plus one spacing.", unit="nm", minimum=0, advanced=True
    )
    on_mismatch: str = setting(
        "train", "What to do if the given weights do not fit the microscope.", choices=("train", "stop")
    )
    maximum_depth_error_nm: float = setting(
        25.0,
        "Largest depth error caused by the difference between the weights' PSF and the calibrated one.",
        unit="nm",
        minimum=0,
        advanced=True,
    )
    ambiguity_warn: float = threshold(0.25, "warn above", _AMBIGUITY, minimum=0, maximum=1)
    ambiguity_fail: float = threshold(0.5, "stop above", _AMBIGUITY, minimum=0, maximum=1)
    validation: int = setting(256, "Number of validation images.", minimum=1, advanced=True)
    validate_every: int = setting(20_000, "Training images between validations.", minimum=1, advanced=True)
    patience: int = setting(
        8,
        "Stop after this number of validations without an improvement, and keep the best weights. 0: never.",
        minimum=0,
        advanced=True,
    )
    checkpoint_every_s: float = setting(60.0, "Time between checkpoints.", unit="s", minimum=1, advanced=True)
    threads: int = setting(1, "Number of CPU threads.", minimum=1, command_line_only=True)
    device: str = setting("auto", "Where the training runs.", choices=DEVICES)
    precision: str = setting(
        "auto", "Floating-point format. auto: bfloat16 where the hardware has it.", choices=PRECISIONS, advanced=True
    )
    seed: int = setting(1, "Random seed of the training data and the initial weights.", minimum=0, advanced=True)

    def resolved(self) -> TrainSettings:
        """With the values of the kind of network where they were left to it."""
        own = network_kind(self.network).training_defaults
        return replace(self, **{name: own[name] for name in own if getattr(self, name) in (0, "auto")})

    def interval(self, name: str) -> tuple[float, float]:
        """Return the ends of the range that a setting gives as text: ``"1600-5400"`` → (1600.0, 5400.0).

        Raises
        ------
        PlanelocError : the text is no range, or its values cannot be drawn.
        """
        text, bounds = getattr(self, name), BOUNDS[name]
        try:
            low, high = (float(part) for part in text.split("-"))
        except ValueError:
            low, high = 1.0, 0.0
        if not 0 <= low <= high < math.inf:
            raise PlanelocError(
                f"setting {name}: {text!r} is neither auto nor an interval such as 1600-5400, the lower end first"
            )
        if low < bounds.least:
            raise PlanelocError(f"setting {name}: {text!r} begins below {bounds.least:g} {bounds.unit}; give more")
        if high > bounds.most:
            raise PlanelocError(
                f"setting {name}: {text!r} ends above {bounds.most:g} {bounds.unit}, the most that is drawn;"
                f" give a smaller {name}"
            )
        return low, high

    @property
    def density_per_pixel(self) -> tuple[float, float]:
        """Fewest and most molecules per pixel that the setting `density` asks for."""
        fewest, most = (number / DENSITY_PX**2 for number in self.interval("density"))
        return fewest, most
