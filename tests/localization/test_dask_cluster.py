"""Where workers come from: nothing is opened to others, and what is missing is said in one line."""

import json
import os
import stat
import sys
import types
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import dask
import psutil
import pytest
import torch
from distributed import Client, LocalCluster, Security
from distributed.comm import CommClosedError

from planeloc.core import messages
from planeloc.core.errors import PlanelocError
from planeloc.localization import dask_cluster
from planeloc.localization.dask_cluster import connect
from planeloc.localization.settings import ClusterSettings

QUIET = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}


def refused(settings, folder, device="cpu"):
    with pytest.raises(PlanelocError) as error, connect(settings, device, folder):
        pass
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_local_cluster_listens_on_loopback_only_and_shows_no_pages(tmp_path):
    with connect(ClusterSettings(workers=1), "cpu", tmp_path) as client:
        assert client.scheduler_info()["address"].startswith("tls://127.0.0.1:")
        me = psutil.Process()
        sockets = [entry for process in (me, *me.children(recursive=True)) for entry in process.net_connections()]
        listening = {entry.laddr.ip for entry in sockets if entry.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}
        for page in ("status", "health", "json/counts.json"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(client.dashboard_link.replace("status", page), timeout=10)


def test_workers_are_one_per_core_and_kept_at_that_number(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    made = []
    monkeypatch.setattr(dask_cluster, "LocalCluster", lambda **options: made.append(options) or LocalCluster(**QUIET))
    with connect(ClusterSettings(), "cpu", tmp_path) as client:
        assert (made[0]["n_workers"], made[0]["threads_per_worker"]) == (3, 1)
        assert client.cluster._adaptive.minimum == client.cluster._adaptive.maximum == 3


@pytest.mark.parametrize("address", ["tcp://192.0.2.7:8786", "192.0.2.7:8786", "ucx://192.0.2.7:8786"])
def test_unencrypted_schedulers_elsewhere_are_refused_unseen(tmp_path, monkeypatch, address):
    monkeypatch.setattr(dask_cluster, "Client", lambda *_, **__: pytest.fail("connected"))
    line = refused(ClusterSettings(scheduler=address), tmp_path)
    assert f"scheduler {address}: without TLS" in line and "allow_unencrypted" in line
    (tmp_path / "scheduler.json").write_text(json.dumps({"address": address}))
    assert "is without TLS" in refused(ClusterSettings(scheduler=str(tmp_path / "scheduler.json")), tmp_path)


@pytest.mark.parametrize("content", ["{}", "[1]", '{"address": null}', '{"address": "nonsense:port:8"}'])
def test_files_that_are_no_scheduler_files(tmp_path, content):
    (tmp_path / "s.json").write_text(content)
    assert "s.json: neither an address" in refused(ClusterSettings(scheduler=str(tmp_path / "s.json")), tmp_path)


@pytest.mark.parametrize("scheduler", ["tcp://127.0.0.1:notaport", "tls://host:1:2"])
def test_addresses_that_are_none(tmp_path, scheduler):
    assert "neither an address" in refused(ClusterSettings(scheduler=scheduler), tmp_path)


def test_a_missing_scheduler_file_is_not_taken_for_an_address(tmp_path):
    line = refused(ClusterSettings(scheduler=str(tmp_path / "absent.json")), tmp_path)
    assert "absent.json" in line and "TLS" not in line


def test_certificates_that_are_not_there_are_named(tmp_path):
    absent = str(tmp_path / "ca.pem")
    with dask.config.set({"distributed.comm.tls.ca-file": absent, "distributed.comm.tls.client.cert": absent}):
        line = refused(ClusterSettings(scheduler="tls://192.0.2.7:8786"), tmp_path)
    assert "certificates for TLS" in line and "docs/how-to/cluster.md" in line


def test_a_scheduler_open_to_others_is_refused_though_it_is_named_by_loopback(tmp_path):
    with LocalCluster(**QUIET, host="0.0.0.0", protocol="tcp", security=Security()) as open_one:
        address = f"tcp://127.0.0.1:{open_one.scheduler.port}"
        if open_one.scheduler.address.startswith("tcp://127."):
            pytest.skip("this machine has no address but loopback")
        assert "is without TLS" in refused(ClusterSettings(scheduler=address), tmp_path)
        with connect(ClusterSettings(scheduler=address, allow_unencrypted=True), "cpu", tmp_path) as client:
            assert client.submit(sum, [1, 2]).result() == 3


def test_a_scheduler_on_loopback_is_found_by_address_and_by_file(tmp_path):
    with LocalCluster(**QUIET, host="127.0.0.1", protocol="tcp") as running:
        (tmp_path / "scheduler.json").write_text(json.dumps({"address": running.scheduler_address}))
        for scheduler in (running.scheduler_address, str(tmp_path / "scheduler.json")):
            with connect(ClusterSettings(scheduler=scheduler), "cpu", tmp_path) as client:
                assert client.submit(sum, [1, 2]).result() == 3


def test_runs_that_share_a_cluster_do_not_silence_each_other(tmp_path):
    """Workers show messages until the last run ends, whichever that is, and every run ends without an error."""
    with LocalCluster(**QUIET | {"processes": True}, host="127.0.0.1", protocol="tcp") as running:
        settings = ClusterSettings(scheduler=running.scheduler_address)
        with Client(running) as observer, ExitStack() as first, ExitStack() as second:
            assert shown_by_workers(observer) == [False]
            for run in (first, second):
                run.enter_context(connect(settings, "cpu", tmp_path))
            assert shown_by_workers(observer) == [True]
            first.close()
            assert shown_by_workers(observer) == [True]
            second.close()
            assert shown_by_workers(observer) == [False]


def shown_by_workers(client):
    return list(client.run(messages.shown).values())


@pytest.mark.parametrize("error", [CommClosedError("worker is gone"), ModuleNotFoundError("no planeloc")])
def test_workers_that_cannot_show_messages_do_not_end_the_run(tmp_path, monkeypatch, error):
    def lost(*_, **__):
        raise error

    def gone(*_, **__):
        raise ValueError("The worker plugin does not exist")

    with LocalCluster(**QUIET, host="127.0.0.1", protocol="tcp") as running:
        monkeypatch.setattr(Client, "register_plugin", lost)
        monkeypatch.setattr(Client, "unregister_worker_plugin", gone)
        with connect(ClusterSettings(scheduler=running.scheduler_address), "cpu", tmp_path) as client:
            assert client.submit(sum, [1, 2]).result() == 3


def test_a_scheduler_with_tls_needs_the_certificates_in_dasks_configuration(tmp_path):
    security = Security.temporary()
    files = {name: tmp_path / name for name in ("tls_ca_file", "tls_client_cert", "tls_client_key")}
    for name, file in files.items():
        file.write_text(getattr(security, name))
    tls = {
        "distributed.comm.tls.ca-file": str(files["tls_ca_file"]),
        "distributed.comm.tls.client.cert": str(files["tls_client_cert"]),
        "distributed.comm.tls.client.key": str(files["tls_client_key"]),
    }
    with LocalCluster(**QUIET, host="0.0.0.0", protocol="tls", security=security) as running:
        settings = ClusterSettings(scheduler=running.scheduler_address)
        assert running.scheduler_address.startswith("tls://")
        assert "no certificates for TLS; name them in Dask's configuration" in refused(settings, tmp_path)
        with dask.config.set(tls), connect(settings, "cpu", tmp_path) as client:
            assert client.submit(sum, [1, 2]).result() == 3


def test_a_cluster_that_is_not_there_or_has_no_workers_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(dask_cluster, "_CONNECT_S", 0.5)
    monkeypatch.setattr(dask_cluster, "_WORKERS_S", 0.5)
    line = refused(ClusterSettings(scheduler="tcp://127.0.0.1:9"), tmp_path)
    assert line.startswith("scheduler tcp://127.0.0.1:9: no Dask cluster with workers there (")
    with LocalCluster(**QUIET | {"n_workers": 0}, host="127.0.0.1", protocol="tcp") as empty:
        assert "no Dask cluster with workers there" in refused(
            ClusterSettings(scheduler=empty.scheduler_address), tmp_path
        )


@pytest.mark.parametrize(
    ("settings", "module", "line"),
    [
        ({"cluster": "slurm"}, "dask_jobqueue", "cluster: slurm needs dask-jobqueue ("),
        ({"cluster": "cuda"}, "dask_cuda", "cluster: cuda needs dask-cuda ("),
        ({"dashboard": True}, "bokeh", "dashboard: true needs bokeh ("),
    ],
)
def test_a_missing_package_is_named(tmp_path, monkeypatch, settings, module, line):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(dask_cluster, "choose_device", lambda _: None)
    assert refused(ClusterSettings(**settings), tmp_path).startswith(line)


def test_dask_cuda_gets_loopback_and_certificates(tmp_path, monkeypatch):
    made = []
    two = QUIET | {"n_workers": 2}
    fake = types.SimpleNamespace(LocalCUDACluster=lambda **options: made.append(options) or LocalCluster(**two))
    monkeypatch.setitem(sys.modules, "dask_cuda", fake)
    monkeypatch.setattr(dask_cluster, "choose_device", lambda _: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with connect(ClusterSettings(cluster="cuda", workers=8), "cuda", tmp_path) as client:
        assert (made[0]["n_workers"], made[0]["host"], made[0]["security"]) == (2, "127.0.0.1", True)
        # dask-cuda shows every worker its own GPU first; without it, the second worker takes the second GPU.
        assert client.submit(dask_cluster.worker_index, workers=[1], pure=False).result() == 0
        monkeypatch.delitem(sys.modules, "dask_cuda")
        assert client.submit(dask_cluster.worker_index, workers=[1], pure=False).result() == 1


class FakeSlurmCluster(LocalCluster):
    """Takes what dask-jobqueue's takes, and starts its workers as threads here."""

    def __init__(self, **options):
        FakeSlurmCluster.options = options
        if dask.config.get("jobqueue.slurm.memory") is None:
            raise ValueError("You must specify how much memory\nyou want")
        super().__init__(**QUIET | {"n_workers": 0})

    def job_script(self):
        return "#!/bin/sh\n#SBATCH -p somewhere\n"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A Slurm whose sbatch gives the answers of a file, and notes what it was asked."""
    monkeypatch.setitem(sys.modules, "dask_jobqueue", types.SimpleNamespace(SLURMCluster=FakeSlurmCluster))
    (program := tmp_path / "bin" / "sbatch").parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ncat >> {tmp_path}/asked\n. {tmp_path}/answer\n')
    program.chmod(0o755)
    (tmp_path / "answer").write_text("exit 0")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    with dask.config.set(
        {"jobqueue.slurm": {"memory": "1GB", "walltime": None, "worker-extra-args": ["--resources", "a=1"]}}
    ):
        yield tmp_path


def test_slurm_jobs_are_encrypted_and_show_nothing(slurm, capsys):
    with connect(ClusterSettings(cluster="slurm", slurm_jobs=3), "auto", slurm) as client:
        assert client.submit(sum, [1, 2]).result() == 3
        assert client.cluster._adaptive.minimum == client.cluster._adaptive.maximum == 3
    options = FakeSlurmCluster.options
    assert (options["cores"], options["processes"]) == (1, 1)
    assert options["scheduler_options"] == {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    assert options["worker_extra_args"] == [
        "--resources",
        "a=1",
        "--no-dashboard",
        "--dashboard-address",
        "127.0.0.1:0",
    ]
    assert "export OMP_NUM_THREADS=1" in options["job_script_prologue"]
    tls = options["security"].get_tls_config_for_role("worker")
    for name in ("ca_file", "cert", "key"):  # the jobs are told the files, never the contents
        assert stat.S_IMODE(Path(tls[name]).stat().st_mode) == 0o600 and Path(tls[name]).parent == slurm
    assert (slurm / "asked").read_text().splitlines() == ["--test-only", *client.cluster.job_script().splitlines()]
    assert "waiting for the first of 3 Slurm jobs" in capsys.readouterr().err


def test_a_job_that_slurm_refuses_is_said_at_once(slurm):
    (slurm / "answer").write_text("echo 'sbatch: error: Invalid account' >&2; exit 1")
    assert "Slurm refuses the job (sbatch: error: Invalid account); correct" in refused(
        ClusterSettings(cluster="slurm"), slurm
    )


def test_what_slurm_lacks_is_named(slurm, monkeypatch):
    with dask.config.set({"jobqueue.slurm.memory": None}):
        assert "You must specify how much memory you want; set it in" in refused(
            ClusterSettings(cluster="slurm"), slurm
        )
    (slurm / "a folder").mkdir()
    assert "without spaces" in refused(ClusterSettings(cluster="slurm"), slurm / "a folder")
    monkeypatch.setenv("PATH", "")
    assert "sbatch is missing" in refused(ClusterSettings(cluster="slurm"), slurm)
