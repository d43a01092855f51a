import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import make_actions, played, table

from maro_lib.learn.decomposition import (
    CREDIT_RULES,
    cheap_rules,
    credit_rules,
    decompose,
    label,
    rank_agreement,
    register,
)

FROM_OUTCOME = ["uniform", "terminal", "discounted", "role_baseline", "turn_normalised", "agent_normalised"]
MEASURED = [*FROM_OUTCOME, "belief_shift"]
LEARNED = ["latent", "progress", "implicit", "interaction", "shapley"]
CENTRING = ["turn_normalised", "agent_normalised"]


def credit(actions, rule, **options):
    """The weights by game and agent, as lists in order of t."""
    ordered = actions.assign(w=decompose(actions, rule, **options)).sort_values(["game", "agent", "t"])
    return ordered.groupby(["game", "agent"])["w"].agg(list).to_dict()


@pytest.fixture
def one_game():
    """Detective wins with 3 actions, witness loses with 2, culprit loses with 1."""
    return played(
        ("g", 0, "Dora", "detective", 1, 3), ("g", 0, "Will", "witness", 0, 2), ("g", 0, "Carl", "culprit", 0, 1)
    )


# --- the outcome alone -------------------------------------------------------------------------------


def test_cheap_rules_are_all_that_weigh_a_table_by_itself():
    assert {*CREDIT_RULES} - {*cheap_rules()} == {"counterfactual", "shapley"}  # they need measured values


def test_uniform_gives_every_action_the_outcome(one_game):
    expected = {("g", "Dora"): [1, 1, 1], ("g", "Will"): [-1, -1], ("g", "Carl"): [-1]}
    assert credit(one_game, "uniform") == expected
    assert decompose(one_game).tolist() == [1, 1, 1, -1, -1, -1]  # the default rule


def test_uniform_per_trajectory_shares_the_outcome(one_game):
    found = credit(one_game, "uniform", per_trajectory=True)
    assert found == {("g", "Dora"): [1 / 3, 1 / 3, 1 / 3], ("g", "Will"): [-0.5, -0.5], ("g", "Carl"): [-1]}


def test_terminal_pays_the_last_action(one_game):
    expected = {("g", "Dora"): [0, 0, 1], ("g", "Will"): [0, -1], ("g", "Carl"): [-1]}
    assert credit(one_game, "terminal") == expected


def test_discounted_fades_with_the_distance_to_the_end(one_game):
    expected = {("g", "Dora"): [0.25, 0.5, 1], ("g", "Will"): [-0.5, -1], ("g", "Carl"): [-1]}
    assert credit(one_game, "discounted", gamma=0.5) == expected
    assert credit(one_game, "discounted")["g", "Dora"] == pytest.approx([0.81, 0.9, 1])  # 0.9 unless said


# --- the outcome against the role's usual one --------------------------------------------------------


@pytest.fixture
def four_games():
    """Four games in an order that is not that of their names; two witnesses in the 2nd and 3rd."""
    return played(
        ("z", 0, "Dora", "detective", 1, 2), ("z", 0, "Will", "witness", 1, 1), ("z", 0, "Carl", "culprit", 0, 1),
        ("y", 1, "Dora", "detective", 0, 1), ("y", 1, "Will", "witness", 0, 2), ("y", 1, "Wanda", "witness", 0, 1),
        ("y", 1, "Carl", "culprit", 1, 2),
        ("a", 2, "Dora", "detective", 1, 1), ("a", 2, "Will", "witness", 1, 3), ("a", 2, "Wanda", "witness", 0, 1),
        ("a", 2, "Carl", "culprit", 0, 1),
        ("b", 3, "Dora", "detective", 1, 1), ("b", 3, "Will", "witness", 0, 1), ("b", 3, "Carl", "culprit", 0, 1),
    )  # fmt: skip


def test_role_baseline_subtracts_the_running_mean_before_the_game(four_games):
    # alpha 1/2        game z          game y              game a                  game b
    # detective   b    0               0.5                 0.25 - 0.5 = -0.25      -0.125 + 0.5 = 0.375
    #             w    +1 - 0 = 1      -1 - 0.5 = -1.5     +1 + 0.25 = 1.25        +1 - 0.375 = 0.625
    # witness     b    0               0.5                 0.25 - 0.5 = -0.25      -0.125 + 0 = -0.125 (mean of +1, -1)
    #             w    1               -1.5, -1.5          1.25, -0.75             -1 + 0.125 = -0.875
    # culprit     b    0               -0.5                -0.25 + 0.5 = 0.25      0.125 - 0.5 = -0.375
    #             w    -1              +1 + 0.5 = 1.5      -1 - 0.25 = -1.25       -1 + 0.375 = -0.625
    assert credit(four_games, "role_baseline", alpha=0.5) == {
        ("z", "Dora"): [1, 1], ("z", "Will"): [1], ("z", "Carl"): [-1],
        ("y", "Dora"): [-1.5], ("y", "Will"): [-1.5, -1.5], ("y", "Wanda"): [-1.5], ("y", "Carl"): [1.5, 1.5],
        ("a", "Dora"): [1.25], ("a", "Will"): [1.25, 1.25, 1.25], ("a", "Wanda"): [-0.75], ("a", "Carl"): [-1.25],
        ("b", "Dora"): [0.625], ("b", "Will"): [-0.875], ("b", "Carl"): [-0.625],
    }  # fmt: skip


def test_turn_normalised_centres_twice_per_role():
    # witness:  rewards 0 0 +1 | +1 | -1   mean 0.2    centred -0.2 -0.2 0.8 | 0.8 | -1.2
    #           to the end 0.4 0.6 0.8 | 0.8 | -1.2    mean 0.28
    # culprit:  rewards 0 -1 | -1 | +1     mean -0.25  centred 0.25 -0.75 | -0.75 | 1.25
    #           to the end -0.5 -0.75 | -0.75 | 1.25   mean -0.1875
    # detective: rewards 0 +1 | 0 -1       mean 0      to the end 1 1 | -1 -1
    actions = played(
        ("g1", 0, "Will", "witness", 1, 3), ("g1", 0, "Carl", "culprit", 0, 2), ("g1", 0, "Dora", "detective", 1, 2),
        ("g2", 1, "Will", "witness", 1, 1), ("g2", 1, "Carl", "culprit", 0, 1), ("g2", 1, "Dora", "detective", 0, 2),
        ("g3", 2, "Will", "witness", 0, 1), ("g3", 2, "Carl", "culprit", 1, 1),
    )  # fmt: skip
    found = credit(actions, "turn_normalised")
    assert found["g1", "Will"] == pytest.approx([0.12, 0.32, 0.52])
    assert found["g2", "Will"] + found["g3", "Will"] == pytest.approx([0.52, -1.48])
    assert found["g1", "Carl"] == pytest.approx([-0.3125, -0.5625])
    assert found["g2", "Carl"] + found["g3", "Carl"] == pytest.approx([-0.5625, 1.4375])
    assert found["g1", "Dora"] + found["g2", "Dora"] == pytest.approx([1, 1, -1, -1])


def test_turn_normalised_takes_rewards_from_a_column(one_game):
    # detective: 3 0 0, mean 1, centred 2 -1 -1, to the end 0 -2 -1, mean -1
    # witness: 1 2, mean 1.5, centred -0.5 0.5, to the end 0 0.5, mean 0.25
    found = credit(one_game.assign(gain=[3.0, 0, 0, 1, 2, 5]), "turn_normalised", reward="gain")
    assert found == {("g", "Dora"): [1, -1, 0], ("g", "Will"): [-0.25, 0.25], ("g", "Carl"): [0]}


def test_agent_normalised_counts_each_character_once_per_game_and_script():
    # script manor, detective: +1 +1 +1 -1: mean 0.5, std sqrt(0.75) = 0.8660254; witness: +1 -1: mean 0, std 1
    # script museum, detective: +1 only: 0
    actions = played(
        ("g1", 0, "Dora", "detective", 1, 1), ("g1", 0, "Will", "witness", 1, 3), ("g1", 0, "Carl", "culprit", 0, 1),
        ("g2", 1, "Dora", "detective", 1, 1), ("g2", 1, "Will", "witness", 0, 1), ("g2", 1, "Carl", "culprit", 0, 1),
        ("g3", 2, "Dora", "detective", 1, 1), ("g4", 3, "Dora", "detective", 0, 2),
        ("g5", 4, "Dora", "detective", 1, 2),
    )  # fmt: skip
    actions.loc[actions["game"] == "g5", "script"] = "museum"
    found = credit(actions, "agent_normalised")
    assert found["g1", "Dora"] == pytest.approx([0.5773496025], abs=1e-9)
    assert found["g4", "Dora"] == pytest.approx([-1.7320488075, -1.7320488075], abs=1e-9)
    assert found["g1", "Will"] == pytest.approx([0.999999] * 3, abs=1e-9)  # 1 / (1 + 1e-6)
    assert found["g2", "Will"] == pytest.approx([-0.999999], abs=1e-9)
    assert found["g5", "Dora"] == [0, 0]
    assert found["g1", "Carl"] == found["g2", "Carl"] == [0]


# --- what the action changed -------------------------------------------------------------------------


def deed(game, agent, round_, public=True, **columns):
    role = {"Dora": "detective", "Carl": "culprit"}.get(agent, "witness")
    faction = "culprit" if role == "culprit" else "civilian"
    return {"game": game, "agent": agent, "role": role, "faction": faction, "round": round_, "public": public} | columns


def rate(game, agent, round_, belief):
    return deed(game, agent, round_, public=False, phase="rate", kind="rate", belief=belief)


@pytest.fixture
def suspicious():
    """A game of two rated rounds, and one in which nobody rates."""
    return table([
        deed("g", "Dora", 0), deed("g", "Carl", 0), deed("g", "Will", 1), deed("g", "Wanda", 1, public=False),
        rate("g", "Dora", 1, 2.0), rate("g", "Will", 1, 1.0), rate("g", "Wanda", 1, 1.5), rate("g", "Carl", 1, 0.0),
        deed("g", "Carl", 2), deed("g", "Wanda", 2), deed("g", "Carl", 2),
        rate("g", "Dora", 2, 1.0), rate("g", "Will", 2, None), rate("g", "Wanda", 2, 1.0), rate("g", "Carl", 2, 0.0),
        deed("g", "Dora", 2, phase="vote"),
        deed("h", "Carl", 0), deed("h", "Dora", 0),
    ])  # fmt: skip


def test_belief_shift_shares_how_the_others_moved(suspicious):
    # round 1, from the prior 1: Dora +1, Will 0, Wanda +0.5 (Carl is a culprit: talk); 3 public actions
    #   Dora  + (0 + 0.5) / 2 / 3 = 1/12     Carl  - (1 + 0 + 0.5) / 3 / 3 = -1/6     Will  + (1 + 0.5) / 2 / 3 = 1/4
    # round 2: Dora -1, Wanda -0.5 (Will's was not understood); 3 public actions
    #   Carl  - (-1.5) / 2 / 3 = 1/4, twice     Wanda  + (-1) / 3
    # the private search, the ratings, the vote after the last rating, the unrated game: 0
    assert credit(suspicious, "belief_shift") == {
        ("g", "Dora"): pytest.approx([1 / 12, 0, 0, 0]),
        ("g", "Carl"): pytest.approx([-1 / 6, 0, 1 / 4, 1 / 4, 0]),
        ("g", "Will"): pytest.approx([1 / 4, 0, 0]),
        ("g", "Wanda"): pytest.approx([0, 0, -1 / 3, 0]),
        ("h", "Carl"): [0],
        ("h", "Dora"): [0],
    }


def test_belief_before_the_first_rating_is_the_prior(suspicious):
    # from 0.5 instead of 1 each rater moves 0.5 more in round 1: Carl - (1.5 + 0.5 + 1) / 3 / 3
    found = credit(suspicious, "belief_shift", prior=0.5)
    assert found["g", "Carl"] == pytest.approx([-1 / 3, 0, 1 / 4, 1 / 4, 0])


def test_what_was_believed_in_one_game_is_not_believed_in_the_next():
    # g: Will 1 -> 2; h starts from the prior again: 1 -> 1.5, not 2 -> 1.5
    actions = table([deed("g", "Dora", 1), rate("g", "Will", 1, 2.0), deed("h", "Dora", 1), rate("h", "Will", 1, 1.5)])
    found = credit(actions, "belief_shift")
    assert (found["g", "Dora"], found["h", "Dora"]) == ([1], [0.5])


def test_nobody_is_credited_for_its_own_rating():
    actions = table([deed("g", "Dora", 1), deed("g", "Will", 1), rate("g", "Dora", 1, 2.0)])
    assert credit(actions, "belief_shift") == {("g", "Dora"): [0, 0], ("g", "Will"): [0.5]}


def test_ratings_after_every_turn_credit_that_turn_alone():
    # both turns are in round 1. Dora's: Will moves 1 -> 2, +1. Will's search: Dora moves 1 -> 1 -> 2, +1
    actions = table([
        deed("g", "Dora", 1), rate("g", "Dora", 1, 1.0), rate("g", "Will", 1, 2.0),
        deed("g", "Will", 1), rate("g", "Dora", 1, 2.0), rate("g", "Will", 1, 2.0),
    ])  # fmt: skip
    found = credit(actions, "belief_shift")
    assert (found["g", "Dora"], found["g", "Will"]) == ([1, 0, 0], [0, 1, 0])


def test_beliefs_that_cancel_leave_no_dust():
    # 1/3 and 2/3 are not exact: +1/3 - 1/3 in round 2 must be 0, not 1e-8
    actions = table([
        rate("g", "Will", 1, 1 / 3), rate("g", "Wanda", 1, 1.0), deed("g", "Dora", 2),
        rate("g", "Will", 2, 2 / 3), rate("g", "Wanda", 2, 2 / 3),
    ])  # fmt: skip
    assert credit(actions, "belief_shift")["g", "Dora"] == [0]


def test_counterfactual_takes_measured_values_by_index(one_game):
    values = pd.Series({4: -0.25, 0: 0.5})  # the other actions were not resampled
    assert decompose(one_game, "counterfactual", values=values).tolist() == [0.5, 0, 0, 0, -0.25, 0]
    column = one_game.assign(worth=[1, 2, 3, 4, 5, np.nan])
    assert decompose(column, "counterfactual", values="worth").tolist() == [1, 2, 3, 4, 5, 0]


def test_counterfactual_values_of_another_table_are_refused(one_game):
    with pytest.raises(ValueError, match="values: no value for any of the 6 actions"):
        decompose(one_game, "counterfactual", values=pd.Series({99: 1.0}))
    with pytest.raises(ValueError, match="values: matched by index, but labels occur twice"):
        decompose(pd.concat([one_game, one_game]), "counterfactual", values=pd.Series({0: 1.0}))
    with pytest.raises(ValueError, match="values: 1 are infinite"):
        decompose(one_game, "counterfactual", values=pd.Series({0: np.inf}))


# --- laws --------------------------------------------------------------------------------------------


@st.composite
def tables(draw):
    """Games of any size whose characters win or lose one by one, in shuffled rows."""
    actions = make_actions(
        draw(st.integers(1, 5)), draw(st.integers(0, 999)),
        n_characters=draw(st.integers(2, 5)), n_rounds=draw(st.integers(1, 3)),
    )  # fmt: skip
    seats = actions.groupby(["game", "agent"]).ngroup().to_numpy()
    won = np.random.default_rng(draw(st.integers(0, 999))).integers(2, size=seats.max() + 1)
    return actions.assign(success=won[seats].astype("int8")).sample(frac=1, random_state=draw(st.integers(0, 99)))


def sums(actions, rule, **options):
    """Each trajectory's summed weights and its outcome."""
    frame = actions.assign(w=decompose(actions, rule, **options), r=2 * actions["success"].astype(float) - 1)
    one = frame.groupby(["game", "agent"]).agg(w=("w", "sum"), r=("r", "first"), n=("n_actions", "first"))
    return one["w"], one["r"], one["n"]


@settings(max_examples=25, deadline=None)
@given(tables())
def test_weights_sum_to_the_outcome_of_the_trajectory(actions):
    for rule, options in (("uniform", {"per_trajectory": True}), ("terminal", {}), ("discounted", {"gamma": 0.0})):
        total, outcome, _ = sums(actions, rule, **options)
        assert np.allclose(total, outcome), rule


@settings(max_examples=25, deadline=None)
@given(tables(), st.floats(0.1, 0.99))
def test_discounted_sums_to_a_geometric_series(actions, gamma):
    total, outcome, n_actions = sums(actions, "discounted", gamma=gamma)
    assert np.allclose(total, outcome * (1 - gamma**n_actions) / (1 - gamma))


@settings(max_examples=25, deadline=None)
@given(tables())
def test_centred_weights_sum_to_zero_in_each_role(actions):
    weights = actions.assign(w=decompose(actions, "turn_normalised"))
    assert np.allclose(weights.groupby("role")["w"].sum(), 0)
    one = actions.assign(w=decompose(actions, "agent_normalised")).drop_duplicates(["game", "agent"])
    assert np.allclose(one.groupby(["script", "role"])["w"].sum(), 0)


@pytest.mark.parametrize("rule", MEASURED)
@settings(max_examples=15, deadline=None)
@given(actions=tables(), seed=st.integers(0, 99))
def test_order_of_rows_does_not_matter(rule, actions, seed):
    shuffled = decompose(actions.sample(frac=1, random_state=seed), rule)
    pd.testing.assert_series_equal(shuffled.loc[actions.index], decompose(actions, rule), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", MEASURED)
@settings(max_examples=15, deadline=None)
@given(actions=tables())
def test_every_weight_is_a_finite_number(rule, actions):
    weights = decompose(actions, rule)
    assert np.isfinite(weights).all()
    assert (weights.name, weights.dtype, weights.index.equals(actions.index)) == ("weight", "float64", True)


@pytest.mark.parametrize("rule", CENTRING)
@pytest.mark.parametrize("success", [0, 1])
def test_constant_outcomes_give_zeros(rule, success):
    actions = make_actions(4).assign(success=success)
    assert (decompose(actions, rule) == 0).all()


def test_a_constant_outcome_of_one_role_gives_zeros_to_that_role_only():
    actions = make_actions(6, seed=1)
    actions.loc[actions["role"] == "detective", "success"] = 1
    silent = decompose(actions, "turn_normalised") == 0
    assert silent[actions["role"] == "detective"].all()
    assert not silent[actions["role"] != "detective"].all()


def test_constant_turn_rewards_give_zeros_whatever_the_rounding():
    actions = make_actions(400, n_characters=4).assign(gain=0.1)  # 0.1 is not exact: a mean over thousands is off
    assert (decompose(actions, "turn_normalised", reward="gain") == 0).all()


def test_the_unit_of_turn_rewards_does_not_matter(one_game):
    gain = np.array([0.1, 0.1, 0.1, 1, 2, 5])  # three times 0.1 is not exact: dust, and it must stay dust
    weights = decompose(one_game.assign(gain=gain), "turn_normalised", reward="gain")
    assert weights.tolist() == [0, 0, 0, -0.25, 0.25, 0]
    for unit in (2.0**-20, 2.0**20):
        scaled = decompose(one_game.assign(gain=gain * unit), "turn_normalised", reward="gain")
        assert (scaled / unit).tolist() == weights.tolist()


def test_a_constant_outcome_wears_off_under_the_role_baseline():
    # R = 1 for ever: w = 0.95^k in the role's k-th game
    actions = played(*[(f"g{k}", k, "Dora", "detective", 1, 1) for k in range(4)])
    assert decompose(actions, "role_baseline").tolist() == pytest.approx([1, 0.95, 0.9025, 0.857375])


@pytest.mark.parametrize("rule", MEASURED)
def test_an_empty_table_gives_no_weights(rule):
    weights = decompose(make_actions(1).iloc[:0], rule)
    assert (len(weights), weights.dtype) == (0, "float64")


# --- labels, and what is refused ---------------------------------------------------------------------


def test_a_label_is_the_sign_and_zeros_are_dropped():
    labels = label(pd.Series([0.5, 0.0, -2.0], index=[7, 8, 9], name="weight"))
    assert labels.to_dict("index") == {7: {"desirable": True, "weight": 0.5}, 9: {"desirable": False, "weight": 2.0}}


def test_a_label_needs_a_number():
    with pytest.raises(ValueError, match="weights: 1 of 2 are not finite"):
        label(pd.Series([1.0, np.nan]))


def test_every_rule_shows_its_formula():
    shown = credit_rules()
    assert list(shown.columns) == ["name", "formula", "source"]
    assert list(shown["name"]) == [*MEASURED, "counterfactual", *LEARNED]
    assert (shown[["formula", "source"]] != "").all(axis=None)


def test_another_rule_joins_by_one_decorator(one_game):
    @register("t", "this test", needs="t")
    def by_time(actions, *, times=1.0):
        return actions["t"] * times

    try:
        assert decompose(one_game, "by_time", times=2).tolist() == [2, 4, 6, 2, 4, 2]
    finally:
        del CREDIT_RULES["by_time"]


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        ("terminl", {}, "rule: 'terminl' is unknown; did you mean 'terminal'?"),
        ("discounted", {"gama": 1}, r"rule 'discounted': unknown option `gama`; did you mean 'gamma'? (it has: gamma)"),
        ("terminal", {"gamma": 1}, "rule 'terminal': unknown option `gamma` (it has none)"),
        ("counterfactual", {}, "rule 'counterfactual' needs the option `values`"),
        ("counterfactual", {"values": "gold"}, "rule 'counterfactual' needs the column `gold`, which the table lacks"),
        ("discounted", {"gamma": 1.5}, "gamma: 1.5 is not between 0 and 1"),
        ("turn_normalised", {"reward": "rol"}, "option `reward` needs the column `rol`, which the table lacks"),
    ],
)
def test_what_is_unknown_is_named_with_its_nearest(one_game, rule, options, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared below)
        decompose(one_game, rule, **options)
    assert message in str(error.value)


@pytest.mark.parametrize("rule", MEASURED)
def test_a_missing_column_is_named(one_game, rule):
    for column in CREDIT_RULES[rule].needs:
        with pytest.raises(ValueError, match=f"rule '{rule}' needs the column `{column}`"):
            decompose(one_game.drop(columns=column), rule)


def test_outcomes_and_places_must_make_sense(one_game):
    with pytest.raises(ValueError, match="column `success`: 6 of 6 actions hold neither 0 nor 1"):
        decompose(one_game.assign(success=-1))
    with pytest.raises(ValueError, match=r"column `t`: 6 of 6 actions lie outside 1..n_actions"):
        decompose(one_game.assign(t=0), "terminal")
    with pytest.raises(ValueError, match="column `gain`: 6 of 6 are not finite"):
        decompose(one_game.assign(gain=np.nan), "turn_normalised", reward="gain")


# --- comparing rules ---------------------------------------------------------------------------------


@pytest.fixture
def ranked():
    """Actions with a rule's weights a and a reference b (not measured everywhere)."""
    actions = played(
        ("g1", 0, "Dora", "detective", 1, 3), ("g1", 0, "Will", "witness", 1, 3), ("g1", 0, "Carl", "culprit", 0, 2),
        ("g2", 1, "Dora", "detective", 0, 3), ("g2", 1, "Will", "witness", 0, 1), ("g2", 1, "Carl", "culprit", 1, 3),
    )  # fmt: skip
    a = pd.Series([1, 2, 40, 5, 5, 5, 1, 2, 9, 1, 2, 4, 1, 1, 2], dtype=float)
    b = pd.Series([1, 3, 2, 1, 2, 3, 7, 7, np.nan, 2, 1, 4, 10, 20, 30], dtype=float)
    return actions, a, b


def test_rank_agreement_is_the_mean_over_trajectories(ranked):
    # g1 Dora   1 2 40 / 1 3 2      1 - 6 (0 + 1 + 1) / (3 * 8) = 0.5
    # g1 Will   constant / 1 2 3    0, the rule is silent
    # g1 Carl   1 2 / constant      left out
    # g2 Dora   9 1 2 / - 2 1       -1, of the two that were measured
    # g2 Will   one action          left out
    # g2 Carl   1 1 2 / 10 20 30    ties share 1.5: 1.5 / sqrt(1.5 * 2) = 0.8660254
    actions, a, b = ranked
    found = rank_agreement(a, b, actions, seed=0)
    assert found.mean == pytest.approx((0.5 + 0 - 1 + 0.8660254) / 4)
    assert (found.n, found.n_games, found.n_silent, found.n_skipped) == (4, 2, 1, 2)
    # games: g1 0.25 over 2, g2 -0.067 over 2: resampled, nothing lies outside these two
    assert (found.low, found.high) == pytest.approx((-0.0669873, 0.25))
    assert str(found) == "0.09 [-0.07, 0.25] (n = 4)"


def test_rank_agreement_within_games_compares_characters_too():
    # won: Dora, Dora; lost: Carl, Carl; within trajectories uniform says nothing, within the game it does
    actions = played(("g", 0, "Dora", "detective", 1, 2), ("g", 0, "Carl", "culprit", 0, 2))
    reference = pd.Series([3.0, 4, 1, 2])
    assert rank_agreement(decompose(actions), reference, actions, 0).mean == 0
    # ranks 3.5 3.5 1.5 1.5 / 3 4 1 2: centred 1 1 -1 -1 / 0.5 1.5 -1.5 -0.5: 4 / sqrt(4 * 5)
    assert rank_agreement(decompose(actions), reference, actions, 0, within="game").mean == pytest.approx(0.8944272)


def test_rank_agreement_finds_actions_by_index(ranked):
    actions, a, b = ranked
    shuffled = rank_agreement(a, b.dropna().sample(frac=1, random_state=1), actions.sample(frac=1, random_state=2), 5)
    assert shuffled == rank_agreement(a, b, actions, 5)


def test_rank_agreement_without_anything_to_rank_says_so(ranked):
    actions, a, _ = ranked
    assert str(rank_agreement(a, pd.Series(1.0, actions.index), actions, 0)) == "no data (n = 0)"


def test_rank_agreement_names_an_unknown_grouping(ranked):
    actions, a, b = ranked
    with pytest.raises(ValueError, match="within: 'games' is unknown; did you mean 'game'"):
        rank_agreement(a, b, actions, 0, within="games")
