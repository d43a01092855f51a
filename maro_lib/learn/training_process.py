"""One of the processes that train together: what `accelerate launch` starts, several times, for `launch`.

Standard input is a pipe whose other end only the caller of `launch` holds. When it closes, the caller is done with us,
or gone (`kill -9` included), and so is this process.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from maro_lib.runs import write_atomic

if TYPE_CHECKING:
    import pandas as pd

DEPTH = 5  # calls that are shown of an error
REPORTED = ("objective", "margin", "z0", "kl", "legal", "civilians win", "culprits win")


def take_part(inputs: Path) -> None:
    """Take part in the training that lies in a folder; leave there what went wrong."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, write_through=False)  # whole lines: there are several writers
    threading.Thread(target=_end_with_caller, daemon=True).start()
    try:
        _train(inputs)
    except Exception as error:
        write_atomic(inputs / f"failed.{os.environ['RANK']}", _words(error))
        sys.exit(1)


def _words(error: Exception) -> str:
    """What is to be read of an error: the message of one of ours, which says all; else where it came from, too."""
    if type(error).__module__.startswith("maro_lib."):
        return f"{type(error).__name__}: {error}"
    return "".join(traceback.format_exception(error, limit=-DEPTH))


def _end_with_caller() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)  # at once: the main thread may be waiting for a process that is gone


def _train(inputs: Path) -> None:
    from accelerate import PartialState  # from here on it takes seconds, in which the caller may already be gone

    from maro_lib.learn.launching import Job
    from maro_lib.learn.training import train
    from maro_lib.model.loading import best_device, load

    job = Job.read(inputs)
    here = PartialState(cpu=(device := best_device()) == "cpu")
    if device != "cpu":
        device = str(here.device)  # cuda:0, cuda:1, ...
    sharded = os.environ.get("ACCELERATE_USE_FSDP") == "true"
    loaded = load(job.model, precision=job.precision, adapter=job.adapter, device=device, sharded=sharded)
    train(loaded, job.corpus, job.settings, job.folder, watch=job.watch, live=Teller())
    here.destroy_process_group()


class Teller:
    """Says each step's numbers once."""

    def __init__(self) -> None:
        self.step = 0

    def __call__(self, curve: pd.DataFrame) -> None:
        newest = curve.iloc[-1].dropna()
        if newest["step"] > self.step:
            self.step = newest["step"]
            told = [f"{name} {newest[name]:.3f}" for name in REPORTED if name in newest]
            print(f"step {self.step:.0f}: {', '.join(told)}", flush=True)


if __name__ == "__main__":
    take_part(Path(sys.argv[1]))
