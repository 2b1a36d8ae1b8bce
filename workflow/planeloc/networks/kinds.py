"""The kinds of network, found by name: planeloc's own, and those that installed packages add.

A kind is one file with a subclass of `NetworkKind` and an instance of it. Another package adds its kind without a
change of planeloc by an entry point::

    [project.entry-points."planeloc.network_kinds"]
    mine = "my_package.my_kind:KIND"

Only the kind that is asked for is imported.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from planeloc.core.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import nn

    from planeloc.networks.weight_files import NetworkRecord
    from planeloc.psf import PSF
    from planeloc.scenes.scene import Scene

GROUP = "planeloc.network_kinds"
NETWORK_KINDS = Registry(
    "kind of network",
    GROUP,
    {"upsampling": "planeloc.kinds.upsampling:KIND", "regression": "planeloc.kinds.regression:KIND"},
)


class NetworkKind(ABC):
    """All that distinguishes one kind of network from the others."""

    name: ClassVar[str]  # in the setting `network` and in weight files
    # Frozen dataclass of the shape: numbers, text and tuples, with `planes`, `channels` and a class attribute `kind`.
    architecture: ClassVar[type[Any]]
    training_defaults: ClassVar[Mapping[str, Any]]  # samples, batch, learning_rate, channels
    detection_threshold: ClassVar[float]  # probability of a molecule that `localize` reports, by default
    shipped_weights: ClassVar[str] = ""  # file of planeloc's repository, or the absolute path of another package's
    scene_settings: ClassVar[tuple[str, ...]] = ()  # settings that describe the training scenes of this kind alone
    # Fields of `Scene` in which weights must agree with the settings to be adopted.
    fixed_scene_fields: ClassVar[tuple[str, ...]] = (
        "inter_camera_drift_voxels",
        "registration_resampling",
        "background_error",
    )
    calibrated: ClassVar[bool] = False  # `Task.examine` exists: deviations are calibrated, an accuracy table is made
    learns_faintest: ClassVar[bool] = False  # trains from the faintest molecules of a movie on, not the usual ones
    transfers_between_planes: ClassVar[bool] = True  # weights for other numbers of planes are better than none
    loss_label: ClassVar[str] = "loss per image"
    error_label: ClassVar[str] = "error in validation (nm)"
    loss_has_zero: ClassVar[bool] = False  # the learning curve begins at 0

    def __init__(self) -> None:
        missing = [name for name in NetworkKind.__annotations__ if not hasattr(self, name)]
        if missing:
            raise TypeError(f"class {type(self).__name__} lacks {', '.join(missing)}")

    @abstractmethod
    def build(self, record: NetworkRecord) -> nn.Module:
        """Return a network of the record's shape with fresh weights."""

    @abstractmethod
    def task(self, psf: PSF, scene: Scene, settings: Any, generator: torch.Generator) -> Any:
        """Return what the network learns, a `planeloc.training.task.Task`; `settings` are resolved `TrainSettings`."""

    @abstractmethod
    def finder(self, context: Any) -> Callable[..., Any]:
        """Return what finds molecules in frames, a `planeloc.localization.detections.Finder`.

        Parameters
        ----------
        context : `planeloc.localization.context.LocalizationContext` of the movie, with the `network` and the
            `settings`: mode (whether dark regions may be left out), threshold, candidate_threshold.
        """

    def check_settings(self, settings: Any) -> None:  # noqa: B027 (optional)
        """Raise `PlanelocError` for settings of `train` whose scenes cannot be drawn or learned."""

    def scene_fields(self, settings: Any) -> dict[str, Any]:
        """Return the fields of `Scene` that follow from `scene_settings`."""
        return {name: getattr(settings, name) for name in self.scene_settings}


def network_kinds() -> tuple[str, ...]:
    """Return the names of all kinds that can be had, planeloc's own first."""
    return tuple(NETWORK_KINDS.names())


@cache
def network_kind(name: str) -> NetworkKind:
    """Return the kind of network with a name.

    Raises
    ------
    PlanelocError : no kind has that name, or it cannot be imported, or it lacks something.
    """
    return NETWORK_KINDS.load(name)
