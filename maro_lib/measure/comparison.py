"""Base against trained in the same games: a change for each metric, with its interval and what chance could do.

Games are paired by their place (same mystery, same seed, same opponents); intervals and tests resample mysteries. Many
metrics are looked at, and the luckiest of many looks like an effect: p is Holm's, over all rows of one table. What
does not pass is called "no difference shown", whatever its sign. Of what no judge could score there is a row without
numbers. Taught in notebook 06.
"""

from __future__ import annotations

import pandas as pd

from maro_lib.measure.judgements import Status
from maro_lib.measure.metrics import GAME, JUDGED
from maro_lib.statistics import bootstrap_mean, holm, sign_flip

NONE, SHOWN, NOT_JUDGED = "no difference shown", "difference", Status.NOT_JUDGED.value
LEVEL = 0.05


def compare_metrics(base: pd.DataFrame, trained: pd.DataFrame, who: str, seed: int = 0) -> pd.DataFrame:
    """Compare two tables of `metrics.social`, of the same games, in one faction's seats; a row per metric."""
    a, b = (_by_game(table, who) for table in (base, trained))
    both = a.merge(b, left_index=True, right_index=True, suffixes=("_base", "_trained")).reset_index()
    rows = []
    for metric, own in both.groupby("metric", sort=False):
        change = own["value_trained"] - own["value_base"]
        mean = bootstrap_mean(change, seed, groups=own["script"])
        means = {"base": own["value_base"].mean(), "trained": own["value_trained"].mean(), "change": mean.mean}
        p = sign_flip(change, seed, groups=own["script"])
        interval = {"low": mean.low, "high": mean.high, "games": len(own), "mysteries": mean.n}
        rows.append({"metric": metric, **means, **interval, "p": p})
    table = pd.DataFrame(rows).set_index("metric")
    table["p (Holm)"] = holm(table["p"].tolist())
    table["verdict"] = [SHOWN if p < LEVEL else NONE for p in table["p (Holm)"]]
    for metric in JUDGED:
        if metric in base["metric"].values and metric not in table.index:
            table.loc[metric, ["games", "mysteries", "verdict"]] = 0, 0, NOT_JUDGED
    return table.astype({"games": int, "mysteries": int})


def differing(compared: pd.DataFrame) -> str:
    """Say how many metrics differ from base, of those that could be compared, by arm."""
    known = compared[compared["verdict"] != NOT_JUDGED]
    differs = (known["verdict"] == SHOWN).groupby(known["arm"], sort=False).agg(["sum", "size"])
    return ", ".join(f"{row.Index} {row[1]} of {row[2]}" for row in differs.itertuples())


def _by_game(table: pd.DataFrame, who: str) -> pd.DataFrame:
    """The mean over a faction's characters, per game; what belongs to the whole game as it is."""
    whole = table[(table["seat"] == GAME) & table["faction"].isin(["", who])]
    own = table[(table["seat"] != GAME) & (table["faction"] == who)]
    known = pd.concat([whole, own]).dropna(subset="value")
    return known.groupby(["metric", "order", "script"], sort=False)["value"].mean().to_frame()
