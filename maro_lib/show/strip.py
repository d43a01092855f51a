"""A game as a strip of pictures, a round each: who asks whom, who searches where, whom the others suspect by then.

The last picture is the vote. Used by notebooks that show one game, and for the README's (docs/strip.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from maro_lib.show.figures import COLOURS, GREY, STYLE, TITLE
from maro_lib.show.looks import SEATS, SUSPICION

SUSPECTED = LinearSegmentedColormap.from_list("suspected", ["white", tuple(x / 255 for x in SUSPICION)])
KEY = "arrow: asks   dashed: votes for   fill: suspected by the others   ring: culprit   small: what it searched"
WIDE, LOW, TOP, RADIUS = 2.0, -1.15, 1.75, 0.16  # where a picture ends, from its middle; of a player


def plot_strip(game: pd.Series, actions: pd.DataFrame, title: str = "") -> Figure:
    """Plot a game's rounds and its vote (a row of `games`, its rows of `actions`); `title` is the finding."""
    rounds = [k for k in sorted(actions["round"].unique()) if k > 0]
    names, guilty = list(game["players"]), list(game.get("culprits", ()))
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(1, len(rounds) + 1, figsize=(2.6 * (len(rounds) + 1), 2.75), squeeze=False)
    fig.suptitle(title or strip_title(game, actions), x=0.01, ha="left", **TITLE)
    fig.supxlabel(KEY, fontsize=8, color=GREY)
    suspected = suspicion_by_round(actions, names)
    for ax, k in zip(axes[0], rounds, strict=False):
        own = actions[(actions["round"] == k) & (actions["phase"] != "vote") & actions["legal"]]
        places = own[own["place"] != ""].groupby("agent")["place"].agg(", ".join).to_dict()
        _table(ax, names, guilty, suspected.get(k, {}), places)
        _arrows(ax, names, own[own["kind"] == "ask"], "-")
        ax.set_title(f"Round {k}", fontsize=10)
    _table(axes[0][-1], names, guilty, suspected.get(rounds[-1], {}) if rounds else {}, {})
    _arrows(axes[0][-1], names, actions[(actions["kind"] == "vote") & actions["legal"]], "--")
    axes[0][-1].set_title(f"The vote: {game['accused'] or 'nobody'} is accused", fontsize=10, parse_math=False)
    return fig


def suspicion_by_round(actions: pd.DataFrame, names: Sequence[str]) -> dict[int, dict[str, float]]:
    """Return, after each round, how much the others suspect each player by their last ratings: 0 to 2 on average."""
    rated = actions[(actions["kind"] == "rate") & actions["legal"]].drop_duplicates(["round", "agent"], keep="last")
    means = {}
    for k, own in rated.groupby("round"):
        stated = np.array(own["suspicion"].tolist(), float)  # (n_raters, n_players), -1 for itself
        means[k] = dict(zip(names, np.nanmean(np.where(stated < 0, np.nan, stated), axis=0), strict=True))
    return means


def strip_title(game: pd.Series, actions: pd.DataFrame) -> str:
    """Say in a line what became of the game: who is accused, rightly or not, and since when it was suspected most."""
    guilty, accused = list(game["culprits"]), game["accused"]
    since = _since(suspicion_by_round(actions, list(game["players"])), guilty)
    suspected = f"suspected most since round {since}" if since else "not suspected most at the end"
    is_right = accused in guilty
    ending = "and is accused" if is_right else f"and {accused or 'nobody'} is accused"
    return f"{' and '.join(guilty)} did it, {suspected}, {ending}"


def _since(suspected: Mapping[int, Mapping[str, float]], guilty: Sequence[str]) -> int:
    """Return the first round from which on a culprit is suspected most, to the end; 0 if it is not."""
    since = 0
    for k, means in suspected.items():
        top = max(means.values())
        is_guilty = top > 0 and any(means[name] == top for name in guilty)
        since = (since or k) if is_guilty else 0
    return since


def _table(
    ax: Axes, names: Sequence[str], guilty: Sequence[str], suspected: Mapping[str, float], places: Mapping[str, str]
) -> None:
    """Draw the players around a table."""
    ax.set(xlim=(-WIDE, WIDE), ylim=(LOW, TOP), aspect="equal")
    ax.axis("off")
    for seat, (name, (x, y)) in enumerate(zip(names, _places(len(names)), strict=True)):
        fill, edge = SUSPECTED(suspected.get(name, 0.0) / 2), SEATS[seat % len(SEATS)]
        ax.add_patch(plt.Circle((x, y), RADIUS, facecolor=fill, edgecolor=edge, linewidth=2.5, zorder=3))
        if name in guilty:
            ax.add_patch(plt.Circle((x, y), RADIUS * 1.6, fill=False, edgecolor=COLOURS["base"], linewidth=1.2))
        side, off = ("center", 0.0) if abs(x) < 0.3 else ("left", 0.32) if x > 0 else ("right", -0.32)
        at, told = (x + off, y + (0.5 if not off and y > 0 else 0.0)), {"ha": side, "parse_math": False}
        ax.text(*at, name, va="bottom", fontsize=9, fontweight="bold" if name in guilty else "normal", **told)
        ax.text(*at, places.get(name, ""), va="top", fontsize=7.5, color=GREY, **told)


def _places(n: int) -> list[tuple[float, float]]:
    turns = np.pi / 2 - 2 * np.pi * np.arange(n) / n  # clockwise from the top
    return list(zip(np.cos(turns), np.sin(turns), strict=True))


def _arrows(ax: Axes, names: Sequence[str], moves: pd.DataFrame, line: Any) -> None:
    """Draw an arrow for each move from who makes it to whom it is aimed at."""
    places = dict(zip(names, _places(len(names)), strict=True))
    for move in moves[moves["target"].isin(names)].itertuples():
        style = {"arrowstyle": "-|>", "mutation_scale": 11, "linewidth": 1.8, "linestyle": line, "zorder": 2}
        ends = {"shrinkA": 11, "shrinkB": 14, "connectionstyle": "arc3,rad=0.18"}
        colour = SEATS[names.index(move.agent) % len(SEATS)]
        ax.add_patch(FancyArrowPatch(places[move.agent], places[move.target], color=colour, **style, **ends))
