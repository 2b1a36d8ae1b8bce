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
from distributed import Client, Future, KilledWorker, LocalCluster, as_completed, get_worker

from planeloc.errors import PlanelocError

_IN_FLIGHT_PER_WORKER = 2  # enough that no worker waits; few, so that memory does not grow with the movie
_LOCAL = {
    "distributed.nanny.pre-spawn-environ": dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
    ),
    "distributed.logging.distributed": "error",
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.nanny.http.routes": [],
}


def run(client: Client, function: Callable[..., Any], tasks: Iterable[tuple[Any, tuple]]) -> Iterator[tuple[Any, Any]]:
    """Call `function(*arguments)` for every (key, arguments) and give (key, result) as they finish.

    Only a few calls per worker are under way at any time. A worker that dies is replaced and its call made again.
    """
    tasks = iter(tasks)
    workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    keys = {}

    def submit(task: tuple[Any, tuple]) -> Future:
        future = client.submit(function, *task[1], pure=False, retries=2)
        keys[future.key] = task[0]
        return future

    running = as_completed([submit(task) for task in islice(tasks, workers * _IN_FLIGHT_PER_WORKER)])
    for future in running:
        try:
            result = future.result()
        except KilledWorker:
            raise PlanelocError(
                "workers died again and again on the same block, mostly for want of memory; use fewer workers,"
                " and run again: finished blocks are kept"
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
def connect(scheduler: str, workers: int, device: str) -> Iterator[Client]:
    """A client of a running cluster, or of a local one that ends with the ``with`` block.

    Parameters
    ----------
    scheduler : address (``tcp://…``) or scheduler file of a running cluster; empty for a local one.
    workers : local processes, at most one per GPU where GPUs are used; 0 for one per GPU or core.
    """
    if scheduler:
        with _connect(scheduler) as client:
            yield client
        return
    gpus = torch.cuda.device_count() if device != "cpu" else 0
    workers = min(workers or gpus, gpus) if gpus else workers or len(os.sched_getaffinity(0))
    with (
        dask.config.set(_LOCAL),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            security=True,
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
