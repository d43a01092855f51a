"""Maps of a sweep: trained in x played in, and where a method learns, from written-out numbers to the page."""

import matplotlib
import pandas as pd
import pytest
from matplotlib.colors import to_hex

matplotlib.use("Agg")

from matplotlib import pyplot as plt

from maro_lib.show.figures import COLOURS, PALE
from maro_lib.show.map_figures import plot_carried_over, plot_verdicts
from maro_lib.show.sweep_page import Swept, sweep_page
from maro_lib.study.maps import (
    COLLAPSED,
    LEARNED,
    NOTHING_SHOWN,
    carried_over,
    in_kind,
    map_places,
    on_map,
    verdicts,
    verdicts_in_words,
)


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def results(values: dict[tuple[str, str], list[float]], who: str = "civilian") -> pd.DataFrame:
    """Values by cell and measure, one per seed."""
    rows = [
        (f"{cell}.{seed}", cell, seed, who, measure, value, 20.0)
        for (cell, measure), own in values.items() for seed, value in enumerate(own)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["trial", "cell", "seed", "who", "measure", "value", "base"])


IN_SOO, IN_MUC = in_kind("games won", "SOO"), in_kind("games won", "MUC")
CARRIED = results({
    ("SOO", IN_SOO): [10.0, 11.0, 12.0], ("SOO", IN_MUC): [-1.0, 0.0, 4.0], ("SOO", "games won"): [99.0] * 3,
    ("MUC", IN_SOO): [5.0, 6.0, 7.0], ("MUC", IN_MUC): [-4.0, -5.0, -6.0], ("MUC", "legal moves, in SOO"): [99.0] * 3,
})  # fmt: skip
ARMS = {"as it is": {}, "z0 batch": {"z0": "batch"}, "beta 3": {"beta": 3.0}, "beta 0.5": {"beta": 0.5},
        "z0 at 1": {"z0": "fixed", "z0_fixed": 1.0}}  # fmt: skip
FIRST = {"beta": 1.0, "z0": "ema", "z0_fixed": 0.0, "seed": 0}
# 3 values of spread 1: half = 4.303 / sqrt(3) = 2.48
SENSITIVE = results({
    ("as it is", "games won"): [2.0, 3.0, 4.0], ("as it is", "legal moves"): [0.0, 0.0, 0.0],
    ("z0 batch", "games won"): [1.0, 2.0, 3.0], ("z0 batch", "legal moves"): [0.0, -1.0, 0.0],
    ("beta 3", "games won"): [-2.0, -3.0, -4.0], ("beta 3", "legal moves"): [0.0, 0.0, 0.0],
    ("beta 0.5", "games won"): [9.0, 10.0, 11.0], ("beta 0.5", "legal moves"): [-10.0, -11.0, -12.0],
    ("z0 at 1", "games won"): [9.0, 10.0, 11.0], ("z0 at 1", "legal moves"): [-10.0, -10.0, -10.0],
})  # fmt: skip
FOUND = {"as it is": LEARNED, "z0 batch": NOTHING_SHOWN, "beta 3": COLLAPSED, "beta 0.5": COLLAPSED, "z0 at 1": LEARNED}


def test_what_is_learned_in_one_kind_is_read_off_in_each():
    found = carried_over(CARRIED)
    assert found[["cell", "kind", "own", "change", "n"]].to_numpy().tolist() == [
        ["SOO", "SOO", True, 11.0, 3.0], ["MUC", "SOO", False, 6.0, 3.0],
        ["SOO", "MUC", False, 1.0, 3.0], ["MUC", "MUC", True, -5.0, 3.0],
    ]  # fmt: skip
    assert found["low"].tolist() == pytest.approx([8.516, 3.516, -5.572, -7.484], abs=1e-3)
    assert carried_over(CARRIED[CARRIED["measure"] == "games won"]).empty, "no other kind was played in"


def test_a_cell_has_learned_has_collapsed_or_shows_nothing():
    found = verdicts(SENSITIVE)
    assert dict(zip(found["cell"], found["verdict"], strict=True)) == FOUND
    assert verdicts_in_words(found) == [
        "Trained civilians: learned in 2 of 5 cells (as it is, z0 at 1); collapsed in 2 of 5 cells (beta 3, beta 0.5)."
    ]
    one_seed = verdicts(SENSITIVE[SENSITIVE["seed"] == 0])
    assert set(one_seed["verdict"]) == {NOTHING_SHOWN}, "one seed shows nothing, and -10 is not more than 10 fewer"


def test_a_cell_stands_where_it_changes_something_and_the_first_everywhere_in_the_order_of_the_values():
    tiles = on_map(verdicts(SENSITIVE), map_places(ARMS, FIRST))
    assert tiles[["row", "at", "is_first"]].to_numpy().tolist() == [
        ["z0", "batch", False], ["z0", "ema", True],
        ["beta", "0.5", False], ["beta", "1", True], ["beta", "3", False],
        ["z0, z0_fixed", "ema, 0", True], ["z0, z0_fixed", "fixed, 1", False],
    ]  # fmt: skip
    assert tiles["change"].tolist() == [2.0, 3.0, 10.0, 3.0, -3.0, 3.0, 10.0]


def drawn(ax) -> dict[str, tuple[str, str]]:
    """The colour and the weight of each tile, by its text."""
    colours = [to_hex(patch.get_facecolor()) for patch in ax.patches]
    return {t.get_text(): (c, t.get_fontweight()) for t, c in zip(ax.texts, colours, strict=True)}


def test_a_map_s_colours_are_its_verdicts():
    [ax] = plot_verdicts(on_map(verdicts(SENSITIVE), map_places(ARMS, FIRST)), "t").axes
    colours = {text: colour for text, (colour, _) in drawn(ax).items()}
    assert colours == {
        "batch\n+2.0": PALE, "ema\n+3.0": COLOURS["MARO"], "0.5\n+10.0": COLOURS["culprit"], "1\n+3.0": COLOURS["MARO"],
        "3\n-3.0": COLOURS["culprit"], "ema, 0\n+3.0": COLOURS["MARO"], "fixed, 1\n+10.0": COLOURS["MARO"],
    }  # fmt: skip


def test_a_matrix_is_bold_where_the_interval_leaves_out_zero():
    [ax] = plot_carried_over(carried_over(CARRIED), "t").axes
    assert {text: weight for text, (_, weight) in drawn(ax).items()} == {
        "+11": "bold", "+6": "bold", "+1": "normal", "-5": "bold",
    }  # fmt: skip
    assert drawn(ax)["+11"][0] == COLOURS["MARO"], "the largest change has the full colour"


def test_a_matrix_has_a_panel_for_each_who_with_the_kinds_that_it_played_in():
    rows = [
        ("one party", "a", "b", 1.0),
        ("one party", "b", "b", 2.0),
        ("everybody", "a", "c", 3.0),
        ("everybody", "b", "b", 4.0),
    ]
    table = pd.DataFrame(rows, columns=["who", "cell", "kind", "change"]).assign(low=0.0, high=9.0, own=False)
    left, right = plot_carried_over(table, "t").axes
    assert [[t.get_text() for t in ax.get_xticklabels()] for ax in (left, right)] == [["b"], ["c", "b"]]
    assert [{t.get_text(): t.get_position() for t in ax.texts} for ax in (left, right)] == [
        {"+1": (0, 0), "+2": (0, 1)}, {"+3": (0, 0), "+4": (1, 1)},
    ]  # fmt: skip


def test_a_sweep_s_page_begins_with_the_map_that_its_file_asks_for_and_the_matrix_of_its_matches():
    def page(table, placed):
        return sweep_page(Swept("which", "Why?", "", "2 trials", ["games won"], table, {}, {}, placed))

    with_map = page(SENSITIVE, map_places(ARMS, FIRST))
    assert "<h2>Where it learns</h2>" in with_map
    assert "<li>Trained civilians: learned in 2 of 5 cells (as it is, z0 at 1)" in with_map
    assert "Where it learns" not in page(SENSITIVE, {})
    assert "Trained in, played in" not in with_map
    with_matrix = page(CARRIED, {})
    assert "<h2>Trained in, played in</h2>" in with_matrix
    assert "[+8.5, +13.5]" in with_matrix
