"""Laws of a study: its control is fair, its intervals resample mysteries, what is kept is what was found."""

import numpy as np
import pandas as pd
import pytest
from synthetic import make_actions

from maro_lib.decomposition import shuffle_outcomes
from maro_lib.evidence import ARMS, keep, kept_gains, summary


@pytest.fixture(scope="module")
def actions():
    return make_actions(80, seed=1)


def outcomes(actions):
    return actions.groupby(["game", "faction"])["success"].first().unstack()


def test_shuffled_labels_keep_every_share_of_wins(actions):
    before, after = outcomes(actions), outcomes(shuffle_outcomes(actions, 0))
    assert before.mean().tolist() == after.mean().tolist()
    assert (after["civilian"] + after["culprit"] == 1).all(), "one side wins each game, as before"


def test_shuffled_labels_say_nothing_about_the_game(actions):
    before = outcomes(actions)["civilian"]
    agree = [np.mean(outcomes(shuffle_outcomes(actions, s))["civilian"] == before) for s in range(40)]
    p = before.mean()
    assert np.mean(agree) == pytest.approx(p * p + (1 - p) * (1 - p), abs=0.03)


def test_shuffling_depends_on_the_seed_and_not_on_the_order_of_rows(actions):
    one = shuffle_outcomes(actions, 7)["success"]
    mixed = shuffle_outcomes(actions.sample(frac=1, random_state=0), 7)["success"]
    assert mixed.sort_index().tolist() == one.tolist()
    assert shuffle_outcomes(actions, 8)["success"].tolist() != one.tolist()


def toy(gain_civilian: float, gain_culprit: float, seed: int = 0) -> pd.DataFrame:
    """200 games of 20 mysteries: base civilians win every fifth; the trained ones some more, or let fewer win."""
    order = np.arange(200)
    base = order % 5 == 0
    won = {"nobody": base, "civilian": base | (order % 200 < 200 * gain_civilian),
           "culprit": base & (order % 200 >= 200 * gain_culprit)}  # fmt: skip
    return pd.concat(
        pd.DataFrame({"order": order, "script": order % 20, "trained": who, "civilians_won": w.astype(float)})
        for who, w in won.items()
    ).assign(arm="MARO", seed=seed)


def test_summary_has_a_row_per_seed_and_one_for_all():
    table = summary(pd.concat([toy(0.5, 0.5), toy(0.0, 0.0, seed=1)])).set_index(["seed", "trained"])
    assert table.loc[("0", "civilian"), "mean"] == 40.0  # of the first 100 games 80 were lost by base
    assert table.loc[("0", "culprit"), "mean"] == 10.0  # and 20 won
    assert table.loc[("1", "civilian"), "mean"] == 0.0
    assert table.loc[("all", "civilian"), "mean"] == 20.0
    assert (table["low"] <= table["mean"]).all()
    assert (table["mean"] <= table["high"]).all()


def test_pooled_seeds_do_not_share_mysteries():
    table = summary(pd.concat([toy(0.5, 0.5), toy(0.5, 0.5, seed=1)])).set_index(["seed", "trained"])
    assert table.loc[("0", "civilian"), "scripts"] == 20
    assert table.loc[("all", "civilian"), "scripts"] == 40, "a title on two seeds is two mysteries"


def test_what_is_kept_is_what_was_found(tmp_path):
    keep(toy(0.5, 0.5), pd.DataFrame({"step": [1]}), "two cores, 21 November 2026", tmp_path)
    gain = kept_gains("civilian", folder=tmp_path)["MARO"]
    assert gain.mean == pytest.approx(0.4)
    assert (tmp_path / "about.txt").read_text(encoding="utf-8") == "two cores, 21 November 2026\n"


def test_arms_differ_from_maro_in_what_they_say():
    assert [name for name, arm in ARMS.items() if arm.shuffled] == ["shuffled labels"]
    plain = [(a.rule, a.mode, a.classes, a.shuffled, sorted(a.changed)) for a in ARMS.values()]
    assert len(set(map(str, plain))) == len(ARMS), "no two arms are the same"
