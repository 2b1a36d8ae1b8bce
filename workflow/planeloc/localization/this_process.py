"""Blocks in the process of the command: what one worker on a CPU needs, without the start of a cluster.

A worker process imports all packages a second time, and its scheduler costs more than that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import torch

from planeloc.core.devices import choose_device
from planeloc.localization.settings import ClusterSettings


class ThisProcess:
    """Calls functions at once, in this thread, with the part of Dask's `Client` that `scheduler` uses."""

    @staticmethod
    def submit(function: Callable[..., Any], *arguments: Any, pure: bool = True) -> Future:
        """Call a function; its result or error is in the future.

        Ctrl-C is no error of the function: it ends the run at once.
        """
        future: Future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)
        return future


def suffices(settings: ClusterSettings, device: str) -> bool:
    """Whether one worker on a CPU of this machine is asked for, and nothing that only a cluster has."""
    plain = settings.cluster == "local" and not settings.scheduler and not settings.dashboard
    return plain and choose_device(device).type == "cpu" and local_workers(settings, "cpu") == 1


def local_workers(settings: ClusterSettings, device: str) -> int:
    """Number of workers on this machine: as many as were asked for, but one per GPU; by default one per GPU or core."""
    gpus = torch.cuda.device_count() if device != "cpu" else 0
    return min(settings.workers or gpus, gpus) if gpus else settings.workers or len(os.sched_getaffinity(0))


@contextmanager
def connect() -> Iterator[ThisProcess]:
    """Blocks in this process; PyTorch has its threads back afterwards."""
    threads = torch.get_num_threads()
    try:
        yield ThisProcess()
    finally:
        torch.set_num_threads(threads)
