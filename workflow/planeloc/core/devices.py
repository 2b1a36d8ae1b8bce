"""Choice of the device and the precision to compute with."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from planeloc.core.errors import PlanelocError

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32", "bfloat16")
# Whether hundreds of frames are computed together, in tensors of few shapes and without a look at values in between: to
# start an operation on a GPU takes longer than to compute it for a few frames. A CPU's caches hold few frames.
LARGE_GROUPS = {"cpu": False, "cuda": True}


def choose_device(name: str) -> torch.device:
    """Return the device for a setting: ``auto``, a GPU if there is one; ``cpu``; ``cuda``.

    Raises
    ------
    PlanelocError : ``cuda`` is asked for and there is no usable GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        built = (
            "this PyTorch is built without CUDA" if torch.version.cuda is None else "no usable GPU or driver was found"
        )
        raise PlanelocError(f"device cuda: {built}; install a CUDA build and check nvidia-smi, or set device: cpu")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def in_large_groups(device: torch.device) -> bool:
    """Return whether a device computes large groups of frames together."""
    return LARGE_GROUPS[device.type]


def share_of_memory(device: torch.device, share: float, most: int) -> int:
    """Return bytes that a step of a large group may take: a share of the device's memory, at most `most`."""
    if device.type != "cuda":
        return most
    return min(most, int(share * torch.cuda.get_device_properties(device).total_memory))


def rounded_up(count: int, device: torch.device) -> int:
    """Return a size for `count` elements: on a device of large groups one of a few, at most an eighth larger.

    Shapes then recur from group to group: memory is reused, and what was compiled or captured for a shape is, too.
    """
    if not in_large_groups(device):
        return count
    step = 1 << max(3, count.bit_length() - 4)
    return -(-count // step) * step


def describe_device(device: torch.device) -> str:
    """Return the device in words, for records."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return f"cpu: {torch.backends.cpu.get_cpu_capability()}"


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type for a setting; ``auto``: bfloat16 where the hardware has it, else it is 8 to 50 times slower."""
    if name == "auto":
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        if device.type == "cpu":
            known = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of PyTorch do not tell
            native = known.get("avx512_bf16", False) or known.get("amx_tile", False)
        return torch.bfloat16 if native else torch.float32
    return getattr(torch, name)


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager:
    """Return a context of mixed precision for `bfloat16`, of nothing for `float32`."""
    return torch.autocast(device.type, precision) if precision != torch.float32 else nullcontext()
