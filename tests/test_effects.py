"""What a sweep's cells reached: paired by seed, Holm over all, and a sentence that claims no more than that."""

import math
import re

import pandas as pd
import pytest
from numpy.random import default_rng
from scipy.stats import ttest_1samp

from maro_lib.show.sweep_page import Swept, sweep_page
from maro_lib.statistics import detectable_mean, detectable_shift
from maro_lib.study.effects import COSTS, cell_effects, cell_means, cell_of, conclusion

WON = ["games won"]


def results(**cells: list[float]) -> pd.DataFrame:
    """One measure of trained civilians; a value per seed."""
    rows = [
        (f"{cell}.{seed}", cell, seed, value) for cell, values in cells.items() for seed, value in enumerate(values)
    ]
    table = pd.DataFrame(rows, columns=["trial", "cell", "seed", "value"])
    return table.assign(who="civilian", measure="games won", base=20.0)


def test_differences_are_paired_by_seed():
    shuffled = results(a=[10.0, 20.0, 30.0], b=[11.0, 21.0, 32.0]).sample(frac=1, random_state=3)
    table = shuffled.sort_values("cell", kind="stable")
    [row] = cell_effects(table, WON).to_dict("records")
    # 1, 1, 2: mean 4/3, sd 0.577, half = 4.303 x 0.577 / sqrt(3) = 1.434
    assert (row["cell"], row["n"]) == ("b", 3)
    assert row["more"] == pytest.approx(4 / 3)
    assert row["low"] == pytest.approx(-0.1009, abs=1e-3)
    assert row["high"] == pytest.approx(2.7676, abs=1e-3)
    assert row["p"] == row["holm"] == pytest.approx(0.0572, abs=1e-3)


def test_a_seed_that_one_cell_lacks_is_left_out_of_their_difference():
    table = results(a=[1.0, 2.0, 3.0], b=[2.0, 4.0])
    [row] = cell_effects(table, WON).to_dict("records")
    assert (row["more"], row["n"]) == (1.5, 2)
    assert cell_means(table, WON).query("seed == 'all'")["n"].tolist() == [3, 2]


def test_p_is_adjusted_for_all_differences():
    table = cell_effects(results(a=[0.0, 0.0, 0.1], b=[5.0, 5.1, 5.3], c=[1.0, 3.0, 2.1]), WON)
    assert table["holm"].tolist() == pytest.approx([2 * table["p"][0], table["p"][1]])


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"a": [0.0, 1.0, 2.0], "b": [9.0, 10.1, 11.0]},
         "1 of 1 difference from a shown: b +9.0 [+8.9, +9.2] in games won of trained civilians, p after Holm < 0.001"),
        ({"a": [0.0, 1.0, 2.0], "b": [2.0, 1.0, 1.5]},
         "No cell is shown to differ from a. The largest difference: b +0.5 [-2.8, +3.8] in games won of trained "
         "civilians. With 3 seeds, differences of 4.3"),
        ({"a": [0.0], "b": [2.0]}, "One seed can't tell it from what another seed would do."),
        ({"a": [0.0, 1.0]}, "There is one cell only, and nothing to compare it with."),
    ],
)  # fmt: skip
def test_the_conclusion_claims_what_is_shown(cells, words):
    assert words in " ".join(conclusion(results(**cells), WON))


def test_no_results_are_no_conclusion():
    assert conclusion(results(a=[1.0]), ["05 margin"]) == ["Not known yet: no trial has left the measure 05 margin."]
    assert "Not known yet" in conclusion(results(), WON)[0]


def test_what_could_be_found_is_found_four_times_of_five():
    assert detectable_shift(1.0, 5) == pytest.approx(1.682, abs=2e-3)  # as tables of power have it
    assert detectable_shift(1.0, 100) == pytest.approx(0.2829, abs=1e-3)
    for n in (2, 3, 5):
        samples = default_rng(n).normal(detectable_shift(6.0, n), 6.0, (20_000, n))
        assert (ttest_1samp(samples, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.015)
    assert detectable_mean([1.0, 3.0, 5.0]) == pytest.approx(2 * detectable_shift(1.0, 3))
    assert math.isnan(detectable_mean([1.0]))


def test_a_cell_is_named_by_what_sets_it_apart():
    assert cell_of("no anchor", {"beta": 0.5}, "shuffled labels") == "no anchor, beta 0.5, shuffled labels"
    assert cell_of("", {}) == "all"


def test_a_page_says_what_learning_cost_beside_what_it_brought():
    won, spent = results(a=[1.0, 2.0], b=[2.0, 4.0]), results(a=[2000.0, 2000.0], b=[400.0, 600.0])
    costs = [spent.assign(who="", measure=name) for name in COSTS]
    page = sweep_page(Swept("which", "?", "", "4 trials", WON, pd.concat([won, *costs]), {}, {}))
    own = page.rpartition("What learning cost")[2]  # first it stands in the list of parts
    cells = re.findall(r"<td[^>]*>([^<]+)</td>", own)
    assert cells[:12] == ["a", *["2,000"] * 4, "+1.5", "b", *["500"] * 4, "+3.0"]
    assert "What learning cost" not in sweep_page(Swept("which", "?", "", "4 trials", WON, won, {}, {}))


def test_words_of_a_sweep_s_file_cannot_break_out_of_its_page():
    swept = Swept("which", "<script>alert(1)</script>?", "<b>", "2 trials", WON, results(a=[1.0, 2.0], b=[2.0, 2.5]),
                  {"c.0": "<img src=x>"}, {"a.0": 3.0})  # fmt: skip
    page = sweep_page(swept)
    assert "<script>" not in page
    assert "<img src=x>" not in page
    assert "&lt;script&gt;" in page
    assert "What failed" in page
