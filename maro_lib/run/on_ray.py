"""A sweep on Ray: each branch is a task that waits for its parent, as many at a time as there is room for.

A local Ray by default, the cluster that RAY_ADDRESS names otherwise (`maro_lib.run.cluster`). Ray alone decides what
runs when and where. A task whose worker or node is lost is started again elsewhere, and goes on from what the run's
folder holds; an error of a notebook's own is not tried again. What a worker says lies in its run's folder as log.txt.
Ray is an extra, installed by `pip install -e '.[ray]'`. Used by `maro_lib.run.sweep`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from maro_lib.run.arrangement import Series
from maro_lib.run.cluster import Node, amounts, check_nodes, check_room, joined, marked, places
from maro_lib.run.prefixes import Branch
from maro_lib.run.sweep_file import Sweep
from maro_lib.runs import make_folder, outputs_folder, run_folder
from maro_lib.wording import first_line

LOG = "log.txt"
RETRIES = 3  # of a task whose worker or node was lost
STOPPING = 20  # seconds in which what runs may stop its kernels
OMP = "OMP_NUM_THREADS"
RunBranch = Callable[[Series, Branch], str]


class Executor(NamedTuple):
    """What runs the branches of a sweep."""

    name: str  # as it is said
    at_a_time: int
    outcomes: Iterator[tuple[Branch, str]]  # each branch with its error, as they end


@dataclass(frozen=True)
class Surroundings:
    """What a worker needs of the process that started the sweep."""

    threads: str  # of a trial
    folder: str = field(default_factory=os.getcwd)
    outputs: str = field(default_factory=lambda: str(outputs_folder()))

    def enter(self) -> None:
        os.chdir(self.folder)
        os.environ |= {"MARO_OUTPUTS": self.outputs, OMP: self.threads}


def has_ray() -> bool:
    return find_spec("ray") is not None


@contextlib.contextmanager
def on_ray(sweep: Sweep, work: RunBranch) -> Iterator[Executor]:
    """Yield what runs a sweep on Ray; whatever still runs at the end is stopped."""
    threads = os.environ.get(OMP) or str(max(1, int(sweep.file.cpus)))  # before Ray sets its own
    with joined() as nodes:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ray put its own in the place of the sweep's
        check_room(sweep.file, nodes)
        with marked(run_folder(sweep.name)) as marker:
            check_nodes(sweep.file, nodes, [marker, str(sweep.notebooks[0]), str(Path.cwd())])
        tasks = submitted(sweep, work, Surroundings(threads))
        try:
            yield Executor(_name(sweep, nodes), places(sweep.file, nodes), as_they_end(tasks))
        finally:
            stop([*tasks])


def _name(sweep: Sweep, nodes: Sequence[Node]) -> str:
    return f"on Ray: {amounts(nodes)}, up to {places(sweep.file, nodes)} trials at a time"


def submitted(sweep: Sweep, work: RunBranch, surroundings: Surroundings) -> dict[Any, Branch]:
    """Hand all branches to Ray; a child is given its parent's error, which is how it waits for it."""
    import ray

    task = ray.remote(num_cpus=sweep.file.cpus, num_gpus=sweep.file.gpus, max_retries=RETRIES)(run_task)
    refs: dict[str, Any] = {}
    for branch in sweep.branches:
        named = task.options(name=branch.name)
        refs[branch.name] = named.remote(work, sweep.series(branch), branch, surroundings, refs.get(branch.parent, ""))
    return {refs[branch.name]: branch for branch in sweep.branches}


def as_they_end(tasks: Mapping[Any, Branch]) -> Iterator[tuple[Branch, str]]:
    """Yield each branch with its error, as they end; a branch whose parent failed has its parent's."""
    import ray

    waiting = [*tasks]
    while waiting:
        (ready,), waiting = ray.wait(waiting, num_returns=1)
        yield tasks[ready], error_of(ready)


def stop(refs: Sequence[Any]) -> None:
    """Interrupt what runs, forget what waits, and give kernels the time to end."""
    import ray

    for ref in refs:
        ray.cancel(ref)
    ray.wait([*refs], num_returns=len(refs), timeout=STOPPING)


def run_task(work: RunBranch, series: Series, branch: Branch, surroundings: Surroundings, parent_s_error: str) -> str:
    """Run a branch in a worker of Ray; return its error, or nothing."""
    if parent_s_error:
        return parent_s_error
    surroundings.enter()
    with logged(run_folder(series.run)):
        error = work(series, branch)
    return f"{branch.name}: {error}" if error and not branch.is_trial else error


@contextlib.contextmanager
def logged(folder: Path) -> Iterator[None]:
    """Write what is said into a run's log."""
    make_folder(folder)
    with open(folder / LOG, "a", encoding="utf-8") as log:
        print(f"== {time.strftime('%Y-%m-%d %H:%M:%S')}, process {os.getpid()}", file=log, flush=True)
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield


def error_of(ref: Any) -> str:
    """Return a task's error; what Ray itself says of one that was lost is an error of that branch."""
    import ray

    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        return f"{type(error.cause).__name__}: {first_line(error.cause)}"
    except ray.exceptions.RayError as error:
        return f"its worker or node was lost, and {RETRIES} more after it; Ray says: {first_line(error)}"
