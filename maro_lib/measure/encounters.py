"""One player in another's place, in any world: who gains, who pays, and what becomes of all.

A player takes the seats of one party in games that are also played without it; the rest of the table stays who it was.
A party is a side; a role where there are no sides; one seat where all are alike; and without sides all seats, too. In
dilemmas "better" has several meanings, which can move apart: the own payoff, success by the world's rule, what all got
together, how equally, and what the others got. Taught in notebook 14.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from maro_lib.play.policies import Policy
from maro_lib.play.rollout import Game, Played, factions_of, play, roles_of
from maro_lib.statistics import Mean, bootstrap_mean
from maro_lib.wording import check_name
from maro_lib.world.scripts import Script
from maro_lib.world.setups import Scenario

ONE, ALL = "one seat", "all seats"
TOLD = {
    "success": "reached the goal", "payoff": "own payoff", "others": "payoff of the others",
    "welfare": "payoff of all together", "equality": "equality of payoffs (1: all got the same)",
    "legal": "legal first replies",
}  # fmt: skip


def parties_of(script: Script | Scenario) -> dict[str, tuple[int, ...]]:
    """Return the seats of each party of a script; where no sides are opposed, all of them are one, too."""
    sides, everybody = factions_of(script), {ALL: tuple(range(len(script.names)))}
    groups = sides or (roles if len(roles := roles_of(script)) > 1 else [])
    seats = {g: tuple(i for i, c in enumerate(script.characters) if g in (c.faction, c.role)) for g in groups}
    return (seats or {ONE: (0,)}) | ({} if sides else everybody)


def encounter(
    games: Sequence[Game], player: Policy, others: Policy, party: str, *, folder: Path | None = None,
    concurrency: int = 32,
) -> pd.DataFrame:  # fmt: skip
    """Play games with a player in a party's seats and others in the rest; return a row per game."""
    for game in games[:1]:
        check_name("party", party, parties_of(game.script))

    def seated(game: Game) -> dict[str, Policy]:
        mine = parties_of(game.script)[party]
        return {name: player if i in mine else others for i, name in enumerate(game.script.names)}

    return _told_of(play(games, seated, folder=folder, concurrency=concurrency), games, party)


def _told_of(played: Played, games: Sequence[Game], party: str) -> pd.DataFrame:
    """Return a row per game: each measure of `TOLD`, for the seats of a party."""
    seats = {game.order: parties_of(game.script)[party] for game in games}
    table = played.table("games", ["order", "script", "success", "payoffs"])
    rows = [_row(seats[g.order], *(np.asarray(x, float) for x in (g.success, g.payoffs))) for g in table.itertuples()]
    actions = played.table("actions", ["order", "seat", "legal", "retry"])
    pairs = zip(actions["order"], actions["seat"], strict=True)
    own = np.array([seat in seats[order] for order, seat in pairs], bool)
    legal = actions[own & ~actions["retry"]].groupby("order")["legal"].mean()
    return pd.DataFrame(rows).assign(order=table["order"], script=table["script"], legal=table["order"].map(legal))


def _row(mine: tuple[int, ...], success: np.ndarray, payoffs: np.ndarray) -> dict[str, float]:
    own = np.isin(np.arange(payoffs.size), mine)
    return {"success": success[own].mean(), "payoff": payoffs[own].mean(), "welfare": payoffs.sum(),
            "others": payoffs[~own].mean() if (~own).any() else np.nan, "equality": equality(payoffs)}  # fmt: skip


def equality(payoffs: np.ndarray) -> float:
    """Return 1 - Gini of payoffs, shifted to begin at 0 if some are below it; 1 where all got the same."""
    x = np.sort(payoffs - min(payoffs.min(), 0.0))
    if x.size < 2 or not x.sum():
        return 1.0
    gini = 2 * (np.arange(1, x.size + 1) * x).sum() / (x.size * x.sum()) - (x.size + 1) / x.size
    return float(1 - gini * x.size / (x.size - 1))


def change(with_player: pd.DataFrame, without: pd.DataFrame, measure: str, seed: int = 0) -> Mean:
    """Return how much a measure changed, paired by game; intervals resample scripts, or games where there is one."""
    check_name("measure", measure, TOLD)
    both = with_player.merge(without, on="order", suffixes=("", "_without"))
    both = both[both[measure].notna() & both[f"{measure}_without"].notna()]
    groups = both["script"] if both["script"].nunique() > 1 else both["order"]
    return bootstrap_mean((both[measure] - both[f"{measure}_without"]).to_numpy(), seed, groups=groups.to_numpy())
