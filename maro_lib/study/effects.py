"""What a sweep found: what every cell reached, and what sets it apart from the first one.

A seed decides the games, the adapter's beginning and the held-out mysteries, so cells are compared seed by seed:
difference = value of a cell - value of the first, on the same seed. Its interval is Student's over seeds, since another
seed learns another adapter. Many differences are looked at: p is Holm's, over all of them. Used by
`maro_lib.run.sweep`, which makes the table of results, and by the page of a sweep.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from maro_lib.measure.comparison import LEVEL
from maro_lib.statistics import detectable_mean, holm, t_mean, t_test
from maro_lib.wording import counted, p_value, signed

MOST_TOLD = 6  # differences in an answer
COSTS = ("games played", "tokens sampled", "tokens trained", "seconds of learning")
ALL_SEEDS = "all"  # the row of all seeds together, as `plot_study` has it


def cell_of(arm: str, varied: dict[str, Any], learned: str = "") -> str:
    """Name a cell by what sets it apart: an arm, values of the grid, what else a trial trained (its control)."""
    return ", ".join(filter(None, [arm, *(f"{name} {value}" for name, value in varied.items()), learned])) or "all"


def cell_means(results: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Return a row per measure, trained faction, cell and seed, and one for all seeds together."""
    rows = []
    for (measure, who, cell), own in _cells(results, measures):
        name = {"measure": measure, "who": who, "arm": cell}
        values = own.set_index("seed")["value"]
        rows += [name | {"seed": str(seed), "change": value} for seed, value in values.items()]
        mean = t_mean(values)
        rows.append(name | {"seed": ALL_SEEDS, "change": mean.mean, "low": mean.low, "high": mean.high, "n": mean.n})
    return pd.DataFrame(rows, columns=["measure", "who", "arm", "seed", "change", "low", "high", "n"])


def cell_effects(results: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Return how much further each cell came than the first one: a row per measure, trained faction and other cell.

    `seen` is the smallest difference that this many seeds, as far apart as these, would have shown in 4 of 5 sweeps, if
    it had been the only one looked at.
    """
    rows, firsts = [], dict[tuple[str, str], pd.Series]()
    for (measure, who, cell), own in _cells(results, measures):
        values = own.set_index("seed")["value"]
        first = firsts.setdefault((measure, who), values)
        if first is values:
            continue
        more = (values - first).dropna()
        mean = t_mean(more)
        found = {"more": mean.mean, "low": mean.low, "high": mean.high, "n": mean.n, "p": t_test(more)}
        rows.append({"measure": measure, "who": who, "cell": cell} | found | {"seen": detectable_mean(more)})
    table = pd.DataFrame(rows, columns=["measure", "who", "cell", "more", "low", "high", "n", "p", "seen"])
    tested = table["p"].notna()
    table.loc[tested, "holm"] = holm(table.loc[tested, "p"].tolist())
    return table


def conclusion(results: pd.DataFrame, measures: Sequence[str]) -> list[str]:
    """Say what came out: a sentence, and where differences are shown the clearest of them, a line each."""
    table = cell_effects(results, measures)
    known = results[results["measure"].isin(measures)]
    if known.empty:
        return [f"Not known yet: no trial has left the measure {' or '.join(measures)}."]
    if table.empty:
        return ["There is one cell only, and nothing to compare it with."]
    first = known["cell"].iloc[0]
    if (shown := table[table["holm"] < LEVEL].sort_values("holm")).empty:
        return [_nothing_shown(table, first)]
    lines = [f"{_told(row)}, p after Holm {p_value(row.holm)}" for row in shown[:MOST_TOLD].itertuples()]
    rest = [f"and {len(shown) - MOST_TOLD} more"] if len(shown) > MOST_TOLD else []
    return [f"{len(shown)} of {counted(len(table), 'difference')} from {first} shown:", *lines, *rest]


def _nothing_shown(table: pd.DataFrame, first: str) -> str:
    largest = table.loc[table["more"].abs().idxmax()]
    told = f"No cell is shown to differ from {first}. The largest difference: {_told(largest)}"
    if table["seen"].isna().all():
        return f"{told}. One seed can't tell it from what another seed would do."
    n = table.loc[table["seen"].idxmin(), "n"]
    return (f"{told}. With {n} seeds, differences of {table['seen'].min():.1f} (where seeds agree most) to "
            f"{table['seen'].max():.1f} would have been found 4 times of 5.")  # fmt: skip


def _told(row: Any) -> str:
    interval = "" if row.low != row.low else f" [{signed(row.low, 1)}, {signed(row.high, 1)}]"
    who = f" of trained {row.who}s" if row.who else ""
    return f"{row.cell} {signed(row.more, 1)}{interval} in {row.measure}{who}"


def _cells(results: pd.DataFrame, measures: Sequence[str]) -> Iterator[tuple[tuple[str, str, str], pd.DataFrame]]:
    """Go through measures, trained factions and cells, each in the order of the table; a control's cell is its own."""
    for measure in measures:
        known = results[(results["measure"] == measure) & results["value"].notna()]
        for key, own in known.groupby(["who", "cell"], sort=False):
            yield (measure, *key), own
