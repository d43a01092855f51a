"""Matches: a trained adapter against its own frozen base, in the same games, paired by seed.

Each game is played three times: base in all seats; the trained model as the civilians, base as the culprits; and the
other way round. A gain is the difference between such games; its interval resamples mysteries, because games of one
mystery have much in common. Taught in notebook 05.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from maro_lib.local import LocalPolicy
from maro_lib.models import Loaded
from maro_lib.rollout import Game, Played, play
from maro_lib.statistics import Mean, bootstrap_mean

NOBODY, BOTH = "nobody", "both"  # who is trained, besides one faction
LINE_UPS = (NOBODY, "civilian", "culprit")


def line_up(trained: LocalPolicy, who: str) -> LocalPolicy | dict[str, LocalPolicy]:
    """Seat the trained model as one faction (or everybody, or nobody), and its base in the other seats."""
    base = trained.with_adapter(False)
    if who in (NOBODY, BOTH):
        return base if who == NOBODY else trained
    return {faction: trained if faction == who else base for faction in ("civilian", "culprit")}


def match(
    games: Sequence[Game], trained: LocalPolicy, *, folder: Path | None = None, line_ups: Sequence[str] = LINE_UPS,
    concurrency: int = 256, progress: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Play the games in each line-up; return a row per line-up and game, with what is needed to compare them."""
    tables = []
    for who in line_ups:
        at = folder / who if folder else None
        played = play(games, line_up(trained, who), folder=at, concurrency=concurrency, progress=progress)
        tables.append(outcomes(played).assign(trained=who))
    return pd.concat(tables, ignore_index=True)


def outcomes(played: Played) -> pd.DataFrame:
    """One row per game: who won, the share of civilians' votes that named a culprit, legal first replies by faction."""
    games = played.table("games", ["game", "order", "script", "winner", "culprits"])
    actions = played.table("actions", ["game", "faction", "kind", "target", "legal", "retry"])
    votes = actions[(actions["kind"] == "vote") & (actions["faction"] == "civilian")].merge(games[["game", "culprits"]])
    votes["right"] = [
        float(target in culprits) for target, culprits in zip(votes["target"], votes["culprits"], strict=True)
    ]
    first = actions[~actions["retry"]]
    legal = first.groupby(["game", "faction"])["legal"].mean().unstack()
    table = games.set_index("game").drop(columns="culprits").assign(civilians_won=lambda g: g["winner"] == "civilian")
    table["right_votes"] = votes.groupby("game")["right"].mean()
    return table.join(legal.add_prefix("legal_")).drop(columns="winner").astype({"civilians_won": float}).reset_index()


def gains(table: pd.DataFrame, seed: int = 0) -> dict[str, Mean]:
    """Return, per trained faction, how many more of the same games it wins than base in its place."""
    won = table.pivot(index="order", columns="trained", values="civilians_won")
    script = table.drop_duplicates("order").set_index("order")["script"].reindex(won.index)
    signs = {"civilian": 1, "culprit": -1}
    return {
        who: bootstrap_mean(sign * (won[who] - won[NOBODY]), seed, groups=script)
        for who, sign in signs.items()
        if who in won
    }


@dataclass(frozen=True)
class QuickGames:
    """A few games during training: each faction in turn is played by the model in training, the other by its base."""

    games: Sequence[Game]
    policy: LocalPolicy
    names = ("legal", "civilians win", "culprits win")

    def __call__(self, loaded: Loaded) -> dict[str, float]:
        trained, half = replace(self.policy, loaded=loaded), len(self.games) // 2
        sides = {"civilian": self.games[:half], "culprit": self.games[half:]}
        found = {who: outcomes(play(games, line_up(trained, who))) for who, games in sides.items()}
        return {
            "legal": sum(table[f"legal_{who}"].mean() for who, table in found.items()) / 2,
            "civilians win": found["civilian"]["civilians_won"].mean(),
            "culprits win": 1 - found["culprit"]["civilians_won"].mean(),
        }
