"""Figures: one style for all, and each kind of plot that more than one notebook draws.

A figure's title is its finding, said by the caller. Colours are told apart without red or green, and every colour
is also a word or a place. Used from notebook 02 on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#6e7781"
SIDES = {"won": BLUE, "lost": ORANGE}
STYLE = {
    "figure.dpi": 100, "figure.constrained_layout.use": True, "figure.facecolor": "white", "axes.facecolor": "white",
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.grid": True,
    "grid.color": "#e4e8ec",
}  # fmt: skip
TITLE = {"fontsize": 11, "fontweight": "bold", "parse_math": False}


def finding(ax: Axes, title: str, *, xlabel: str = "", ylabel: str = "") -> Axes:
    """Give axes their title, the finding in words, and their labels."""
    ax.set_title(title, loc="left", **TITLE)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return ax


def plot_win_rates(rates: Mapping[str, Any], title: str, xlabel: str = "games won, %") -> Figure:
    """Plot a share per row (anything with `mean`, `low`, `high`, `n`), in the order given, with interval and n."""
    fig, ax = _rows(list(rates))
    _dots(ax, list(rates.values()), scale=100)
    for y, rate in enumerate(rates.values()):
        ax.annotate(f"n = {rate.n:,}", (1.01, y), xycoords=("axes fraction", "data"), va="center", color=GREY)
    ax.set_xlim(-2, 102)
    finding(ax, title, xlabel=f"{xlabel} (95 % interval)")
    return fig


def plot_agreement(agreement: Mapping[str, Any], title: str) -> Figure:
    """Plot rules by their rank correlation with a reference, best on top, with intervals and a line at 0."""
    ranked = dict(sorted(agreement.items(), key=lambda item: -item[1].mean))
    return _about_zero(ranked, title, scale=1, xlabel="rank correlation with the reference")


def plot_differences(differences: Mapping[str, Any], title: str, xlabel: str) -> Figure:
    """Plot a difference of shares per row, in percentage points, in the order given, with intervals and a line at 0."""
    return _about_zero(differences, title, scale=100, xlabel=xlabel)


def plot_mass(masses: pd.DataFrame, title: str) -> Figure:
    """Plot mass by faction and outcome, one panel for each value of `when`, as a share of that panel's whole.

    Columns: `faction`, `outcome` (won or lost), `when`, `mass`.
    """
    panels = list(dict.fromkeys(masses["when"]))
    factions = sorted(masses["faction"].unique())
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(1, len(panels), figsize=(1.2 + 1.9 * len(panels), 3.0), sharey=True, squeeze=False)
    for ax, when in zip(axes[0], panels, strict=True):
        _bars(ax, masses[masses["when"] == when], factions)
        ax.set_title(str(when), fontsize=10)
    axes[0][0].set_ylabel("share of the training mass, %")
    fig.legend(*axes[0][0].get_legend_handles_labels(), loc="upper right", ncols=2, frameon=False, fontsize=9)
    fig.suptitle(title, x=0.01, ha="left", **TITLE)
    return fig


def _about_zero(means: Mapping[str, Any], title: str, scale: float, xlabel: str) -> Figure:
    fig, ax = _rows(list(means))
    ax.axvline(0, color=GREY, linewidth=1)
    _dots(ax, list(means.values()), scale)
    finding(ax, title, xlabel=f"{xlabel} (95 % interval)")
    return fig


def _rows(labels: list[str]) -> tuple[Figure, Axes]:
    """Return axes with one labelled row for each, the first on top."""
    with plt.rc_context(STYLE):
        fig, ax = plt.subplots(figsize=(7.2, 1.1 + 0.36 * len(labels)))
    ax.set_yticks(range(len(labels)), labels, parse_math=False)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
    return fig, ax


def _dots(ax: Axes, rates: list[Any], scale: float) -> None:
    """Draw means with their intervals; where there is no interval, or no data, none is drawn."""
    mean, low, high = (scale * np.array([getattr(r, f) for r in rates], float) for f in ("mean", "low", "high"))
    rows = np.arange(len(rates))
    ax.hlines(rows, low, high, color=BLUE, linewidth=2.5, alpha=0.45)
    ax.plot(mean, rows, "o", color=BLUE, markersize=6)


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
