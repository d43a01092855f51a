"""Maps of a sweep: what was learned in one kind of mystery or world, played in another; and where a method learns.

    carried over    trained in x played in: changes against base in the same games, means over seeds
    verdicts        learned, nothing shown, collapsed: a word for each cell, and where it stands by what it changes

The table of a sweep's results comes in (`maro_lib.run.sweep_results` makes it); the sweep's page draws what goes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from maro_lib.study.effects import ALL_SEEDS, cell_means
from maro_lib.wording import counted

IN = ", in "  # stands between a measure and the kind of mystery, or the world, that was played
GAMES_WON, GOALS = "games won", "goals reached"  # of a side in mysteries; of seats in any world (notebook 15)
LEARNED, NOTHING_SHOWN, COLLAPSED = "learned", "nothing shown", "collapsed"
MOST_LOST = 10.0  # points of legal moves: with fewer it is no player any more


# --- trained in one kind, played in another --------------------------------------------------------------


def in_kind(measure: str, kind: str) -> str:
    """Name a measure of matches in a kind of mystery, or in a world."""
    return f"{measure}{IN}{kind}"


def carried_over(results: pd.DataFrame, measure: str = GAMES_WON) -> pd.DataFrame:
    """Return a row per trained faction, cell and kind (or world) that it played in: the mean change over seeds.

    `own`: it was trained in this kind, so cell and kind bear the same name.
    """
    names = [name for name in results["measure"].unique() if name.startswith(f"{measure}{IN}")]
    means = cell_means(results, names)
    means["kind"] = means["measure"].str.removeprefix(f"{measure}{IN}")
    together = means[means["seed"] == ALL_SEEDS].assign(own=lambda table: table["arm"] == table["kind"])
    return together.rename(columns={"arm": "cell"})[["who", "cell", "kind", "own", "change", "low", "high", "n"]]


# --- where it learns -------------------------------------------------------------------------------------


def verdicts(results: pd.DataFrame) -> pd.DataFrame:
    """Return a row per trained faction and cell: did it learn, collapse, or is nothing shown?

    Collapsed: legal moves fell by more than `MOST_LOST` points, or fewer games won than by base. Learned: more games
    won. More and fewer are said where the interval over seeds leaves out zero.
    """
    names = ["who", "arm"]
    won, legal = (cell_means(results, [name]).query("seed == @ALL_SEEDS") for name in (GAMES_WON, "legal moves"))
    table = won.merge(legal[[*names, "change"]].rename(columns={"change": "legal"}), on=names, how="left")
    table["verdict"] = [_verdict(row.low, row.high, row.legal) for row in table.itertuples()]
    return table.rename(columns={"arm": "cell"})[["who", "cell", "change", "low", "high", "legal", "n", "verdict"]]


def _verdict(low: float, high: float, legal: float) -> str:
    if legal < -MOST_LOST or high < 0:
        return COLLAPSED
    return LEARNED if low > 0 else NOTHING_SHOWN


def verdicts_in_words(table: pd.DataFrame) -> list[str]:
    """Say per trained faction where it learned and where it collapsed."""
    lines = []
    for who, own in table.groupby("who", sort=False):
        cells = {verdict: list(of["cell"]) for verdict, of in own.groupby("verdict")}
        told = [
            f"{verdict} in {len(cells[verdict])} of {counted(len(own), 'cell')} ({', '.join(cells[verdict])})"
            for verdict in (LEARNED, COLLAPSED) if verdict in cells
        ]  # fmt: skip
        lines.append(f"Trained {who}s: {'; '.join(told) or 'nothing shown anywhere'}.")
    return lines


class MapPlace(NamedTuple):
    """Where a cell stands on a map: in the row of what it changes, at its values."""

    row: str  # beta; z0, z0_fixed
    values: tuple[Any, ...]
    is_first: bool  # it changes nothing


def map_places(cells: Mapping[str, Mapping[str, Any]], first: Mapping[str, Any]) -> dict[str, list[MapPlace]]:
    """Return the places of cells by what each changes; one that changes nothing stands in every row.

    `first` holds the values of a trial that changes nothing. Rows come in the order of the cells.
    """
    rows = dict.fromkeys(tuple(changed) for changed in cells.values() if changed)
    return {
        cell: [
            MapPlace(", ".join(row), tuple((first | changed)[name] for name in row), not changed)
            for row in rows if not changed or row == tuple(changed)
        ]
        for cell, changed in cells.items()
    }  # fmt: skip


def on_map(table: pd.DataFrame, places: Mapping[str, Sequence[MapPlace]]) -> pd.DataFrame:
    """Put verdicts on a map: a row per trained faction and place of a cell, row by row, in the order of the values."""
    factions, rows = list(table["who"].unique()), list(dict.fromkeys(p.row for own in places.values() for p in own))
    tiles = [(verdict, place) for verdict in table.itertuples() for place in places.get(verdict.cell, ())]
    tiles.sort(key=lambda t: (factions.index(t[0].who), rows.index(t[1].row), [_rank(x) for x in t[1].values]))
    found = [
        (verdict.who, place.row, ", ".join(map(_short, place.values)), place.is_first, verdict.change, verdict.verdict)
        for verdict, place in tiles
    ]
    return pd.DataFrame(found, columns=["who", "row", "at", "is_first", "change", "verdict"])


def _rank(value: Any) -> tuple[bool, Any]:
    """Order values that may be words or numbers."""
    is_number = isinstance(value, int | float)
    return not is_number, value if is_number else str(value)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
