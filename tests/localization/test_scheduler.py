"""Every frame is given once, whatever happens to the workers."""

import random
import threading
import time
from contextlib import contextmanager

import dask
import pytest
from distributed import Client

from planeloc.core.errors import PlanelocError
from planeloc.localization import dask_cluster, scheduler, this_process

KILLS = 50


@contextmanager
def workers(folder, count=1):
    """Worker processes that start within a fraction of a second."""
    settings = dask_cluster.ClusterSettings(workers=count)
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
        dask_cluster.connect(settings, "cpu", folder) as client,
    ):
        yield client


@pytest.fixture
def threads():
    """Workers that are threads of this process."""
    with Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:
        yield client


def cut(frames, size):
    return [range(start, min(start + size, frames)) for start in range(0, frames, size)]


def frames_of(results):
    return sorted(frame for block, _ in results for frame in block)


def test_every_frame_is_given_once_though_workers_are_killed(tmp_path):
    """Fifty kills in the middle of the work, some blocks losing so many workers that they are tried alone."""
    frames, size = 10_000, 10
    draw = random.Random(1)
    deaths = set(draw.sample(range(frames), KILLS - 4 * 6))  # on a frame's first turn
    for block in draw.sample(range(frames // size), 4):
        deaths |= set(range(block * size, block * size + 6))

    def work(start, stop, deaths=frozenset(deaths), dead=str(tmp_path)):  # by value: workers cannot import this module
        import os
        import pathlib
        import signal

        for frame in sorted(deaths & set(range(start, stop))):
            mark = pathlib.Path(dead, f"dead.{frame}")
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return stop - start

    with workers(tmp_path, 2) as client:
        results = list(scheduler.run(client, work, cut(frames, size)))
    assert len(list(tmp_path.glob("dead.*"))) == len(deaths) > 0.9 * KILLS
    assert frames_of(results) == list(range(frames))
    assert all(value == len(block) for block, value in results)


def test_what_is_too_large_for_memory_is_halved_and_the_lesson_kept(threads, tmp_path, capsys):
    def work(start, stop, log=tmp_path / "log"):
        with log.open("a") as file:
            file.write(f"{stop - start}\n")
        if stop - start > 6:
            raise MemoryError
        return stop - start

    results = list(scheduler.run(threads, work, cut(80, 20)))
    tried = (tmp_path / "log").read_text().split()
    assert frames_of(results) == list(range(80))
    # Four at once, the first of them alone, half of that, and from then on nothing larger than a quarter.
    assert tried == ["20"] * 5 + ["10"] + ["5"] * 16
    told = capsys.readouterr().err.splitlines()
    assert sum(line.endswith("memory did not suffice; trying them alone") for line in told) == 4
    halved = [line for line in told if line.endswith("trying half of them")]
    assert len(halved) == 2  # the first to fail, which may be any of those under way, and then its half


def test_a_frame_too_much_for_any_worker_is_named(threads):
    def work(start, stop):
        if start <= 37 < stop:
            raise MemoryError
        return stop - start

    with pytest.raises(PlanelocError, match=r"^frame 37: memory did not suffice, even alone; use fewer"):
        list(scheduler.run(threads, work, cut(80, 10)))


def test_a_block_that_kills_its_workers_is_halved(tmp_path):
    """And what only waited beside it is not blamed."""

    def work(start, stop):
        import os
        import signal

        if stop - start > 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    with dask.config.set({"distributed.scheduler.allowed-failures": 1}), workers(tmp_path) as client:
        results = list(scheduler.run(client, work, [range(0, 10), range(10, 12), range(12, 14)]))
    assert sorted((block.start, block.stop) for block, _ in results) == [(0, 5), (5, 10), (10, 12), (12, 14)]


def test_few_blocks_are_under_way(threads):
    """Two for each of the two workers, however many there are."""
    submitted, real = [], threads.submit
    threads.submit = lambda *a, **k: submitted.append(1) or real(*a, **k)
    most = 0
    for done, _ in enumerate(scheduler.run(threads, lambda start, stop: stop - start, cut(200, 2))):
        most = max(most, len(submitted) - done)
    assert most <= 4 and len(submitted) == 100


def test_other_errors_come_back_at_once(threads, tmp_path):
    def work(start, stop, log=tmp_path / "log"):
        with log.open("a") as file:
            file.write(f"{start}\n")
        raise PlanelocError("movie.zarr: chunk 3 is damaged")

    with pytest.raises(PlanelocError, match=r"^movie\.zarr: chunk 3 is damaged$"):
        list(scheduler.run(threads, work, cut(80, 10)))
    tried = (tmp_path / "log").read_text().split()
    assert 1 <= len(tried) == len(set(tried)) <= 4  # none is tried again


def test_a_cluster_that_goes_is_one_line(threads):
    # the first ends at once, the others are under way when the cluster goes
    results = scheduler.run(threads, lambda start, stop: time.sleep(5 if start else 0), cut(200, 2))
    next(results)
    for state in threads.futures.values():  # as the client does when it loses the scheduler
        state.cancel(reason="scheduler-connection-lost")
    with pytest.raises(PlanelocError, match="the Dask cluster was lost; start it and run again"):
        list(results)


def test_waiting_for_workers_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scheduler, "_PATIENCE_S", 0.05)
    with Client(processes=False, n_workers=0, dashboard_address=":0") as client:
        threading.Timer(0.5, lambda: client.cluster.scale(1)).start()
        assert [value for _, value in scheduler.run(client, lambda start, stop: stop, [range(3)])] == [3]
    assert "planeloc: no Dask worker is running; waiting for one" in capsys.readouterr().err


def test_this_process_halves_reports_each_block_and_passes_errors_on():
    under_way = []

    def work(start, stop):
        under_way.append((start, stop))
        if start >= 40:
            raise PlanelocError("movie.zarr: chunk 3 is damaged")
        if stop - start > 6:
            raise MemoryError
        return stop - start

    results = []
    with pytest.raises(PlanelocError, match=r"^movie\.zarr: chunk 3 is damaged$"):
        for block, value in scheduler.run(this_process.ThisProcess(), work, cut(80, 20)):
            assert under_way[-1] == (block.start, block.stop)  # none is computed before this one is reported
            results.append((block, value))
    assert frames_of(results) == list(range(40)) and {value for _, value in results} == {5}


def test_ctrl_c_in_this_process_ends_at_once():
    def work(start, stop):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(scheduler.run(this_process.ThisProcess(), work, cut(80, 20)))
