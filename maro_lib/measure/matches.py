"""Matches: a trained adapter against its own frozen base, in the same games, paired by seed.

Each game is played three times: base in all seats; the trained model as the civilians, base as the culprits; and the
other way round. A gain is the difference between such games; its interval resamples mysteries, because games of one
mystery have much in common. A win is by error if the losing side lost a turn or a vote: it gave no legal reply to it,
corrections included. Taught in notebooks 05 and 12.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from maro_lib.measure.metrics import ERRORS_APART, moves_lost, victory
from maro_lib.model.ahead import WORTH, Share, play_all, play_shares
from maro_lib.model.loading import Loaded
from maro_lib.model.local import LocalPolicy
from maro_lib.model.players import NOBODY, Player, line_up
from maro_lib.play.pool import played_once
from maro_lib.play.rollout import Game, Played, Seats, games_digest, play
from maro_lib.statistics import Mean, Points, bootstrap_mean
from maro_lib.world.scripts import FACTIONS

BASE, MARO = "base", "MARO"  # whose adapter plays: nobody's, that of a run's training, or
CONTROL = "shuffled labels"  # that of the same training on the run's dialogues with each other's labels (`balancing`)
LINE_UPS = (NOBODY, "civilian", "culprit")
CONTROL_FOLDER = "control"  # beside those of the line-ups
OTHER = dict(zip(FACTIONS, reversed(FACTIONS), strict=True))
LOST = [f"lost_{faction}" for faction in FACTIONS]
BY_ERROR = "games won by error"
OF_ERRORS = (ERRORS_APART, BY_ERROR)


def match(
    games: Sequence[Game], trained: LocalPolicy, *, folder: Path | None = None, line_ups: Sequence[str] = LINE_UPS,
    concurrency: int = 32, progress: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Play the games in each line-up; return a row per line-up and game, with what is needed to compare them."""
    tables = []
    for who in line_ups:
        at = folder / who if folder else None
        played = play(games, line_up(trained, who), folder=at, concurrency=concurrency, progress=progress)
        tables.append(outcomes(played).assign(trained=who))
    return pd.concat(tables, ignore_index=True)


@dataclass(frozen=True)
class LineUp:
    """Who plays whom, as another process seats them."""

    trained: Player
    who: str

    @contextlib.contextmanager
    def seated(self) -> Iterator[Seats]:
        with self.trained.seated() as policy:
            yield line_up(policy, self.who)

    def sharing(self, share: float) -> LineUp:
        return replace(self, trained=self.trained.sharing(share))


def play_base(
    games: Sequence[Game], player: Player, tuned: Loaded, folder: Path, *, pool: Path | None = None,
    concurrency: int = 32, progress: bool = False,
) -> Played:  # fmt: skip
    """Play the line-up that all contenders are compared with, a small model in several processes.

    `pool` is where runs that are compared with the same base in the same games share them.
    """
    base, folder = line_up(player.playing(tuned), NOBODY), folder / NOBODY
    alone = LineUp(replace(player, adapter=tuned.adapter), NOBODY)
    with played_once(folder, pool, games_digest(games, base)):
        play_shares(games, alone, base, folder, concurrency=concurrency, progress=progress)
        return play(games, base, folder=folder, concurrency=concurrency, progress=progress)


def play_ahead(
    games: Sequence[Game], player: Player, tuned: Loaded, adapters: Mapping[Path, str], *, concurrency: int = 32,
    progress: bool = False,
) -> None:  # fmt: skip
    """Play the trained line-ups of several adapters of a small model side by side, each into its folder.

    `match` finds them played; where a model works in one process at a time, or for few games, nothing is done here.
    """
    n, sides = tuned.n_side_by_side, [who for who in LINE_UPS if who != NOBODY]
    if n == 1 or len(games) * len(sides) * len(adapters) < WORTH * n:
        return
    shares = [
        Share(games, LineUp(replace(player, adapter=adapter), who), folder / who, concurrency)
        for folder, adapter in adapters.items() for who in sides
    ]  # fmt: skip
    play_all(shares, n, progress=progress)


def rematch(
    games: Sequence[Game], player: Player, contenders: Mapping[Path, Loaded], folder: Path, *,
    pool: Path | None = None, concurrency: int = 32, progress: bool = False,
) -> dict[Path, pd.DataFrame]:  # fmt: skip
    """Play base into `folder`, each contender as either faction into its own; return each one's games beside base's."""
    how = {"concurrency": concurrency, "progress": progress}
    tuned = next(iter(contenders.values()))
    base = outcomes(play_base(games, player, tuned, folder, pool=pool, **how)).assign(trained=NOBODY)
    play_ahead(games, player, tuned, {at: loaded.adapter for at, loaded in contenders.items()}, **how)
    sides = [who for who in LINE_UPS if who != NOBODY]
    return {
        at: pd.concat([base, match(games, player.playing(loaded), folder=at, line_ups=sides, **how)], ignore_index=True)
        for at, loaded in contenders.items()
    }


def saved(folder: Path) -> dict[tuple[str, str], Path]:
    """Where the games of a run's matches are, by whose adapter played and as which faction."""
    places = {(BASE, NOBODY): folder / NOBODY}
    for arm, at in ((MARO, folder), (CONTROL, folder / CONTROL_FOLDER)):
        places |= {(arm, who): at / who for who in LINE_UPS if who != NOBODY}
    return {key: place for key, place in places.items() if place.exists()}


def outcomes(played: Played) -> pd.DataFrame:
    """One row per game: who won, Victory, civilians' right votes; by faction, legal replies, what was lost, asking."""
    games = played.table("games", ["game", "order", "script", "seed", "players", "winner", "culprits", "votes"])
    actions = played.table("actions", ["game", "faction", "phase", "kind", "target", "legal", "retry"])
    votes = actions[(actions["kind"] == "vote") & (actions["faction"] == "civilian")].merge(games[["game", "culprits"]])
    votes["right"] = [
        float(target in culprits) for target, culprits in zip(votes["target"], votes["culprits"], strict=True)
    ]
    first, turns = actions[~actions["retry"]], actions[(actions["phase"] == "turn") & actions["legal"]]
    legal = first["legal"].groupby([first["game"], first["faction"]])
    asks = (turns["kind"] == "ask").groupby([turns["game"], turns["faction"]])
    legal, asks = (shares.mean().unstack().reindex(columns=FACTIONS) for shares in (legal, asks))
    lost = moves_lost(actions).groupby([actions["game"], actions["faction"]]).sum().unstack()
    won = (games["winner"] == "civilian").astype(float)
    table = games[["game", "order", "script"]].assign(civilians_won=won, victory=victory(games)).set_index("game")
    table["right_votes"] = votes.groupby("game")["right"].mean()
    for name, by_faction in (("legal", legal), ("lost", lost), ("asks", asks)):
        table = table.join(by_faction.add_prefix(f"{name}_"))
    return table.reset_index()


def games_won(table: pd.DataFrame, who: str) -> pd.Series:
    """Return 1 for each game that a faction won, else 0."""
    return table["civilians_won"] if who == "civilian" else 1 - table["civilians_won"]


def without_errors(table: pd.DataFrame) -> pd.Series:
    """Say of each game whether no side lost a turn or a vote."""
    return table[LOST].sum(axis=1) == 0


def known_measures(table: pd.DataFrame) -> list[str]:
    """Return the measures that a table has the columns for; one kept from before errors were counted lacks theirs."""
    return [name for name in MEASURES if name not in OF_ERRORS or {*LOST} <= {*table}]


# what is compared, game by game, when one faction is trained
MEASURES: Mapping[str, Callable[[pd.DataFrame, str], pd.Series]] = {
    "games won": games_won,
    ERRORS_APART: lambda table, who: games_won(table, who).where(without_errors(table)),
    BY_ERROR: lambda table, who: games_won(table, who) * (table[f"lost_{OTHER[who]}"] > 0),  # the losers'
    "Victory": lambda table, _: table["victory"],  # culprits want less of it
    "right votes": lambda table, _: table["right_votes"],  # the civilians', whoever is trained
    "legal moves": lambda table, who: table[f"legal_{who}"],
    "turns spent asking": lambda table, who: table[f"asks_{who}"],  # the others are spent searching
}


class Compared(NamedTuple):
    """The same games with a faction trained, and with base in its place."""

    trained: Mean
    base: Mean
    change: Mean


def against_base(table: pd.DataFrame, who: str, measure: str = "games won", seed: int = 0) -> Compared:
    """Compare a trained faction with base, paired by game; intervals resample mysteries."""
    games = table.assign(value=MEASURES[measure](table, who))
    values = games.pivot(index="order", columns="trained", values="value")[[who, NOBODY]].dropna()
    script = games.drop_duplicates("order").set_index("order")["script"].reindex(values.index)
    found = (values[who], values[NOBODY], values[who] - values[NOBODY])
    return Compared(*(bootstrap_mean(x, seed, groups=script) for x in found))


def gains(table: pd.DataFrame, seed: int = 0) -> dict[str, Points]:
    """Return, per trained faction, how many more of the same games it wins than base in its place."""
    sides = [who for who in ("civilian", "culprit") if who in set(table["trained"])]
    return {who: Points(**asdict(against_base(table, who, seed=seed).change)) for who in sides}
