"""Figures: one style for all, and each kind of plot that more than one notebook draws.

A figure's title is its finding, said by the caller. Colours are told apart without red or green, and every colour
is also a word or a place. Used from notebook 02 on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maro_lib.measure.comparison import NOT_JUDGED
from maro_lib.measure.metrics import ERRORS_APART, with_judge
from maro_lib.progress import Bar, Place, in_view

if TYPE_CHECKING:
    from maro_lib.study.benchmark import Pace

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#6e7781"
# who or what a colour stands for, the same in every figure, notebook and report
COLOURS = {
    "MARO": "#0072b2", "control": "#6e7781", "base": "#24292f", "civilian": "#009e73", "culprit": "#d55e00",
    "won": "#56b4e9", "lost": "#cc79a7", "red herring": "#e69f00",
}  # fmt: skip
LINES = (BLUE, ORANGE, GREY)
SIDES = {side: COLOURS[side] for side in ("won", "lost")}
SHADES = LinearSegmentedColormap.from_list("share", ["white", BLUE])
PALE, LIGHT_BLUE, OTHERS = "#dfe4e8", "#7fb8d8", ("#8c6bb1", "#c7b3e5")
ARM_COLOURS = {"base": COLOURS["base"], "MARO": COLOURS["MARO"], "shuffled labels": COLOURS["control"]}
SHARE_COLOURS = {  # of a bar that shows what a whole is made of
    "asks": PALE, "finds evidence": OTHERS[0], "finds a red herring": COLOURS["red herring"],
    "loses the turn": COLOURS["base"], "a culprit is condemned": COLOURS["civilian"],
    "an innocent is condemned": COLOURS["culprit"], "nobody is condemned": PALE,
}  # fmt: skip
STYLE = {
    "figure.dpi": 100, "figure.constrained_layout.use": True, "figure.facecolor": "white", "axes.facecolor": "white",
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.grid": True,
    "grid.color": "#e4e8ec",
}  # fmt: skip
TITLE = {"fontsize": 11, "fontweight": "bold", "parse_math": False}
BESIDE = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "frameon": False}  # a legend's place
BELOW = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.12), "frameon": False, "fontsize": 8, "columnspacing": 1.2}
BESIDE_ROW = {"xycoords": ("axes fraction", "data"), "va": "center"}
INTERVAL = {"linewidth": 2.5, "alpha": 0.45}


def finding(ax: Axes, title: str, *, xlabel: str = "", ylabel: str = "") -> Axes:
    """Give axes their title, the finding in words, and their labels."""
    ax.set_title(title, loc="left", **TITLE)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return ax


def plot_win_rates(rates: Mapping[str, Any], title: str, xlabel: str = "games won, %", colour: str = BLUE) -> Figure:
    """Plot a share per row (anything with `mean`, `low`, `high`, `n`), in the order given, with interval and n."""
    fig, ax = _rows(list(rates))
    _dots(ax, range(len(rates)), rates.values(), colour)
    for y, rate in enumerate(rates.values()):
        ax.annotate(f"n = {rate.n:,}", (1.01, y), **BESIDE_ROW, color=GREY)
    ax.set_xlim(-2, 102)
    finding(ax, title, xlabel=f"{xlabel} (95 % interval)")
    return fig


def plot_agreement(agreement: Mapping[str, Any], title: str) -> Figure:
    """Plot rules by their rank correlation with a reference, best on top, with intervals; MARO's `uniform` in blue."""
    ranked = dict(sorted(agreement.items(), key=lambda item: -item[1].mean))
    xlabel = "rank correlation with the measured values"
    fig = plot_differences(ranked, title, xlabel, COLOURS["base"], scale=1)
    if "uniform" in ranked:
        _dots(fig.axes[0], [list(ranked).index("uniform")], [ranked["uniform"]], COLOURS["MARO"], scale=1)
    return fig


def plot_differences(
    differences: Mapping[str, Any], title: str, xlabel: str, colour: str = BLUE, scale: float = 100
) -> Figure:
    """Plot a difference of shares per row, in percentage points, in the order given, with intervals and a line at 0."""
    _, ax = _rows(list(differences))
    ax.axvline(0, color=GREY, linewidth=1)
    _dots(ax, range(len(differences)), differences.values(), colour, scale=scale)
    return finding(ax, title, xlabel=f"{xlabel} (95 % interval)").figure


def plot_study(summary: pd.DataFrame, title: str, measure: str = "games won", xlabel: str = "") -> Figure:
    """Plot a study's changes: a panel per trained faction, a row per arm; all seeds, and each by a small dot.

    MARO is blue, its control grey; an arm that changes something of MARO is hollow. `xlabel` is for what is no change.
    """
    table = summary[summary["measure"] == measure]
    arms = list(table["arm"].unique())
    dots = "; small dots: seeds" if (table["seed"] != "all").any() else ""
    xlabel = f"{xlabel or f'{measure}: change in points'}\n(95 % interval{dots})"
    fig, panels = _panels(table["who"].unique(), arms, title, xlabel)
    for (who, arm), own in table.groupby(["who", "arm"], sort=False):
        ax, y, colour = panels[who], arms.index(arm), ARM_COLOURS.get(arm, BLUE)
        seeds, together = own[own["seed"] != "all"], own[own["seed"] == "all"]
        ax.plot(seeds["change"], np.full(len(seeds), y + 0.25), ".", color=colour, markersize=5, alpha=0.6)
        ax.hlines(y, together["low"], together["high"], color=colour, **INTERVAL)
        ax.plot(together["change"], [y], "o", color=colour, markersize=7, mfc=colour if arm in ARM_COLOURS else "white")
    return fig


def plot_gains(gains: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]], title: str) -> Figure:
    """Plot games won more than by base: a panel per trained faction, a bar with its interval per contender.

    `gains` holds, by the contender's label, a `Mean` per faction and how its bars look (colour, hatch).
    """
    fig, panels = _panels(("civilian", "culprit"), list(gains), title, "points more than base (95 % interval)")
    for who, ax in panels.items():
        for y, (means, look) in enumerate(gains.values()):
            [mean], [low], [high] = _ends([means[who]], 100)
            ax.barh(y, mean, height=0.55, edgecolor="white", **look)
            ax.hlines(y, low, high, color=COLOURS["base"], linewidth=1.5)
    return fig


def plot_cross_play(games: pd.DataFrame, strengths: pd.DataFrame, title: str) -> Figure:
    """Plot who wins against whom as a heat map, and beside it how strong each contender is on each side.

    `games` are a row each, of open outcome where they don't count; `strengths` are relative to the contender at 0.
    """
    by_pair = games.groupby(["civilians", "culprits"], sort=False)["civilians_won"].agg(["mean", "count"])
    names = list(games["civilians"].unique())
    won = 100 * by_pair["mean"].unstack().reindex(index=names, columns=names)
    fig, (left, right) = axes_in_a_row(2, (5.4 + 0.62 * len(names), 1.9 + 0.42 * len(names)), title)
    _heat(left, won)
    name_rows((left,), names)
    n = " to ".join(f"{n:,}" for n in sorted({by_pair["count"].min(), by_pair["count"].max()}))
    finding(left, "civilians' wins, %", ylabel="plays the civilians",
            xlabel=f"plays the culprits\n(a cell: {n} games of {games['script'].nunique()} mysteries)")  # fmt: skip
    for side, shift, marker in (("civilian", -0.13, "o"), ("culprit", 0.13, "s")):
        own, y = strengths.loc[side].loc[names], np.arange(len(names)) + shift
        right.hlines(y, own["low"], own["high"], color=COLOURS[side], **INTERVAL)
        right.plot(own["strength"], y, marker, color=COLOURS[side], markersize=6, label=f"as {side}s")
    right.axvline(0, color=GREY, linewidth=1)
    name_rows((right,), names)
    zero = strengths.loc["civilian"].index[0]
    finding(right, "strength", xlabel=f"log-odds more than {zero}\n(95 % interval)")
    right.legend(**BESIDE, fontsize=8)
    return fig


def plot_tables(tables: Mapping[str, pd.DataFrame], title: str, xlabel: str, ylabel: str) -> Figure:
    """Plot tables of numbers side by side, each in shades of its own range: darker is more."""
    first = next(iter(tables.values()))
    size = (2.2 + len(tables) * (1.2 + 0.62 * len(first.columns)), 1.7 + 0.42 * len(first))
    fig, axes = axes_in_a_row(len(tables), size, title)
    for k, (ax, (name, table)) in enumerate(zip(axes, tables.items(), strict=True)):
        low, high = np.nanmin(table), np.nanmax(table)
        _heat(ax, table, (low, high if high > low else low + 1))
        name_rows((ax,), list(table.index) if k == 0 else [""] * len(table))
        finding(ax, name, xlabel=xlabel, ylabel="" if k else ylabel)
    return fig


def _heat(ax: Axes, percent: pd.DataFrame, ends: tuple[float, float] = (0, 100)) -> None:
    """Draw a table of numbers (percentages, unless other ends are given) in shades of one hue, with its numbers."""
    low, high = ends
    ax.imshow(percent, cmap=SHADES, vmin=low, vmax=high, aspect="auto")
    for (y, x), value in np.ndenumerate(percent.to_numpy()):
        said = "" if np.isnan(value) else f"{value:.0f}"
        ax.text(
            x,
            y,
            said,
            ha="center",
            va="center",
            fontsize=9,
            color="white" if value > low + 0.9 * (high - low) else "black",
        )
    ax.set_xticks(range(len(percent.columns)), percent.columns, rotation=40, ha="right", parse_math=False)
    ax.grid(visible=False)


MEANINGS = {
    "games won": "games won", ERRORS_APART: "games won without errors", "Victory": "Victory: culprit high in the vote",
    "CIC, all together": "CIC: clues found by all", "S": "S: suspected by others", "B": "B: trusted by others",
    "TII": "TII: S / (S + B)", "CIC": "CIC: clues found by one", "ICI": "ICI: reasons, talks, observes",
    "SCI": "SCI: keeps to its script",
}  # fmt: skip
# which way is better for a faction, where there is one: more (+1) or less (-1)
BETTER = {
    "civilian": dict.fromkeys(MEANINGS, 1) | {"S": -1, "TII": -1},
    "culprit": dict.fromkeys(MEANINGS, 1) | {"Victory": -1, "CIC, all together": -1, "S": -1, "TII": -1, "CIC": 0},
}


def plot_changes(compared: pd.DataFrame, title: str) -> Figure:
    """Plot changes of metrics against base: a panel per trained faction, a row per metric, a colour per arm."""
    metrics, arms = list(compared["metric"].unique()), list(compared["arm"].unique())
    judge = compared["judge"].iloc[0]
    rows = [with_judge(metric, judge).replace(metric, MEANINGS.get(metric, metric), 1) for metric in metrics]
    fig, panels = _panels(sorted(compared["who"].unique()), rows, title, xlabel="change in points (95 % interval)")
    for who, ax in panels.items():
        for k, arm in enumerate(arms):
            own = compared[(compared["who"] == who) & (compared["arm"] == arm)]
            y = own["metric"].map(metrics.index) + 0.26 * (k - (len(arms) - 1) / 2)
            colour = COLOURS["MARO" if k == 0 else "control"]
            ax.hlines(y, 100 * own["low"], 100 * own["high"], color=colour, **INTERVAL)
            ax.plot(100 * own["change"], y, "o", color=colour, markersize=5, label=arm)
        for y, metric in enumerate(metrics):
            way = {1: "better →", -1: "← better", 0: ""}[BETTER.get(who, {}).get(metric, 0)]
            if (compared.loc[compared["metric"] == metric, "verdict"] == NOT_JUDGED).all():
                way = NOT_JUDGED
            ax.annotate(way, (1.01, y), **BESIDE_ROW, fontsize=7.5, color=COLOURS["control"])
    handles, labels = ax.get_legend_handles_labels()
    fig.legend(handles, labels, fontsize=8, frameon=False, loc="outside upper right", ncols=len(arms))
    return fig


def _panels(factions: Iterable[str], rows: Sequence[str], title: str, xlabel: str) -> tuple[Figure, dict[str, Axes]]:
    """A panel per trained faction, with the same named rows and a line at 0."""
    factions = list(factions)
    fig, axes = axes_in_a_row(len(factions), (9.4, 1.3 + 0.4 * len(rows)), title, sharex=True, sharey=True)
    for ax, who in zip(axes, factions, strict=True):
        ax.axvline(0, color=GREY, linewidth=1)
        finding(ax, f"trained {who}s" if who else "", xlabel=xlabel)
    name_rows(axes, rows)
    return fig, dict(zip(factions, axes, strict=True))


def axes_in_a_row(n: int, size: tuple[float, float], title: str, **how: Any) -> tuple[Figure, Sequence[Axes]]:
    """Some axes in a row, under one title."""
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(1, n, figsize=size, squeeze=False, **how)
    fig.suptitle(title, x=0.01, ha="left", **TITLE)
    return fig, axes[0]


def name_rows(axes: Sequence[Axes], rows: Sequence[str]) -> None:
    """Name the rows that axes share, the first on top."""
    axes[0].set_yticks(range(len(rows)), rows, parse_math=False)
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    for ax in axes:
        ax.grid(visible=False, axis="y")


def plot_shares(rows: Mapping[str, Mapping[str, Any]], title: str, xlabel: str) -> Figure:
    """Plot what a whole is made of: a bar per row, a segment per part, in percent; all rows have the same parts."""
    _, ax = _rows(list(rows))
    for y, parts in enumerate(rows.values()):
        left = 0.0
        for part, share in parts.items():
            width, colour = 100 * share.mean, SHARE_COLOURS[part]
            ax.barh(y, width, left=left, color=colour, height=0.7, label=part if y == 0 else None)
            if width > 6:
                ink = "white" if colour == COLOURS["base"] else "black"  # a contrast of 4.5 with every other one
                ax.text(left + width / 2, y, f"{width:.0f}", ha="center", va="center", fontsize=8, color=ink)
            left += width
    ax.set_xlim(0, 100)
    ax.legend(**BESIDE, fontsize=8)
    return finding(ax, title, xlabel=xlabel).figure


def plot_suspicion(stated: Mapping[str, Mapping[str, Sequence[Any]]], title: str) -> Figure:
    """Plot mean stated suspicion: a row per label and round, a dot for culprits and one for innocents."""
    n_rounds = max((len(means) for lines in stated.values() for means in lines.values()), default=1)
    rows = [f"{label}, round {k + 1}" for label in stated for k in range(n_rounds)]
    _, ax = _rows(rows)
    for who, colour, shift in (("culprits", COLOURS["culprit"], -0.12), ("innocents", COLOURS["civilian"], 0.12)):
        means = {f"{label}, round {k + 1}": m for label, lines in stated.items() for k, m in enumerate(lines[who])}
        y = [rows.index(row) + shift for row in means]
        _dots(ax, y, means.values(), colour, scale=1, label=f"of {who}")
    ax.legend(**BESIDE, fontsize=9)
    return finding(ax, title, xlabel="stated suspicion, 0 to 2 (95 % interval)").figure


def plot_arms(rates: Mapping[str, Mapping[str, Any]], title: str, xlabel: str) -> Figure:
    """Plot a share per row and arm, arms in their colours below one another."""
    fig, ax = _rows(list(rates), height=0.62)
    _arms(ax, rates, _colours(rates))
    ax.set_xlim(-2, 102)
    ax.legend(**BESIDE, fontsize=9)
    finding(ax, title, xlabel=f"{xlabel} (95 % interval)")
    return fig


def plot_before_after(
    rates: Mapping[str, Mapping[str, Any]], differences: Mapping[str, Mapping[str, Any]], title: str, xlabel: str
) -> Figure:
    """Plot, per row, the share of every arm on the left, and on the right each arm's difference from the first."""
    fig, (left, right) = axes_in_a_row(2, (9.4, 1.3 + 0.62 * len(rates)), title, sharey=True)
    fig.get_layout_engine().set(wspace=0.05)  # 100 on the left stays apart from what the right begins with
    colours = _colours(rates)
    _arms(left, rates, colours)
    _arms(right, differences, colours)
    right.axvline(0, color=GREY, linewidth=1)
    name_rows((left, right), list(rates))
    left.set_xlim(-2, 102)
    left.set_xlabel(xlabel)
    right.set_xlabel("difference in points, same items (95 % interval)")
    fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return fig


def plot_mass(masses: pd.DataFrame, title: str) -> Figure:
    """Plot mass by faction and outcome, one panel for each value of `when`, as a share of that panel's whole.

    Columns: `faction`, `outcome` (won or lost), `when`, `mass`.
    """
    panels = list(dict.fromkeys(masses["when"]))
    factions = sorted(masses["faction"].unique())
    fig, axes = axes_in_a_row(len(panels), (1.2 + 1.9 * len(panels), 3.0), title, sharey=True)
    for ax, when in zip(axes, panels, strict=True):
        _bars(ax, masses[masses["when"] == when], factions)
        ax.set_title(str(when), fontsize=10)
    axes[0].set_ylabel("share of the training mass, %")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="upper right", ncols=2, frameon=False, fontsize=9)
    return fig


def plot_rounds(rates: Mapping[str, Sequence[Any]], title: str, ylabel: str, first: int = 1) -> Figure:
    """Plot shares by round, `first`, ...: a line for each label, of a `Mean` per round, with intervals and n."""
    with plt.rc_context(STYLE):
        _, ax = plt.subplots(figsize=(7.2, 3.2))
    for k, (label, means) in enumerate(rates.items()):
        mean, low, high = _ends(means, 100)
        at = first + np.arange(len(means)) + 0.06 * (k - (len(rates) - 1) / 2)  # side by side: intervals stay readable
        style = {"color": LINES[k % len(LINES)], "marker": "os^"[k // len(LINES) % 3]}
        n = " to ".join(f"{n:,}" for n in sorted({min(m.n for m in means), max(m.n for m in means)}))
        ax.vlines(at, low, high, color=style["color"], **INTERVAL)
        ax.plot(at, mean, markersize=6, label=f"{label} (n = {n})", **style)
    ax.set_xticks(range(first, first + max(map(len, rates.values()), default=1)))
    ax.set_ylim(-2, 102)
    ax.legend(**BESIDE, fontsize=9)
    return finding(ax, title, xlabel="round (bars: 95 % intervals)", ylabel=ylabel).figure


# what a training curve shows: title with the good direction, columns by label, whether per faction
PANELS = (
    ("Mean r: apart is good, both down is drift", {"desirable": "r_pos", "undesirable": "r_neg", "z0": "z0"}, False),
    ("Margin between the two: up is good", {"": "margin"}, True),
    ("KL to base: how far it moved", {"": "kl"}, True),
)
QUICK_PANEL = ("Legal moves in quick games: must stay up", {"": "legal"}, False)
CURVE_COLOURS = {"desirable": COLOURS["won"], "undesirable": COLOURS["lost"], "z0": COLOURS["base"]}


def plot_curves(curve: pd.DataFrame, title: str) -> Figure:
    """Plot a training curve: a panel per quantity, by faction where the factions may differ; quick games if played."""
    panels = [*PANELS, *([QUICK_PANEL] if "legal" in curve else [])]
    fig, axes = axes_in_a_row(len(panels), (3.2 * len(panels), 2.6), title)
    factions = sorted(c.partition("/")[2] for c in curve if c.startswith("margin/"))
    for ax, (name, columns, by_faction) in zip(axes, panels, strict=True):
        shown = {f: f"{column}/{f}" for f in factions for column in columns.values()} if by_faction else columns
        for label, column in shown.items():
            known = curve.reindex(columns=["step", column]).dropna()
            colour = (COLOURS | CURVE_COLOURS).get(label, BLUE)
            marker = "o" if len(known) < 10 else ""
            ax.plot(known["step"], known[column], color=colour, linewidth=1.6, label=label, marker=marker)
        ax.set_title(name, fontsize=9)
        ax.tick_params(labelsize=8)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if any(shown):
            ax.legend(**BELOW, ncols=len(shown))
    fig.supxlabel("optimiser step", fontsize=9)
    return fig


def plot_looks(looks: Sequence[Any], title: str, goals: str = "civilians' wins") -> Figure:
    """Plot what a model that is told a game gains, and what English it forgets, against the tokens it has read."""
    fig, axes = axes_in_a_row(2, (7.6, 2.8), title)
    thousands = [look.tokens / 1000 for look in looks]
    legal, reached = [100 * look.legal for look in looks], [100 * look.goals for look in looks]
    axes[0].plot(thousands, legal, "o-", color=BLUE, linewidth=1.6, label="first replies that are legal")
    axes[0].plot(thousands, reached, "s-", color=GREY, linewidth=1.6, label=goals)
    axes[0].set_ylim(-3, 103)
    axes[0].set_ylabel("share, %")
    axes[0].set_title("its games (higher: better)", fontsize=9)
    axes[0].legend(**BELOW, ncols=2)
    axes[1].plot(thousands, [look.english for look in looks], "o-", color=ORANGE, linewidth=1.6)
    axes[1].set_ylim(0, 1.15 * max(look.english for look in looks))
    axes[1].set_ylabel("nats a token")
    axes[1].set_title("a page of English (lower: better)", fontsize=9)
    fig.supxlabel("tokens of the game read, thousands", fontsize=9)
    return fig


@contextmanager
def watching(shown: bool, n_steps: int, seconds: float = 5.0) -> Iterator[Callable[[pd.DataFrame], None] | None]:
    """Give what shows a training as it goes: its curves under the cell, in a terminal a bar of its steps."""
    if not shown:
        yield None
        return
    if not in_view():
        with Bar(n_steps, "step", shown=True) as bar:
            yield lambda curve: bar.update(int(curve["step"].max()) - bar.n)
        return
    place, drawn_at = Place(), -math.inf

    def draw(curve: pd.DataFrame) -> None:
        nonlocal drawn_at
        if time.monotonic() - drawn_at >= seconds and "objective" in curve:
            fig = plot_curves(curve, title=f"Training, step {int(curve['step'].max())} of {n_steps}")
            place.show(fig)
            plt.close(fig)
            drawn_at = time.monotonic()

    try:
        yield draw
    finally:
        place.show("")


def _colours(rates: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Give every arm its colour."""
    return {arm: ARM_COLOURS.get(arm, LIGHT_BLUE) for of_row in rates.values() for arm in of_row}


def _arms(ax: Axes, rates: Mapping[str, Mapping[str, Any]], colours: Mapping[str, str]) -> None:
    """Draw each arm's means with their intervals, a little below the arm before."""
    for k, (arm, colour) in enumerate(colours.items()):
        of_arm = {row: rate[arm] for row, rate in enumerate(rates.values()) if arm in rate}
        if of_arm:
            at = np.array(list(of_arm)) + 0.22 * (k - (len(colours) - 1) / 2)
            _dots(ax, at, of_arm.values(), colour, marker="os^"[k % 3], label=arm)


def _rows(labels: list[str], height: float = 0.36) -> tuple[Figure, Axes]:
    """Return axes with one labelled row for each, the first on top."""
    with plt.rc_context(STYLE):
        fig, ax = plt.subplots(figsize=(7.2, 1.1 + height * len(labels)))
    name_rows([ax], labels)
    return fig, ax


def _dots(
    ax: Axes, rows: Iterable[float], means: Iterable[Any], colour: str, *, scale: float = 100, marker: str = "o",
    label: str | None = None,
) -> None:  # fmt: skip
    """Draw means with their intervals, a row each; where there is no interval, or no data, none is drawn."""
    mean, low, high = _ends(means, scale)
    ax.hlines(list(rows), low, high, color=colour, **INTERVAL)
    ax.plot(mean, rows, marker, color=colour, markersize=6, label=label)


def _ends(means: Iterable[Any], scale: float) -> np.ndarray:
    """Return means and the ends of their intervals, (3, n)."""
    return scale * np.array([(m.mean, m.low, m.high) for m in means], float).reshape(-1, 3).T


def _bars(ax: Axes, masses: pd.DataFrame, factions: list[str]) -> None:
    """Draw for each faction a bar for what its winners weigh and one for its losers, in percent."""
    shares = masses.groupby(["faction", "outcome"])["mass"].sum()
    shares = 100 * shares / (shares.sum() or 1.0)
    for k, (outcome, colour) in enumerate(SIDES.items()):
        heights = [shares.get((f, outcome), 0.0) for f in factions]
        bars = ax.bar(np.arange(len(factions)) + 0.4 * (k - 0.5), heights, 0.38, color=colour, label=outcome)
        ax.bar_label(bars, fmt="%.0f", fontsize=9, color=GREY)
    ax.set_xticks(range(len(factions)), factions)
    ax.margins(y=0.1)
    ax.grid(visible=False, axis="x")


def plot_paces(paces: Sequence[Pace], picture: Path) -> Path:
    """Draw how fast each way of playing was into a PNG."""
    gain = paces[-1].games_per_minute / paces[-2].games_per_minute
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(7.2, 2.2))
        bars = ax.barh([p.way for p in paces], [p.games_per_minute for p in paces], color=BLUE, height=0.6)
        ax.bar_label(bars, [f" {p.games_per_minute:.0f}" for p in paces])
        finding(ax, f"Kept prefixes: {gain:.1f} times as fast", xlabel="games per minute (6 characters, 3 rounds)")
        picture.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(picture, dpi=120, bbox_inches="tight")
        plt.close(figure)
    return picture
