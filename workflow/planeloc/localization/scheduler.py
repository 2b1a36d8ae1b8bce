"""Scheduling blocks of frames: a few at a time, again after a lost worker, in halves where memory did not suffice."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future, KilledWorker

from planeloc.core.errors import PlanelocError

_LOG = logging.getLogger(__name__)

_IN_FLIGHT_PER_WORKER = 2  # no worker waits, and memory does not grow with the movie
_PATIENCE_S = 60.0  # without any result, before checking whether there are workers


def run(
    client: Client, function: Callable[[int, int], Any], blocks: Iterable[range], least: int = 1
) -> Iterator[tuple[range, Any]]:
    """Call `function(start, stop)` for all blocks of frames on the workers; yield (block, result) as they finish.

    Only a few calls per worker run at any time. Dask repeats the call of a worker that died on another one. A block on
    which workers died repeatedly, or whose memory did not suffice, is a suspect. Another block on the same machine may
    be the cause, so it is tried alone; if that fails, too, it is halved, and no later block is larger than such a half.
    The yielded blocks may therefore be pieces of the given ones, but every frame is yielded once.

    Parameters
    ----------
    least : frames that are computed together; blocks are cut at multiples of it.

    Raises
    ------
    PlanelocError : `least` frames need too much memory, the cluster was lost, or `function` raised it.
    """
    waiting, suspects = deque(blocks), deque()
    largest = _rounded_up(max(map(len, waiting), default=1), least)
    running: dict[Future, range] = {}
    finished: SimpleQueue[Future] = SimpleQueue()
    alone = False  # the running block is a suspect

    def submit(queue: deque[range]) -> None:
        block = queue.popleft()
        end = block.start - block.start % least + largest
        if block.stop > end:
            queue.appendleft(range(end, block.stop))
            block = range(block.start, end)
        future = client.submit(function, block.start, block.stop, pure=False)
        running[future] = block
        future.add_done_callback(finished.put)

    while waiting or suspects or running:
        if suspects and not running:
            alone = True
            submit(suspects)
        elif not suspects:
            alone = False
            while waiting and len(running) < _IN_FLIGHT_PER_WORKER * max(1, _workers(client)):
                submit(waiting)
        future = _next(client, finished)
        block = running.pop(future)
        try:
            yield block, future.result()
        except CancelledError:
            raise PlanelocError("the Dask cluster was lost; start it and run again: finished blocks are kept") from None
        except (KilledWorker, MemoryError) as error:
            what = "workers died repeatedly" if isinstance(error, KilledWorker) else "memory did not suffice"
            smaller = _rounded_up((len(block) + 1) // 2, least)
            if alone and smaller >= len(block):
                raise PlanelocError(
                    f"{_in_words(block)}: {what}, even alone; use fewer workers (snakemake --cores, or --workers) and"
                    " run again: finished blocks are kept"
                ) from None
            if alone:
                largest = smaller
                suspects.appendleft(block)
            else:
                suspects.append(block)
            _LOG.info(f"{_in_words(block)}: {what}; trying {'half of them' if alone else 'them alone'}")


def _rounded_up(frames: int, least: int) -> int:
    return -(-frames // least) * least


def _in_words(block: range) -> str:
    return f"frames {block.start} to {block.stop - 1}" if len(block) > 1 else f"frame {block.start}"


def _workers(client: Client) -> int:
    return len(client.scheduler_info(n_workers=-1)["workers"])


def _next(client: Client, finished: SimpleQueue[Future]) -> Future:
    while True:
        try:
            return finished.get(timeout=_PATIENCE_S)
        except Empty:
            if not _workers(client):
                _LOG.info("no Dask worker is running; waiting for one")
