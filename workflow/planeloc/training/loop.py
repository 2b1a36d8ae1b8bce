"""Fitting a network to simulated scenes, the same for every kind of network, with validation and checkpoints."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from planeloc.core.devices import autocast, choose_device, choose_precision
from planeloc.core.errors import PlanelocError
from planeloc.core.memory import AdaptiveBatch, memory_for
from planeloc.core.progress import progress_bar
from planeloc.networks.weight_files import NetworkRecord
from planeloc.psf import PSF
from planeloc.scenes.scene import Scene
from planeloc.training.checkpoint import Checkpoint, History, TrainingState
from planeloc.training.settings import TrainSettings
from planeloc.training.task import INPUT_SCALE_STEP, VALIDATION_STEP, Forward, Task, generator, new_task

_LOG = logging.getLogger(__name__)

_WORTH_MORE = 0.05  # of the whole gain
_ENTRY = "entry.0.0.weight"  # of the regression network: the layer that takes the input


class DivergedError(PlanelocError):
    """Training that cannot go on, and the network as it was before."""

    def __init__(self, message: str, network: nn.Module, record: NetworkRecord) -> None:
        super().__init__(message)
        self.network, self.record = network, record


def fit_network(
    psf: PSF, scene: Scene, start: nn.Module | None, checkpoint: Path, settings: TrainSettings
) -> tuple[nn.Module, NetworkRecord, History]:
    """Train until `settings.samples` images have been seen, or until validations get no better.

    Parameters
    ----------
    psf, scene : of the training images.
    start : network to inherit weights from.
    checkpoint : file to save to, and to resume from where it is of the same training.

    Returns
    -------
    The network with the weights of the best validation, its record, and the learning curve.

    Raises
    ------
    DivergedError : loss or gradient is not finite.
    """
    settings = settings.resolved()
    device = choose_device(settings.device)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    task = new_task(psf, scene, settings, INPUT_SCALE_STEP)
    network = task.record.build()
    if start is not None:
        inherit_weights(network, start)
    network = network.to(device, memory_format=torch.channels_last)
    state = TrainingState(network, torch.optim.Adam(network.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99)))
    file = Checkpoint(checkpoint, task.record, settings)
    file.resume(state)
    _Loop(task, state, settings, device).run(file)
    _LOG.info(verdict(state.history, settings.samples))
    if state.best:
        network.load_state_dict(state.best)
    return network.eval(), task.record, state.history


class _Loop:
    """Steps of the optimizer, and validations between them."""

    def __init__(self, task: Task, state: TrainingState, settings: TrainSettings, device: torch.device) -> None:
        self._task, self._state, self._settings, self._device = task, state, settings, device
        self._steps = math.ceil(settings.samples / settings.batch)
        self._batch = AdaptiveBatch(settings.batch, device, "training")
        self._validation_batch = AdaptiveBatch(settings.validation, device, "validation")
        self._validation = draw_validation(task, settings, VALIDATION_STEP, device)
        self._losses: list[Tensor] = []  # since the last validation
        network, precision = state.network, choose_precision(settings.precision, device)

        def plain(images: Tensor) -> Any:
            return network(images.contiguous(memory_format=torch.channels_last))

        def mixed(images: Tensor) -> Any:
            with autocast(device, precision):
                return plain(images)

        self._plain, self._mixed = plain, mixed

    def run(self, checkpoint: Checkpoint) -> None:
        """Train to the end."""
        settings, state = self._settings, self._state
        every = max(1, settings.validate_every // settings.batch)
        saved = time.monotonic()
        going = True
        with progress_bar(self._steps, "training", "step", done=state.step) as bar:
            while going and state.step < self._steps:
                self._step()
                bar.update()
                if state.step % every == 0 or state.step == self._steps:
                    going = self._validate()
                    shown = ("training_loss", "validation_loss", "lateral_nm", "axial_nm")
                    bar.set_postfix({key: f"{state.history[-1][key]:.3g}" for key in shown})
                if time.monotonic() - saved > settings.checkpoint_every_s and state.step < self._steps:
                    checkpoint.save(state)
                    saved = time.monotonic()
        if not going:
            _LOG.info(f"{settings.patience} validations without a better one; stopped early")

    def _step(self) -> None:
        """Draw a batch and descend."""
        settings, state = self._settings, self._state
        for group in state.optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(state.step, self._steps, self._task.warmup)
        state.network.train()
        with memory_for(f"drawing a batch of {settings.batch} images"):
            batch = self._task.draw(settings.batch, generator(settings.seed, state.step, self._device))
        self._losses.append(descend(self._task, state, self._mixed, batch, self._batch))

    def _validate(self) -> bool:
        """Add an entry to the learning curve; return whether to go on."""
        state = self._state
        seen = {"samples": float(state.step * self._settings.batch)}
        seen["training_loss"] = float(torch.stack(self._losses).mean())
        self._losses.clear()
        state.network.eval()
        with torch.inference_mode():
            reached = self._validation_batch.retry(
                lambda: self._task.validate(self._plain, self._validation_batch.split(self._validation))
            )
        state.history.append(seen | reached)
        return state.judge(self._settings.patience)


def draw_validation(task: Task, settings: TrainSettings, step: int, device: torch.device) -> Any:
    """Draw as many images as a validation has."""
    with memory_for(f"drawing a validation of {settings.validation} images"):
        return task.draw(settings.validation, generator(settings.seed, step, device))


def _schedule(step: int, steps: int, warmup: int) -> float:
    """Share of the learning rate: a linear rise over `warmup` steps, then a fall to 0 along a cosine."""
    return min(1.0, (step + 1) / (warmup + 1)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def descend(task: Task, state: TrainingState, forward: Forward, batch: Any, adaptive: AdaptiveBatch) -> Tensor:
    """Take one step of the optimizer and return the batch's loss.

    Losses are means over images: those of a batch's parts, weighted by size, add up to the batch's; so do gradients.

    Raises
    ------
    DivergedError : loss or gradient is not finite; the weights are untouched.
    """
    before = {name: buffer.clone() for name, buffer in state.network.named_buffers()}

    def gradient() -> Tensor:
        state.optimizer.zero_grad()
        for name, buffer in state.network.named_buffers():  # statistics of batch normalisation, from a failed attempt
            buffer.copy_(before[name])
        losses = []
        for part in adaptive.split(batch):
            loss = task.loss(forward, part) * (len(part) / len(batch))
            loss.backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

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
    """Return one line that says whether more training would help.

    Twice as many images gain about what the second half of those seen has gained (docs/benchmarks.md). Where a training
    of `samples` images stopped early, the falling learning rate might still have gained something.
    """
    seen = history[-1]["samples"] if history else 0.0
    if seen < samples:
        rate = _schedule(int(seen), samples, 0)
        return (
            f"stopped after {seen:.0f} of {samples} images, when the learning rate was {rate:.0%} of its initial value;"
            f" with samples: {seen:.0f} the rate falls to 0 by then, which may improve the result"
        )
    early = [entry["validation_loss"] for entry in history if entry["samples"] <= seen / 2]
    if len(early) < 2:
        return "too few validations to say whether more training would help; give a smaller validate_every"
    losses = [entry["validation_loss"] for entry in history]
    gain, late = losses[0] - min(losses), min(early) - min(losses)
    share = max(0.0, late / gain) if gain > 0 else 0.0
    more = "more samples would help" if share > _WORTH_MORE else "more samples would help little"
    return f"{share:.1%} of the improvement came in the second half of the training; doubling may gain as much: {more}"


def inherit_weights(network: nn.Module, start: nn.Module) -> None:
    """Copy every tensor whose name and shape agree: training for a new microscope starts from a trained network.

    Inputs that only the new network has begin without influence.
    """
    own = network.state_dict()
    fitting = {}
    for name, tensor in start.state_dict().items():
        if name == "input_scale" or name not in own:
            continue
        more = own[name].shape[1] - tensor.shape[1] if name == _ENTRY and tensor.dim() == own[name].dim() == 4 else 0
        if more > 0:
            tensor = nn.functional.pad(tensor, (0, 0, 0, 0, 0, more))
        if own[name].shape == tensor.shape:
            fitting[name] = tensor
    network.load_state_dict({**own, **fitting})
