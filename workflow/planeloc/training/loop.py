"""Fitting a network to simulated scenes, with validation and checkpoints.

What there is to learn, a `Task` says; the loop is the same for every kind of network. State that survives an
interruption lives in one file, the checkpoint beside the weights: network, the best so far, optimizer and step. Data
need no state, since every batch is drawn from the seed and its step number.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from planeloc.core.devices import autocast, choose_device, choose_precision
from planeloc.core.errors import PlanelocError
from planeloc.core.memory import AdaptiveBatch, memory_for
from planeloc.core.progress import progress_bar
from planeloc.networks.kinds import network_kind
from planeloc.networks.record import NetworkRecord, load_tensors, save_tensors
from planeloc.psf import PSF
from planeloc.scenes.scene import Scene
from planeloc.training.accuracy_table import Row, tabulate
from planeloc.training.regression_task import Pairing, score
from planeloc.training.settings import TrainSettings

_LOG = logging.getLogger(__name__)

_VALIDATION_SEED_OFFSET = 1 << 40  # no training step is ever numbered so high
_SCALE_SEED_OFFSET = _VALIDATION_SEED_OFFSET + 1
_EXAMINATION_SEED_OFFSET = _VALIDATION_SEED_OFFSET + 2
_EXAMINED_VALIDATIONS = 4
_DEVIATION_SEED_OFFSET = _EXAMINATION_SEED_OFFSET + _EXAMINED_VALIDATIONS
_FEWEST_PULLS = 100  # molecules, to judge deviations by
_WORTH_MORE = 0.05  # of the whole gain

History = list[dict[str, float]]
Forward = Callable[[Tensor], Any]


class Task(Protocol):
    """What one kind of network learns, from which images, and how well."""

    record: NetworkRecord
    gradient_limit: float  # norm to which longer gradients are cut
    warmup: int  # steps over which the learning rate rises

    def draw(self, size: int, generator: torch.Generator) -> Any:
        """Images and their truth, which can be divided (`memory.Sliceable`)."""

    def loss(self, forward: Forward, batch: Any) -> Tensor:
        """Averaged over the images."""

    def validate(self, forward: Forward, batches: Iterable[Any]) -> dict[str, float]:
        """Numbers of all batches together for the learning curve, with `validation_loss`, `lateral_nm`, `axial_nm`."""

    def examine(self, network: Forward, batch: Any, record: NetworkRecord) -> Pairing:
        """Match what a trained network finds with the batch's ground truth; only of kinds that are `calibrated`."""


class DivergedError(PlanelocError):
    """Training that cannot go on, and the network as it was before."""

    def __init__(self, message: str, network: nn.Module, record: NetworkRecord) -> None:
        super().__init__(message)
        self.network, self.record = network, record


@dataclass
class _State:
    """What a checkpoint keeps."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    history: History = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)  # weights of the best validation

    def judge(self, patience: int) -> bool:
        """Keep the weights if the last validation is the best; whether to go on."""
        losses = [entry["validation_loss"] for entry in self.history]
        if losses[-1] == min(losses):
            self.best = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        return not patience or len(losses) - 1 - losses.index(min(losses)) < patience


def fit_network(
    psf: PSF,
    scene: Scene,
    start: nn.Module | None,
    checkpoint: Path,
    settings: TrainSettings,
) -> tuple[nn.Module, NetworkRecord, History]:
    """Train until `settings.samples` images have been seen, from `checkpoint` if one of the same training exists.

    Returns the network with the best validation, its record and the learning curve: one entry per validation. Raises
    `DivergedError` where loss or gradient are not finite.
    """
    settings = settings.resolved()
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    task = _task(psf, scene, settings, _SCALE_SEED_OFFSET)
    network = task.record.build()
    if start is not None:
        inherit_weights(network, start)
    network = network.to(device, memory_format=torch.channels_last)
    state = _State(network, torch.optim.Adam(network.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99)))
    identity = {"record": task.record.as_dict(), "settings": _training_identity(settings)}
    _resume(checkpoint, identity, state)
    _train(task, state, checkpoint, identity, settings, device, precision)
    _LOG.info(verdict(state.history, settings.samples))
    if state.best:
        network.load_state_dict(state.best)
    return network.eval(), task.record, state.history


def _task(psf: PSF, scene: Scene, settings: TrainSettings, step: int) -> Task:
    generator = _generator(settings.seed, step, torch.device("cpu"))
    return network_kind(settings.network).task(psf, scene, settings, generator)


def with_true_deviations(network: nn.Module, record: NetworkRecord, settings: TrainSettings) -> NetworkRecord:
    """The record of a trained regression network with the factors that its deviations lack; of another as it is.

    The likelihood makes deviations right for the molecules that they are meant for. Matched to what was found, some
    molecules are further away: neighbours that were not told apart. So errors over deviations are measured (rms), on
    images of their own, and the deviations multiplied by that (as temperatures are; Guo et al. 2017).
    """
    if not network_kind(record.kind).calibrated:
        return record
    _LOG.info("examining the network on other images")
    pairing = _pairing(network, replace(record, deviation_factors=None), settings, _DEVIATION_SEED_OFFSET)
    if pairing.found.sum() < _FEWEST_PULLS:
        _LOG.info(f"fewer than {_FEWEST_PULLS} molecules found; deviations stay as the network gives them")
        return record
    reached = score(pairing)
    lateral = math.hypot(reached["pull_x"], reached["pull_y"]) / math.sqrt(2)
    return replace(record, deviation_factors=(lateral, reached["pull_z"]))


def examine_network(network: nn.Module, record: NetworkRecord, settings: TrainSettings) -> list[Row]:
    """Of a regression network by depth and brightness (`examination.tabulate`), on images it has not seen; else empty.

    More images than validation has, since each row has few of their molecules.
    """
    if not network_kind(record.kind).calibrated:
        return []
    return tabulate(_pairing(network, record, settings, _EXAMINATION_SEED_OFFSET), record.psf, record.scene)


def _pairing(network: nn.Module, record: NetworkRecord, settings: TrainSettings, seed_offset: int) -> Pairing:
    """What is found of the molecules of some validations' worth of images that have their own seeds."""
    device = choose_device(settings.device)
    task = _task(record.psf, record.scene, settings, 0)
    network = network.to(device, memory_format=torch.channels_last).eval()
    adaptive = AdaptiveBatch(settings.validation, device, "examination")
    pairings = []
    for number in range(_EXAMINED_VALIDATIONS):
        with memory_for(f"drawing a validation of {settings.validation} images"):
            batch = task.draw(settings.validation, _generator(settings.seed, seed_offset + number, device))
        with torch.inference_mode():
            parts = adaptive.retry(
                lambda batch=batch: [task.examine(network, part, record) for part in adaptive.split(batch)]
            )
        pairings += parts
    return Pairing.joined(pairings)


def _train(
    task: Task,
    state: _State,
    checkpoint: Path,
    identity: dict[str, Any],
    settings: TrainSettings,
    device: torch.device,
    precision: torch.dtype,
) -> None:
    """Take `state` to the end of its training."""
    network = state.network

    def plain(images: Tensor) -> Any:
        return network(images.contiguous(memory_format=torch.channels_last))

    def mixed(images: Tensor) -> Any:
        with autocast(device, precision):
            return plain(images)

    steps = math.ceil(settings.samples / settings.batch)
    adaptive = AdaptiveBatch(settings.batch, device, "training")
    validating = AdaptiveBatch(settings.validation, device, "validation")
    with memory_for(f"drawing a validation of {settings.validation} images"):
        validation = task.draw(settings.validation, _generator(settings.seed, _VALIDATION_SEED_OFFSET, device))
    every = max(1, settings.validate_every // settings.batch)
    losses: list[Tensor] = []
    saved = time.monotonic()
    going = True
    with progress_bar(steps, "training", "step", done=state.step) as bar:
        while going and state.step < steps:
            for group in state.optimizer.param_groups:
                group["lr"] = settings.learning_rate * _schedule(state.step, steps, task.warmup)
            network.train()
            with memory_for(f"drawing a batch of {settings.batch} images"):
                batch = task.draw(settings.batch, _generator(settings.seed, state.step, device))
            losses.append(_descend(task, state, mixed, batch, adaptive))
            bar.update()
            if state.step % every == 0 or state.step == steps:
                seen = {"samples": float(state.step * settings.batch)}
                seen["training_loss"] = float(torch.stack(losses).mean())
                network.eval()
                with torch.inference_mode():
                    reached = validating.retry(lambda: task.validate(plain, validating.split(validation)))
                state.history.append(seen | reached)
                losses.clear()
                going = state.judge(settings.patience)
                shown = ("training_loss", "validation_loss", "lateral_nm", "axial_nm")
                bar.set_postfix({key: f"{state.history[-1][key]:.3g}" for key in shown})
            if time.monotonic() - saved > settings.checkpoint_every_s and state.step < steps:
                _checkpoint(checkpoint, identity, state)
                saved = time.monotonic()
    if not going:
        _LOG.info(f"{settings.patience} validations without a better one; stopped early")


def _schedule(step: int, steps: int, warmup: int) -> float:
    """Share of the learning rate: rises in a line over `warmup` steps, and falls to 0 along a cosine."""
    return min(1.0, (step + 1) / (warmup + 1)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _descend(task: Task, state: _State, forward: Forward, batch: Any, adaptive: AdaptiveBatch) -> Tensor:
    """One step of the optimizer, or `DivergedError` with the weights untouched; returns the batch's loss.

    Losses are means over images: those of the parts, weighted by size, add up to the batch's, and so do gradients.
    """
    before = {name: buffer.clone() for name, buffer in state.network.named_buffers()}

    def gradient() -> Tensor:
        state.optimizer.zero_grad()
        for name, buffer in state.network.named_buffers():  # normalisation has noted what it saw
            buffer.copy_(before[name])
        parts = []
        for part in adaptive.split(batch):
            loss = task.loss(forward, part) * (len(part) / len(batch))
            loss.backward()
            parts.append(loss.detach())
        return torch.stack(parts).sum()

    loss = adaptive.retry(gradient)
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), task.gradient_limit)
    if not torch.isfinite(loss + norm):
        raise DivergedError(
            f"training: the loss is not finite at step {state.step + 1}; give a smaller learning_rate",
            state.network.eval(),
            task.record,
        )
    state.optimizer.step()
    state.step += 1
    return loss


def verdict(history: History, samples: int = 0) -> str:
    """In one line, whether more training would help.

    Twice as many images gain about what the second half of those seen has gained (measured in docs/benchmarks.md). The
    last part of a training tells less: its learning rate falls to 0, and it gains little whatever there is to gain. Of
    a training that was to have `samples` images and stopped before, it is open what a falling rate would gain.
    """
    seen = history[-1]["samples"] if history else 0.0
    if seen < samples:
        rate = _schedule(int(seen), samples, 0)
        return (
            f"stopped after {seen:.0f} of {samples} images, at {rate:.0%} of the learning rate;"
            f" with samples: {seen:.0f} it falls to 0 by then, which may help"
        )
    early = [entry["validation_loss"] for entry in history if entry["samples"] <= seen / 2]
    if len(early) < 2:
        return "too few validations to say whether more training would help; give a smaller validate_every"
    losses = [entry["validation_loss"] for entry in history]
    gain, late = losses[0] - min(losses), min(early) - min(losses)
    share = max(0.0, late / gain) if gain > 0 else 0.0
    more = "more samples would help" if share > _WORTH_MORE else "more samples would help little"
    return f"the second half of training gained {share:.1%} of all that validation gained, as twice as many may: {more}"


def inherit_weights(network: nn.Module, start: nn.Module) -> None:
    """Copy every tensor whose name and shape agree: a new microscope's network starts from a trained one."""
    own = network.state_dict()
    fitting = {
        n: t for n, t in start.state_dict().items() if n != "input_scale" and n in own and own[n].shape == t.shape
    }
    network.load_state_dict({**own, **fitting})


def _generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    # Distinct seeds and steps give distinct 64-bit numbers; the generator scrambles them.
    return torch.Generator(device).manual_seed((seed << 42) + step)


def _training_identity(settings: TrainSettings) -> dict[str, Any]:
    """The settings that make two trainings the same one; where and how often to save do not."""
    free = (
        "validate_every",
        "checkpoint_every_s",
        "patience",
        "threads",
        "device",
        "precision",
        "on_mismatch",
        "maximum_depth_error_nm",
    )
    return {key: value for key, value in asdict(settings).items() if key not in free}


def _checkpoint(path: Path, identity: dict[str, Any], state: _State) -> None:
    tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in values.items()}
    save_tensors(path, tensors, {**identity, "step": state.step, "history": state.history})


def _resume(path: Path, identity: dict[str, Any], state: _State) -> None:
    """Load a checkpoint of the same training; step 0 where there is none."""
    if not path.is_file():
        return
    tensors, record = load_tensors(path)
    if {key: record.get(key) for key in identity} != json.loads(json.dumps(identity)):  # tuples come back as lists
        _LOG.info(f"{path} belongs to a training with other settings; starting anew")
        return
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    state.network.load_state_dict(parts["network"])
    state.best = parts["best"]
    optimizer = state.optimizer.state_dict()
    for name, tensor in parts["optimizer"].items():
        index, key = name.split(".")
        optimizer["state"].setdefault(int(index), {})[key] = tensor
    state.optimizer.load_state_dict(optimizer)
    _LOG.info(f"resuming training at step {record['step']} from {path}")
    state.step, state.history = int(record["step"]), list(record["history"])
