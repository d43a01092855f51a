"""A sweep on Ray: each branch is a task that waits for its parent, as many at a time as there is room for.

A local Ray by default, the cluster that RAY_ADDRESS names otherwise; all of its nodes must see the outputs' folder
under the same path, and have this package. Ray alone decides what runs when and where. A task whose worker or node is
lost is started again elsewhere, and goes on from what the run's folder holds. Ray is an extra, installed by
`pip install -e '.[ray]'`, and is imported here only. Used by `maro_lib.run.sweep`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from maro_lib.run.prefixes import Branch
from maro_lib.run.series import Series
from maro_lib.run.sweep_file import Sweep
from maro_lib.runs import RunError, outputs_folder
from maro_lib.wording import first_line

RETRIES = 3  # of a task whose worker or node was lost
Work = Callable[[Series, Branch], str]


def has_ray() -> bool:
    return find_spec("ray") is not None


def outcomes(sweep: Sweep, work: Work) -> Iterator[tuple[Branch, str]]:
    """Yield each branch with its error, as they end; a branch whose parent failed has its parent's."""
    import ray

    with started():
        check_room(sweep, ray.cluster_resources())
        task = ray.remote(num_cpus=sweep.file.cpus, num_gpus=sweep.file.gpus, max_retries=RETRIES)(run_task)
        here, refs = (str(Path.cwd()), str(outputs_folder())), dict[str, Any]()
        for branch in sweep.branches:
            named = task.options(name=branch.name)
            refs[branch.name] = named.remote(work, sweep.series(branch), branch, *here, refs.get(branch.parent, ""))
        waiting = {refs[branch.name]: branch for branch in sweep.branches}
        while waiting:
            (ready,), _ = ray.wait([*waiting], num_returns=1)
            yield waiting.pop(ready), _result(ready)


def run_task(work: Work, series: Series, branch: Branch, folder: str, outputs: str, parent_s_error: str) -> str:
    """Run a branch in a worker of Ray; return its error, or nothing."""
    if parent_s_error:
        return parent_s_error
    os.chdir(folder)
    os.environ["MARO_OUTPUTS"] = outputs
    error = work(series, branch)
    return f"{branch.name}: {error}" if error and not branch.is_trial else error


@contextlib.contextmanager
def started() -> Iterator[None]:
    """Start Ray on this machine, or go to the cluster that RAY_ADDRESS names; end what was started here."""
    import ray

    local = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
    try:
        ray.init(logging_level="ERROR", log_to_driver=False, **local)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RunError(f"RAY_ADDRESS: no Ray answers there ({first_line(error)}); start one, or unset it") from None
    try:
        yield
    finally:
        ray.shutdown()


def check_room(sweep: Sweep, there: dict[str, float]) -> None:
    """Refuse what no node together could hold: Ray would wait for it without end."""
    for kind, wanted in (("CPU", sweep.file.cpus), ("GPU", sweep.file.gpus)):
        if wanted > (free := there.get(kind, 0)):
            raise RunError(f"{kind.lower()}s: a trial asks for {wanted:g}, and Ray has {free:g}; lower it in the "
                           "sweep's file, or start a node that has more")  # fmt: skip


def _result(ref: Any) -> str:
    """Return a task's error; what Ray itself says of one that was lost is an error of that branch."""
    import ray

    try:
        return ray.get(ref)
    except ray.exceptions.RayError as error:
        return f"Ray: {first_line(error)}"
