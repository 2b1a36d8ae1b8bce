"""What `train` returns and writes: the training record (JSON) and its figure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from planeloc.core.devices import choose_device, describe_device
from planeloc.core.files import read_json, write_json
from planeloc.core.marks import TRAINING
from planeloc.networks.weight_files import NetworkRecord, current_names
from planeloc.psf import PSF
from planeloc.scenes.scene import Scene
from planeloc.training.accuracy_table import Row
from planeloc.training.checkpoint import History
from planeloc.training.figure import draw_training
from planeloc.training.settings import TrainSettings


@dataclass(frozen=True)
class TrainingResult:
    """How the weights for a microscope came about."""

    decision: str  # adopted or trained
    reasons: list[str]  # why given weights were not adopted
    psf: PSF  # of the microscope
    scene: Scene
    settings: TrainSettings
    network: NetworkRecord  # of the weights
    history: History  # one entry per validation
    accuracy: list[Row]  # empty of kinds of network without an accuracy table

    def write(self, record: Path, figure: Path) -> dict[str, Any]:
        """Write record and figure; return what provenance keeps of them."""
        trained = self.decision == "trained"
        device = describe_device(choose_device(self.settings.device))
        content = {
            "decision": self.decision,
            "reasons": self.reasons,
            "network": self.network.as_dict(),
            "microscope_psf": self.psf.as_dict(),
            "microscope_scene": self.scene.as_dict(),
            "settings": asdict(self.settings),
            "device": device if trained else "none: weights were adopted",
            "torch": torch.__version__,
            "history": self.history,
            "accuracy_table": self.accuracy,
        }
        write_json(record, content, TRAINING)
        draw_training(figure, self)
        return {**{name: content[name] for name in ("decision", "reasons", "device")}, "seed": self.settings.seed}


def shipped_results(weights: Path) -> tuple[History, list[Row]]:
    """Return learning curve and accuracy table from the record beside shipped weights; empty where there is none."""
    path = weights.with_suffix(".training.json")
    record = read_json(path, current_names) if path.is_file() else {}
    return record.get("history", []), record.get("accuracy_table", [])
