"""The state of a training that survives an interruption, in one file beside the weights."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from planeloc.core.errors import PlanelocError
from planeloc.core.marks import CHECKPOINT
from planeloc.core.stage_versions import stage_version
from planeloc.networks.weight_files import NetworkRecord, load_tensors, save_tensors
from planeloc.training.settings import TrainSettings

_LOG = logging.getLogger(__name__)

_FREE_SETTINGS = {  # may differ when a training is resumed
    "validate_every", "checkpoint_every_s", "patience", "threads", "device", "precision", "on_mismatch",
    "maximum_depth_error_nm",
}  # fmt: skip

History = list[dict[str, float]]


@dataclass
class TrainingState:
    """What a checkpoint keeps: network, optimizer, step, learning curve, weights of the best validation."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    history: History = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    def judge(self, patience: int) -> bool:
        """Keep the weights if the last validation is the best; return whether to go on."""
        losses = [entry["validation_loss"] for entry in self.history]
        if losses[-1] == min(losses):
            self.best = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        return not patience or len(losses) - 1 - losses.index(min(losses)) < patience


class Checkpoint:
    """The file of a training, and what makes two trainings the same one."""

    def __init__(self, path: Path, record: NetworkRecord, settings: TrainSettings) -> None:
        kept = {key: value for key, value in asdict(settings).items() if key not in _FREE_SETTINGS}
        identity = {"record": record.as_dict(), "settings": kept, "version": stage_version("train")}
        self._path, self._identity = path, identity

    def save(self, state: TrainingState) -> None:
        """Write the state, atomically."""
        tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
        for index, values in state.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in values.items()}
        save_tensors(self._path, tensors, {**self._identity, "step": state.step, "history": state.history}, CHECKPOINT)

    def resume(self, state: TrainingState) -> None:
        """Fill the state from the file; leave it as it is where there is no file of the same training."""
        if not self._path.is_file():
            return
        try:
            tensors, record = load_tensors(self._path, CHECKPOINT)
        except PlanelocError as error:
            _LOG.warning(f"{error}; starting again")
            return
        identity = json.loads(json.dumps(self._identity))  # tuples come back as lists
        if {key: record.get(key) for key in identity} != identity:
            _LOG.info(f"{self._path} belongs to a training with other settings or of another version; starting again")
            return
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        state.network.load_state_dict(parts["network"])
        optimizer = state.optimizer.state_dict()
        for name, tensor in parts["optimizer"].items():
            index, key = name.split(".")
            optimizer["state"].setdefault(int(index), {})[key] = tensor
        state.optimizer.load_state_dict(optimizer)
        _LOG.info(f"resuming training at step {record['step']} from {self._path}")
        state.best, state.step, state.history = parts["best"], int(record["step"]), list(record["history"])
