"""Credit that is learned: `latent`, `progress`, `implicit`; and by what the others make of it: `interaction`."""

import re
import time

import numpy as np
import pandas as pd
import pytest
from synthetic import make_actions, table

from maro_lib.learn.action_features import TESTS, describe_features, measure_features, read_features
from maro_lib.learn.balancing import balance
from maro_lib.learn.credit_models import credit_fit, folds_of
from maro_lib.learn.decomposition import CREDIT_RULES, cheap_rules, credit_rules, decompose, rank_agreement
from maro_lib.play import Mixture, play, schedule
from maro_lib.world import Knobs, Rules, generate_many

LEARNED = ["latent", "progress"]
FITTED = [*LEARNED, "implicit"]
NEW = [*FITTED, "interaction"]
ASK = "action:\n  ask: [asked, [equals, kind, ask]]\n"


def deeds(script, agent, success, *done, **columns):
    """A trajectory: (kind, round) of each action, in a game of its own mystery."""
    base = {"game": f"g-{script}", "script": script, "agent": agent, "success": success} | columns
    return [base | {"kind": kind, "round": k, "legal": kind != "illegal"} for kind, k in done]


def credit(actions, rule, **options):
    """The weights by script and agent, as lists in order of t."""
    ordered = actions.assign(w=decompose(actions, rule, **options)).sort_values(["script", "agent", "t"])
    return ordered.groupby(["script", "agent"])["w"].agg(list).to_dict()


def many_mysteries(n_games=40, seed=0, **options):
    return make_actions(n_games, seed, n_scripts=8, n_characters=4, n_rounds=2, **options)


@pytest.fixture
def features(tmp_path):
    """Write a file of features."""

    def write(text):
        (tmp_path / "features.yaml").write_text(text)
        return tmp_path / "features.yaml"

    return write


@pytest.fixture(scope="module")
def really_played():
    """Games of scripted players in six mysteries: every kind of action, three rules of which are given nothing."""
    scripts = generate_many(6, 3, Knobs(characters=4))
    return play(schedule(scripts, 30, 3, Rules(rounds=2)), Mixture()).table("actions")


# --- worked by hand ----------------------------------------------------------------------------------


def test_latent_shares_what_a_fit_on_other_mysteries_says(features):
    # fitted on A: asks 2 0, R +1 -1: mean 1, std 1, z +1 -1; theta = (z.R = 2) / (z.z + ridge = 4) = 0.5, b = 0 - 0.5
    #   so in B: Eve  R / T = -1/3, values 0.5 0 0, mean 1/6: -1/3 + 1/3, -1/3 - 1/6, -1/3 - 1/6
    #            Fay  1
    # fitted on B: asks 1 0, R -1 +1: mean 0.5, std 0.5, z +1 -1; theta = (-2 / 4) / 0.5 = -1, b = 0 + 0.5
    #   so in A: Ann  R / T = 1/3, values -1 -1 0, mean -2/3: 1/3 - 1/3 twice, 1/3 + 2/3
    #            Bob  -1/2 twice
    actions = table([
        *deeds("A", "Ann", 1, ("ask", 1), ("ask", 1), ("search", 1)), *deeds("A", "Bob", 0, ("search", 1), ("vote", 1)),
        *deeds("B", "Eve", 0, ("ask", 1), ("search", 1), ("search", 1)), *deeds("B", "Fay", 1, ("search", 1)),
    ])  # fmt: skip
    found = credit(actions, "latent", features=features(ASK), ridge=2)
    assert found["A", "Ann"] == pytest.approx([0, 0, 1])
    assert found["A", "Bob"] == pytest.approx([-0.5, -0.5])
    assert found["B", "Eve"] == pytest.approx([0, -0.5, -0.5])
    assert found["B", "Fay"] == pytest.approx([1])

    # B by A's fit: Eve 0 for -1, Fay -0.5 for +1: 1 - (1 + 2.25) / 2
    # A by B's fit: Ann -1.5 for +1, Bob 0.5 for -1: 1 - (6.25 + 2.25) / 2
    fit = credit_fit(actions, features=features(ASK), ridge=2).sort_values("coefficient")
    assert fit["coefficient"].tolist() == pytest.approx([-1, 0.5])
    assert fit["bias"].tolist() == pytest.approx([0.5, -0.5])
    assert fit["explained"].tolist() == pytest.approx([-3.25, -0.625])
    assert fit["n"].tolist() == [2, 2]


def test_progress_also_reads_the_moment_and_adds_the_grounding(features):
    # fitted on A: (asks, sum of their rounds) = (3, 1) (1, 1) (2, 2) (2, 0), R = +1 -1 +1 -1
    #   z of each = sqrt(2) (+1 -1 0 0) and sqrt(2) (0 0 +1 -1), z.z = 4, z.R = 2 sqrt(2), std = sqrt(1/2)
    #   theta = 2 sqrt(2) / (4 + 4) / sqrt(1/2) = 0.5 each: an ask in round k is worth 0.5 + 0.5 k
    # B, Eve: R / T = 1/3, values 0.5 1 0, mean 0.5; legal 1 1 0, mean 2/3, grounding 0.5 / 3 of the difference
    #   1/3 + 0 + 1/18 = 7/18,  1/3 + 1/2 + 1/18 = 16/18,  1/3 - 1/2 - 2/18 = -5/18
    actions = table([
        *deeds("A", "Ann", 1, ("ask", 0), ("ask", 0), ("ask", 1)), *deeds("A", "Bob", 0, ("ask", 1)),
        *deeds("A", "Cid", 1, ("ask", 0), ("ask", 2)), *deeds("A", "Dan", 0, ("ask", 0), ("ask", 0)),
        *deeds("B", "Eve", 1, ("ask", 0), ("ask", 1), ("illegal", 1)),
    ])  # fmt: skip
    file = features(f"{ASK}moment:\n  late: [the round, [number, round]]\n")
    found = credit(actions, "progress", features=file, ridge=4)
    assert found["B", "Eve"] == pytest.approx([7 / 18, 16 / 18, -5 / 18])
    assert found["A", "Ann"] == pytest.approx([1 / 3] * 3)  # nothing differs in B: nothing is learned there
    plain = credit(actions, "progress", features=file, ridge=4, grounding=0)
    assert plain["B", "Eve"] == pytest.approx([1 / 3, 5 / 6, -1 / 6])


def test_implicit_tells_won_from_lost_of_one_mystery_and_role(features):
    # fitted on A: asks 1 and 0 of 2 actions each, so the sums of u differ by 1; 1 / (1 + e^theta) = ridge theta
    #   theta = ln 3 = 1.0986123 where ridge = 0.25 / ln 3 = 0.2275598; mean x in A 1/4
    # B: an ask ln 3 * (1 - 1/4), a search ln 3 * (0 - 1/4). B has no pair: nothing is learned for A
    actions = table([
        *deeds("A", "Ann", 1, ("ask", 1), ("search", 1)), *deeds("A", "Bob", 0, ("search", 1), ("search", 1)),
        *deeds("B", "Eve", 0, ("ask", 1), ("search", 1)),
    ])  # fmt: skip
    options = {"features": features(ASK), "ridge": 0.2275598}
    found = credit(actions, "implicit", **options)
    assert found["B", "Eve"] == pytest.approx([0.8239592, -0.2746531])
    assert found["A", "Ann"] == found["A", "Bob"] == [0, 0]
    fit = credit_fit(actions, "implicit", **options).sort_values("n")
    assert fit["n"].tolist() == [0, 1]
    assert fit["coefficient"].tolist() == pytest.approx([0, 1.0986123])
    assert fit["explained"].tolist()[0] == 0  # of A's pair, the fit on B saves nothing; B has no pair
    assert np.isnan(fit["explained"].tolist()[1])

    # another role: no two of one role, so no pair
    other = actions.assign(role=np.where(actions["agent"] == "Bob", "witness", "civilian"))
    assert not decompose(other, "implicit", **options).any()


def test_implicit_asks_what_is_usual_when_the_same_is_asked(really_played):
    """To answer when asked, or to rate, is no choice."""
    weights = decompose(really_played, "implicit")
    assert (weights[really_played["kind"] == "rate"] == 0).all()
    votes = weights[(really_played["kind"] == "vote") & (really_played["faction"] == "civilian")]
    assert abs(votes.mean()) < 0.2 * votes.std()


def test_the_seed_draws_the_pairs_of_implicit(really_played):
    two = really_played[really_played["script"].isin(sorted(set(really_played["script"]))[:2])]  # dealt in one way only
    first, again, other = (decompose(two, "implicit", seed=seed) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert not np.allclose(first, other)
    assert np.allclose(decompose(two, "latent", seed=1), decompose(two, "latent", seed=2))


def test_no_outcome_of_a_mystery_moves_its_own_implicit_weights(really_played):
    mystery = really_played["script"] == really_played["script"].min()
    flipped = really_played.assign(success=really_played["success"].where(~mystery, 1 - really_played["success"]))
    before, after = decompose(really_played, "implicit"), decompose(flipped, "implicit")
    assert before[mystery].tolist() == after[mystery].tolist()
    assert not np.allclose(after[~mystery], before[~mystery])


def said(agent, seat, **columns):
    return {"game": "g", "agent": agent, "seat": seat} | columns


def rating(agent, seat, suspicion, trust):
    return said(agent, seat, phase="rate", kind="rate", public=False, suspicion=suspicion, trust=trust)


def vote(agent, seat, target):
    return said(agent, seat, phase="vote", kind="vote", public=False, target=target)


@pytest.fixture
def discussed():
    """Three characters: two ratings, a private search, votes."""
    return table([
        said("Ann", 0), said("Bob", 1), said("Cid", 2, public=False),
        rating("Ann", 0, [-1, 2, 1], [-1, 0, 1]), rating("Bob", 1, [0, -1, 1], [2, -1, 1]),
        said("Ann", 0), said("Ann", 0, kind="answer", phase="answer"),
        rating("Ann", 0, [-1, 2, 1], [-1, 0, 1]), rating("Bob", 1, [1, -1, 1], [1, -1, 2]),
        vote("Ann", 0, "Bob"), vote("Bob", 1, "Ann"), vote("Cid", 2, "Bob"),
    ])  # fmt: skip


def test_interaction_gives_an_action_what_the_others_make_of_it(discussed):
    # opinion = (trust - suspicion) / 2, from 0; two others each
    # first ratings: Ann of Bob -1, of Cid 0; Bob of Ann +1, of Cid 0; second: Bob of Ann back to 0, of Cid +1/2
    # Ann 1  +1 / 2                      Ann 2  0: she speaks again first        Ann 3  (-1 - one vote) / 2
    # Bob 1  (-1 - two votes) / 2        Cid  nothing public: what is thought of him goes to nothing
    assert credit(discussed.assign(script="s"), "interaction") == {
        ("s", "Ann"): [0.5, 0, 0, -1, 0, 0],
        ("s", "Bob"): [-1.5, 0, 0, 0],
        ("s", "Cid"): [0, 0],
    }


def test_accusation_weighs_the_votes(discussed):
    assert credit(discussed.assign(script="s"), "interaction", accusation=0)["s", "Bob"] == [-0.5, 0, 0, 0]


def test_nobody_is_credited_for_its_own_vote_or_opinion_of_itself():
    actions = table([said("Ann", 0), said("Bob", 1), rating("Ann", 0, [0, 1], [2, 1]), vote("Ann", 0, "Ann")])
    assert decompose(actions, "interaction").tolist() == [0, 0, 0, 0]


def test_a_vote_is_no_word_even_where_all_see_it():
    actions = table([said("Ann", 0), said("Bob", 1), vote("Ann", 0, "Bob"), vote("Bob", 1, "Ann")]).assign(public=True)
    assert decompose(actions, "interaction").tolist() == [-1, -1, 0, 0]


def test_what_was_thought_in_one_game_is_not_thought_in_the_next():
    one = [said("Ann", 0), said("Bob", 1), rating("Bob", 1, [2, -1], [0, -1])]
    actions = table([*one, *({**row, "game": "h"} for row in one)])
    assert decompose(actions, "interaction").tolist() == [-1, 0, 0, -1, 0, 0]


# --- features ----------------------------------------------------------------------------------------


def test_each_test_of_a_feature_by_hand(features):
    tests = {
        "equals": "[equals, kind, ask]", "flag": "[flag, public]", "filled": "[filled, clue]",
        "first": "[first, clue]", "faction": "[faction, target, culprit]", "names": "[names, text, culprit]",
        "words": "[words, text, 2]", "number": "[number, round]", "again": "[again, kind]",
        "amount": "[amount, round]",
    }  # fmt: skip
    assert set(tests) == set(TESTS)
    culprit = {"game": "g", "agent": "Carl", "faction": "culprit"}
    actions = table([
        {"game": "g", "agent": "Ann", "clue": "c1", "target": "Carl", "text": "Ask Carl: who?", "round": 2},
        {**culprit, "clue": "c1", "target": "Ann", "text": "I am Carl", "public": False, "kind": "answer"},
        {"game": "g", "agent": "Ben"},
        {"game": "g", "agent": "Ann", "text": "no"},
        {"game": "h", "agent": "Ann", "clue": "c1", "target": "Carl", "text": "Carl"},
    ])  # fmt: skip
    file = features("action:\n" + "".join(f"  x_{name}: [m, {test}]\n" for name, test in tests.items()))
    x, _ = measure_features(actions.iloc[::-1], file)
    x = x.loc[actions.index]
    assert x["x_equals"].tolist() == [1, 0, 1, 1, 1]
    assert x["x_flag"].tolist() == [1, 0, 1, 1, 1]
    assert x["x_filled"].tolist() == [1, 1, 0, 0, 1]
    assert x["x_first"].tolist() == [1, 0, 0, 0, 1]
    assert x["x_faction"].tolist() == [1, 0, 0, 0, 0]  # in game h Carl does not play
    assert x["x_names"].tolist() == [1, 0, 0, 0, 0]  # Carl names himself
    assert x["x_words"].tolist() == [0.5, 0.5, 0, 0, 0]
    assert x["x_number"].tolist() == [2, 0, 0, 0, 0]
    assert x["x_amount"].tolist() == [1, 0, 0, 0, 0]  # of the most there is
    assert x["x_again"].tolist() == pytest.approx([0, 0, 0, 0.6931472, 0])  # log 2: Ben's ask is not Ann's


def test_a_feature_is_the_product_of_its_tests(features):
    actions = table([{"game": "g", "agent": "Ann", "kind": kind, "round": 3} for kind in ("ask", "vote")])
    x, moment = measure_features(actions, features("action:\n  a: [m, [equals, kind, ask], [number, round]]\n"))
    assert x["a"].tolist() == [3, 0]
    assert moment.shape == (2, 0)


def test_the_shipped_features_have_meanings_and_are_found_in_real_games(really_played):
    told = describe_features()
    assert (told["meaning"].str.len() > 4).all()
    x, moment = measure_features(really_played)
    assert [*x, *moment] == told["feature"].tolist()
    seen = set(x.columns[x.sum() > 0])
    assert seen >= {"ask", "ask_culprit", "search", "found_first", "names_culprit", "vote_culprit", "answer"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("other: {}\n", "must hold features under `action`, and under `moment` if there are any"),
        ("action:\n  a: [m, [equal, kind, ask]]\n", "feature `a`: 'equal' is no test; did you mean 'equals'?"),
        ("action:\n  a: [m, [equals, kind]]\n", "feature `a`: the test `equals` takes 2 words"),
        ("action:\n  a: [m, [equals, [kind], ask]]\n", "feature `a`: the test `equals` takes 2 words"),
        ("action:\n  a: [[equals, kind, ask]]\n", 'feature `a`: must be ["its meaning", [test, ...], ...]'),
        (
            "action:\n  a: [m, [flag, legal]]\nmoment:\n  a: [m, [flag, legal]]\n",
            "feature `a` stands under `action` an",
        ),
        ("action: [\n", "features.yaml: "),
    ],
)
def test_a_wrong_file_of_features_is_refused(features, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_features(features(text))


def test_a_column_that_a_feature_needs_is_named(features):
    with pytest.raises(
        ValueError, match="feature 'a' needs the column `clues`, which the table lacks; did you mean 'cl"
    ):
        decompose(many_mysteries(), "latent", features=features("action:\n  a: [m, [filled, clues]]\n"))


# --- laws --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", LEARNED)
def test_learned_weights_sum_to_the_outcome(rule, really_played):
    weights = really_played.assign(w=decompose(really_played, rule))
    one = weights.groupby(["game", "agent"]).agg(w=("w", "sum"), success=("success", "first"))
    assert np.allclose(one["w"], 2 * one["success"] - 1)
    assert weights.groupby(["game", "agent"])["w"].std().mean() > 0.05  # and are not all R / T


@pytest.mark.parametrize("rule", NEW)
def test_order_of_rows_does_not_matter(rule, really_played):
    shuffled = decompose(really_played.sample(frac=1, random_state=7), rule).loc[really_played.index]
    pd.testing.assert_series_equal(shuffled, decompose(really_played, rule), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", FITTED)
def test_same_seed_same_weights(rule, really_played):
    first, again, other = (decompose(really_played, rule, n_folds=2, seed=seed) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


@pytest.mark.parametrize("rule", LEARNED)
def test_no_outcome_of_a_mystery_reaches_its_own_weights_but_as_r(rule, really_played):
    mystery = really_played["script"] == really_played["script"].min()
    flipped = really_played.assign(success=really_played["success"].where(~mystery, 1 - really_played["success"]))
    before, after = decompose(really_played, rule), decompose(flipped, rule)
    change = 2 * (flipped["success"] - really_played["success"]).astype(float) / really_played["n_actions"]
    assert np.allclose((after - before)[mystery], change[mystery], rtol=0, atol=1e-12)
    assert not np.allclose(after[~mystery], before[~mystery])  # the others learn from it


@pytest.mark.parametrize("rule", FITTED)
def test_factions_learn_apart(rule, really_played):
    """What helps a culprit hurts a civilian: with the culprits' outcomes turned round, no civilian's weight moves."""
    culprit = really_played["faction"] == "culprit"
    turned = really_played.assign(success=really_played["success"].where(~culprit, 1 - really_played["success"]))
    before, after = decompose(really_played, rule), decompose(turned, rule)
    assert before[~culprit].tolist() == after[~culprit].tolist()


def planted(n_games=200, seed=0, from_round=0):
    """Characters that act at random; only asking, from a round on, wins. Returns the actions and the truth."""
    rng = np.random.default_rng(seed)
    rows, truth = [], []
    for game in range(n_games):
        kinds = rng.choice(["ask", "search", "answer"], 8)
        worth = [int(kind == "ask" and k // 2 >= from_round) for k, kind in enumerate(kinds)]
        won = int(rng.random() < 1 / (1 + np.exp(-2 * (sum(worth) - (8 - 2 * from_round) / 3))))
        columns = {"game": f"g{game}", "order": game}
        rows += [
            row | columns
            for row in deeds(f"s{game % 10}", "Ann", won, *((kind, k // 2) for k, kind in enumerate(kinds)))
        ]
        truth += worth
    return table(rows), pd.Series(truth, dtype=float)


@pytest.mark.parametrize("rule", FITTED)
def test_the_kind_of_action_that_decides_is_found(rule):
    actions, truth = planted()
    assert rank_agreement(decompose(actions, "uniform"), truth, actions, 0).mean == 0
    assert rank_agreement(decompose(actions, rule), truth, actions, 0).low > 0.7  # ties of the truth bound it by 0.87


def test_progress_finds_when_an_action_decides_and_latent_does_not():
    actions, truth = planted(600, from_round=2)
    late, plain = (rank_agreement(decompose(actions, rule), truth, actions, 0) for rule in ("progress", "latent"))
    assert late.low > plain.high + 0.05


@pytest.mark.parametrize("rule", LEARNED)
def test_where_nothing_differs_the_outcome_is_shared_equally(rule):
    actions = many_mysteries().assign(success=1)
    weights = decompose(actions, rule, **({"grounding": 0} if rule == "progress" else {}))
    assert np.allclose(weights, 1 / actions["n_actions"])


def test_the_more_ridge_the_less_is_learned(really_played):
    spread = [decompose(really_played, "latent", ridge=ridge).std() for ridge in (1, 100, 10_000)]
    assert spread == sorted(spread, reverse=True)


def test_mysteries_are_dealt_to_folds_whole_and_evenly():
    scripts = pd.Series([f"s{k}" for k in range(12)] * 3)
    folds = folds_of(scripts, 5, 0, "rule")
    assert pd.Series(folds).groupby(scripts).nunique().max() == 1
    assert sorted(np.bincount(folds[:12])) == [2, 2, 2, 3, 3]
    assert sorted(folds_of(scripts[:3], 5, 0, "rule")) == [0, 1, 2]


def test_the_fit_is_a_table_with_a_row_per_fold_faction_and_feature(really_played):
    fit = credit_fit(really_played, n_folds=3)
    assert len(fit) == 3 * 2 * (describe_features()["of"] == "action").sum()
    by_feature = fit[fit["faction"] == "civilian"].groupby("feature")["coefficient"].mean()
    assert by_feature["vote_culprit"] > 0.1 > by_feature["vote_civilian"]
    assert len(credit_fit(really_played, "progress", n_folds=3)) == 3 * len(fit)
    assert credit_fit(really_played.iloc[:0]).empty


@pytest.mark.parametrize("rule", FITTED)
def test_one_mystery_is_refused(rule):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared below)
        decompose(make_actions(6, n_scripts=1), rule)
    assert str(error.value) == (
        f"rule {rule!r} learns from some mysteries what actions are worth in others, so it needs at least two; this "
        "table has 1 mystery. Play more mysteries, or take a rule that learns nothing: uniform"
    )


@pytest.mark.parametrize("rule", NEW)
def test_a_missing_column_is_named(rule):
    for column in CREDIT_RULES[rule].needs:
        with pytest.raises(ValueError, match=f"rule '{rule}' needs the column `{column}`"):
            decompose(many_mysteries().drop(columns=column), rule)


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        ("latent", {"ridge": 0}, "ridge: 0 is not between"),
        ("latent", {"n_folds": 1}, "n_folds: 1 is not between 2 and 100"),
        ("latent", {"grounding": 1}, "rule 'latent': unknown option `grounding`"),
        ("progress", {"grounding": -1}, "grounding: -1 is not between 0 and 10"),
        ("interaction", {"accusation": -1}, "accusation: -1 is not between 0 and 10"),
    ],
)
def test_an_option_out_of_range_is_refused(rule, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        decompose(many_mysteries(), rule, **options)


@pytest.mark.parametrize("rule", NEW)
def test_an_empty_table_gives_no_weights(rule):
    weights = decompose(many_mysteries().iloc[:0], rule)
    assert (len(weights), weights.dtype) == (0, "float64")


@pytest.mark.parametrize("rule", cheap_rules())
def test_every_rule_that_weighs_a_table_can_be_balanced(rule, really_played):
    weights = decompose(really_played, rule)
    assert np.isfinite(weights).all()
    assert set(balance(really_played.assign(weight=weights), seed=0).actions["desirable"]) == {True, False}


def test_rules_are_listed_in_one_order_whichever_module_came_first():
    assert cheap_rules()[0] == "uniform"
    assert list(credit_rules()["name"])[-5:] == ["latent", "progress", "implicit", "interaction", "shapley"]


def test_a_large_table_is_weighed_in_seconds():
    actions = make_actions(250, n_scripts=40)
    began = time.perf_counter()
    decompose(actions, "progress")
    assert time.perf_counter() - began < 20  # 8 s are a minute for 2,000 games, on a busy machine
