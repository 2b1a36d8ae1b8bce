"""A GPU that is none: tensors stay on the CPU, but say that they are on a GPU, and may not meet those that are not.

Finds what fails on a GPU alone, without one: a constant that was not moved, an array made of a tensor of the device.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

GPU = torch.device("cuda", 0)
_CPU = torch.device("cpu")
_MARK = "_on_pretended_gpu"
_MOVES = {torch.Tensor.to, torch.Tensor.copy_, torch.Tensor.type_as}
_READS = {torch.Tensor.numpy, torch.Tensor.__array__}


class Generator(torch.Generator):
    """Random numbers on the device."""

    def __new__(cls, device: Any = "cpu") -> Generator:
        new = super().__new__(cls, "cpu")
        new.place = GPU if torch.device(device).type == "cuda" else _CPU
        return new

    def __init__(self, device: Any = "cpu") -> None: ...

    @property
    def device(self) -> torch.device:
        return self.place


class PretendedGpu(TorchFunctionMode):
    """Within ``with PretendedGpu():`` device ``cuda`` can be used; only in this thread."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.device:
            return func(*args, **kwargs)
        if func == torch.Tensor.device.__get__:
            return GPU if marked(args[0]) else _CPU
        if func == torch.Tensor.is_cuda.__get__:
            return marked(args[0])
        if func in _READS and marked(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if func is torch.Tensor.cpu:
            return args[0].clone() if marked(args[0]) else args[0]
        target = self._target(func, args, kwargs)
        tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor)]
        if func not in _MOVES:
            self._check(func, tensors)
        kwargs.pop("pin_memory", None)
        args, kwargs = tree_map(_without_gpu, (args, kwargs))
        result = func(*args, **kwargs)
        on_gpu = marked(args[0]) if func is torch.Tensor.copy_ else any(map(marked, tensors))
        on_gpu = on_gpu if target is None else target.type == "cuda"

        def placed(each: Any) -> Any:
            known = any(each is tensor for tensor in tensors)
            return mark(each, on_gpu, known) if isinstance(each, torch.Tensor) else each

        return tree_map(placed, result)

    @staticmethod
    def _target(func: Any, args: tuple, kwargs: dict) -> torch.device | None:
        """Where the result is put, if that is said."""
        known = [kwargs.get("device"), *(args[1:] if func is torch.Tensor.to else ())]
        for each in known:
            if isinstance(each, torch.Tensor):
                return GPU if marked(each) else _CPU
            if isinstance(each, torch.device) or (isinstance(each, str) and each.startswith(("cpu", "cuda"))):
                return torch.device(each)
        return None

    @staticmethod
    def _check(func: Any, tensors: list[torch.Tensor]) -> None:
        with torch._C.DisableTorchFunction():
            places = {marked(each) for each in tensors if each.dim()}
        if len(places) > 1:
            raise RuntimeError(f"{func}: expected all tensors to be on the same device")


def marked(tensor: torch.Tensor) -> bool:
    return getattr(tensor, _MARK, False)


def mark(tensor: torch.Tensor, on_gpu: bool, known: bool) -> torch.Tensor:
    """Say where a tensor is; one that is `known` and was moved is another one."""
    if marked(tensor) != on_gpu:
        with torch._C.DisableTorchFunction():
            tensor = tensor.view_as(tensor) if known else tensor
        setattr(tensor, _MARK, on_gpu)
    return tensor


def _without_gpu(value: Any) -> Any:
    if isinstance(value, torch.device) or (isinstance(value, str) and value.startswith("cuda")):
        return _CPU
    return value


def pretend(monkeypatch: pytest.MonkeyPatch, memory: int = 24 << 30) -> PretendedGpu:
    """A GPU of some memory, as PyTorch describes it."""
    move = nn.Module.to

    def moved(module: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        target = PretendedGpu._target(torch.Tensor.to, (None, *args), kwargs)
        args, kwargs = tree_map(_without_gpu, (args, kwargs))
        with torch._C.DisableTorchFunction():
            move(module, *args, **kwargs)
        for tensor in (*module.parameters(), *module.buffers()):
            if target is not None:
                setattr(tensor, _MARK, target.type == "cuda")
        return module

    monkeypatch.setattr(nn.Module, "to", moved)
    monkeypatch.setattr(torch, "Generator", Generator)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: SimpleNamespace(total_memory=memory))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "pretended")
    return PretendedGpu()
