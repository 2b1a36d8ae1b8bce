"""One run at a time: locks that end with their process, leases where there are no locks, nothing done through links."""

import errno
import fcntl
import json
import multiprocessing
import os
import subprocess
import sys
import time

import pytest

from planeloc.core import locks
from planeloc.core.errors import PlanelocError
from planeloc.core.locks import lock_of, locked
from support.competing_runs import compete

HOLDER = """
import fcntl, sys, time
from pathlib import Path
from planeloc.core import locks
def none(*_):
    raise OSError(95, "Operation not supported")
if sys.argv[2] == "lease":
    fcntl.flock = none
with locks.locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


def without_locks(monkeypatch):
    """A file system as some network disks are."""

    def none(*_):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", none)


@pytest.fixture(params=["lock", "lease"])
def way(request, monkeypatch):
    if request.param == "lease":
        without_locks(monkeypatch)
    return request.param


def held(output, way):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(output), way], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_second_run_is_told_who_writes(tmp_path, way):
    output = tmp_path / "w.safetensors"
    holder = held(output, way)
    with (
        pytest.raises(PlanelocError, match=rf"another run \(process {holder.pid} on .*\) writes this file; wait"),
        locked(output),
    ):
        pass
    holder.kill()
    holder.wait()
    with locked(output):  # of a process that ended, whatever it left
        pass
    assert not list(tmp_path.iterdir())


def test_a_lease_of_another_computer_counts_while_it_is_fresh(tmp_path, monkeypatch):
    without_locks(monkeypatch)
    output = tmp_path / "w.safetensors"
    lease = tmp_path / ".w.safetensors.lock.lease"
    lease.write_text(json.dumps({"process": os.getpid(), "computer": "elsewhere", "kernel": "another", "token": "1"}))
    with pytest.raises(PlanelocError, match=rf"process {os.getpid()} on elsewhere"), locked(output):
        pass
    old = time.time() - locks.STALE_S - 5
    os.utime(lease, (old, old))
    with locked(output):
        assert json.loads(lease.read_text())["process"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_stale_lease_with_the_number_of_a_running_process_is_taken_over(tmp_path, monkeypatch):
    without_locks(monkeypatch)
    output, lease = tmp_path / "w", tmp_path / ".w.lock.lease"
    here = {"process": os.getppid(), "computer": "here", "kernel": locks.host(), "token": "1"}
    lease.write_text(json.dumps(here))
    with pytest.raises(PlanelocError, match="another run"), locked(output):
        pass
    old = time.time() - locks.STALE_S - 5
    os.utime(lease, (old, old))
    with locked(output):
        assert json.loads(lease.read_text())["process"] == os.getpid()


def test_no_folder_of_a_lock_is_left(tmp_path, way):
    with locked(tmp_path / "t.h5", tmp_path / ".t.h5.parts" / "lock"):
        assert (tmp_path / ".t.h5.parts").is_dir()
    assert not list(tmp_path.iterdir())


def test_a_lease_is_kept_fresh(tmp_path, monkeypatch):
    without_locks(monkeypatch)
    monkeypatch.setattr(locks, "HEARTBEAT_S", 0.02)
    lease = tmp_path / ".w.lock.lease"
    with locked(tmp_path / "w"):
        os.utime(lease, (0, 0))
        deadline = time.monotonic() + 20
        while lease.stat().st_mtime < 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert time.time() - lease.stat().st_mtime < 60


def test_a_link_or_a_file_in_place_of_a_lock_stays(tmp_path, way):
    (mine := tmp_path / "mine").write_text("raw data")
    places = [lock_of(tmp_path / "w")] + [tmp_path / ".w.lock.lease"] * (way == "lease")
    for place in places:
        place.symlink_to(mine)
        with pytest.raises(PlanelocError, match="in the place of the lock and not planeloc's"), locked(tmp_path / "w"):
            pass
        assert place.is_symlink() and mine.read_text() == "raw data"
        place.unlink()
        place.write_text("my notes")
        with pytest.raises(PlanelocError, match="not planeloc's"), locked(tmp_path / "w"):
            pass
        assert place.read_text() == "my notes"
        place.unlink()


def test_the_lock_is_beside_what_a_link_points_to(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "w").symlink_to(tmp_path / "disk" / "w")
    assert lock_of(tmp_path / "w") == lock_of(tmp_path / "disk" / "w")


@pytest.mark.parametrize("kind", ["lock", "lease"])
def test_never_two_at_once(tmp_path, kind):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    runs = [context.Process(target=compete, args=(str(tmp_path), kind, 60, results)) for _ in range(3)]
    for run in runs:
        run.start()
    counts = [results.get(timeout=120) for _ in runs]
    for run in runs:
        run.join()
    assert all(done + refused == 60 for done, refused in counts) and sum(done for done, _ in counts) >= 10
    assert not (tmp_path / "inside").exists() and not (tmp_path / ".w.lock").exists()
