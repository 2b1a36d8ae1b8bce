"""Settings of the `train` stage."""

from __future__ import annotations

from dataclasses import dataclass, replace

from planeloc.core.devices import DEVICES, PRECISIONS
from planeloc.core.settings import setting
from planeloc.networks.kinds import network_kind, network_kinds


@dataclass(frozen=True)
class TrainSettings:
    """How long, how fast and on what to train."""

    network: str = setting(
        "regression",
        "regression: molecules with uncertainties, fast; upsampling: the paper's, probabilities of fine voxels.",
        choices=network_kinds(),
    )
    samples: int = setting(
        0,
        "Training images to present; 0: 40,000 (upsampling; the paper used 2,700,000) or 200,000 (regression).",
        minimum=0,
    )
    batch: int = setting(0, "Images per optimizer step; 0: 8 (the paper used 100).", minimum=0)
    learning_rate: float = setting(
        0.0,
        "Adam's initial learning rate, which falls to 0 along a cosine; 0: 0.001 (upsampling) or 0.003 (regression).",
        minimum=0,
    )
    channels: str = setting(
        "auto",
        "Channels after the first convolution and each doubling (upsampling; auto: 128,64,32,16), or on the camera's"
        " pixels and after each halving (regression; auto: 24,48,64).",
    )
    first_kernel: int = setting(9, "Side of the first convolution's kernel, pixels; odd.", minimum=1, maximum=31)
    first_layers: int = setting(1, "Convolutions on the camera's pixels; those after the first are 3×3.", minimum=1)
    upsampling_kernel: int = setting(4, "Side of the doubling layers' kernels; even.", minimum=2, maximum=16)
    last_kernel: int = setting(3, "Side of the last convolution's kernel, voxels; odd.", minimum=1, maximum=31)
    emitters: int = setting(3, "Emitters per 16×16 training image (Table 2); upsampling.", minimum=1)
    density: str = setting("0.06-4", "Emitters per 16×16 pixels, fewest-most, drawn for every image; regression.")
    window_px: int = setting(40, "Side of the training images, pixels; regression.", minimum=16, maximum=512)
    background_error: float = setting(
        0.5, "How wrong the subtracted background is, relative standard deviation; regression.", minimum=0, maximum=1
    )
    photons: str = setting(
        "auto", "Photons per emitter, all planes together: low-high, or auto: measured from the movies."
    )
    background: str = setting("auto", "Background photons per pixel: low-high, or auto: measured from the movies.")
    drift_voxels: int = setting(
        2, "Random shift between cameras, voxels; 0 trains the paper's non-robust network.", minimum=0
    )
    registration_resampling: bool = setting(True, "Show the network the interpolation that localization will use.")
    upsampling: int = setting(8, "Voxels per pixel along x and y; a power of 2.", minimum=2, maximum=32)
    voxel_depth_nm: float = setting(50.0, "Voxel size along z, nm.", minimum=1)
    depth_range_nm: float = setting(0.0, "Depth covered, nm; 0: the planes' span plus one spacing.", minimum=0)
    on_mismatch: str = setting("train", "If the given weights do not fit the microscope.", choices=("train", "stop"))
    maximum_depth_error_nm: float = setting(
        25.0, "Weights fit if the PSF they were made for mistakes no depth by more than this.", minimum=0
    )
    validation: int = setting(256, "Images in the fixed validation set.", minimum=1)
    validate_every: int = setting(20_000, "Training images between validations.", minimum=1)
    patience: int = setting(
        8, "Stop after so many validations without a better one, and keep the best weights; 0: never.", minimum=0
    )
    checkpoint_every_s: float = setting(60.0, "Seconds between checkpoints.", minimum=1)
    threads: int = setting(1, "CPU threads.", minimum=1)
    device: str = setting("auto", "Where to train.", choices=DEVICES)
    precision: str = setting("auto", "auto: bfloat16 where the hardware has it.", choices=PRECISIONS)
    seed: int = setting(1, "Names the training data and the first weights.", minimum=0)

    def resolved(self) -> TrainSettings:
        """With the values of the kind of network where they were left to it."""
        own = network_kind(self.network).training_defaults
        return replace(self, **{name: own[name] for name in own if getattr(self, name) in (0, "auto")})
