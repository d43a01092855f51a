"""Comparisons: paired by game, resampled by mystery, and honest about how many were looked at."""

import numpy as np
import pandas as pd
import pytest

from maro_lib.measure.comparison import NONE, SHOWN, compare_metrics
from maro_lib.statistics import sign_flip


def table(values, metric="SCI", seat=0, faction="civilian"):
    rows = [(k, f"m{k % 10}", "SOC", seat, "Ann", "", faction, metric, v) for k, v in enumerate(values)]
    return pd.DataFrame(
        rows, columns=["order", "script", "cell", "seat", "agent", "role", "faction", "metric", "value"]
    )


def test_a_change_is_paired_by_game_and_resampled_by_mystery():
    base, trained = table(np.arange(40) / 40), table(np.arange(40) / 40 + 0.1)
    found = compare_metrics(base, trained.sample(frac=1, random_state=0), "civilian").loc["SCI"]
    assert found["change"] == pytest.approx(0.1)
    assert (found["low"], found["high"]) == (pytest.approx(0.1), pytest.approx(0.1)), "pairing removes the games' luck"
    assert (found["games"], found["mysteries"]) == (40, 10)
    assert found["p"] == pytest.approx(2 / 2**10), "all ten mysteries on one side: two of 1,024 flips are as far"
    assert found["verdict"] == SHOWN


def test_of_many_metrics_that_changed_by_chance_none_is_called_a_difference():
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(40):
        a, b = (pd.concat([table(rng.random(40), f"m{k}") for k in range(10)]) for _ in range(2))
        alarms += (compare_metrics(a, b, "civilian")["verdict"] != NONE).any()
    assert alarms <= 6, "one false alarm in twenty tables is what 5 % means"


def test_only_one_factions_seats_and_the_whole_game_are_compared():
    base = pd.concat(
        [table([0.0] * 20, seat=s, faction=f) for s, f in ((0, "civilian"), (1, "civilian"), (2, "culprit"))]
    )
    base = pd.concat([base, table([0.5] * 20, "Victory", -1, ""), table([1.0] * 20, "games won", -1, "culprit")])
    trained = base.assign(value=base["value"] + base["seat"].map({-1: 0.25, 0: 0.1, 1: 0.3, 2: 9}))
    found = compare_metrics(base, trained, "civilian")["change"]
    assert found.to_dict() == {"Victory": pytest.approx(0.25), "SCI": pytest.approx(0.2)}, "seats are averaged per game"
    assert set(compare_metrics(base, trained, "culprit").index) == {"Victory", "SCI", "games won"}


def test_games_that_one_side_lacks_are_left_out_and_n_says_so():
    assert compare_metrics(table([0.0] * 40), table([1.0] * 30), "civilian").loc["SCI", "games"] == 30


# --- statistics --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "p"), [([1, 1, 1], 2 / 8), ([1, -1], 1.0), ([3, 1, -1], 6 / 8), ([0, 0, 0], 1.0), ([2, 1, 1, 1], 2 / 16)]
)
def test_sign_flips_worked_out_by_hand(values, p):
    # 3 1 -1: sum 3; of the eight sums +-3 +-1 +-1 are 5, 3, 3, 1 and their opposites, so six are as far
    assert sign_flip(values, 0) == pytest.approx(p)


def test_drawn_flips_agree_with_all_of_them():
    values = np.random.default_rng(3).normal(0.4, 1, 12)
    assert sign_flip(values, 0, n_flips=4000) == pytest.approx(sign_flip(values, 0), abs=0.03)
    assert sign_flip(np.ones(60), 0) == pytest.approx(1 / 10_001), "never 0: the observed flip is one of them"


def test_groups_flip_together():
    assert sign_flip([1, 1, 1, 1], 0, groups=["a", "a", "b", "b"]) == 2 / 4
