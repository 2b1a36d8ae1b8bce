"""Networks and their weight files.

A weight file is safetensors: tensors, and a JSON record of the network's shape, its microscope and its training scenes.
Nothing in it is executed when it is read. Its checksum is compared whenever it is read; a short self-test, images and
what the network made of them when it was written, is run before every `localize`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from planeloc.core.errors import PlanelocError
from planeloc.core.files import atomic_path
from planeloc.core.marks import WEIGHTS, Kind
from planeloc.networks import self_test
from planeloc.networks.kinds import network_kind
from planeloc.networks.regression_molecules import Units
from planeloc.psf import PSF, psf_from_record
from planeloc.scenes.scene import Scene, with_tuples

_PSF = "psf."  # begins the names of the PSF's own tensors
_TEST = "self_test."  # of those of the self-test
_CHECKSUM = "sha256"
_RENAMED = {  # earlier names in records
    "drift_voxels": "inter_camera_drift_voxels",
    "drift_nm": "inter_camera_drift_nm",
    **{f"pull_{axis}": f"normalised_error_{axis}" for axis in "xyz"},
    "examination": "accuracy_table",
}
_FIRST_KIND = "upsampling"  # of records from before there were several


@dataclass(frozen=True)
class NetworkRecord:
    """What must be known to use a network."""

    architecture: Any  # the kind's own dataclass (`NetworkKind.architecture`)
    psf: PSF
    scene: Scene
    input_scale: float  # photons that the network sees as 1 (upsampling); variance of a dark pixel (regression)
    deviation_factors: tuple[float, float] | None = None  # of calibrated deviations: lateral, axial

    @property
    def kind(self) -> str:
        """Name of its `NetworkKind`."""
        return self.architecture.kind

    @property
    def units(self) -> Units:
        """Units of the output of a regression network."""
        pixel = self.psf.pixel_size_nm
        drift = tuple(sd / pixel for sd in self.scene.drift_sds_nm(pixel, self.psf.planes))
        factors = self.deviation_factors or (1.0, 1.0)
        return Units(pixel, self.scene.depth_range_nm, self.scene.photons[1], drift, factors)

    def build(self) -> nn.Module:
        """Return a network of this shape with random weights."""
        return network_kind(self.kind).build(self)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the weight file; arrays of the PSF are stored as tensors."""
        values = {
            "kind": self.kind,
            "architecture": asdict(self.architecture),
            "psf": self.psf.as_dict(),
            "scene": self.scene.as_dict(),
            "input_scale": self.input_scale,
        }
        return values | ({"deviation_factors": self.deviation_factors} if self.deviation_factors else {})

    @classmethod
    def from_dict(cls, values: dict[str, Any], psf_arrays: Mapping[str, Tensor]) -> NetworkRecord:
        """The reverse of `as_dict`."""
        factors = values.get("deviation_factors")
        return cls(
            network_kind(values.get("kind", _FIRST_KIND)).architecture(**with_tuples(values["architecture"])),
            psf_from_record(values["psf"], psf_arrays),
            Scene.from_dict(values["scene"]),
            float(values["input_scale"]),
            tuple(map(float, factors)) if factors else None,
        )


def current_names(values: dict[str, Any]) -> dict[str, Any]:
    """Return an object of a record of any version with the present names; the `object_hook` of `json.loads`."""
    return {_RENAMED.get(name, name): value for name, value in values.items()}


def save_tensors(path: str | Path, tensors: dict[str, Tensor], record: dict[str, Any], kind: Kind = WEIGHTS) -> None:
    """Write tensors and a JSON record with their checksum as safetensors, atomically; equal content, equal bytes."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(record)
    metadata = {"format": kind.format, "record": text, _CHECKSUM: _checksum(plain, text)}
    with atomic_path(path, kind) as partial:
        partial.write_bytes(_in_order(safetensors.torch.save(plain, metadata=metadata)))


def _in_order(stored: bytes) -> bytes:
    """Safetensors with the metadata sorted: the library writes them in an order that changes from run to run."""
    end = 8 + int.from_bytes(stored[:8], "little")
    header = json.loads(stored[8:end])
    metadata = dict(sorted(header.pop("__metadata__").items()))
    text = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + stored[end:]


def _checksum(tensors: Mapping[str, Tensor], record: str) -> str:
    """SHA-256 of the record and of every tensor: name, type, shape and bytes."""
    digest = hashlib.sha256(record.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def load_tensors(path: str | Path, kind: Kind = WEIGHTS) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote, or raise `PlanelocError` naming the file.

    The checksum is compared where there is one (weights of earlier versions have none), and all numbers must be finite.
    """
    path = Path(path)
    if not path.is_file():
        raise PlanelocError(f"{path}: no such weight file; make one with `planeloc train`")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != kind.format:
                raise PlanelocError(f"{path}: not planeloc weights; make them with `planeloc train`")
            text = metadata["record"]
            record = json.loads(text, object_hook=current_names)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, ValueError):
        raise PlanelocError(f"{path}: damaged or not planeloc weights; make them with `planeloc train`") from None
    earlier = _CHECKSUM not in metadata and not any(name.startswith(_TEST) for name in tensors)
    if not earlier and metadata.get(_CHECKSUM) != _checksum(tensors, text):
        raise PlanelocError(f"{path}: damaged, its checksum does not fit; copy or train the weights again")
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values() if tensor.is_floating_point()):
        raise PlanelocError(f"{path}: holds values that are not finite; make it again with `planeloc train`")
    return tensors, record


def save_network(path: str | Path, network: nn.Module, record: NetworkRecord) -> None:
    """Write a weight file with a self-test, atomically.

    Raises
    ------
    PlanelocError : the network finds nothing in any image, or what is not finite.
    """
    arrays = {f"{_PSF}{name}": array for name, array in record.psf.arrays.items()}
    tests = {f"{_TEST}{name}": tensor for name, tensor in self_test.recorded(network, record, str(path)).items()}
    save_tensors(path, {**network.state_dict(), **arrays, **tests}, record.as_dict())


def load_network(path: str | Path, test: bool = False) -> tuple[nn.Module, NetworkRecord]:
    """Read a network, ready for inference; `test` runs its self-test, if the file has one.

    Raises
    ------
    PlanelocError : file missing or damaged, a record that contradicts the weights, a kind that is not installed, or a
        failed self-test.
    """
    tensors, values = load_tensors(path)
    arrays, stored = _taken(tensors, _PSF), _taken(tensors, _TEST)
    try:
        record = NetworkRecord.from_dict(values, arrays)
        network = record.build()
        network.load_state_dict(tensors)
    except PlanelocError as error:
        raise PlanelocError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise PlanelocError(
            f"{path}: weights and their record disagree; make them again with `planeloc train`"
        ) from None
    network.eval()
    if test:
        self_test.run(network, stored, str(path))
    return network, record


def _taken(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Take the tensors whose names begin so out of all, without the prefix."""
    return {name.removeprefix(prefix): tensors.pop(name) for name in list(tensors) if name.startswith(prefix)}
