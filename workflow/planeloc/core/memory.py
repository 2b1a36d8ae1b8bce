"""Computing a batch in portions: whole as long as memory suffices, then in halves, quarters…"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, Self, TypeVar

import torch

from planeloc.core.errors import PlanelocError

_LOG = logging.getLogger(__name__)

_SAID_BY_PYTORCH = (  # where memory runs out in a library or on the CPU, the error has no class of its own
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)

Result = TypeVar("Result")


class Divisible(Protocol):
    """Images that can be taken some at a time."""

    def __len__(self) -> int: ...

    def part(self, start: int, stop: int) -> Self:
        """Images [start, stop)."""


class Portions:
    """How many images are computed at once; fewer from the time on that memory did not suffice.

    Attributes:
        at_once: images.
    """

    def __init__(
        self, at_once: int, device: torch.device, what: str, remedy: str = "give a smaller window_px or fewer channels"
    ) -> None:
        """`what` is computed and `remedy` helps where not even one image can be, for the messages."""
        self.at_once, self._device, self._what, self._remedy = at_once, device, what, remedy

    def of(self, batch: Divisible) -> Iterator[Divisible]:
        """The batch itself if it is small enough, else its parts."""
        if len(batch) <= self.at_once:
            yield batch
            return
        for start in range(0, len(batch), self.at_once):
            yield batch.part(start, min(start + self.at_once, len(batch)))

    def run(self, compute: Callable[[], Result]) -> Result:
        """`compute()`, which goes through `of`; again with smaller portions where memory did not suffice."""
        while True:
            try:
                return compute()
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            self._halve()  # not in the handler: the error holds on to what was computed

    def _halve(self) -> None:
        if self.at_once == 1:
            raise PlanelocError(
                f"{self._what}: {self._device} has not enough memory for one image; {self._remedy},"
                " end other programs on this device, or set device: cpu"
            )
        self.at_once = (self.at_once + 1) // 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        _LOG.info(f"{self._what}: {self._device} ran out of memory; going on with {self.at_once} images at once")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SAID_BY_PYTORCH)


@contextmanager
def memory_for(what: str) -> Iterator[None]:
    """`PlanelocError` in one line where memory does not suffice for what cannot be divided."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise PlanelocError(f"{what}: not enough memory; give a smaller one, or a smaller window_px") from None
