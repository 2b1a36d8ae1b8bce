"""Fitting a network to simulated scenes, with validation and checkpoints.

State that survives an interruption lives in one file, the checkpoint beside the weights: network, optimizer and step.
Data need no state, since every batch is drawn from the seed and its step number.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from planeloc.devices import DEVICES, PRECISIONS, autocast, choose_device, choose_precision
from planeloc.errors import PlanelocError
from planeloc.networks import NetworkRecord, load_tensors, save_tensors
from planeloc.networks.upsampling import Architecture, UpsamplingNetwork, voxel_cross_entropy
from planeloc.optics import PSF
from planeloc.progress import progress_bar
from planeloc.settings import setting
from planeloc.simulation import Batch, Scene, draw_batch

_VALIDATION_SEED_OFFSET = 1 << 40  # no training step is ever numbered so high
_INPUT_SCALE_QUANTILE = 0.99


@dataclass(frozen=True)
class TrainSettings:
    """How long, how fast and on what to train."""

    samples: int = setting(40_000, "Training images to present; the paper used 2,700,000.", minimum=1)
    batch: int = setting(8, "Images per optimizer step; the paper used 100.", minimum=1)
    learning_rate: float = setting(1e-3, "Adam's initial learning rate; falls to 0 along a cosine.", minimum=1e-8)
    channels: str = setting("128,64,32,16", "Channels after the first convolution and after each doubling.")
    first_kernel: int = setting(9, "Side of the first convolution's kernel, pixels; odd.", minimum=1, maximum=31)
    first_layers: int = setting(1, "Convolutions on the camera's pixels; those after the first are 3×3.", minimum=1)
    upsampling_kernel: int = setting(4, "Side of the doubling layers' kernels; even.", minimum=2, maximum=16)
    last_kernel: int = setting(3, "Side of the last convolution's kernel, voxels; odd.", minimum=1, maximum=31)
    emitters: int = setting(3, "Emitters per 16×16 training image (Table 2).", minimum=1)
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
    checkpoint_every_s: float = setting(60.0, "Seconds between checkpoints.", minimum=1)
    threads: int = setting(1, "CPU threads.", minimum=1)
    device: str = setting("auto", "Where to train.", choices=DEVICES)
    precision: str = setting("auto", "auto: bfloat16 where the hardware has it.", choices=PRECISIONS)
    seed: int = setting(1, "Names the training data and the first weights.", minimum=0)


def fit_network(
    psf: PSF,
    scene: Scene,
    start: UpsamplingNetwork | None,
    checkpoint: Path,
    settings: TrainSettings,
) -> tuple[UpsamplingNetwork, NetworkRecord, list[dict[str, float]]]:
    """Train until `settings.samples` images have been seen, from `checkpoint` if one of the same training exists.

    Returns the network, its record and the learning curve: one entry per validation.
    """
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    record = NetworkRecord(_architecture(psf, scene, settings), psf, scene, _input_scale(psf, scene, settings.seed))
    network = record.build()
    if start is not None:
        inherit_weights(network, start)
    network = network.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99))
    identity = {"record": record.as_dict(), "settings": _training_identity(settings)}
    step, history = _resume(checkpoint, identity, network, optimizer)
    steps = math.ceil(settings.samples / settings.batch)
    validation = draw_batch(psf, scene, settings.validation, _generator(settings.seed, _VALIDATION_SEED_OFFSET, device))
    every = max(1, settings.validate_every // settings.batch)
    losses: list[Tensor] = []
    saved = time.monotonic()
    with progress_bar(steps, "training", "step", done=step) as bar:
        while step < steps:
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            batch = draw_batch(psf, scene, settings.batch, _generator(settings.seed, step, device))
            with autocast(device, precision):
                logits = network.train()(batch.images.contiguous(memory_format=torch.channels_last))
            loss = voxel_cross_entropy(logits.float(), batch.voxels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            losses.append(loss.detach())
            bar.update()
            if step % every == 0 or step == steps:
                history.append(_validate(network, validation, psf, scene, step * settings.batch, losses))
                losses.clear()
                bar.set_postfix(
                    {key: f"{history[-1][key]:.3g}" for key in ("training_loss", "validation_loss", "lateral_nm")}
                )
            if time.monotonic() - saved > settings.checkpoint_every_s and step < steps:
                _checkpoint(checkpoint, identity, network, optimizer, step, history)
                saved = time.monotonic()
    return network.eval(), record, history


def inherit_weights(network: UpsamplingNetwork, start: UpsamplingNetwork) -> None:
    """Copy every tensor whose name and shape agree: a new microscope's network starts from a trained one."""
    own = network.state_dict()
    fitting = {
        n: t for n, t in start.state_dict().items() if n != "input_scale" and n in own and own[n].shape == t.shape
    }
    network.load_state_dict({**own, **fitting})


@torch.inference_mode()
def _validate(
    network: UpsamplingNetwork, batch: Batch, psf: PSF, scene: Scene, seen: int, losses: list[Tensor]
) -> dict[str, float]:
    """Loss on the fixed set, and the paper's measure: how far the most probable voxel near a true one is from it.

    For every emitter the arg-max is taken within ±4 voxels laterally and ±4 slices, as there are several emitters per
    image.
    """
    network.eval()
    loss, lateral, axial = 0.0, [], []
    voxel_nm = scene.voxel_nm(psf.pixel_size_nm)[0]
    for start in range(0, len(batch.images), 16):
        part = slice(start, start + 16)
        images = batch.images[part]
        logits = network(images.contiguous(memory_format=torch.channels_last)).float()
        loss += float(voxel_cross_entropy(logits, batch.voxels[part])) * len(images)
        offset = _nearest_peak(logits, batch.voxels[part])
        lateral.append(offset[..., 1:].float().mul(voxel_nm).norm(dim=-1).flatten())
        axial.append(offset[..., 0].abs().float().mul(scene.voxel_depth_nm).flatten())
    return {
        "samples": float(seen),
        "training_loss": float(torch.stack(losses).mean()) if losses else math.nan,
        "validation_loss": loss / len(batch.images),
        "lateral_nm": float(torch.cat(lateral).mean()),
        "axial_nm": float(torch.cat(axial).mean()),
    }


def _nearest_peak(logits: Tensor, voxels: Tensor, reach: int = 4) -> Tensor:
    """(batch, emitters, 3) offset from every true voxel to the most probable one within `reach` voxels."""
    side = 2 * reach + 1
    padded = torch.nn.functional.pad(logits, (reach,) * 6, value=-math.inf)
    axis = torch.arange(side, device=logits.device)
    image = torch.arange(len(logits), device=logits.device)[:, None, None, None, None]
    d, r, c = (voxels[..., i, None, None, None] for i in range(3))
    cube = padded[image, d + axis[:, None, None], r + axis[None, :, None], c + axis]
    best = cube.flatten(2).argmax(dim=-1)
    return torch.stack((best // side**2, best // side % side, best % side), dim=-1) - reach


def _architecture(psf: PSF, scene: Scene, settings: TrainSettings) -> Architecture:
    doublings = math.log2(scene.upsampling)
    try:
        channels = tuple(int(c) for c in settings.channels.split(","))
    except ValueError:
        channels = ()
    if not channels or min(channels) < 1 or len(channels) != doublings + 1:
        raise PlanelocError(
            f"setting channels: {settings.channels!r} must be {doublings + 1:g} whole numbers for upsampling"
            f" {scene.upsampling} (a power of 2)"
        )
    for name, remainder in (("first_kernel", 1), ("upsampling_kernel", 0), ("last_kernel", 1)):
        if getattr(settings, name) % 2 != remainder:
            raise PlanelocError(
                f"setting {name}: {getattr(settings, name)} must be {'odd' if remainder else 'even'}, or images and"
                " volumes would not lie on each other"
            )
    return Architecture(
        planes=psf.planes,
        depth_slices=scene.depth_slices,
        channels=channels,
        first_kernel=settings.first_kernel,
        first_layers=settings.first_layers,
        upsampling_kernel=settings.upsampling_kernel,
        last_kernel=settings.last_kernel,
    )


def _input_scale(psf: PSF, scene: Scene, seed: int) -> float:
    """Photons that become 1: a high quantile of the pixels of some training images, two significant digits."""
    images = draw_batch(psf, scene, 64, _generator(seed, _VALIDATION_SEED_OFFSET + 1, torch.device("cpu"))).images
    return float(f"{float(images.flatten().quantile(_INPUT_SCALE_QUANTILE)):.1e}")


def _generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    # Distinct seeds and steps give distinct 64-bit numbers; the generator scrambles them.
    return torch.Generator(device).manual_seed((seed << 42) + step)


def _training_identity(settings: TrainSettings) -> dict[str, Any]:
    """The settings that make two trainings the same one; where and how often to save do not."""
    free = (
        "validate_every",
        "checkpoint_every_s",
        "threads",
        "device",
        "precision",
        "on_mismatch",
        "maximum_depth_error_nm",
    )
    return {key: value for key, value in asdict(settings).items() if key not in free}


def _checkpoint(
    path: Path,
    identity: dict[str, Any],
    network: UpsamplingNetwork,
    optimizer: torch.optim.Optimizer,
    step: int,
    history: list[dict[str, float]],
) -> None:
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    save_tensors(path, tensors, {**identity, "step": step, "history": history})


def _resume(
    path: Path, identity: dict[str, Any], network: UpsamplingNetwork, optimizer: torch.optim.Optimizer
) -> tuple[int, list[dict[str, float]]]:
    """Load a checkpoint of the same training into network and optimizer; step 0 where there is none."""
    if not path.is_file():
        return 0, []
    tensors, record = load_tensors(path)
    if {key: record.get(key) for key in identity} != json.loads(json.dumps(identity)):  # tuples come back as lists
        print(f"planeloc: {path} belongs to a training with other settings; starting anew", file=sys.stderr)
        return 0, []
    network.load_state_dict({n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")})
    state = optimizer.state_dict()
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state["state"].setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(state)
    print(f"planeloc: resuming training at step {record['step']} from {path}", file=sys.stderr)
    return int(record["step"]), list(record["history"])
