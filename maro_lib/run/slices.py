"""Playing on Ray: the games that a folder still lacks, in slices, each a task on some core of some machine.

    outputs/<run>/.rollout-<k>/     what slice k has played; taken over into rollout/ when all have ended

A local Ray by default, the cluster that RAY_ADDRESS names otherwise (`maro_lib.run.cluster`). A game's course does not
depend on who plays beside it, so the tables are those of one process. A slice whose worker or node is lost is played
elsewhere, from what its folder holds; a killed call goes on likewise. Where nodes share no disk, whole slices are kept
under an address that all of them reach: whatever fsspec knows. `play` then finds all games played. Used in notebook 02.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maro_lib.model.ahead import Seat, Share, adopt_shares, games_left, shared_out
from maro_lib.model.players import Opposed
from maro_lib.play.policies import Policy
from maro_lib.play.rollout import Game, games_digest
from maro_lib.progress import Bar
from maro_lib.run.cluster import check_nodes, check_room, joined, marked
from maro_lib.run.on_ray import OMP, RETRIES, Surroundings, error_of, stop
from maro_lib.runs import RunError

OVER = "played"  # a slice under an address is whole when this stands beside its shards


@dataclass(frozen=True)
class Slices:
    """How games are cut, and what each slice asks of a machine; every field is a parameter of notebook 02."""

    n_slices: int
    slice_gpus: float = 0.0
    slices_at: str = ""
    cpus: float = 1.0

    @property
    def gpus(self) -> float:
        return self.slice_gpus


def play_slices(
    games: Sequence[Game], player: Seat, players: Policy | Opposed, folder: Path, slices: Slices, *,
    concurrency: int = 32, progress: bool = False,
) -> None:  # fmt: skip
    """Play the games that a folder still lacks on Ray; nothing is done where no slices are asked for."""
    left = games_left(games, players, folder) if slices.n_slices else []
    if not left:
        return
    shares = shared_out(left, min(slices.n_slices, len(left)), player, folder, concurrency)
    names = [games_digest(share.games, players) for share in shares]
    with joined() as nodes, marked(folder.parent) as marker:
        check_room(slices, nodes, "slice")
        check_nodes(slices, nodes, [] if slices.slices_at else [marker, str(Path.cwd())])
        tasks = dict(zip(_submitted(shares, names, slices), shares, strict=True))
        try:
            with Bar(len(games), "game", shown=progress, initial=len(games) - len(left)) as bar:
                for ref in _as_they_end([*tasks]):
                    bar.update(len(tasks[ref].games))
        finally:
            stop([*tasks])
    if slices.slices_at:
        for share, name in zip(shares, names, strict=True):
            fetch(slices.slices_at, name, share.folder)
    adopt_shares(shares, games, players, folder)
    if slices.slices_at:
        for name in names:
            forget(slices.slices_at, name)


def _submitted(shares: Sequence[Share], names: Sequence[str], slices: Slices) -> list[Any]:
    import ray

    task = ray.remote(num_cpus=slices.cpus, num_gpus=slices.gpus, max_retries=RETRIES)(play_slice)
    surroundings = Surroundings(os.environ.get(OMP) or "1")
    return [
        task.options(name=f"slice {k}").remote(share, slices.slices_at, name, surroundings)
        for k, (share, name) in enumerate(zip(shares, names, strict=True))
    ]


def _as_they_end(refs: Sequence[Any]) -> Iterator[Any]:
    """Yield slices as they end; the first error ends all."""
    import ray

    waiting = [*refs]
    while waiting:
        (ready,), waiting = ray.wait(waiting, num_returns=1)
        if error := error_of(ready):
            raise RunError(f"a slice of the games: {error}. What was played is kept; the same command goes on")
        yield ready


def play_slice(share: Share, at: str, name: str, surroundings: Surroundings) -> None:
    """Play a slice in a worker of Ray: into its folder, or from a folder of the node's to an address."""
    if not at:
        surroundings.enter()
        share(lambda _: None)
        return
    os.environ[OMP] = surroundings.threads
    system, place = _place(at, name)
    if system.exists(f"{place}/{OVER}"):
        return
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder) / "games"
        replace(share, folder=here)(lambda _: None)
        forget(at, name)  # of one that was cut short
        system.makedirs(place)
        system.put(f"{here}/", f"{place}/", recursive=True)
        system.touch(f"{place}/{OVER}")


def fetch(at: str, name: str, folder: Path) -> None:
    """Copy a slice from an address into a folder here."""
    system, place = _place(at, name)
    system.get(f"{place}/", f"{folder}/", recursive=True)


def forget(at: str, name: str) -> None:
    """Remove a slice from an address."""
    system, place = _place(at, name)
    if system.exists(place):
        system.rm(place, recursive=True)


def _place(at: str, name: str) -> tuple[Any, str]:
    """Return the file system of an address, and a slice's place in it."""
    from fsspec.core import url_to_fs

    system, root = url_to_fs(at)
    return system, f"{root.rstrip('/')}/{name}"
