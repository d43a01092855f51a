"""The page of a sweep: its question, the answer, what every cell reached, what failed, and what it cost.

    outputs/<sweep>/sweep.html    self-contained, as a run's report is; each trial's own report is a link away

Written anew whenever a trial ends, by `maro_lib.run.sweep`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from maro_lib.markup import Html, fold, join, tag
from maro_lib.measure.comparison import LEVEL
from maro_lib.show.figures import plot_study
from maro_lib.show.map_figures import plot_carried_over, plot_verdicts
from maro_lib.show.page import Part, page_of, picture, table_of
from maro_lib.study.effects import ALL_SEEDS, COSTS, cell_effects, cell_means, conclusion
from maro_lib.study.maps import (
    GAMES_WON,
    GOALS,
    LEARNED,
    MOST_LOST,
    MapPlace,
    carried_over,
    on_map,
    verdicts,
    verdicts_in_words,
)
from maro_lib.wording import counted, duration, p_value, signed


class Swept(NamedTuple):
    """What a page of a sweep is made from."""

    name: str
    question: str
    prediction: str
    trials: str  # how many there are, of what
    measures: Sequence[str]  # that the question is about
    results: pd.DataFrame
    failed: Mapping[str, str]  # trial -> its error
    seconds: Mapping[str, float]  # trial, or what several share -> of the stages that it ran itself
    places: Mapping[str, Sequence[MapPlace]] = {}  # cell -> where it stands on a map; empty: the file asks for none


def sweep_page(swept: Swept) -> str:
    """Return the page, as HTML."""
    parts = [
        *_head(swept),
        *_map(swept),
        *_matrix(swept),
        *_effects(swept),
        *_others(swept),
        *_failed(swept),
        *_learning(swept),
        *_cost(swept),
    ]
    return page_of(f"Sweep: {swept.name}", parts)


def _head(swept: Swept) -> Iterator[Part]:
    done = swept.results["trial"].nunique()
    about = f"{swept.trials}; {done:,} finished" + (f", {len(swept.failed)} failed" if swept.failed else "")
    lines = [tag("p", about, class_="muted"), tag("h1", swept.question)]
    lines += [tag("p", f"Predicted: {swept.prediction}", class_="muted")] if swept.prediction else []
    answer, *shown = conclusion(swept.results, swept.measures)
    yield Part("", join(*lines, tag("p", answer), tag("ul", *(tag("li", line) for line in shown)) if shown else ""))


def _map(swept: Swept) -> Iterator[Part]:
    """Where it learns, does nothing, collapses: a tile per value of what was changed."""
    table = verdicts(swept.results) if swept.places else None
    if table is None or table.empty:
        return
    learned = (table["verdict"] == LEARNED).groupby(table["who"], sort=False).agg(["sum", "size"])
    title = "Learned: " + ", ".join(f"{who}s in {n} of {size} cells" for who, n, size in learned.itertuples())
    figure = picture(plot_verdicts(on_map(table, swept.places), title), "map")
    lines = [tag("li", line) for line in verdicts_in_words(table)]
    note = (
        "A tile: a value, and the change in games won against base, in points. Framed: nothing changed. "
        f"Learned: the interval over seeds lies above 0. Collapsed: it lies below, or legal moves fell by more than "
        f"{MOST_LOST:g} points. Of cells where nothing is learned, 1 in 40 has its interval above 0 by luck."
    )
    yield Part("Where it learns", join(figure, tag("ul", *lines), tag("p", note, class_="muted")))


def _matrix(swept: Swept) -> Iterator[Part]:
    """What was learned in one kind of mystery, or in one world, played in another."""
    tables = {measure: carried_over(swept.results, measure) for measure in (GAMES_WON, GOALS)}
    measure, table = next(((m, t) for m, t in tables.items() if len(t)), ("", None))
    if table is None:
        return
    others = table[~table["own"]]
    more = (others["low"] > 0).groupby(others["who"], sort=False).agg(["sum", "size"])
    told = ", ".join(f"{who} {n} of {size}" for who, n, size in more.itertuples())
    title = f"{measure.capitalize()}, clearly more elsewhere: {told}"
    figure = picture(plot_carried_over(table, title), "trained in, played in")
    note = (
        f"Change in {measure} against base, in points, means over seeds. Bold: the interval over seeds leaves out 0, "
        "which 1 in 20 does by luck. Framed: played in what it was trained in."
    )
    heads = ["trained in", "trained", "played in", "change", "95 % interval", "seeds"]
    rows = [[r.cell, r.who, r.kind, signed(r.change, 1), _interval(r), int(r.n)] for r in table.itertuples()]
    whole = fold("All numbers", table_of(heads, rows, marked=(table["low"] > 0) | (table["high"] < 0)))
    yield Part("Trained in, played in", join(figure, tag("p", note, class_="muted"), whole))


def _effects(swept: Swept) -> Iterator[Part]:
    """A figure and a table for each measure that the question is about."""
    means, effects = (make(swept.results, swept.measures) for make in (cell_means, cell_effects))
    for measure in means["measure"].unique():
        own = means[means["measure"] == measure]
        shown, first = effects[effects["measure"] == measure], own["arm"].iloc[0]
        title = f"{measure}: {(shown['holm'] < LEVEL).sum()} of {counted(len(shown), 'difference')} from {first} shown"
        is_change = swept.results.loc[swept.results["measure"] == measure, "base"].notna().any()
        xlabel = "change against base, in points" if is_change else measure
        note = tag("p", f"Difference: from {first}, on the same seeds. Could be seen: alone, in 4 of 5 sweeps like "
                   "this one.", class_="muted")  # fmt: skip
        figure = picture(plot_study(own, title, measure, xlabel), measure)
        yield Part(measure, join(figure, *([note, _differences(shown)] if len(shown) else [])))


def _differences(effects: pd.DataFrame) -> Html:
    rows = [[row.cell, row.who, *_numbers(row), row.n] for row in effects.itertuples()]
    heads = ["cell", "trained", "difference", "95 % interval", "p (Holm)", "could be seen", "seeds"]
    return table_of(heads, rows, marked=effects["holm"] < LEVEL)


def _others(swept: Swept) -> Iterator[Part]:
    """All other measures, as means over seeds."""
    names = [m for m in swept.results["measure"].unique() if m not in {*swept.measures}]
    means = cell_means(swept.results, names)
    together = means[means["seed"] == ALL_SEEDS].dropna(subset="change")
    if together.empty:
        return
    cells = list(together["arm"].unique())
    wide = together.pivot(index=["measure", "who"], columns="arm", values="change").reindex(columns=cells)
    order = together[["measure", "who"]].drop_duplicates().itertuples(index=False)
    rows = [[*key, *(_known(x, "{:.4g}".format) for x in wide.loc[tuple(key)])] for key in order]
    yield Part("All measures", fold("Means over seeds", table_of(["measure", "trained", *cells], rows)))


def _failed(swept: Swept) -> Iterator[Part]:
    if swept.failed:
        lines = [tag("li", f"{name}: {error}") for name, error in swept.failed.items()]
        yield Part("What failed", join(tag("ul", *lines), tag("p", "The same command tries these again.")))


def _learning(swept: Swept) -> Iterator[Part]:
    """What every cell played, read and waited for, beside what it reached: by games, by tokens and by seconds."""
    measure = swept.measures[0]
    means = cell_means(swept.results, [*COSTS, measure])
    means = means[means["seed"] == ALL_SEEDS]
    spent = means[means["measure"].isin(COSTS)].pivot(index="arm", columns="measure", values="change")
    reached = means[means["measure"] == measure].pivot(index="arm", columns="who", values="change")
    cells = [cell for cell in means["arm"].unique() if cell in spent.index]
    if not cells:
        return
    rows = [[c, *(f"{spent.at[c, n]:,.0f}" for n in COSTS), *_gains(reached, c)] for c in cells]
    table = table_of(["cell", *COSTS, *(f"{measure} {who}".strip() for who in reached)], rows)
    note = tag("p", "Means over seeds, in all rounds, as if nothing were shared. Seconds: notebook 02, and the steps "
               "of notebook 05.", class_="muted")  # fmt: skip
    yield Part("What learning cost", join(note, table))


def _gains(reached: pd.DataFrame, cell: str) -> list[str]:
    return [_known(x, lambda x: signed(x, 1)) for x in (reached.loc[cell] if cell in reached.index else [])]


def _cost(swept: Swept) -> Iterator[Part]:
    finished = {*swept.results["trial"]}
    rows = [
        [tag("a", name, href=f"{name}/report.html") if name in finished else name, duration(seconds)]
        for name, seconds in swept.seconds.items()
    ]
    total = ["all together", duration(sum(swept.seconds.values()))]
    table = table_of(["run", "time"], [*rows, total], marked=[*[False] * len(rows), True])
    yield Part("What it cost", table)


def _numbers(row: Any) -> list[str]:
    return [signed(row.more, 1), _interval(row), _known(row.holm, p_value), _known(row.seen, "{:.1f}".format)]


def _interval(row: Any) -> str:
    return "" if row.low != row.low else f"[{signed(row.low, 1)}, {signed(row.high, 1)}]"


def _known(x: float, said: Callable[[float], str]) -> str:
    return "" if x != x else said(x)
