"""Strength: fits worked out by hand, what they are relative to, and games of everybody against everybody."""

import numpy as np
import pandas as pd
import pytest

from maro_lib.embedded.lessons import HOME
from maro_lib.measure.cross_play import curve_of, errors_apart, play_pairs
from maro_lib.measure.strength import chance_of_culprits, fit_strengths, pair_counts, strengths
from maro_lib.play.policies import NAIVE, RANDOM, SKILLED
from maro_lib.play.rollout import schedule
from maro_lib.world.generator import generate_many
from maro_lib.world.mystery import Rules

LOG5 = np.log(5)  # 17.5 : 3.5, with half a game more for each side


def pairs(*rows, kind="SOC"):
    table = pd.DataFrame(rows, columns=["civilians", "culprits", "culprits_won"])
    return table.assign(kind=kind, games=20)


EVEN = pairs(("Ann", "Ann", 10), ("Ann", "Bob", 17), ("Bob", "Ann", 3), ("Bob", "Bob", 10))


def test_four_cells_by_hand():
    """Odds of the culprits 1, 5, 1/5 and 1: Bob is five times as strong on either side."""
    found = fit_strengths(EVEN, "Ann")
    expected = {("civilian", "Ann"): 0, ("civilian", "Bob"): LOG5, ("culprit", "Ann"): 0, ("culprit", "Bob"): LOG5,
                ("edge", "SOC"): 0, ("v", "SOC"): 1}  # fmt: skip
    assert found.to_dict() == pytest.approx(expected, abs=1e-6)


def test_the_edge_is_what_the_role_brings():
    """Odds 5, 5, 1 and 1: culprits have five to one, and Bob is better as civilians alone."""
    found = fit_strengths(pairs(("Ann", "Ann", 17), ("Ann", "Bob", 17), ("Bob", "Ann", 10), ("Bob", "Bob", 10)), "Ann")
    assert found.to_numpy() == pytest.approx([0, LOG5, 0, 0, LOG5, 1], abs=1e-6)
    assert chance_of_culprits(found, "Ann", "Bob", "SOC") == pytest.approx(17.5 / 21)
    assert chance_of_culprits(found, "Bob", "Ann", "SOC") == pytest.approx(1 / 2)


def test_another_reference_moves_the_zero_alone():
    ann, bob = (fit_strengths(EVEN, name) for name in ("Ann", "Bob"))
    assert bob["civilian", "Ann"] == pytest.approx(-LOG5)
    assert bob["culprit", "Ann"] == pytest.approx(-LOG5)
    for pair in (("Ann", "Ann"), ("Ann", "Bob"), ("Bob", "Ann"), ("Bob", "Bob")):
        assert chance_of_culprits(ann, *pair, "SOC") == pytest.approx(chance_of_culprits(bob, *pair, "SOC"))


def test_skill_decides_half_as_much_where_log_odds_are_half():
    """The same two in another kind: odds of 13.5 : 7.5 are 1.8, and v = log 1.8 / log 5 fits all four cells."""
    less = pairs(("Ann", "Ann", 10), ("Ann", "Bob", 13), ("Bob", "Ann", 7), ("Bob", "Bob", 10), kind="MUC")
    found = fit_strengths(pd.concat([EVEN, less]), "Ann")
    assert found["v"].to_dict() == pytest.approx({"SOC": 1, "MUC": np.log(1.8) / LOG5}, abs=1e-5)
    assert found["culprit", "Bob"] == pytest.approx(LOG5, abs=1e-5)
    assert chance_of_culprits(found, "Ann", "Bob", "MUC") == pytest.approx(13.5 / 21, abs=1e-5)


def test_a_kind_that_favours_a_role_favours_no_skill():
    """Odds five times those of the even kind in every cell: an edge of log 5, and the same v."""
    tilted = pairs(("Ann", "Ann", 1750), ("Ann", "Bob", 2019), ("Bob", "Ann", 1050), ("Bob", "Bob", 1750), kind="MUC")
    found = fit_strengths(pd.concat([EVEN, tilted.assign(games=2100)]), "Ann")
    assert found["edge"].to_dict() == pytest.approx({"SOC": 0, "MUC": LOG5}, abs=0.01)
    assert found["v"]["MUC"] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("won", [0, 20])
def test_who_wins_all_games_is_finite(won):
    """20.5 : 0.5 is 41 to 1."""
    found = fit_strengths(pairs(("Ann", "Ann", 10), ("Ann", "Bob", won), ("Bob", "Ann", 20 - won), ("Bob", "Bob", 10)),
                          "Ann")  # fmt: skip
    assert found["culprit", "Bob"] == pytest.approx(np.log(41) * (1 if won else -1), abs=1e-5)


def test_who_never_plays_a_side_has_no_strength_there():
    with pytest.raises(ValueError, match="nobody knows how strong Bob is as civilians"):
        fit_strengths(EVEN[EVEN["civilians"] == "Ann"], "Ann")


def drawn(n_scripts=40, seed=0):
    """Games of contenders of known strengths: civilians 0, 1, -1, culprits 0, -0.5, 0.5, an edge of 1."""
    rng, rows = np.random.default_rng(seed), []
    strong = {"base": (0.0, 0.0), "good": (1.0, -0.5), "bad": (-1.0, 0.5)}
    for script in range(n_scripts):
        for one, (d, _) in strong.items():
            for other, (_, m) in strong.items():
                p = 1 / (1 + np.exp(-(1 + m - d)))
                rows += [(f"m{script}", one, other, float(rng.random() > p)) for _ in range(4)]
    return pd.DataFrame(rows, columns=["script", "civilians", "culprits", "civilians_won"]).assign(kind="SOC")


def test_strengths_are_found_again_and_mostly_within_their_intervals():
    truth = np.array([0, 1, -1, 0, -0.5, 0.5, 1, 1])
    found = [strengths(drawn(seed=seed), "base", n_boot=100) for seed in range(10)]
    assert np.mean([table["strength"] for table in found], axis=0) == pytest.approx(truth, abs=0.2)
    within = [(table["low"] <= truth) & (truth <= table["high"]) for table in found]
    assert np.mean(within) > 0.85
    pd.testing.assert_frame_equal(strengths(drawn(), "base", n_boot=20), strengths(drawn(), "base", n_boot=20))


def test_intervals_resample_mysteries():
    """Each game ten times over tells nothing new of other mysteries."""
    games = drawn(10)
    one, ten = (strengths(table, "base") for table in (games, pd.concat([games] * 10)))
    width = [(table["high"] - table["low"]).loc["civilian"].loc["good"] for table in (one, ten)]
    assert width[1] > 0.7 * width[0]


def test_games_of_open_outcome_are_not_counted():
    games = drawn(1).assign(lost_civilian=0, lost_culprit=0)
    games.loc[games.index[0], "lost_civilian"] = 1
    counts = pair_counts(errors_apart(games))
    assert counts["games"].tolist() == [3, *[4] * 8]
    assert counts["culprits_won"].iloc[0] == (1 - games["civilians_won"].iloc[1:4]).sum()


# --- cross-play ------------------------------------------------------------------------------------------

PLAYERS = {"random": RANDOM, "skilled": SKILLED}


def some_games(n=2):
    return schedule(generate_many(2, 5, HOME), n, 5, Rules(rounds=1))


@pytest.fixture(scope="module")
def crossed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cross") / "play"
    return folder, play_pairs(some_games(), PLAYERS, folder)


def test_everybody_plays_everybody_in_the_same_games(crossed):
    table = crossed[1]
    assert set(zip(table["civilians"], table["culprits"], strict=True)) == {(a, b) for a in PLAYERS for b in PLAYERS}
    assert {tuple(own["script"]) for _, own in table.groupby(["civilians", "culprits"])} == {
        tuple(game.script.title for game in some_games())
    }
    won = table.groupby("civilians")["civilians_won"].mean()
    assert won["skilled"] == 1 > won["random"]
    assert set(table["kind"]) == {"SOC"}


def test_more_games_or_a_contender_more_play_only_what_is_new(crossed, monkeypatch):
    folder, before = crossed
    asked = []
    act = type(RANDOM).act
    monkeypatch.setattr(type(RANDOM), "act", lambda self, requests: asked.extend(r.game for r in requests)
                        or act(self, requests))  # fmt: skip
    after = play_pairs(some_games(3), PLAYERS | {"naive": NAIVE}, folder)
    old = after[after["game"].isin(before["game"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(old, before)
    assert len(after) == 9 * 3
    assert {*asked} & {*after["game"]}
    assert not {*asked} & {*before["game"]}


def test_a_curve_is_against_base_and_by_hand():
    rows = [("base", "base", 1, 1.0, 0.9), ("new", "base", 1, 0.8, 1.0), ("new", "base", 0, 0.6, 1.0),
            ("base", "new", 0, 1.0, 0.5), ("new", "new", 1, 1.0, 0.9)]  # fmt: skip
    columns = ["civilians", "culprits", "civilians_won", "legal_civilian", "legal_culprit"]
    curve = curve_of(pd.DataFrame(rows, columns=columns).assign(script="A"), ["base", "new"])
    means = {label: [mean.mean for mean in of_label] for label, of_label in curve.items()}
    assert means["civilians"] == [1, 0.5]
    assert means["culprits"] == [0, 1]
    assert means["legal moves"][1] == pytest.approx((0.8 + 0.6 + 1.0 + 0.5 + 0.9) / 5)
