"""Memory-adaptive batches: whole while memory suffices, then in halves, quarters…"""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, Self, TypeVar

import torch

from planeloc.core.errors import NotEnoughMemoryError, PlanelocError

_LOG = logging.getLogger(__name__)

_PYTORCH_MESSAGES = (  # where memory runs out in a library or on the CPU, the error has no class of its own
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST_KEPT_BYTES = (64 << 20, 32 << 20)  # the first that the system allows: older glibc refuses more than 32 MB
_KEPT_BYTES = 256 << 20

Result = TypeVar("Result")


class Sliceable(Protocol):
    """Images of which some can be taken."""

    def __len__(self) -> int: ...

    def part(self, start: int, stop: int) -> Self:
        """Images [start, stop)."""


class AdaptiveBatch:
    """How many images are computed at once; halved whenever the device runs out of memory.

    Parameters
    ----------
    size : images at once, to begin with; the attribute of this name holds how many there are now.
    device : where they are computed.
    what, remedy, image : what is computed, what helps where not even one image fits, and what an image is called, for
        messages.
    """

    def __init__(
        self,
        size: int,
        device: torch.device,
        what: str,
        remedy: str = "give a smaller window_px or fewer channels",
        image: str = "image",
    ) -> None:
        self.size, self._device, self._what, self._remedy, self._image = size, device, what, remedy, image

    def split(self, batch: Sliceable) -> Iterator[Sliceable]:
        """Yield the batch itself if it is small enough, else its parts."""
        if len(batch) <= self.size:
            yield batch
            return
        for start in range(0, len(batch), self.size):
            yield batch.part(start, min(start + self.size, len(batch)))

    def retry(self, compute: Callable[[], Result]) -> Result:
        """Return `compute()`, which uses `split` or `size`; it is called again with a smaller size if memory runs out.

        Raises
        ------
        NotEnoughMemoryError : memory does not suffice for one image.
        """
        while True:
            try:
                return compute()
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            self._halve()  # not in the handler: the error keeps references to what was computed

    def _halve(self) -> None:
        if self.size == 1:
            raise NotEnoughMemoryError(
                f"{self._what}: {self._device} has not enough memory for one {self._image}; {self._remedy},"
                " end other programs on this device, or set device: cpu"
            )
        self.size = (self.size + 1) // 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        _LOG.info(
            f"{self._what}: {self._device} ran out of memory; continuing with {self.size} {self._image}s at a time"
        )


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory did not suffice, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _PYTORCH_MESSAGES)


@contextmanager
def memory_for(what: str) -> Iterator[None]:
    """Raise `PlanelocError` where memory does not suffice for what cannot be divided."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise PlanelocError(f"{what}: not enough memory; give a smaller one, or a smaller window_px") from None


def keep_freed_memory() -> bool:
    """Let the process use freed memory again, instead of returning it to the system and asking for more.

    By default glibc returns every large tensor when it is freed; then each of its pages is a page fault when the next
    one is written, some 15 % of the network's time. Now tensors up to 64 MB are kept (32 MB by older versions of
    glibc), 256 MB together.

    Returns
    -------
    Whether the system's allocator can be told so; only glibc's can.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    allowed = any(mallopt(_M_MMAP_THRESHOLD, largest) for largest in _LARGEST_KEPT_BYTES)
    return bool(allowed and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
