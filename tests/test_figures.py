"""What a figure draws are the numbers that it was given, and it stays small."""

import io

import matplotlib
import numpy as np
import pandas as pd
import pytest

matplotlib.use("Agg")

from matplotlib import pyplot as plt

from maro_lib.show.figures import (
    BLUE,
    COLOURS,
    finding,
    plot_agreement,
    plot_cross_play,
    plot_gains,
    plot_mass,
    plot_study,
    plot_tables,
    plot_win_rates,
)
from maro_lib.statistics import Mean, Rate

RATES = {
    "random": Rate(0.2, 0.1, 0.3, 1000),
    "skilled": Rate(0.9, 0.85, 0.95, 40),
    "nobody": Rate(*[float("nan")] * 3, 0),
}
RULES = {
    "uniform": Mean(0.1, -0.1, 0.3, 60),
    "belief_shift": Mean(0.4, 0.3, 0.5, 60),
    "one": Mean(0.2, *[float("nan")] * 2, 1),
}
MASSES = pd.DataFrame({
    "faction": ["civilian", "civilian", "culprit", "culprit"] * 2, "outcome": ["won", "lost"] * 4,
    "when": ["before"] * 4 + ["min"] * 4, "mass": [60.0, 20.0, 5.0, 15.0, 1.0, 1.0, 1.0, 1.0],
})  # fmt: skip


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def drawn(ax):
    """Return the dots of an axes, and the ends of its intervals."""
    dots = next(line for line in ax.lines if line.get_marker() == "o")
    return list(dots.get_xdata()), [path.vertices[:, 0].tolist() for path in ax.collections[0].get_paths()]


def test_win_rates_are_drawn_in_percent_with_interval_and_n():
    ax = plot_win_rates(RATES, "Skill wins").axes[0]
    dots, intervals = drawn(ax)
    assert dots[:2] == pytest.approx([20, 90])
    assert intervals[0] == pytest.approx([10, 30])
    assert intervals[1] == pytest.approx([85, 95])
    assert [t.get_text() for t in ax.texts] == ["n = 1,000", "n = 40", "n = 0"]
    assert [t.get_text() for t in ax.get_yticklabels()] == list(RATES)
    assert ax.get_title(loc="left") == "Skill wins"


def test_the_best_rule_stands_on_top():
    ax = plot_agreement(RULES, "belief_shift agrees best").axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["belief_shift", "one", "uniform"]
    assert drawn(ax)[0] == [0.4, 0.2, 0.1]
    assert ax.yaxis_inverted()
    assert 0 in [line.get_xdata()[0] for line in ax.lines]


def test_mass_is_drawn_as_shares_of_its_panel():
    fig = plot_mass(MASSES, "Balance")
    heights = [[round(bar.get_height(), 6) for bar in ax.patches] for ax in fig.axes]
    assert heights == [[60, 5, 20, 15], [25, 25, 25, 25]]  # won: civilian, culprit; lost: civilian, culprit
    assert [ax.get_title() for ax in fig.axes] == ["before", "min"]


def test_a_study_is_drawn_with_maro_blue_its_control_grey_and_others_hollow():
    rows = [(arm, who, "games won", seed, x) for arm, x in (("MARO", 9.0), ("shuffled labels", 0.0), ("beta 2", 7.0))
            for who in ("civilian", "culprit") for seed in ("0", "all")]  # fmt: skip
    table = pd.DataFrame(rows, columns=["arm", "who", "measure", "seed", "change"]).assign(low=-1.0, high=10.0)
    ax = plot_study(table, "t").axes[0]
    dots = {line.get_xdata()[0]: line for line in ax.lines if line.get_marker() == "o"}
    assert [dots[x].get_color() for x in (9.0, 0.0, 7.0)] == [COLOURS["MARO"], COLOURS["control"], COLOURS["MARO"]]
    assert [dots[x].get_markerfacecolor() for x in (9.0, 7.0)] == [COLOURS["MARO"], "white"]


def test_gains_are_bars_from_base_with_their_intervals():
    means = {"civilian": Mean(0.2, 0.1, 0.3, 20), "culprit": Mean(-0.05, -0.1, 0.0, 20)}
    axes = plot_gains({"one": (means, {"color": BLUE, "hatch": "//"})}, "t").axes
    assert [ax.patches[0].get_width() for ax in axes] == pytest.approx([20, -5])
    assert axes[0].collections[0].get_paths()[0].vertices[:, 0].tolist() == pytest.approx([10, 30])
    assert axes[0].patches[0].get_hatch() == "//"


def test_no_mass_at_all_is_drawn_as_nothing():
    fig = plot_mass(MASSES.assign(mass=0.0), "Nothing")
    assert {bar.get_height() for ax in fig.axes for bar in ax.patches} == {0}


def test_a_dollar_in_a_label_is_no_formula():
    rates = {"$_{$": RATES["random"]}
    for fig in (plot_win_rates(rates, "a $_{$ b"), plot_agreement(rates, "$_{$"), plot_mass(MASSES, "$_{$")):
        fig.canvas.draw()  # raises where text is read as a formula
        drawn = {text.get_text() for text in fig.findobj(plt.Text)}
        assert any("$_{$" in text for text in drawn)


def test_a_picture_stays_small():
    for fig in (plot_win_rates(RATES, "t"), plot_agreement(RULES, "t"), plot_mass(MASSES, "t")):
        fig.savefig(file := io.BytesIO(), bbox_inches="tight")
        assert len(file.getvalue()) < 60_000


def test_the_style_ends_with_the_figure():
    plot_win_rates(RATES, "t")
    plot_mass(MASSES, "t")
    assert plt.rcParams["axes.grid"] is False


def test_a_finding_labels_both_axes():
    ax = finding(plt.figure().subplots(), "More is more", xlabel="games", ylabel="wins")
    assert (ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel()) == ("More is more", "games", "wins")


def test_cross_play_is_one_hue_with_its_numbers_and_strengths_in_the_same_rows():
    rows = [
        ("base", "base", 1.0),
        ("base", "base", 0.0),
        ("base", "new", 0.0),
        ("new", "base", 1.0),
        ("new", "new", None),
    ]
    games = pd.DataFrame(rows, columns=["civilians", "culprits", "civilians_won"]).assign(script="A")
    sides = {
        (side, name): [x, x - 1, x + 1] for side in ("civilian", "culprit") for name, x in (("base", 0), ("new", 2))
    }
    strengths = pd.DataFrame(sides | {("edge", "base"): [0] * 3}, index=["strength", "low", "high"]).T
    left, right = plot_cross_play(games, strengths, "title").axes
    assert [text.get_text() for text in left.texts] == ["50", "0", "100", ""]
    assert "0 to 2 games of 1 mysteries" in left.get_xlabel()
    assert left.get_ylim() == right.get_ylim()
    shades = left.images[0].cmap(np.linspace(0, 1, 5))
    assert (np.diff(shades[:, 0]) < 0).all(), "from white to blue"
    assert [label.get_text() for label in right.get_yticklabels()] == ["base", "new"]
    assert "log-odds more than base" in right.get_xlabel()
    assert [line.get_label() for line in right.lines[:2]] == ["as civilians", "as culprits"]


def test_tables_stand_side_by_side_each_in_shades_of_its_own_range():
    tables = {"own": pd.DataFrame([[1.0, 31.0], [9.0, 32.0]], ["fair", "greedy"], ["a", "b"]),
              "others": pd.DataFrame([[25.0, 25.0], [3.0, 25.0]], ["fair", "greedy"], ["a", "b"])}  # fmt: skip
    fig = plot_tables(tables, "Greed pays whoever is greedy", xlabel="the others", ylabel="who plays")
    assert [[t.get_text() for t in ax.texts] for ax in fig.axes] == [["1", "31", "9", "32"], ["25", "25", "3", "25"]]
    assert [ax.images[0].get_clim() for ax in fig.axes] == [(1, 32), (3, 25)]
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["fair", "greedy"]
    same = plot_tables({"all": pd.DataFrame([[4.0, 4.0]])}, "Nothing differs", xlabel="x", ylabel="y")
    assert same.axes[0].images[0].get_clim() == (4, 5)
