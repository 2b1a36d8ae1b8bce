"""Scheduling blocks of frames: a few at a time, again after a lost worker, in halves where memory did not suffice."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from concurrent.futures import Future as LocalFuture
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

from planeloc.core.errors import PlanelocError
from planeloc.localization.this_process import ThisProcess

if TYPE_CHECKING:  # at run time only where a cluster is used
    from distributed import Client
    from distributed import Future as DaskFuture

Executor: TypeAlias = "Client | ThisProcess"
Future: TypeAlias = "DaskFuture | LocalFuture"

_LOG = logging.getLogger(__name__)

_IN_FLIGHT_PER_WORKER = 2  # no worker waits, and memory does not grow with the movie
_PATIENCE_S = 60.0  # without any result, before checking whether there are workers


def run(
    client: Executor, function: Callable[[int, int], Any], blocks: Iterable[range], least: int = 1
) -> Iterator[tuple[range, Any]]:
    """Call `function(start, stop)` for all blocks of frames on the workers; yield (block, result) as they finish.

    Only a few calls per worker run at any time. Dask repeats the call of a worker that died on another one. Blocks that
    fail may be yielded in pieces (`_Blocks`), but every frame is yielded once.

    Parameters
    ----------
    least : frames that are computed together; blocks are cut at multiples of it.

    Raises
    ------
    PlanelocError : `least` frames need too much memory, the cluster was lost, or `function` raised it.
    """
    pending = _Blocks(blocks, least)
    running: dict[Future, range] = {}
    finished: SimpleQueue[Future] = SimpleQueue()
    while pending or running:
        while block := pending.next(len(running), client):
            future = client.submit(function, block.start, block.stop, pure=False)
            running[future] = block
            future.add_done_callback(finished.put)
        future = _next(client, finished)
        block = running.pop(future)
        try:
            yield block, future.result()
        except CancelledError:
            raise PlanelocError("the Dask cluster was lost; start it and run again: finished blocks are kept") from None
        except MemoryError:
            pending.failed(block, "memory did not suffice")
        except Exception as error:
            if not _killed_worker(error):
                raise
            pending.failed(block, "workers died repeatedly")


class _Blocks:
    """Blocks that are not yet computed.

    A block on which workers died repeatedly, or whose memory did not suffice, is a suspect. Another block on the same
    machine may be the cause, so it is tried alone; if that fails, too, it is halved, and no later block is larger than
    such a half.
    """

    def __init__(self, blocks: Iterable[range], least: int) -> None:
        self._waiting, self._suspects, self._least = deque(blocks), deque(), least
        self._largest = _rounded_up(max(map(len, self._waiting), default=1), least)
        self._alone = False  # the running block is a suspect

    def __bool__(self) -> bool:
        return bool(self._waiting or self._suspects)

    def next(self, running: int, client: Executor) -> range | None:
        """Take the next block; None while running ones must finish first."""
        if running and (self._suspects or self._alone):
            return None
        queue = self._suspects or self._waiting
        if not queue or (running and running >= _most_running(client)):
            return None
        self._alone = queue is self._suspects
        block = queue.popleft()
        end = block.start - block.start % self._least + self._largest
        if block.stop > end:
            queue.appendleft(range(end, block.stop))
            block = range(block.start, end)
        return block

    def failed(self, block: range, why: str) -> None:
        """Take back a block that failed."""
        half = _rounded_up((len(block) + 1) // 2, self._least)
        if self._alone and half >= len(block):
            raise PlanelocError(
                f"{_in_words(block)}: {why}, even alone; use fewer workers (snakemake --cores, or --workers) and run"
                " again: finished blocks are kept"
            ) from None
        if self._alone:
            self._largest = half
            self._suspects.appendleft(block)
        else:
            self._suspects.append(block)
        _LOG.info(f"{_in_words(block)}: {why}; trying {'half of them' if self._alone else 'them alone'}")


def _rounded_up(frames: int, least: int) -> int:
    return -(-frames // least) * least


def _in_words(block: range) -> str:
    return f"frames {block.start} to {block.stop - 1}" if len(block) > 1 else f"frame {block.start}"


def _most_running(client: Executor) -> int:
    if isinstance(client, ThisProcess):
        return 1  # which has finished, and is to be reported before the next begins
    return _IN_FLIGHT_PER_WORKER * max(1, _workers(client))


def _killed_worker(error: Exception) -> bool:
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(error, distributed.KilledWorker)


def _workers(client: Client) -> int:
    return len(client.scheduler_info(n_workers=-1)["workers"])


def _next(client: Executor, finished: SimpleQueue[Future]) -> Future:
    while True:
        try:
            return finished.get(timeout=_PATIENCE_S)
        except Empty:
            if not _workers(client):
                _LOG.info("no Dask worker is running; waiting for one")
