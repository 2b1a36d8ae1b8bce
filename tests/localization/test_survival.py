"""Whatever happens to a localization: run again, and the table is that of an undisturbed run, byte for byte."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from distributed import Client

from planeloc.core import hdf5
from planeloc.core.errors import PlanelocError
from planeloc.fitting import compiled_library
from planeloc.io import localization_table
from planeloc.localization import checkpoints, scheduler, this_process
from planeloc.localization import localize as localize_module
from planeloc.localization.context import InputPaths
from planeloc.localization.localize_frames import Job
from planeloc.localization.settings import LocalizeSettings
from support.movies import run, write_files
from support.repository import QUADPLANE_WEIGHTS

FRAMES, BLOCK = 22, 3
BLOCKS = -(-FRAMES // BLOCK)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("movie"))


@pytest.fixture(scope="module")
def whole(files):
    """The bytes of an undisturbed run."""
    run(files, files / "whole.h5")
    return (files / "whole.h5").read_bytes()


@pytest.fixture(params=["this process", "Dask"])
def in_process(request, monkeypatch):
    """The worker is this process or a Dask worker in a thread of it, so that a test can reach into it."""
    if request.param == "this process":
        with this_process.connect() as executor:
            monkeypatch.setattr(localize_module, "_connect", lambda *_: nullcontext(executor))
            yield executor
        return
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        monkeypatch.setattr(localize_module, "_connect", lambda *_: nullcontext(client))
        yield client


def again(files, output, **settings):
    return run(files, output, block_frames=BLOCK, **settings)


def interrupt(files, output, monkeypatch, after):
    """A run that ends after so many blocks."""
    real = scheduler.run

    def stop(*arguments):
        for count, item in enumerate(real(*arguments)):
            yield item
            if count + 1 == after:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(scheduler, "run", stop)
        again(files, output)
    assert not output.exists()


def finished(output):
    return sorted(output.parent.glob(f".{output.name}.parts/*/0*.h5"))


def leftovers(output):
    return [path for path in output.parent.rglob("*") if path != output and path.suffix != ".json"]


def test_workers_that_are_killed(files, whole, tmp_path, monkeypatch):
    """Both, twice, in the middle of their work."""
    real, killed = scheduler.run, []

    def kill(client, *arguments):
        for count, item in enumerate(real(client, *arguments)):
            if count in (0, 3):
                client.wait_for_workers(2)
                for pid in client.run(os.getpid).values():
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            yield item

    monkeypatch.setattr(scheduler, "run", kill)
    used = again(files, tmp_path / "o.h5", workers=2)
    assert len(set(killed)) == len(killed) == 4
    assert (tmp_path / "o.h5").read_bytes() == whole and not leftovers(tmp_path / "o.h5")
    assert used["computed_frames"] == FRAMES


def test_the_whole_job_killed(files, whole, tmp_path):
    output = tmp_path / "o.h5"
    job = under_way(files, output)
    job.kill()
    job.wait()
    kept = len(finished(output))
    assert 3 <= kept < FRAMES and not output.exists()
    used = again(files, output)
    assert used["computed_frames"] <= FRAMES - kept  # a worker may have finished one more before it noticed
    assert output.read_bytes() == whole and not leftovers(output)


def test_two_workers_give_the_bytes_of_one(files, whole, tmp_path):
    again(files, tmp_path / "o.h5", workers=2)
    assert (tmp_path / "o.h5").read_bytes() == whole


def test_one_worker_on_a_cpu_starts_no_cluster(files, whole, tmp_path):
    """Neither Dask nor a process: both take longer to start than a short movie takes."""
    code = f"""if True:
        import sys
        import psutil
        from pathlib import Path
        from planeloc.localization import localize as module
        from support.movies import run
        real, children = module.localize_block, []
        def block(*arguments):
            children.extend(psutil.Process().children(recursive=True))
            return real(*arguments)
        module.localize_block = block
        run(Path({str(files)!r}), Path({str(tmp_path / "o.h5")!r}))
        print(len(children), "distributed" in sys.modules)"""
    tests = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])}
    job = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert job.stdout.split() == ["0", "False"]
    assert (tmp_path / "o.h5").read_bytes() == whole


def test_ctrl_c_says_how_to_go_on(files, whole, tmp_path):
    output = tmp_path / "o.h5"
    job = under_way(files, output)
    job.send_signal(signal.SIGINT)
    _, told = job.communicate(timeout=120)
    assert job.returncode == 130
    assert "planeloc: interrupted; run the same command again" in told and "Traceback" not in told
    assert finished(output) and not output.exists()
    again(files, output)
    assert output.read_bytes() == whole


UNHURRIED = """
import time
from planeloc.localization import scheduler
from planeloc.cli import main
run = scheduler.run
def unhurried(*arguments):
    for item in run(*arguments):
        yield item
        time.sleep(0.5)
scheduler.run = unhurried
main.main()
"""


def under_way(files, output):
    """`planeloc localize` in a process of its own, in blocks of single frames, some of which are finished.

    It sleeps between blocks, so that on no machine it is at the end before the test knows it.
    """
    paths = {"movie": "m.json", "registration": "registration.json", "psf": "psf.h5"}
    options = [word for name, file in paths.items() for word in (f"--{name}", str(files / file))]
    options += ["--weights", str(QUADPLANE_WEIGHTS), "--output", str(output), "--device", "cpu"]
    command = [sys.executable, "-c", UNHURRIED, "localize", *options, "--workers", "1", "--block-frames", "1"]
    job = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(finished(output)) < 3 and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return job


@pytest.mark.parametrize("full", ["part", "table"])
def test_a_full_disk(files, whole, tmp_path, monkeypatch, in_process, full):
    output = tmp_path / "o.h5"
    real = hdf5._Sink.write

    def write(self, block):
        is_part = ".parts" in str(self.name)
        if (is_part and len(finished(output)) >= 2) if full == "part" else not is_part:
            self.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, block)

    with monkeypatch.context() as patch, pytest.raises(PlanelocError, match="no space left on the device") as error:
        patch.setattr(hdf5._Sink, "write", write)
        again(files, output)
    named, expected = str(error.value).partition(": ")[0], 2 if full == "part" else BLOCKS
    assert named == str(output) if full == "table" else "/.o.h5.parts/" in named
    assert "\n" not in str(error.value) and not output.exists()
    assert len(finished(output)) >= expected
    assert not list(tmp_path.rglob(".partial-*"))
    assert again(files, output)["computed_frames"] <= max(0, FRAMES - expected * BLOCK)
    assert output.read_bytes() == whole and not leftovers(output)


def test_a_damaged_chunk(files, whole, tmp_path, monkeypatch):
    """A worker's own error comes back as the one line that names store and chunk."""
    copy = tmp_path / "copy"
    shutil.copytree(files, copy)
    output = tmp_path / "o.h5"
    interrupt(copy, output, monkeypatch, after=2)
    before = finished(output)
    (chunk,) = (copy / "m.zarr").rglob("c/2/0/0/0")
    sound = chunk.read_bytes()
    chunk.write_bytes(sound[:100] + bytes([sound[100] ^ 1]) + sound[101:])
    with pytest.raises(PlanelocError, match=r"m\.zarr.*chunk 2 of the movie is damaged") as error:
        again(copy, output)
    assert "\n" not in str(error.value) and not output.exists()
    assert set(before) <= set(finished(output))
    chunk.write_bytes(sound)
    again(copy, output)
    assert output.read_bytes() == whole


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_too_little_memory_for_a_block(files, whole, tmp_path, monkeypatch, in_process, error):
    real, sizes = localize_module.compute_frames, []

    def work(localizer, start, stop):
        sizes.append(stop - start)
        if stop - start > 4:
            raise error
        return real(localizer, start, stop)

    monkeypatch.setattr(localize_module, "compute_frames", work)
    monkeypatch.setattr(localize_module, "group_frames", lambda movie, device: 3)
    run(files, tmp_path / "o.h5", block_frames=12)
    assert max(sizes) == 12 and sizes[-1] <= 3
    assert (tmp_path / "o.h5").read_bytes() == whole


def test_files_that_are_no_checkpoints(files, whole, tmp_path, monkeypatch, in_process, capsys):
    """Cut short, of another computation, under a false name, or no table at all: computed again."""
    output = tmp_path / "o.h5"
    monkeypatch.setattr(localize_module, "write_table", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        again(files, output)
    monkeypatch.undo()
    monkeypatch.setattr(localize_module, "_connect", lambda *_: nullcontext(in_process))
    paths = finished(output)
    cut, foreign, renamed, text, empty, *sound = paths
    cut.write_bytes(cut.read_bytes()[:-2000])
    table, metadata = localization_table.read(foreign)
    localization_table.write(foreign, table.iloc[:1], {**metadata, "fingerprint": "another"})
    renamed.unlink()
    shutil.copy(sound[0], renamed)
    text.write_text("not a table")
    empty.write_bytes(b"")
    (paths[0].parent / ".partial-0-1-2-3-000000000-000000003.h5").write_text("half")
    used = again(files, output)
    assert used["computed_frames"] == 5 * BLOCK
    told = [line for line in capsys.readouterr().err.splitlines() if "damaged or of another run" in line]
    assert len(told) == 5
    assert output.read_bytes() == whole and not leftovers(output)


def test_blocks_in_any_order(files, whole, tmp_path, monkeypatch, in_process):
    real = checkpoints.missing_blocks
    monkeypatch.setattr(checkpoints, "missing_blocks", lambda *arguments: real(*arguments)[::-1])
    again(files, tmp_path / "o.h5")
    assert (tmp_path / "o.h5").read_bytes() == whole


def test_two_runs_of_one_table_exclude_each_other(files, whole, tmp_path, in_process):
    output = tmp_path / "o.h5"
    code = f"""if True:
        import sys, time
        from pathlib import Path
        from planeloc.localization.checkpoints import locked_folder
        with locked_folder(Path({str(output)!r})):
            print("locked", flush=True)
            time.sleep(600)"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "locked\n"
    with pytest.raises(
        PlanelocError, match=rf"o\.h5: another run \(process {holder.pid} on .*\) writes this file; wait"
    ):
        again(files, output)
    holder.kill()  # leaves its lock file behind
    holder.wait()
    again(files, output)
    assert output.read_bytes() == whole and not leftovers(output)


def test_old_checkpoints_stay_until_the_table_is_complete(files, tmp_path, monkeypatch, in_process):
    output = tmp_path / "o.h5"
    (old := tmp_path / ".o.h5.parts" / "0123456789abcdef").mkdir(parents=True)
    interrupt(files, output, monkeypatch, after=2)
    assert old.is_dir()
    again(files, output)
    assert not leftovers(output)


def test_a_run_that_goes_on_tells_all_localizations_and_todays_speed(files, tmp_path, monkeypatch, in_process, capsys):
    output = tmp_path / "o.h5"
    interrupt(files, output, monkeypatch, after=4)
    capsys.readouterr()
    used = again(files, output)
    rows = len(localization_table.read(output)[0])
    *_, progress, summary, moved = capsys.readouterr().err.splitlines()
    assert moved.startswith("planeloc: moved during the movie, against ")
    assert progress.startswith("localizing: 22 of 22 frames (100%), ") and progress.endswith(f", {rows} localizations")
    computed = used["computed_frames"]
    assert 0 < computed <= FRAMES - 4 * BLOCK and (used["localizations"], used["frames"]) == (rows, FRAMES)
    assert f"planeloc: {rows} localizations in 22 frames; computed now {computed} frames at " in summary
    assert used["refinement"] == f"compiled ({compiled_library.instructions()})"
    assert {"reading", "network", "maxima", "candidates", "writing"} <= set(used["seconds"])
    assert all(value > 0 for value in used["seconds"].values())
    for name in used["seconds"]:
        assert f"{name} " in summary


def test_a_worker_uses_its_localizer_for_one_block_at_a_time(files, whole, tmp_path, monkeypatch):
    """Workers of a running cluster may have several threads."""
    real, inside, most = localize_module.compute_frames, threading.Semaphore(1), []

    def work(*arguments):
        most.append(inside.acquire(blocking=False))
        time.sleep(0.05)
        try:
            return real(*arguments)
        finally:
            inside.release()

    monkeypatch.setattr(localize_module, "compute_frames", work)
    with Client(processes=False, n_workers=1, threads_per_worker=4, dashboard_address=":0") as client:
        monkeypatch.setattr(localize_module, "_connect", lambda *_: nullcontext(client))
        again(files, tmp_path / "o.h5")
    assert len(most) == BLOCKS and all(most)
    assert (tmp_path / "o.h5").read_bytes() == whole


def test_a_worker_of_another_version_is_refused(files, tmp_path):
    paths = InputPaths(files / "m.json", files / "registration.json", files / "psf.h5", QUADPLANE_WEIGHTS)
    job = Job(paths, LocalizeSettings(threshold=0.1, refine="none", device="cpu", precision="float32"))
    with pytest.raises(PlanelocError, match="the Dask workers run another version of planeloc"):
        localize_module.localize_block(job, -1, str(tmp_path), 0, 3)
    assert not list(tmp_path.iterdir())
