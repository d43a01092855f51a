"""Ahead: where a small model plays, a run's games are played in several processes; `play` then finds them done.

Each process plays a share of the games into a folder of its own, beside that of the run, and resumes there when it was
killed. A game's course does not depend on who plays beside it, but for rounding. Used in notebook 02.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from maro_lib.model.players import Opposed
from maro_lib.play.policies import Policy
from maro_lib.play.rollout import Game, Seating, games_folder, play
from maro_lib.progress import Bar
from maro_lib.side_by_side import Tell, run_tasks

WORTH = 8  # games: a process takes seconds to start


class Seat(Protocol):
    """Who plays, as data that another process makes players of."""

    def seated(self) -> AbstractContextManager[Seating]: ...

    def sharing(self, share: float) -> Seat: ...


@dataclass(frozen=True)
class Share:
    """Some games of a run, as another process plays them."""

    games: Sequence[Game]
    player: Seat
    folder: Path
    concurrency: int = 32

    def __call__(self, tell: Tell) -> None:
        with self.player.seated() as players:
            play(self.games, players, folder=self.folder, concurrency=self.concurrency, on_step=tell)


def play_all(shares: Sequence[Share], n_processes: int, n_done: int = 0, progress: bool = False) -> None:
    """Play shares side by side under one bar; together they keep and play at a time what one process would."""
    shares = [
        replace(share, player=share.player.sharing(1 / n_processes), concurrency=-(-share.concurrency // n_processes))
        for share in shares
    ]
    over = dict.fromkeys(range(len(shares)), 0.0)
    with Bar(n_done + sum(len(share.games) for share in shares), "game", shown=progress, initial=n_done) as bar:

        def show(number: int, n_over: float) -> None:
            over[number] = n_over
            bar.reach(n_done + sum(over.values()))

        run_tasks(shares, n_processes, show)


def play_shares(
    games: Sequence[Game], player: Seat, players: Policy | Opposed, folder: Path, *, concurrency: int = 32,
    progress: bool = False,
) -> None:  # fmt: skip
    """Play the games that a folder still lacks, a share in each process; nothing is done where one process is right."""
    loaded = getattr(players.learner if isinstance(players, Opposed) else players, "loaded", None)
    n = loaded.n_side_by_side if loaded else 1
    left = games_left(games, players, folder)
    if n == 1 or len(left) < WORTH * n:
        return
    shares = shared_out(left, n, player, folder, concurrency)
    play_all(shares, n, len(games) - len(left), progress)
    adopt_shares(shares, games, players, folder)


def games_left(games: Sequence[Game], players: Policy | Opposed, folder: Path) -> list[Game]:
    """Return the games that a folder still lacks."""
    with games_folder(games, players, folder) as shards:
        done = shards.done()
    return [game for game in games if game.order not in done]


def shared_out(games: Sequence[Game], n: int, player: Seat, folder: Path, concurrency: int) -> list[Share]:
    """Cut games into shares, each with a folder of its own beside that of all."""
    return [Share(games[k::n], player, folder.with_name(f".{folder.name}-{k}"), concurrency) for k in range(n)]


def adopt_shares(shares: Sequence[Share], games: Sequence[Game], players: Policy | Opposed, folder: Path) -> None:
    """Take what shares have played into the folder of all."""
    with games_folder(games, players, folder) as shards:
        for share in shares:
            shards.adopt(share.folder)
    for leftover in folder.parent.glob(f".{folder.name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)  # what a kill between two of these lines left
