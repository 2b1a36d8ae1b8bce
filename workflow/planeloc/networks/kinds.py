"""The kinds of network, found by name: planeloc's own, and those that installed packages add.

A kind is one file with a subclass of `NetworkKind` and an instance of it. Another package adds its kind without a
change of planeloc by an entry point::

    [project.entry-points."planeloc.network_kinds"]
    mine = "my_package.my_kind:KIND"

Only the kind that is asked for is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, ClassVar

from planeloc.core.errors import PlanelocError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from planeloc.networks.record import NetworkRecord
    from planeloc.psf import PSF
    from planeloc.scenes.scene import Scene

GROUP = "planeloc.network_kinds"
_OWN = {
    "upsampling": "planeloc.kinds.upsampling:KIND",
    "regression": "planeloc.kinds.regression:KIND",
}


class NetworkKind:
    """All that distinguishes one kind of network from the others.

    Attributes
    ----------
    name
        As in the setting ``network`` and in weight files.
    architecture
        Frozen dataclass of the network's shape: numbers, text and tuples of them, among these `planes` and `channels`;
        with a class attribute `kind`, the name.
    training_defaults
        Values of the settings of `train` that are left to the kind: samples, batch, learning_rate, channels.
    detection_threshold
        Probability above which `localize` reports a molecule, where no threshold is given.
    shipped_weights
        Weight file that comes with planeloc, relative to the repository; empty: none.
    scene_settings
        Settings of `train` that describe the training scenes of this kind alone.
    fixed_scene_fields
        Fields of `Scene` that given weights must share with what is asked for.
    calibrated
        The network states standard deviations. After training they are calibrated and an accuracy table is made, by
        the task's `examine`.
    learns_faintest
        Training begins at the faintest molecules that a movie shows, not at the usual ones.
    transfers_between_planes
        Weights for another number of planes are a better start of a training than none.
    loss_label, error_label, loss_has_zero
        Axes of the learning curve.
    """

    name: ClassVar[str]
    architecture: ClassVar[type[Any]]
    training_defaults: ClassVar[Mapping[str, Any]]
    detection_threshold: ClassVar[float]
    shipped_weights: ClassVar[str] = ""
    scene_settings: ClassVar[tuple[str, ...]] = ()
    fixed_scene_fields: ClassVar[tuple[str, ...]] = ("drift_voxels", "registration_resampling", "background_error")
    calibrated: ClassVar[bool] = False
    learns_faintest: ClassVar[bool] = False
    transfers_between_planes: ClassVar[bool] = True
    loss_label: ClassVar[str] = "loss per image"
    error_label: ClassVar[str] = "error in validation, nm"
    loss_has_zero: ClassVar[bool] = False

    def build(self, record: NetworkRecord) -> nn.Module:
        """Return a network of the record's shape with fresh weights."""
        raise NotImplementedError

    def task(self, psf: PSF, scene: Scene, settings: Any, generator: torch.Generator) -> Any:
        """Return what the network learns, a `planeloc.training.loop.Task`; `settings` are resolved `TrainSettings`."""
        raise NotImplementedError

    def finder(
        self, context: Any, network: nn.Module, mode: str, threshold: float, candidate_threshold: float
    ) -> Callable[..., Any]:
        """Return what finds molecules in frames, a `planeloc.localization.context.Finder`.

        Parameters
        ----------
        context
            `planeloc.localization.context.Instrument`: the movie's microscope, and where to compute.
        network
            As `build` makes it, with its weights.
        mode
            ``sparse`` or ``dense``: whether the network may leave out dark regions.
        threshold
            Probability of a molecule that is reported.
        candidate_threshold
            Signal over noise of regions that are not dark, standard deviations.
        """
        raise NotImplementedError

    def check_settings(self, settings: Any) -> None:
        """Raise `PlanelocError` for settings of `train` whose scenes cannot be drawn or learned."""

    def scene_fields(self, settings: Any) -> dict[str, Any]:
        """Return the fields of `Scene` that follow from `scene_settings`."""
        return {name: getattr(settings, name) for name in self.scene_settings}


def network_kinds() -> tuple[str, ...]:
    """Return the names of all kinds that can be had, planeloc's own first."""
    return (*_OWN, *(name for name in sorted(_added()) if name not in _OWN))


@cache
def network_kind(name: str) -> NetworkKind:
    """Return the kind of network with a name.

    Raises
    ------
    PlanelocError
        No kind has that name, or the package that adds it cannot be imported.
    """
    if name in _OWN:
        return EntryPoint(name, _OWN[name], GROUP).load()
    if name not in _added():
        raise PlanelocError(
            f"network: there is no kind {name!r}; install the package that adds it, or use one of"
            f" {', '.join(network_kinds())}"
        )
    try:
        return _added()[name].load()
    except (ImportError, AttributeError) as error:
        raise PlanelocError(f"network: kind {name!r} cannot be loaded ({error}); install its package again") from None


def _added() -> dict[str, EntryPoint]:
    """The kinds of other packages."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}
