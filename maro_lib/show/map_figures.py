"""Figures of maps: what was learned in one kind and played in another, and where a method learns at all."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from maro_lib.show.figures import BLUE, COLOURS, ORANGE, PALE, STYLE, TITLE, axes_in_a_row, finding, name_rows
from maro_lib.study.maps import COLLAPSED, LEARNED, NOTHING_SHOWN
from maro_lib.wording import signed

WIDEST_TITLE = 7.0  # inches of a map's title
VERDICTS = {LEARNED: COLOURS["MARO"], NOTHING_SHOWN: PALE, COLLAPSED: COLOURS["culprit"]}


def plot_carried_over(table: pd.DataFrame, title: str, *, rows: str = "trained in") -> Figure:
    """Plot what was learned in one kind and played in another: a panel per trained faction, a tile per pair of kinds.

    Bold: the interval over seeds leaves out zero. Framed: played in the kind that it was trained in.
    """
    cells = list(table["cell"].unique())
    panels = {who: (own, list(own["kind"].unique())) for who, own in table.groupby("who", sort=False)}
    widths = [len(kinds) for _, kinds in panels.values()]
    size = (max(WIDEST_TITLE, 2.6 + 0.42 * sum(widths)), 1.9 + 0.36 * len(cells))
    fig, axes = axes_in_a_row(len(panels), size, title, sharey=True, width_ratios=widths)
    most = table["change"].abs().max() or 1.0
    for ax, (who, (own, kinds)) in zip(axes, panels.items(), strict=True):
        finding(ax, f"trained: {who}", xlabel="played in", ylabel=rows if ax is axes[0] else "")
        for row in own.itertuples():
            at, colour = (kinds.index(row.kind), cells.index(row.cell)), _diverging(row.change / most)
            _tile(ax, at, signed(row.change, 0), colour, is_bold=row.low > 0 or row.high < 0, is_framed=row.own)
        ax.set_xticks(range(len(kinds)), kinds, rotation=90, parse_math=False)
        ax.set_xlim(-0.5, len(kinds) - 0.5)
    name_rows(axes, cells)
    return fig


def plot_verdicts(tiles: pd.DataFrame, title: str) -> Figure:
    """Plot where a method learns: a panel per trained faction, a row per parameter, a tile per value.

    `VERDICTS` gives the colours. Framed: the values that the others are changes of.
    """
    factions, rows = (list(tiles[name].unique()) for name in ("who", "row"))
    n = tiles.groupby(["who", "row"]).size().max()
    size = (max(WIDEST_TITLE, 2.2 + 0.8 * n), 0.9 + len(factions) * (0.6 + 0.5 * len(rows)))
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(len(factions), 1, figsize=size, squeeze=False)
    fig.suptitle(title, x=0.01, ha="left", **TITLE)
    for ax, who in zip(axes[:, 0], factions, strict=True):
        for row, own in tiles[tiles["who"] == who].groupby("row", sort=False):
            for x, tile in enumerate(own.itertuples()):
                text = f"{tile.at}\n{signed(tile.change, 1)}"
                _tile(ax, (x, rows.index(row)), text, VERDICTS[tile.verdict], is_framed=tile.is_first)
        ax.set_xlim(-0.5, n - 0.5)
        ax.set_xticks([])
        name_rows([finding(ax, f"trained {who}s")], rows)
    fig.legend([Patch(color=colour) for colour in VERDICTS.values()], VERDICTS, loc="outside lower left", ncols=3,
               frameon=False, fontsize=9)  # fmt: skip
    return fig


def _tile(
    ax: Axes, at: tuple[int, int], text: str, colour: str, *, is_bold: bool = False, is_framed: bool = False
) -> None:
    """Draw a square of a map, its text dark or light as its colour needs."""
    frame = {"edgecolor": COLOURS["base"], "linewidth": 2, "zorder": 3} if is_framed else {"edgecolor": PALE}
    ax.add_patch(Rectangle((at[0] - 0.46, at[1] - 0.46), 0.92, 0.92, facecolor=colour, **frame))
    ink = "white" if _luminance(colour) < 0.18 else "black"  # a contrast of 4.5 or more
    weight = "bold" if is_bold else "normal"
    ax.text(*at, text, ha="center", va="center", fontsize=8, color=ink, fontweight=weight, zorder=4, parse_math=False)


def _diverging(x: float) -> str:
    """Return the colour of -1 (orange) to 1 (blue); white at 0."""
    end = np.array(to_rgb(BLUE if x > 0 else ORANGE))
    return to_hex(1 - abs(x) * (1 - end))


def _luminance(colour: str) -> float:
    """Return how bright a colour is, 0 to 1, as contrasts are reckoned (WCAG)."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
