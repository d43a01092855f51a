"""Across worlds: what was learned in one, played in all of them; a row of the transfer matrix.

In each world a trained player takes the seats of one party, then of everybody, beside its own base; and of one party
beside players who are greedy by rule, where the world has such. Base takes the same seats in the same games, so every
change is paired by game. In dilemmas "better" is several numbers, which can move apart: they stand side by side.

Taught in notebook 15; params/sweeps/worlds.yaml trains in each world and plays in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from maro_lib.measure.encounters import change, encounter, parties_of
from maro_lib.play.gamebook import HELD_OUT
from maro_lib.play.policies import Policy, Styled
from maro_lib.play.pool import played_once
from maro_lib.play.rollout import Game, games_digest, schedule
from maro_lib.study.maps import GOALS
from maro_lib.worlds.registry import find_world, scenarios

PARTY, EVERYBODY = "one party", "everybody"  # who is trained: in turn a side, a role, or one seat; or all seats
GREEDY = "greedy"
MEASURES = {  # of `encounters.TOLD`, as they are called in a matrix; by what they are multiplied
    "success": (GOALS, 100), "payoff": ("own payoff", 1), "others": ("payoff of the others", 1),
    "welfare": ("payoff of all", 1), "equality": ("equality", 100), "legal": ("legal replies", 100),
}  # fmt: skip
COLUMNS = ["learned", "world", "who", "measure", "change", "low", "high", "n", "base", "trained"]
Met = Mapping[tuple[str, str], pd.DataFrame]  # (who, beside whom) -> a row per game


def held_out(world: str, n_games: int, n_scenarios: int, seed: int, **how: Any) -> list[Game]:
    """Games of a world, in scenarios that no run of this seed learns from."""
    return schedule(scenarios(world, n_scenarios, seed + HELD_OUT, **how), n_games, seed + HELD_OUT)


def meet(
    games: Sequence[Game], player: Policy, base: Policy, folder: Path, *, pool: Path | None = None, **how: Any
) -> dict[tuple[str, str], pd.DataFrame]:
    """Play the games with a player in each party's seats, and in all; what the parties of one table got is averaged.

    `pool` is where runs that are compared with the same base in the same games share them.
    """
    script, digest, found = games[0].script, games_digest(games, player), {}
    for party, seats in parties_of(script).items():
        who = EVERYBODY if len(seats) == len(script.names) else PARTY
        for beside in companies(script.world) if who == PARTY else ("",):
            others, name = Styled(GREEDY) if beside else base, f"{beside or 'base'}-{party}".replace(" ", "_")
            with played_once(folder / name, pool, f"{digest}-{name}"):
                met = encounter(games, player, others, party, folder=folder / name, **how)
            found.setdefault((who, beside), []).append(met)
    return {key: _averaged(tables) for key, tables in found.items()}


def companies(world: str) -> tuple[str, ...]:
    """Beside whom players are measured in a world: their base, and greedy ones where it has any."""
    return ("", GREEDY) if GREEDY in getattr(find_world(world), "styles", ()) else ("",)


def _averaged(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return a row per game: the mean over the parties in whose seats somebody played it."""
    return pd.concat(tables).groupby(["order", "script"], as_index=False).mean()


def changes(learned: str, world: str, trained: Met, base: Met, seed: int = 0) -> pd.DataFrame:
    """Return a row per measure: how much it changed, paired by game, when the trained one took base's seats."""
    return pd.DataFrame(_changes(learned, world, trained, base, seed), columns=COLUMNS)


def _changes(learned: str, world: str, trained: Met, base: Met, seed: int) -> Iterator[tuple]:
    for (who, beside), table in trained.items():
        without = base[who, beside]
        for column, (name, times) in MEASURES.items():
            if (found := change(table, without, column, seed)).n:
                numbers = (found.mean, found.low, found.high, without[column].mean(), table[column].mean())
                mean, low, high, before, after = (times * x for x in numbers)
                yield learned, world, who, _named(name, beside), mean, low, high, found.n, before, after


def _named(measure: str, beside: str) -> str:
    return f"{measure}, beside {beside} ones" if beside else measure
