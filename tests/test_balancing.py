import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import make_actions, played

from maro_lib.learn.balancing import MODES, NothingToLearn, balance, read_lambdas, shuffle_labels, shuffle_outcomes
from maro_lib.learn.decomposition import decompose
from maro_lib.runs import RunError

EVERY_MODE = ["min", "max", "all", "ips"]


def credited(actions, rule="uniform", **options):
    return actions.assign(weight=decompose(actions, rule, **options))


def kept_seats(balanced):
    return set(zip(balanced.actions["game"], balanced.actions["agent"], strict=True))


def factors(balanced):
    """The kept weight per game and agent (each of these tables' actions had weight 1 or -1)."""
    weights = balanced.actions.groupby(["game", "agent"])["weight"]
    assert (weights.nunique() == 1).all()
    return weights.first().to_dict()


@pytest.fixture
def three_games():
    """Game a: 2 civilians beat 1 culprit; b: the culprit beats 2 civilians; c: all three win. 2 actions each."""
    return credited(played(
        ("a", 0, "Dora", "detective", 1, 2), ("a", 0, "Will", "witness", 1, 2), ("a", 0, "Carl", "culprit", 0, 2),
        ("b", 1, "Dora", "detective", 0, 2), ("b", 1, "Will", "witness", 0, 2), ("b", 1, "Carl", "culprit", 1, 2),
        ("c", 2, "Dora", "detective", 1, 2), ("c", 2, "Will", "witness", 1, 2), ("c", 2, "Carl", "culprit", 1, 2),
    ))  # fmt: skip


# --- modes -------------------------------------------------------------------------------------------


def test_min_keeps_as_many_of_each_side(three_games):
    # a, b: N_reward = min(2, 1) = 1; c: min(3, 0) = 0
    balanced = balance(three_games)
    seats = kept_seats(balanced)
    assert {("a", "Carl"), ("b", "Carl")} < seats
    assert [len(seats & {(g, "Dora"), (g, "Will")}) for g in "abc"] == [1, 1, 0]
    assert set(factors(balanced).values()) == {1.0}
    # kept: a 2 + 2, b 2 + 2 actions, 4 desirable and 4 undesirable
    assert (len(balanced.actions), balanced.lam_pos, balanced.lam_neg) == (8, 1.0, 1.0)
    assert balanced.reasons.loc[["one-sided game", "not drawn"]].to_dict("list") == {
        "civilian": [4, 4],
        "culprit": [2, 0],
    }


def test_max_lets_the_smaller_side_count_as_the_larger(three_games):
    # a, b: sides 2 and 1, so the culprit counts twice; c has one side, nothing to scale
    balanced = balance(three_games, "max")
    assert factors(balanced) == {
        ("a", "Dora"): 1, ("a", "Will"): 1, ("a", "Carl"): 2,
        ("b", "Dora"): 1, ("b", "Will"): 1, ("b", "Carl"): 2,
        ("c", "Dora"): 1, ("c", "Will"): 1, ("c", "Carl"): 1,
    }  # fmt: skip
    # W_+ = a 4 + b 4 + c 6 = 14, W_- = a 4 + b 4 = 8, half of 22 is 11
    assert (balanced.lam_pos, balanced.lam_neg) == pytest.approx((11 / 14, 11 / 8))
    assert "Games kept with winners only or losers only: 1;" in balanced.statement


def test_all_changes_nothing(three_games):
    balanced = balance(three_games, "all")
    assert balanced.actions["weight"].tolist() == [1.0] * 18
    assert balanced.actions["desirable"].tolist() == [True] * 4 + [False] * 6 + [True] * 8
    # W_+ = 12, W_- = 6, half of 18 is 9
    assert (balanced.lam_pos, balanced.lam_neg) == (0.75, 1.5)


def test_ips_gives_every_faction_and_outcome_the_same_mass(three_games):
    # 9 characters in 4 cells: civilian won 4, civilian lost 2, culprit won 2, culprit lost 1
    # 9 / n_cell = 2.25, 4.5, 4.5, 9; mean over characters 4 * 9 / 9 = 4
    balanced = balance(three_games, "ips")
    assert factors(balanced) == pytest.approx({
        ("a", "Dora"): 0.5625, ("a", "Will"): 0.5625, ("a", "Carl"): 2.25,
        ("b", "Dora"): 1.125, ("b", "Will"): 1.125, ("b", "Carl"): 1.125,
        ("c", "Dora"): 0.5625, ("c", "Will"): 0.5625, ("c", "Carl"): 1.125,
    })  # fmt: skip
    assert balanced.report["kept_mass"].tolist() == pytest.approx([4.5, 4.5, 4.5, 4.5])


def test_the_report_accounts_for_every_action_and_character(three_games):
    # civilians: won 4 characters (a 2, c 2), lost 2 (b); of a and b one each is drawn
    assert balance(three_games, camp_weights={"culprit": 3}).report.to_dict("records") == [
        {"faction": "civilian", "outcome": "won", "actions": 8, "kept_actions": 2, "dropped_actions": 6,
         "characters": 4, "kept_characters": 1, "dropped_characters": 3, "mass": 8.0, "kept_mass": 2.0},
        {"faction": "civilian", "outcome": "lost", "actions": 4, "kept_actions": 2, "dropped_actions": 2,
         "characters": 2, "kept_characters": 1, "dropped_characters": 1, "mass": 4.0, "kept_mass": 2.0},
        {"faction": "culprit", "outcome": "won", "actions": 4, "kept_actions": 2, "dropped_actions": 2,
         "characters": 2, "kept_characters": 1, "dropped_characters": 1, "mass": 4.0, "kept_mass": 6.0},
        {"faction": "culprit", "outcome": "lost", "actions": 2, "kept_actions": 2, "dropped_actions": 0,
         "characters": 1, "kept_characters": 1, "dropped_characters": 0, "mass": 2.0, "kept_mass": 6.0},
    ]  # fmt: skip


# --- weights -----------------------------------------------------------------------------------------


def test_camp_weights_multiply_a_factions_weights(three_games):
    balanced = balance(three_games, "max", camp_weights={"culprit": 0.5})
    assert [factors(balanced)[seat] for seat in (("a", "Dora"), ("a", "Carl"), ("c", "Carl"))] == [1, 1, 0.5]


def test_a_weight_is_the_size_of_the_credit_and_its_sign_the_label(three_games):
    three_games["weight"] = [0.5, -2.0] * 9
    balanced = balance(three_games, "all")
    assert balanced.actions["weight"].tolist() == [0.5, 2.0] * 9
    assert balanced.actions["desirable"].tolist() == [True, False] * 9


def test_given_lambdas_are_kept_and_one_given_alone_sets_the_other(three_games):
    balanced = balance(three_games, "all", lam_pos=2, lam_neg=0.25)
    assert (balanced.lam_pos, balanced.lam_neg) == (2, 0.25)
    # W_+ = 12, W_- = 6: 3 * 12 = 6 * 6, and 1.5 * 12 = 3 * 6
    balanced = balance(three_games, "all", lam_pos=3)
    assert (balanced.lam_pos, balanced.lam_neg) == (3, 6)
    balanced = balance(three_games, "all", lam_neg=3)
    assert (balanced.lam_pos, balanced.lam_neg) == (1.5, 3)
    assert (balance(three_games, "all", lam_pos=0, lam_neg=1).lam_pos) == 0
    with pytest.raises(ValueError, match="lam_neg: 0 makes the other one 0 as well"):
        balance(three_games, "all", lam_neg=0)


def test_zero_weights_are_dropped_before_sides_are_counted(three_games):
    # Will's weights are 0, so in a and b each side has one character to hand over
    three_games.loc[three_games["agent"] == "Will", "weight"] = 0.0
    balanced = balance(three_games)
    assert kept_seats(balanced) == {("a", "Dora"), ("a", "Carl"), ("b", "Dora"), ("b", "Carl")}
    assert balanced.reasons.loc["zero weight"].to_dict() == {"civilian": 6, "culprit": 0}
    assert balanced.reasons.loc["not drawn"].sum() == 0


def test_illegal_actions_stay_unless_asked(three_games):
    three_games.loc[three_games.index[:3], "legal"] = False  # both of Dora's in a, one of Will's
    assert len(balance(three_games, "all").actions) == 18
    balanced = balance(three_games, "all", illegal="drop")
    assert balanced.reasons.loc["illegal"].to_dict() == {"civilian": 3, "culprit": 0}
    assert len(balanced.actions) == 15
    assert ("a", "Will") in kept_seats(balance(three_games, illegal="drop"))  # Dora has nothing left to hand over


# --- laws --------------------------------------------------------------------------------------------


@st.composite
def tables(draw):
    """Credited games whose characters win or lose one by one."""
    actions = make_actions(draw(st.integers(1, 6)), draw(st.integers(0, 999)), n_characters=4, n_rounds=1)
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    seats = actions.groupby(["game", "agent"]).ngroup().to_numpy()
    actions["success"] = rng.integers(2, size=seats.max() + 1)[seats]
    return actions.assign(weight=rng.choice([-1.0, -0.5, 0.0, 1.0, 2.0], size=len(actions)))


def balance_or_none(actions, **options):
    try:
        return balance(actions, **options)
    except NothingToLearn:
        return None


@settings(max_examples=60, deadline=None)
@given(tables(), st.integers(0, 99))
def test_sides_are_equal_after_min(actions, seed):
    if balanced := balance_or_none(actions, seed=seed):
        seats = balanced.actions.drop_duplicates(["game", "agent"])
        won = seats.groupby("game")["success"].agg(["sum", "size"])
        assert (2 * won["sum"] == won["size"]).all()


@settings(max_examples=30, deadline=None)
@given(tables(), st.sampled_from(EVERY_MODE))
def test_every_action_is_kept_or_has_a_reason(actions, mode):
    if balanced := balance_or_none(actions, mode=mode):
        assert len(balanced.actions) + balanced.reasons.to_numpy().sum() == len(actions)
        assert balanced.report["dropped_actions"].sum() == balanced.reasons.to_numpy().sum()
        assert balanced.report["kept_mass"].sum() == pytest.approx(balanced.actions["weight"].sum())
        if mode != "min":
            assert balanced.reasons.drop("zero weight").to_numpy().sum() == 0


@settings(max_examples=30, deadline=None)
@given(tables(), st.sampled_from(EVERY_MODE))
def test_lambdas_make_both_classes_weigh_the_same(actions, mode):
    if balanced := balance_or_none(actions, mode=mode):
        mass = balanced.actions.groupby("desirable")["weight"].sum()
        half = mass.sum() / 2
        assert (balanced.lam_pos * mass[True], balanced.lam_neg * mass[False]) == pytest.approx((half, half))
        assert (balanced.actions["weight"] > 0).all()


@settings(max_examples=20, deadline=None)
@given(tables(), st.sampled_from(EVERY_MODE), st.integers(0, 99))
def test_order_of_rows_does_not_matter(actions, mode, seed):
    if balanced := balance_or_none(actions, mode=mode, seed=3):
        shuffled = balance(actions.sample(frac=1, random_state=seed), mode, seed=3)
        pd.testing.assert_frame_equal(shuffled.actions.sort_index(), balanced.actions)
        pd.testing.assert_frame_equal(shuffled.report, balanced.report)


def test_same_seed_same_choice():
    actions = credited(make_actions(50))
    choices = [kept_seats(balance(actions, seed=seed)) for seed in (4, 4, 5)]
    assert choices[0] == choices[1] != choices[2]


def test_a_choice_does_not_depend_on_other_games():
    actions = credited(make_actions(40))
    few = actions[actions["game"].isin(actions["game"].unique()[10:20])]
    assert kept_seats(balance(few, seed=1)) == {
        s for s in kept_seats(balance(actions, seed=1)) if s[0] in set(few["game"])
    }


def test_a_seed_draws_the_same_in_every_version():
    """What was found with a seed is found again with it."""
    actions = credited(make_actions(8))
    kept = balance(actions, seed=3).actions
    assert "".join(map(str, kept.drop_duplicates(["game", "seat"])["seat"])) == "0305050205030404"
    labels = shuffle_labels(kept, 3).drop_duplicates(["game", "seat"])["desirable"]
    assert "".join("-+"[label] for label in labels) == "--+-+++-+-+-+-+-"
    assert shuffle_outcomes(actions, 3).drop_duplicates("game")["success"].tolist() == [1, 1, 1, 1, 1, 1, 1, 0]


def test_every_character_is_drawn_equally_often():
    # 3,000 games, one civilian of four drawn in each: 750 times each, +- 4 standard deviations of 23.7
    rows = make_actions(1, n_characters=5, n_rounds=1).drop_duplicates("agent")
    games = [rows.assign(game=f"g{i}") for i in range(3000)]
    kept = balance(credited(pd.concat(games, ignore_index=True))).actions
    drawn = kept[kept["faction"] == "civilian"]["agent"].value_counts()
    assert len(drawn) == 4
    assert drawn.between(655, 845).all()


# --- what is missing ---------------------------------------------------------------------------------


def message(actions, **options):
    with pytest.raises(NothingToLearn) as error:
        balance(actions, **options)
    return str(error.value)


@pytest.mark.parametrize("mode", EVERY_MODE)
@pytest.mark.parametrize(
    ("success", "who", "way"), [(1, "18 of winners and 0", "lose"), (0, "0 of winners and 18", "win")]
)
def test_winners_or_losers_alone_teach_nothing(three_games, mode, success, who, way):
    said = message(credited(three_games.assign(success=success)), mode=mode)
    assert f"18 actions in 3 games, {who}" in said
    assert said.endswith(f"until some characters {way}.")
    assert "desirable action is left" in said


@pytest.mark.parametrize("mode", EVERY_MODE)
def test_an_empty_table_teaches_nothing(three_games, mode):
    assert message(three_games.iloc[:0], mode=mode).endswith("Play games first: the table is empty.")


@pytest.mark.parametrize(
    ("change", "options", "missing", "way"),
    [
        ({"weight": 0.0}, {}, "no desirable and no undesirable", "Use another credit rule"),
        ({"weight": 1.0}, {}, "no undesirable", "Use another credit rule"),
        ({"weight": -1.0}, {}, "no desirable", "Use another credit rule"),
        ({"legal": False}, {"illegal": "drop"}, "no desirable and no undesirable", "Keep illegal actions"),
        (
            {},
            {"camp_weights": {"civilian": 0, "culprit": 0}},
            "no desirable and no und",
            "Give that faction a camp weight",
        ),
    ],
)
def test_nothing_left_names_the_cause_and_the_way_out(three_games, change, options, missing, way):
    said = message(three_games.assign(**change), **options)
    assert said.startswith(missing)
    assert way in said


def test_a_weight_of_zero_is_neither_desirable_nor_undesirable(three_games):
    said = message(three_games.assign(weight=[0.0, -1.0] * 9), mode="all")
    assert "the rule calls 0 desirable and 9 undesirable; dropped: 9 zero weight. Use another" in said
    assert "the rule calls 9 desirable and 0 und" in message(three_games.assign(weight=[0.0, 1.0] * 9), mode="all")


def test_games_with_one_side_each_leave_nothing_for_min(three_games):
    # all win in c, all lose in d: both classes are there, but never in one game
    all_win = three_games[three_games["game"] == "c"]
    both = credited(pd.concat([all_win, all_win.assign(game="d", success=0)], ignore_index=True))
    said = message(both)
    assert "dropped: 12 one-sided game." in said
    assert said.endswith("or use mode 'all' or 'ips', or `across` games.")
    assert len(balance(both, "all").actions) == 12


def test_one_faction_alone_is_said(three_games):
    balanced = balance(three_games, camp_weights={"civilian": 0})
    assert set(balanced.actions["faction"]) == {"culprit"}
    assert (
        "Only culprit actions are left (of the others, 4 one-sided game, 4 not drawn, 4 camp weight 0)"
        in balanced.statement
    )
    alone = balance(three_games[three_games["faction"] == "culprit"], "all")
    assert "Only culprit actions are left (the table holds no other faction)" in alone.statement
    assert "Only" not in balance(three_games).statement
    assert "Games kept" not in balanced.statement  # the sides were equal before the camp weight


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "mni"}, "mode: 'mni' is unknown; did you mean 'min'? (known: min, max, all, ips)"),
        ({"illegal": "dorp"}, "illegal: 'dorp' is unknown; did you mean 'drop'?"),
        ({"camp_weights": {"civilan": 1}}, "camp_weights: 'civilan' is unknown; did you mean 'civilian'?"),
        ({"camp_weights": {"culprit": -1}}, "camp_weights: culprit: -1 is not a number from 0 up"),
        ({"camp_weights": {"culprit": np.nan}}, "camp_weights: culprit: nan is not a number from 0 up"),
        ({"lam_pos": -1.0}, "lam_pos: -1.0 is not a number from 0 up"),
        ({"lam_neg": "1e-4"}, "lam_neg: '1e-4' is not a number from 0 up"),
    ],
)
def test_what_is_unknown_or_impossible_is_named(three_games, options, said):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared below)
        balance(three_games, **options)
    assert said in str(error.value)


def test_a_table_without_credit_is_refused(three_games):
    with pytest.raises(ValueError, match=r"balance \(weight = decompose\(...\)\) needs the column `weight`"):
        balance(three_games.drop(columns="weight"))
    with pytest.raises(ValueError, match="column `weight`: 18 of 18 are not finite"):
        balance(three_games.assign(weight=np.nan))


def test_the_table_that_was_given_is_left_alone(three_games):
    before = three_games.copy()
    for mode in MODES:
        balance(three_games, mode)
    pd.testing.assert_frame_equal(three_games, before)


def test_a_balanced_set_is_not_changed_afterwards(three_games):
    with pytest.raises(dataclasses.FrozenInstanceError):
        balance(three_games).lam_pos = 2


def one_action_each(seats):
    """Games of one character with one action, of the (faction, success) given."""
    rows = [(f"g{k}", "Ann", faction, success, 2.0 * success - 1) for k, (faction, success) in enumerate(seats)]
    return pd.DataFrame(rows, columns=["game", "agent", "faction", "success", "weight"])


def test_classes_weigh_the_same_within_each_faction_and_factions_what_they_did():
    # four civilians lost and one won beside a culprit who won and one who lost; every action has credit 1
    seats = [("civilian", 0)] * 4 + [("civilian", 1)] + [("culprit", 1)] + [("culprit", 0)]
    even = balance(one_action_each(seats), "all", classes="per_faction")
    assert even.actions["weight"].tolist() == pytest.approx([0.625] * 4 + [2.5] + [1.0, 1.0])
    assert (even.lam_pos, even.lam_neg) == pytest.approx((1.0, 1.0))


def test_a_faction_of_one_class_keeps_its_weights():
    rows = one_action_each([("civilian", 0), ("civilian", 0), ("culprit", 1)])
    assert balance(rows, "all", classes="per_faction").actions["weight"].tolist() == [1.0, 1.0, 1.0]


# --- the control -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many():
    return balance(credited(make_actions(300, seed=4)), classes="per_faction").actions


def test_shuffled_labels_keep_their_shares_per_faction(many):
    shuffled = shuffle_labels(many, 0)
    pd.testing.assert_frame_equal(
        shuffled.drop(columns=["desirable", "weight"]), many.drop(columns=["desirable", "weight"])
    )
    for faction, own in many.groupby("faction"):
        now = shuffled.loc[own.index]
        assert now["desirable"].mean() == pytest.approx(own["desirable"].mean(), abs=0.02)
        for label in (True, False):
            before, after = (t.loc[t["desirable"] == label, "weight"] for t in (own, now))
            assert after.to_numpy() == pytest.approx(before.iloc[0]), f"{faction}: a label comes with its weight"


def test_shuffled_labels_say_nothing_about_who_won(many):
    agree = [(shuffle_labels(many, s)["desirable"] == many["desirable"]).mean() for s in range(20)]
    p = many["faction"].map(many.groupby("faction")["desirable"].mean())
    assert np.mean(agree) == pytest.approx((p * p + (1 - p) * (1 - p)).mean(), abs=0.01), "as often as by chance"


def test_shuffled_labels_are_still_one_per_dialogue(many):
    assert (shuffle_labels(many, 0).groupby(["game", "seat"])["desirable"].nunique() == 1).all()


def test_shuffled_labels_are_stretched_over_longer_dialogues():
    a, b = ([("a", 0, "Will", "witness", 1, 2)], [("b", 1, "Dora", "detective", 0, 4)])
    table = played(*a, *b).assign(desirable=[True, False, False, False, True, True], weight=[1.0, 2, 3, 4, 5, 6])
    swapped = next(t for s in range(9) if (t := shuffle_labels(table, s))["weight"].iloc[0] != 1)
    assert swapped["weight"].tolist() == [3, 5, 1, 1, 2, 2]
    assert swapped["desirable"].tolist() == [False, True, True, True, False, False]


def test_shuffling_labels_depends_on_the_seed_and_not_on_the_order_of_rows(many):
    one = shuffle_labels(many, 7)
    pd.testing.assert_frame_equal(shuffle_labels(many.sample(frac=1, random_state=0), 7).loc[one.index], one)
    assert not one["desirable"].equals(shuffle_labels(many, 8)["desirable"])


def test_lambdas_are_read_as_they_were_written_or_not_at_all(tmp_path):
    path = tmp_path / "training.json"
    path.write_text('{"mode": "min", "classes": "overall", "lam_pos": 1, "lam_neg": 0.5, "statement": "all kept"}')
    assert read_lambdas(path) == {"lam_pos": 1.0, "lam_neg": 0.5}
    path.write_text(path.read_text().replace("0.5", '"0.5"'))
    with pytest.raises(RunError, match=r"training\.json: is damaged \(lam_neg: Input should be a valid number\)"):
        read_lambdas(path)
