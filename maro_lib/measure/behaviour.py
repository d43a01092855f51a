"""Behaviour: what players do with their turns, whom they suspect, and whom they condemn.

Shares and means with intervals that resample mysteries. Taught in notebook 06.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from maro_lib.statistics import Mean, bootstrap_mean
from maro_lib.world.scripts import Script

TURNS = ("asks", "finds evidence", "finds a red herring", "loses the turn")
ENDS = ("a culprit is condemned", "an innocent is condemned", "nobody is condemned")


def turns(actions: pd.DataFrame, scripts: Mapping[str, Script]) -> dict[tuple[str, str], Mean]:
    """Return, by faction and use, the share of turns: a question, a clue with facts, one without, or nothing."""
    evidence = {(s.title, c.id) for s in scripts.values() for c in s.clues if c.facts}
    own = actions[actions["phase"] == "turn"].sort_values(["order", "step"])
    own = own[~own["retry"].shift(-1, fill_value=False)]  # what was asked for again was not the turn
    found = [(a.script, a.clue) in evidence for a in own.itertuples()]
    use = np.select([~own["legal"], own["kind"] == "ask", found], [TURNS[3], TURNS[0], TURNS[1]], TURNS[2])
    return {
        (faction, name): bootstrap_mean((part["use"] == name).astype(float), 0, groups=part["script"])
        for faction, part in own.assign(use=use).groupby("faction") for name in TURNS
    }  # fmt: skip


def suspicions(games: pd.DataFrame, actions: pd.DataFrame) -> dict[str, list[Mean]]:
    """Return how much civilians suspect a culprit and an innocent, on average, round by round."""
    stated = _stated(games, actions)
    return {
        label: [
            bootstrap_mean(part["suspicion"], 0, groups=part["script"])
            for _, part in stated[stated["guilty"] == guilty].groupby("round")
        ]
        for label, guilty in (("culprits", True), ("innocents", False))
    }


def rounds_to_find(games: pd.DataFrame, actions: pd.DataFrame) -> pd.Series:
    """Return, per game, the first round after which a culprit is suspected most by the civilians; NaN if never."""
    mean = _stated(games, actions).groupby(["order", "round", "of", "guilty"])["suspicion"].mean().reset_index()
    top = mean.groupby(["order", "round", "guilty"])["suspicion"].max().unstack().reindex(columns=[True, False])
    found = top[top[True] > top[False]].reset_index().groupby("order")["round"].min()
    return found.reindex(games["order"])


def _stated(games: pd.DataFrame, actions: pd.DataFrame) -> pd.DataFrame:
    """One row per rating of one player by a civilian."""
    rated = actions[(actions["kind"] == "rate") & actions["legal"] & (actions["faction"] == "civilian")]
    rows = rated[["order", "script", "round", "suspicion"]].assign(of=[range(len(s)) for s in rated["suspicion"]])
    rows = rows.explode(["suspicion", "of"]).astype({"suspicion": float, "of": int})
    factions = games.set_index("order")["factions"]
    guilty = [factions[order][seat] == "culprit" for order, seat in zip(rows["order"], rows["of"], strict=True)]
    return rows.assign(guilty=guilty)[rows["suspicion"].to_numpy() >= 0]


def ends(games: pd.DataFrame) -> dict[str, Mean]:
    """Return the share of games in which a culprit, an innocent, or nobody is condemned."""
    guilty = [accused in culprits for accused, culprits in zip(games["accused"], games["culprits"], strict=True)]
    end = np.select([guilty, games["accused"] == ""], [ENDS[0], ENDS[2]], ENDS[1])
    return {name: bootstrap_mean((end == name).astype(float), 0, groups=games["script"]) for name in ENDS}
