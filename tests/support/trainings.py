"""Settings of trainings that take seconds, and the files that a training writes."""

from planeloc.training.settings import TrainSettings

TINY_UPSAMPLING = TrainSettings(
    network="upsampling", samples=64, batch=8, channels="8,8,8,8", validation=8, validate_every=16, device="cpu"
)
TINY_REGRESSION = TrainSettings(
    network="regression", samples=64, batch=8, channels="8,8,8", window_px=16, validation=8, validate_every=16,
    device="cpu", precision="float32",
)  # fmt: skip


def outputs(folder):
    return folder / "weights.safetensors", folder / "training.json", folder / "curves.png"
