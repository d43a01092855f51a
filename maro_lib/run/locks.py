"""Who has a run's folder: one process and its kernels at a time writes there, and nobody while others read it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from typing import IO

from maro_lib.runs import RunError, make_folder, run_folder, shown

HELD_OPEN = "MARO_LOCK"  # in the environment: the number of the open file that locks the run's folder, for its kernels
KERNEL_ENDS = 3.0  # seconds in which the kernel of a process that was killed ends


@contextlib.contextmanager
def held(run: str, patience: float = KERNEL_ENDS) -> Iterator[None]:
    """Keep a run's folder to this process and its kernels; the system lets go of it when all have ended, however."""
    folder = run_folder(run)
    make_folder(folder)
    with open(folder / ".lock", "a+") as file:
        if not _locked(file, patience):
            file.seek(0)
            raise RunError(f"{shown(folder)} is in use by {file.read().strip()}; wait until it ends, or stop it, "
                           "or give this run another name (`run:` in its parameter file)")  # fmt: skip
        file.truncate(0)
        file.write(f"process {os.getpid()}, started {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        file.flush()
        with _told_to_kernels(file.fileno()):
            yield


def _locked(file: IO[str], patience: float) -> bool:
    """Lock a file, also one that is let go of within some seconds; say whether it worked."""
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.1)


@contextlib.contextmanager
def _told_to_kernels(lock: int) -> Iterator[None]:
    """Let kernels hold the innermost lock of this process too."""
    outer = os.environ.get(HELD_OPEN)
    os.environ[HELD_OPEN] = str(lock)
    try:
        yield
    finally:
        del os.environ[HELD_OPEN]
        os.environ |= {HELD_OPEN: outer} if outer else {}


@contextlib.contextmanager
def reading(run: str) -> Iterator[None]:
    """Keep a run from being run while another one takes its stages over; nothing of it is written."""
    lock = run_folder(run) / ".lock" if run else None
    if lock is None or not lock.exists():
        yield
        return
    with open(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"from_run: {shown(lock.parent)} is in use by {file.read().strip()}; wait until it ends, or "
                           "stop it") from None  # fmt: skip
        yield
