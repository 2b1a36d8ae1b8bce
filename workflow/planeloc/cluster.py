"""Where blocks run: Dask workers on this machine, or a cluster that is already there.

One process per CPU core with one thread, or one per GPU. Everything that a local cluster opens listens on loopback
only, and there is no dashboard.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import dask
import torch
from distributed import Client, KilledWorker, LocalCluster, as_completed, get_worker

from planeloc.errors import PlanelocError

_IN_FLIGHT_PER_WORKER = 2  # enough that no worker waits; few, so that memory does not grow with the movie
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run(
    function: Callable[..., Any],
    tasks: Iterable[tuple[Any, tuple]],
    scheduler: str,
    workers: int,
    device: str,
) -> Iterator[tuple[Any, Any]]:
    """Call `function(*arguments)` for every (key, arguments) and give (key, result) as they finish.

    Parameters
    ----------
    scheduler : address (``tcp://…``) or scheduler file of a running cluster; empty for a local one.
    workers : local processes, at most one per GPU where GPUs are used; 0 for one per GPU or core.
    """
    tasks = iter(tasks)
    first = list(islice(tasks, 1))
    if not first:
        return
    with _client(scheduler, workers, device) as client:
        count = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
        keys = {}

        def submit(task: tuple[Any, tuple]) -> Any:
            future = client.submit(function, *task[1], pure=False, retries=2)
            keys[future.key] = task[0]
            return future

        running = as_completed([submit(task) for task in (*first, *islice(tasks, count * _IN_FLIGHT_PER_WORKER - 1))])
        for future in running:
            try:
                result = future.result()
            except KilledWorker as error:
                raise PlanelocError(
                    f"a worker died {error.allowed_failures + 1} times on the same block, mostly for want of memory;"
                    " use fewer workers or a smaller tile_px, and run again: finished blocks are kept"
                ) from None
            yield keys.pop(future.key), result
            for task in islice(tasks, 1):
                running.add(submit(task))


def worker_index() -> int:
    """Number of the Dask worker that runs this, 0 outside of one: tells GPUs apart."""
    try:
        name = get_worker().name
    except ValueError:
        return 0
    return name if isinstance(name, int) else 0


@contextmanager
def _client(scheduler: str, workers: int, device: str) -> Iterator[Client]:
    if scheduler:
        with _connect(scheduler) as client:
            yield client
        return
    gpus = torch.cuda.device_count() if device != "cpu" else 0
    workers = min(workers or gpus, gpus) if gpus else workers or len(os.sched_getaffinity(0))
    threads = dict.fromkeys(_THREAD_VARIABLES, "1")
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": threads, "distributed.logging.distributed": "error"}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=0,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _connect(scheduler: str) -> Client:
    """A client of a running cluster, or `PlanelocError` saying why there is none."""
    try:
        if Path(scheduler).is_file():
            client = Client(scheduler_file=scheduler, timeout=30)
        else:
            client = Client(scheduler, timeout=30)
        client.wait_for_workers(1, timeout=60)
    except (OSError, TimeoutError, ValueError) as error:
        raise PlanelocError(
            f"scheduler {scheduler}: no Dask cluster with workers there ({error}); start one, or leave scheduler empty"
        ) from None
    return client
