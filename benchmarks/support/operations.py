"""Operations that are started on a device, and where the host waits for it, counted on any device.

A GPU computes what is queued while the program goes on, so that many small operations cost what it takes to start them
(5 to 10 µs each), and a value that the program looks at makes it wait. Both are the same whatever the device, so they
are counted on a CPU.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
# Views and memory: nothing is started. Other views are known by their schema.
_FREE = {
    _aten.empty, _aten.empty_like, _aten.empty_strided, _aten.new_empty, _aten.new_empty_strided, _aten._unsafe_view,
    _aten.detach, _aten.alias, _aten.lift_fresh, _aten.is_pinned, _aten.resize_,
}  # fmt: skip
_WAITS = {
    _aten._local_scalar_dense, _aten.item, _aten.nonzero, _aten.masked_select, _aten.equal, _aten.is_nonzero,
    _aten._linalg_check_errors, _aten.unique_consecutive, _aten._unique2, _aten.unique_dim, _aten.bincount,
}  # fmt: skip
_INDEXING = {_aten.index, _aten.index_put, _aten.index_put_}


class Operations(TorchDispatchMode):
    """Counts the operations within ``with Operations() as counted: …``.

    Attributes
    ----------
    started : Counter
        Operations by name; views and allocations are none.
    waits : Counter
        Those that make the host wait for a GPU: a value, or a shape, depends on their result.
    """

    def __init__(self) -> None:
        super().__init__()
        self.started: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        # In inference mode, operations that are made of others arrive whole.
        with self:
            decomposed = func.decompose(*args, **kwargs)
        if decomposed is not NotImplemented:
            return decomposed
        kind = func.overloadpacket
        if kind in _WAITS or (kind in _INDEXING and _by_mask(args[1])) or _to_host(kind, args, kwargs):
            self.waits[str(kind)] += 1
        if kind not in _FREE and not _is_view(func):
            self.started[str(kind)] += 1
        return func(*args, **kwargs)

    @property
    def total(self) -> int:
        """Operations of all kinds."""
        return self.started.total()


def _is_view(func: Any) -> bool:
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)


def _by_mask(index: Any) -> bool:
    return any(part is not None and part.dtype in (torch.bool, torch.uint8) for part in index)


def _to_host(kind: Any, args: tuple, kwargs: dict) -> bool:
    """Whether a tensor of a GPU is copied to the host."""
    target = kwargs.get("device")
    return kind is _aten._to_copy and target is not None and args[0].is_cuda and torch.device(target).type == "cpu"
