"""Dask clusters: workers on this machine, in Slurm jobs, or of a running cluster.

One process per CPU core with one thread, or one per GPU. Anyone who reaches an open Dask scheduler can run code as its
owner. Clusters that are started here therefore listen on loopback only or, for Slurm, accept encrypted connections
(TLS) with certificates of this run; a running scheduler must be encrypted, too, or be accepted explicitly.
"""

from __future__ import annotations

import importlib
import ipaddress
import logging
import shlex
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import dask
from distributed import Client, LocalCluster, Security, SpecCluster, Worker, WorkerPlugin, get_worker
from distributed.comm.addressing import parse_address, parse_host_port
from distributed.utils import get_mp_context

from planeloc.core import messages
from planeloc.core.devices import choose_device
from planeloc.core.errors import PlanelocError
from planeloc.core.files import read_json
from planeloc.localization.settings import ClusterSettings
from planeloc.localization.this_process import local_workers

_LOG = logging.getLogger(__name__)

_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_QUIET = {
    "distributed.nanny.pre-spawn-environ": _THREADS,
    "distributed.logging.distributed": "critical",  # `scheduler` reports what matters in one line
    "distributed.worker.http.routes": [],
    "distributed.nanny.http.routes": [],
}
_PRELOADED = ["planeloc.localization.dask_cluster", "planeloc.localization.localize"]
_NO_PAGES = {"distributed.scheduler.http.routes": []}
_DASHBOARD = "127.0.0.1:8787"
_ANY_PORT = "127.0.0.1:0"
_CONNECT_S, _WORKERS_S = 30, 120  # timeouts for a running cluster
_ENCRYPTED = ("tls", "wss", "inproc")


class _ShownMessages(WorkerPlugin):
    """Workers show their messages, too, until the last run that asked for it ends.

    Every run has a plugin of its own: runs may share a running cluster, where plugins of one name replace each other.
    """

    def __init__(self) -> None:
        self.name = f"planeloc-messages-{uuid.uuid4().hex}"

    def setup(self, worker: Worker) -> None:
        messages.show()

    def teardown(self, worker: Worker) -> None:
        if not any(isinstance(plugin, _ShownMessages) for plugin in worker.plugins.values()):  # its own is gone
            messages.hide()


def worker_index() -> int:
    """Index of this worker's GPU: the number of the Dask worker; 0 outside of one."""
    if "dask_cuda" in sys.modules:
        return 0  # dask-cuda has put the worker's own GPU first
    try:
        name = get_worker().name
    except ValueError:
        return 0
    return name if isinstance(name, int) else 0


@contextmanager
def connect(settings: ClusterSettings, device: str, folder: Path) -> Iterator[Client]:
    """Connect to a running cluster, or start one that ends with the ``with`` block.

    Parameters
    ----------
    device : ``cpu``: no GPU is used.
    folder : on a file system that all workers share; for the certificates of Slurm's workers.

    Raises
    ------
    PlanelocError : no cluster, no workers, an unencrypted connection, or a missing package.
    """
    with ExitStack() as stack:
        if settings.scheduler:
            client = stack.enter_context(_join(settings.scheduler, settings.allow_unencrypted))
            stack.enter_context(_shown_messages(client))
            yield client
            return
        if settings.dashboard:
            _require("bokeh", "bokeh", "dashboard: true")
        stack.enter_context(dask.config.set(_QUIET if settings.dashboard else _QUIET | _NO_PAGES))
        if settings.cluster == "local" and choose_device(device).type == "cpu":
            stack.enter_context(_forked_workers())
        try:
            cluster = stack.enter_context(_start(settings, device, folder))
        except RuntimeError as error:
            raise PlanelocError(
                f"Dask workers did not start ({_one_line(error)}); use fewer, and run again: finished blocks are kept"
            ) from None
        if settings.dashboard:
            _LOG.info(f"dashboard at {cluster.dashboard_link}")
        client = stack.enter_context(Client(cluster))
        if settings.cluster == "slurm":
            _LOG.info(f"waiting for the first of {settings.slurm_jobs} Slurm jobs")
        _wait_for_worker(client, None if settings.cluster == "slurm" else _WORKERS_S)
        if messages.shown():
            _register(client, _ShownMessages())
        yield client


@contextmanager
def _forked_workers() -> Iterator[None]:
    """Workers are copies of one process that has imported all packages: each would need 4 CPU seconds for that."""
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        get_mp_context().set_forkserver_preload(_PRELOADED)  # after Dask has set its own list, once
        yield


@contextmanager
def _shown_messages(client: Client) -> Iterator[None]:
    """Let the workers of a running cluster show their messages within the ``with`` block, if this process does."""
    if not messages.shown():
        yield
        return
    plugin = _ShownMessages()
    _register(client, plugin)
    try:
        yield
    finally:
        with suppress(OSError, ValueError):  # the cluster has ended before, or was started again
            client.unregister_worker_plugin(plugin.name)


def _register(client: Client, plugin: WorkerPlugin) -> None:
    """Register a plugin on all workers; those that come later get it, too.

    A worker may be lost meanwhile, or have no planeloc or another version of it, which its first block reports.
    """
    with suppress(OSError, ImportError, AttributeError):
        client.register_plugin(plugin)


def _wait_for_worker(client: Client, patience_s: float | None) -> None:
    try:
        client.wait_for_workers(1, timeout=patience_s)
    except TimeoutError:
        raise PlanelocError(
            f"no Dask worker has started within {patience_s:.0f} s; check the free memory, use fewer, and run again"
        ) from None


def _start(settings: ClusterSettings, device: str, folder: Path) -> SpecCluster:
    """Start scheduler and workers. A lost worker (walltime, a failed node) is replaced."""
    scheduler = {"dashboard": settings.dashboard, "dashboard_address": _DASHBOARD if settings.dashboard else _ANY_PORT}
    workers = local_workers(settings, device)
    if settings.cluster == "slurm":
        workers, cluster = settings.slurm_jobs, _slurm_cluster(folder, scheduler)
    else:
        kind, more = LocalCluster, {}
        if settings.cluster == "cuda":
            choose_device("cuda")
            kind = _require("dask_cuda", "dask-cuda", "cluster: cuda").LocalCUDACluster
            more = {"device_memory_limit": 0}
        cluster = kind(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            security=True,
            memory_limit=0,
            silence_logs=logging.CRITICAL,
            scheduler_kwargs=scheduler,
            **more,
        )
    cluster.adapt(minimum=workers, maximum=workers)
    return cluster


def _slurm_cluster(folder: Path, scheduler: dict[str, Any]) -> SpecCluster:
    """A scheduler here whose workers are Slurm jobs, as the user's ``jobqueue.yaml`` describes them."""
    jobqueue = _require("dask_jobqueue", "dask-jobqueue", "cluster: slurm")
    if shlex.quote(str(folder)) != str(folder):  # dask-jobqueue writes it into a script unquoted
        raise PlanelocError(f"{folder}: cluster: slurm needs a path without spaces and quotes")
    known = {key: value for key, value in dask.config.get("jobqueue.slurm").items() if value is not None}
    try:
        cluster = jobqueue.SLURMCluster(
            cores=1,
            processes=1,
            security=_certificates(folder),
            silence_logs=logging.CRITICAL,
            scheduler_options=known.get("scheduler-options", {}) | scheduler,
            worker_extra_args=[*known.get("worker-extra-args", []), "--no-dashboard", "--dashboard-address", _ANY_PORT],
            job_script_prologue=[
                *known.get("job-script-prologue", []),
                *(f"export {name}={value}" for name, value in _THREADS.items()),
            ],
        )
    except ValueError as error:
        raise PlanelocError(f"cluster: slurm: {_one_line(error)}; set it in ~/.config/dask/jobqueue.yaml") from None
    try:
        _try_submission(cluster.job_script())
    except PlanelocError:
        cluster.close()
        raise
    return cluster


def _certificates(folder: Path) -> Security:
    """Make certificates; the workers' are in `folder`, readable by this user alone, for their command line."""
    security = Security.temporary()
    for name in ("tls_ca_file", "tls_worker_cert", "tls_worker_key"):
        file = folder / f"{name}.pem"
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        file.write_text(getattr(security, name), encoding="ascii")
        setattr(security, name, str(file))
    return security


def _try_submission(script: str) -> None:
    """Ask Slurm whether it accepts the job: Dask itself would wait forever for the workers of a refused one."""
    try:
        answer = subprocess.run(["sbatch", "--test-only"], input=script, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise PlanelocError("cluster: slurm: sbatch is missing; start planeloc where jobs can be submitted") from None
    if answer.returncode:
        raise PlanelocError(
            f"cluster: slurm: Slurm refuses the job ({_one_line(answer.stderr)}); correct ~/.config/dask/jobqueue.yaml"
        )


def _require(module: str, package: str, wanted: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PlanelocError(f"{wanted} needs {package} ({error}); pip install {package}") from None


@contextmanager
def _join(scheduler: str, allow_unencrypted: bool) -> Iterator[Client]:
    """Connect to a running cluster that has workers and, unless that is allowed, no unencrypted connections."""
    address = _address(scheduler)
    if not allow_unencrypted:
        _require_encryption(scheduler, [address])
    if address.startswith("tls://"):
        _require_certificates(scheduler)
    with ExitStack() as stack:
        try:
            client = stack.enter_context(Client(address, timeout=_CONNECT_S))
            client.wait_for_workers(1, timeout=_WORKERS_S)
        except (OSError, TimeoutError, ValueError) as error:
            raise PlanelocError(
                f"scheduler {scheduler}: no Dask cluster with workers there ({_one_line(error)}); start one, or leave"
                " scheduler empty"
            ) from None
        if not allow_unencrypted:
            known = client.scheduler_info(n_workers=-1)
            _require_encryption(scheduler, [known["address"], *known["workers"]])
        yield client


def _address(scheduler: str) -> str:
    """Address of a scheduler that is given by address or file."""
    address: Any = scheduler
    if "://" not in scheduler and (Path(scheduler).exists() or "/" in scheduler or scheduler.endswith(".json")):
        content = read_json(scheduler)
        address = content.get("address") if isinstance(content, dict) else None
    try:
        parse_host_port(parse_address(address)[1], default_port=0)
    except (ValueError, TypeError, AttributeError):
        raise PlanelocError(
            f"scheduler {scheduler}: neither an address such as tls://host:8786 nor a scheduler file of Dask"
        ) from None
    return address


def _require_certificates(scheduler: str) -> None:
    try:
        context = Security().get_connection_args("client")["ssl_context"]
        reason = "no certificates for TLS"
    except (OSError, ValueError) as error:
        context, reason = None, f"the certificates for TLS cannot be read ({_one_line(error)})"
    if not context:
        raise PlanelocError(
            f"scheduler {scheduler}: {reason}; name them in Dask's configuration (distributed.comm.tls: ca-file,"
            " client.cert, client.key), see docs/how-to/cluster.md"
        )


def _require_encryption(scheduler: str, addresses: Iterable[str]) -> None:
    for address in addresses:
        protocol, place = parse_address(address)
        if protocol not in _ENCRYPTED and not _is_loopback(parse_host_port(place, default_port=0)[0]):
            raise PlanelocError(
                f"scheduler {scheduler}: {'' if address == scheduler else f'{address} is '}without TLS, so anyone who"
                " reaches it can run code as you; start scheduler and workers with --protocol tls (see"
                " docs/how-to/cluster.md), or set allow_unencrypted in a closed network"
            )


def _is_loopback(host: str) -> bool:
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(address).is_loopback for address in found)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
