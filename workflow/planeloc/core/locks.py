"""One run at a time for one output: a lock of the operating system, or a lease where a file system has none.

A lock ends with the process that holds it, however that ends. A lease is a file that its holder touches every few
seconds (`HEARTBEAT_S`); one that was not touched for `STALE_S`, or whose process on this computer has ended, is taken
over. Locks and leases are made beside the output, and never through a symbolic link.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from planeloc.core.errors import PlanelocError
from planeloc.core.files import host, is_running, unreadable

HEARTBEAT_S = 5.0
STALE_S = 60.0  # network disks show a change after some seconds; a computer may be busy for longer
_SAYS = ("process ", '{"process"')  # how the content of a lock begins


def lock_of(output: Path) -> Path:
    """The lock beside an output, which may be a link to where it really is."""
    output = Path(output).resolve()
    return output.with_name(f".{output.name}.lock")


@contextmanager
def locked(output: Path, lock: Path | None = None) -> Iterator[None]:
    """Hold the lock of `output` until the ``with`` block ends; its file is removed then.

    Parameters
    ----------
    lock : its file, by default beside the output; its folder is made where it is missing, and removed if it is empty.

    Raises
    ------
    PlanelocError : another run holds the lock, something else is in its place, or it cannot be made.
    """
    lock = lock or lock_of(output)
    while True:
        descriptor = _open(lock)
        if descriptor is None:
            continue  # a run that ended removed the folder between the two lines
        with os.fdopen(descriptor, "r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _held(output, file.read()) from None
            except OSError:  # this file system has no locks
                try:
                    with _leased(output, lock.with_name(f"{lock.name}.lease")):
                        try:
                            yield
                        finally:
                            _remove(lock)
                finally:
                    _remove_folder(lock)  # in which the lease was
                return
            if not _is_at(file.fileno(), lock):
                continue  # a run that ended has just removed the locked file
            with suppress(OSError):  # only informs other runs
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}")
                file.flush()
            try:
                yield
            finally:
                _remove(lock)
            return


def _open(lock: Path) -> int | None:
    """Open the file of a lock, made where it is missing; None if its folder was removed meanwhile."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except FileNotFoundError:
        return None
    except OSError as error:
        if lock.is_symlink() or lock.is_dir():
            raise _no_lock(lock) from None
        raise unreadable(lock, error) from None
    status = os.fstat(descriptor)
    said = os.pread(descriptor, 16, 0).decode("utf-8", "replace") if stat.S_ISREG(status.st_mode) else "?"
    if said and not said.startswith(_SAYS):
        os.close(descriptor)
        raise _no_lock(lock)
    return descriptor


def _no_lock(lock: Path) -> PlanelocError:
    return PlanelocError(f"{lock}: is in the place of the lock and not planeloc's; move it away")


def _held(output: Path, holder: str) -> PlanelocError:
    return PlanelocError(f"{output}: another run ({holder or 'just started'}) writes this file; wait for it or stop it")


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _remove(lock: Path) -> None:
    with suppress(OSError):
        lock.unlink()
    _remove_folder(lock)


def _remove_folder(lock: Path) -> None:
    if lock.parent.name.startswith("."):  # made for the lock
        with suppress(OSError):
            lock.parent.rmdir()


@contextmanager
def _leased(output: Path, lease: Path) -> Iterator[None]:
    """Hold a lease, and keep it fresh in a thread of its own."""
    mine = {"process": os.getpid(), "computer": socket.gethostname(), "kernel": host(), "token": secrets.token_hex(8)}
    while not _created(lease, mine):
        _take_over(output, lease)
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(lease, ended), daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        if _read(lease) == mine:
            lease.unlink(missing_ok=True)


def _created(lease: Path, mine: dict[str, Any]) -> bool:
    """Whether the lease is now ours. Its file appears with its content: it is linked from a complete one."""
    complete = lease.with_name(f"{lease.name}-{mine['token']}")
    complete.write_text(json.dumps(mine), encoding="utf-8")
    try:
        os.link(complete, lease, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError:  # no hard links either
        try:
            with lease.open("x", encoding="utf-8") as file:
                json.dump(mine, file)
        except FileExistsError:
            return False
    finally:
        complete.unlink(missing_ok=True)
    return True


def _take_over(output: Path, lease: Path) -> None:
    """Remove the lease of a run that has ended; raise a `PlanelocError` if it goes on, or may go on."""
    if lease.is_symlink():
        raise _no_lock(lease)
    holder = _read(lease)
    if holder is None:
        raise _no_lock(lease)
    if not holder:
        return  # it has just been removed
    told = f"process {holder.get('process')} on {holder.get('computer')}"
    here = holder.get("kernel") == host()
    # The number of a process that ended may be another one's now: on this computer, too, a lease must be fresh.
    if _age_s(lease) <= STALE_S and (not here or is_running(int(holder.get("process", 0)))):
        raise _held(output, told)
    aside = lease.with_name(f"{lease.name}-{secrets.token_hex(8)}")
    with suppress(FileNotFoundError):  # another run was faster
        lease.rename(aside)
        if _read(aside) != holder:  # it had been renewed meanwhile: it is another one's
            with suppress(OSError):
                os.link(aside, lease)
        aside.unlink()


def _read(lease: Path) -> dict[str, Any] | None:
    """The content of a lease; empty if there is none, None if it is something else."""
    for _ in range(20):  # without hard links, it is empty for a moment
        try:
            text = lease.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            return None
        if text:
            break
        time.sleep(0.05)
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) and "process" in content else None


def _age_s(lease: Path) -> float:
    """Seconds since a lease was touched, by the clock of the file system, which is not this computer's."""
    now = lease.with_name(f"{lease.name}-{secrets.token_hex(8)}")
    try:
        now.touch()
        return now.stat().st_mtime - lease.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    finally:
        now.unlink(missing_ok=True)


def _beat(lease: Path, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_S):
        with suppress(OSError):
            os.utime(lease, follow_symlinks=False)
