"""The Ray that trials and slices run on: found or started, and looked at before anything runs.

All nodes that have room for one must have this package as it is here, with the same versions below it, and see what it
reads and writes under the same paths. Used by `maro_lib.run.on_ray` and `maro_lib.run.slices`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from maro_lib.fingerprints import PACKAGE, digest, files_of
from maro_lib.provenance import versions
from maro_lib.runs import RunError, make_folder, shown
from maro_lib.wording import counted, first_line

ADDRESS = "RAY_ADDRESS"
ANSWER = 5  # seconds that a cluster has to take a call
LOOK = 60  # seconds that a node has to start a worker and look around
# Said before Ray is imported: it reports its use to nobody, and a task that memory ran out for is not tried for ever.
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_task_oom_retries": "3"}
QUIET = {"logging_level": "ERROR", "log_to_driver": False}
SMALL = {"include_dashboard": False, "object_store_memory": 100_000_000}  # nothing large is sent


class Need(Protocol):
    """What a trial or a slice asks for: a sweep's file, say."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, or a part of one."""

    id: str
    name: str
    cpus: float
    gpus: float

    def places(self, asked: Need) -> int:
        """Return how many it has room for."""
        free = [(self.cpus, asked.cpus), (self.gpus, asked.gpus)]
        return min(int(has / wanted + 1e-6) for has, wanted in free if wanted)


@contextlib.contextmanager
def joined() -> Iterator[list[Node]]:
    """Yield the nodes of the cluster that RAY_ADDRESS names, or of a Ray on this machine that ends with the sweep."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    with contextlib.ExitStack() as stack:
        if os.environ.get(ADDRESS):
            check_answer(os.environ[ADDRESS])
            start = partial(ray.init, **QUIET)
        else:  # the folder's name is short: Ray makes sockets in it
            folder = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
            start = partial(ray.init, "local", _temp_dir=stack.enter_context(folder), **QUIET, **SMALL)
        stack.callback(ray.shutdown)
        _started(start)
        yield [_node(told) for told in ray.nodes() if told["Alive"]]


def _started(start: Callable[[], object]) -> None:
    import ray

    try:
        start()
    except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
        where = f"{ADDRESS}={os.environ[ADDRESS]}" if os.environ.get(ADDRESS) else "a Ray on this machine"
        raise RunError(f"{where}: can't be used: {first_line(error)}") from None


def _node(told: Mapping[str, Any]) -> Node:
    name = f"{told['NodeName']} ({told['NodeManagerHostname']}, {told['NodeID'][:6]})"
    return Node(told["NodeID"], name, told["Resources"].get("CPU", 0), told["Resources"].get("GPU", 0))


def check_answer(address: str) -> None:
    """Refuse an address where nobody takes a call: Ray itself would try for a minute, then end the process."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdecimal():  # `auto`, or what Ray refuses at once
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()
    except (OSError, OverflowError) as error:
        raise RunError(f"{ADDRESS}={address}: nobody answers there ({error}); start one (`ray start --head`), or unset "
                       f"{ADDRESS} to use this machine alone") from None  # fmt: skip


def amounts(nodes: Sequence[Node]) -> str:
    """Say what there is: 2 nodes, 8 CPUs, 1 GPU."""
    sums = (("CPU", sum(node.cpus for node in nodes)), ("GPU", sum(node.gpus for node in nodes)))
    parts = [f"{n:g} {kind}{'s' if n != 1 else ''}" for kind, n in sums if n]
    return ", ".join([counted(len(nodes), "node"), *parts])


def places(asked: Need, nodes: Sequence[Node]) -> int:
    """Return how many run at a time."""
    return sum(node.places(asked) for node in nodes)


def check_room(asked: Need, nodes: Sequence[Node], what: str = "trial") -> None:
    """Refuse what no node can hold: Ray would wait for one without end."""
    for kind, wanted, most in (
        ("cpus", asked.cpus, max((node.cpus for node in nodes), default=0)),
        ("gpus", asked.gpus, max((node.gpus for node in nodes), default=0)),
    ):
        if wanted > 1 and wanted % 1:
            raise RunError(f"{kind}: {wanted:g}; Ray gives parts of one, or whole ones")
        if wanted > most:
            raise RunError(f"{kind}: a {what} asks for {wanted:g}, and no node of Ray has more than {most:g}; lower it "
                           "in the parameter file, or start a node that has more")  # fmt: skip
    if not places(asked, nodes):
        raise RunError(f"a {what} asks for {asked.cpus:g} CPUs and {asked.gpus:g} GPUs, and no node of Ray has both; "
                       "lower one in the parameter file, or start a node that has them")  # fmt: skip


# --- what every node must have -------------------------------------------------------------------------


@contextlib.contextmanager
def marked(folder: Path) -> Iterator[str]:
    """Yield a file in a folder, by which nodes that share the folder are known."""
    make_folder(folder)
    with tempfile.NamedTemporaryFile(prefix=".seen-", dir=folder) as marker:
        yield marker.name


def check_nodes(asked: Need, nodes: Sequence[Node], paths: Sequence[str]) -> None:
    """Let every node that has room look around, and refuse all if one of them couldn't do the work."""
    import ray

    refs = {_looking(node, paths): node for node in nodes if node.places(asked)}
    ray.wait([*refs], num_returns=len(refs), timeout=LOOK)
    problems = [f"node {node.name}: {problem}" for ref, node in refs.items() if (problem := _problem(ref))]
    if problems:
        raise RunError("\n".join(problems))


def _looking(node: Node, paths: Sequence[str]) -> Any:
    """Ask a node what it has of this package, and which paths it does not see."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def look() -> tuple[dict[str, str], list[str]]:  # sent as it is written here: it may run where no package is
        import os

        unseen = [path for path in paths if not os.path.exists(path)]
        try:
            from maro_lib.run.cluster import state
        except ImportError as error:
            return {"error": str(error)}, unseen
        return state(), unseen

    there = NodeAffinitySchedulingStrategy(node.id, soft=False)
    return ray.remote(num_cpus=0, max_retries=1, scheduling_strategy=there)(look).remote()


def state() -> dict[str, str]:
    """Return what decides a result, of this package and of those below it."""
    files = [path for path in files_of(PACKAGE) if "__pycache__" not in path.parts]
    return versions() | {"maro_lib": digest(files, PACKAGE)}


def _problem(ref: Any) -> str:
    """Say what is wrong with a node; nothing when it can run trials."""
    import ray

    try:
        there, unseen = ray.get(ref, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return f"did not answer within {LOOK} s"
    except ray.exceptions.RayError as error:
        return f"can't run anything; Ray says: {first_line(error)}"
    here = state()
    if "error" in there:
        return f"has not this package ({there['error']}); install it there as here"
    if differing := [name for name in here if there.get(name) != here[name]]:
        return f"differs in {', '.join(map(partial(_difference, here, there), differing))}; install it there as here"
    if unseen:
        return f"does not see {', '.join(_called(Path(path)) for path in unseen)}; share it under the same path"
    return ""


def _difference(here: Mapping[str, str], there: Mapping[str, str], name: str) -> str:
    return "the files of maro_lib" if name == "maro_lib" else f"{name} ({there.get(name, 'none')}; here {here[name]})"


def _called(path: Path) -> str:
    """Name a path that is looked for by what it stands for."""
    return f"the outputs ({shown(path.parent)})" if path.name.startswith(".seen-") else str(path)
