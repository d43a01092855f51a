"""Games with people: who wins against whom, and who is found out.

    found out    of the games in which this side sat as culprits, those in which a culprit was condemned

Intervals are Wilson's; from fewer than `ENOUGH` games none is told. Taught in notebook 13.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from maro_lib.play.sitting import is_person
from maro_lib.statistics import win_rate

ENOUGH = 10  # games that an interval needs


def people_results(games: pd.DataFrame) -> pd.DataFrame:
    """One row per side that people took and opponents: games, won by the people, and the culprits found out."""
    if games.empty:
        return pd.DataFrame(columns=["people as", "against", "games", "people won", "culprits found out"])
    seats = pd.DataFrame([row for game in games.itertuples() for row in _seats(game)])
    return pd.DataFrame([
        {"people as": side, "against": against, "games": len(of), "people won": _told(of["won"]),
         "culprits found out": _told(of["condemned"])}
        for (side, against), of in seats.groupby(["side", "against"])
    ])  # fmt: skip


def _seats(game) -> Iterator[dict[str, object]]:
    """A row for each side of a game on which people sat."""
    seats = pd.DataFrame({"policy": game.policies, "side": game.factions, "success": game.success})
    is_one = seats["policy"].map(is_person)
    against = ", ".join(sorted({*seats.loc[~is_one, "policy"]})) or "people"
    for side, mine in seats[is_one].groupby("side"):
        yield {"side": side, "against": against, "won": int(mine["success"].all()),
               "condemned": int(game.accused in set(game.culprits))}  # fmt: skip


def _told(successes: pd.Series) -> str:
    n, k = len(successes), int(successes.sum())
    return f"{k} of {n}: too few to tell" if n < ENOUGH else str(win_rate(successes))
