"""How players decide: cooperation as worlds declare it, risk, likeness to people, and what exploring breaks."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from worlds import Says, in_seats

from maro_lib.measure.decisions import (
    PEOPLE_FILE,
    DecisionError,
    against,
    by_round,
    cooperative,
    decisions_of,
    explore,
    fidelity,
    holds,
    mean_cooperation,
    published_people,
)
from maro_lib.measure.risk import aversion, gambles, payoff_spread
from maro_lib.play.policies import RANDOM, SKILLED, Scripted, Styled
from maro_lib.play.rollout import play, schedule
from maro_lib.worlds.registry import find_world, scenarios

COOPERATIVE = ("commons", "buying", "trust", "donor", "public_goods")
POT = {"punishment": "none", "talk": False}


def table(world, player, n=12, **knobs):
    """The decisions of games in which everybody is one player."""
    scripts = scenarios(world, 4, 0, knobs)
    return decisions_of(play(schedule(scripts, n, 0), player).table("actions"), scripts)


def shares(script, *rows):
    """What a world says of one game's rows, each with its kind and own columns."""
    return find_world(script.world).cooperation(script, [{"round": 1, "seat": 0, **row} for row in rows])


# --- what a world declares ---------------------------------------------------------------------------


def test_the_commons_count_what_was_left_of_what_was_there():
    lake = scenarios("commons", 1, 0)[0]  # 40 fish, which double: 20 left are 40 again, 8 left are 16
    rounds = {1: [5, 5, 5, 5], 2: [8, 8, 8, 8], 3: [4, 14]}
    rows = [{"kind": "take", "round": k, "amount": n, "got": min(n, 12)} for k, ns in rounds.items() for n in ns]
    told = shares(lake, {"kind": "say"}, *rows)
    left = [None, *[1 - 5 / 40] * 4, *[1 - 8 / 40] * 4, 1 - 4 / 16, 1 - 14 / 16]
    assert told == left, "what was asked for counts, not what was got"


def test_the_lake_of_a_table_is_the_lake_that_was_seen_turns_lost_or_not():
    seen = {}

    def fish(request):
        if request.player == 0 or not request.prompt.commands:
            return "" if request.player == 0 else "hm"
        stock = next(e.value for e in reversed(request.events) if e.kind == "stock")
        seen[request.game, request.player, next(e.round for e in reversed(request.events) if e.kind == "stock")] = stock
        return f"TAKE {stock // 5 + request.player}"

    scripts = scenarios("commons", 2, 0)
    actions = play(schedule(scripts, 4, 0), Says("fish", fish)).table("actions")
    told = decisions_of(actions, scripts).join(actions[["game", "amount"]])
    there = [seen[row.game, row.seat, row.round] for row in told.itertuples()]
    assert len(told) == len(seen) > 20
    assert set(told["seat"]) == {1, 2, 3}
    assert told["cooperation"].tolist() == [1 - n / of for n, of in zip(told["amount"], there, strict=True)]


def test_pots_gifts_claims_and_prices_count_what_is_given_to_others():
    pot = scenarios("public_goods", 1, 0)[0]
    assert shares(pot, {"kind": "put", "amount": 3}, {"kind": "punish", "amount": 2}) == [0.3, None]
    donors = scenarios("donor", 1, 0)[0]
    gifts = [{"kind": "give", "amount": 3, "had": 6}, {"kind": "punish", "amount": 2, "had": 6},
             {"kind": "give", "amount": 0, "had": 0}, {"kind": "say", "amount": None, "had": None}]  # fmt: skip
    assert shares(donors, *gifts) == [0.5, 0.0, None, None]
    goods = scenarios("trust", 1, 0, {"kinds": 2})[0]
    claims = [{"kind": "claim", "claimed": [1, 10], "true": [10, 10]}, {"kind": "say", "claimed": None, "true": [1, 1]},
              {"kind": "claim", "claimed": [1, 1], "true": [1, 1]}]  # fmt: skip
    assert shares(goods, *claims) == [0.5, None, 1.0]
    lamp = scenarios("buying", 1, 0, {"least": 40, "most": 40, "no_deal": 0.0})[0]
    prices = [{"kind": "offer", "gain": 30}, {"kind": "accept", "gain": 10}, {"kind": "offer", "gain": -5},
              {"kind": "offer", "gain": 70}, {"kind": "leave", "gain": None}]  # fmt: skip
    assert shares(lamp, *prices) == [0.25, 0.75, 1.0, 0.0, None]
    no_deal = scenarios("buying", 1, 0, {"no_deal": 1.0})[0]
    assert shares(no_deal, prices[0]) == [None], "without a surplus there is nothing to share"


@pytest.mark.parametrize("world", COOPERATIVE)
def test_the_kind_cooperate_more_than_the_greedy_and_nobody_less_than_not_at_all(world):
    kindest = {"commons": "careful", "buying": "soft", "trust": "fair", "donor": "generous", "public_goods": "generous"}
    greedy, chance, kind = (
        mean_cooperation(table(world, p)).mean for p in (Styled("greedy"), RANDOM, Styled(kindest[world]))
    )
    assert 0 <= greedy < kind <= 1
    assert 0 < chance < 1
    assert cooperative(world)
    assert "\n" not in cooperative(world)


@pytest.mark.parametrize("world", ["mystery", "coordination", "textarena"])
def test_where_no_choice_is_cooperative_a_sentence_says_so_and_there_is_no_number(world):
    sentence = f"no choice in {world} is declared as cooperative (`World.cooperative`), so there is no number"
    assert cooperative(world) == sentence
    with pytest.raises(DecisionError, match=f"no choice in {world} is declared"):
        decisions_of(pd.DataFrame(), [SimpleNamespace(world=world)])


def test_a_world_that_declares_more_than_all_is_named(monkeypatch):
    scripts = scenarios("public_goods", 1, 0, POT)
    actions = play(schedule(scripts, 1, 0), RANDOM).table("actions")
    pots = find_world("public_goods")
    monkeypatch.setattr(pots, "cooperation", classmethod(lambda cls, script, actions: [1.5] * len(actions)))
    with pytest.raises(DecisionError, match=r"public_goods: `cooperation` says 1\.5; 0 to 1 is possible"):
        decisions_of(actions, scripts)
    with pytest.raises(DecisionError, match="is none of the 1 scenarios given"):
        decisions_of(actions, scenarios("public_goods", 1, 7, POT))
    monkeypatch.undo()
    assert find_world("coordination").cooperation(scripts[0], [{}, {}]) == [None, None], "a world need not say anything"


def test_means_are_of_choices_and_resample_scenarios():
    rows = [("a", 0, 1, 0.2), ("a", 0, 2, 0.4), ("b", 1, 1, 0.6), ("b", 1, 2, 0.8)]
    told = pd.DataFrame(rows, columns=["script", "order", "round", "cooperation"])
    rounds = by_round(told)
    assert {k: (round(m.mean, 9), m.n) for k, m in rounds.items()} == {1: (0.4, 2), 2: (0.6, 2)}
    assert round(mean_cooperation(told).mean, 9) == 0.5
    assert mean_cooperation(told).n == 2
    assert mean_cooperation(told.assign(script="a")).n == 2, "of one scenario, games are resampled"


def test_words_and_illegal_replies_are_no_choices():
    half = Says("half", lambda r: "PUT 5" if r.prompt.retry else "PUT much" if r.prompt.commands else "hm")
    told = table("public_goods", half, punishment="none", rounds=2)
    assert len(told) == 12 * 2 * 4
    assert set(told["cooperation"]) == {0.5}
    assert table("trust", Styled("cautious")).empty, "who claims nothing makes no such choice"


# --- risk --------------------------------------------------------------------------------------------


def played(*rows):
    return pd.DataFrame(rows, columns=["order", "script", "policies", "payoffs"])


def test_spread_is_within_scenarios_and_tables():
    games = played(
        (0, "a", ["x", "y"], [1.0, 7.0]), (1, "a", ["x", "y"], [3.0, 7.0]),  # x: 1, 3, a spread of root 2
        (2, "b", ["x", "y"], [105.0, 7.0]), (3, "b", ["x", "y"], [105.0, 7.0]),  # none, however much more b pays
        (4, "a", ["x", "z"], [50.0, 0.0]),  # with another at the table, once: says nothing of spread
    )  # fmt: skip
    told = payoff_spread(games)
    assert told.loc["x", "spread"].mean == pytest.approx(1.0)  # root of (2 + 2 + 0 + 0) / 4
    assert told.loc["x", "payoff"].mean == pytest.approx((1 + 3 + 105 + 105 + 50) / 5)
    assert (told.loc["y", "spread"].mean, told.loc["y", "spread"].n) == (0.0, 2)
    assert np.isnan(told.loc["z", "spread"].mean)
    assert told.loc["z", "spread"].n == 0


def test_a_fork_differs_from_another_by_its_option_alone():
    """One round, no punishment: what is put brings back 1.6 / 4 of itself, whatever the others do."""
    games = schedule(scenarios("public_goods", 3, 0, POT | {"rounds": 1}), 6, 0)
    told = gambles(games, RANDOM, n_options=2, n_samples=4).set_index(["order", "option"])
    ends = told.unstack("option")["payoff"]
    assert (ends["PUT 0"] - ends["PUT 10"]).to_numpy() == pytest.approx(np.full(6, 10 * (1 - 1.6 / 4)))
    assert (told["n"] == 4).all()
    assert (told["spread"] > 0).all()
    assert told.groupby("order")["chosen"].sum().tolist() == [1] * 6
    real = play(games, RANDOM).table("actions")
    mine = real[real["seat"] == 0].set_index("order")["text"].to_dict()
    assert told[told["chosen"]].reset_index().set_index("order")["option"].to_dict() == mine
    assert aversion(told.reset_index()).n == 0, "what one puts changes nothing of the spread: no gamble"


def test_a_later_choice_is_forked_after_what_was_played_before_it():
    games = schedule(scenarios("public_goods", 2, 0, POT | {"rounds": 2}), 2, 0)
    told = gambles(games, Styled("generous"), at=2, n_options=2, n_samples=2)
    assert told.set_index("option").loc["PUT 10", "payoff"].tolist() == [32.0, 32.0]  # 2 rounds of 1.6 * 10
    assert told.set_index("option").loc["PUT 0", "payoff"].tolist() == [38.0, 38.0]  # 16, then 10 + 1.6 * 30 / 4 - 0
    assert (told["spread"] == 0).all()
    assert aversion(told).n == 0, "who never draws, never gambles"
    with pytest.raises(DecisionError, match="seat 0 has no legal choice number 3 among commands"):
        gambles(games, RANDOM, at=3)


def test_games_that_an_option_ends_are_counted_and_words_alone_are_refused():
    games = schedule(scenarios("buying", 3, 0), 6, 0)
    told = gambles(games, RANDOM, n_samples=2)
    assert told.loc[told["option"] == "LEAVE", "payoff"].tolist() == [0.0] * 6
    with pytest.raises(DecisionError, match="nothing to fork"):
        gambles(schedule(scenarios("mystery", 1, 0), 1, 0), SKILLED)
    assert set(gambles(games, Says("mute", lambda r: "hm" if r.player else "OFFER 9: hm"), n_samples=2)["n"]) == {2}


def test_a_second_try_is_no_second_choice_and_illegal_options_are_none():
    def say(request):
        if request.player or request.prompt.retry:
            return f"PUT {5 if request.prompt.retry else 10}"
        return "PUT much" if request.t == 1 else "PUT 10"

    games = schedule(scenarios("public_goods", 1, 0, POT | {"rounds": 2}), 1, 0)
    told = gambles(games, Says("stumbling", say), at=2, n_options=2, n_samples=1).set_index("option")
    assert told.loc["PUT 0", "payoff"] == (5 + 1.6 * 35 / 4) + (10 + 1.6 * 30 / 4)
    with pytest.raises(DecisionError, match="seat 0 has no legal choice number 1"):
        gambles(games, Says("stumbling", say), at=1)
    claims = gambles(schedule(scenarios("trust", 1, 0), 1, 0), Styled("fair"), n_samples=1)["option"]
    assert claims.str.startswith("CLAIM").all(), "SAY without words is not allowed"


def options(order, *rows):
    return pd.DataFrame(rows, columns=["option", "payoff", "spread", "chosen"]).assign(order=order, script=f"s{order}")


def test_aversion_counts_only_where_more_is_riskier():
    safe = options(0, ("a", 1.0, 0.1, True), ("b", 2.0, 1.0, False), ("c", 3.0, 2.0, False), ("d", 0.5, 3.0, False))
    bold = options(1, ("a", 1.0, 0.1, False), ("b", 2.0, 1.0, True), ("c", 2.0, 0.5, False))
    assert aversion(safe).mean == 1.0  # safer than b and c; d is worse in both, and says nothing
    assert aversion(bold).mean == 0.0  # a is safer, for less; c pays the same
    assert (aversion(pd.concat([safe, bold])).mean, aversion(pd.concat([safe, bold])).n) == (pytest.approx(2 / 3), 2)


def test_who_holds_back_in_the_lake_takes_the_safer_option():
    games = schedule(scenarios("commons", 6, 0), 6, 0)

    def averse(style):
        return aversion(gambles(games, in_seats(style, "random", "random", "random"), n_samples=8))

    assert averse("greedy").mean == 0.0
    assert averse("careful").mean > 0.5


# --- like people? ------------------------------------------------------------------------------------


def series(rows, policies=("one", "copy")):
    """A table of decisions, of rows (game, round, what each seat did, None: nothing)."""
    told = [
        {"order": g, "script": f"s{g}", "step": 10 * k + i, "seat": i, "policy": policies[i], "place": 0, "round": k,
         "cooperation": x}
        for g, k, acts in rows for i, x in enumerate(acts) if x is not None
    ]  # fmt: skip
    return pd.DataFrame(told)


def test_who_copies_the_last_choice_follows_by_all_of_it_without_noise():
    one = np.random.default_rng(0).integers(0, 11, size=(40, 4)) / 10
    copies = np.column_stack([np.full(40, 0.5), one[:, :-1]])
    told = fidelity(series([(g, k, (one[g, k], copies[g, k])) for g in range(40) for k in range(4)]))
    copy, other = told.loc["copy"], told.loc["one"]
    assert copy["adaptation"].mean == pytest.approx(1.0)
    assert copy["noise"].mean == pytest.approx(0.0, abs=1e-9)
    assert other["adaptation"].low < 0 < other["adaptation"].high, "a draw follows nobody"
    assert other["noise"].mean == pytest.approx(np.sqrt(0.1), abs=0.03), "0 to 10 tenths, all alike"
    assert other["never"].mean == 0.0, "who gave nothing in some rounds gave in others"
    same = fidelity(series([(g, k, (one[g, k], one[g, k])) for g in range(40) for k in range(4)])).loc["copy"]
    assert same["adaptation"].low < 0 < same["adaptation"].high, "who does the same in the same round did not follow"


def test_the_last_choice_of_who_sat_out_is_an_earlier_one():
    rows = [
        (g, k, acts)
        for g, x in enumerate((0.0, 0.4, 1.0))
        for k, acts in ((1, (x, None)), (2, (None, x)), (3, (None, x)))
    ]
    told = fidelity(series(rows))
    assert told.loc["copy", "adaptation"].mean == pytest.approx(1.0)
    assert np.isnan(told.loc["copy", "noise"].mean), "each cell was seen once"
    assert told.loc["one", "adaptation"].n == 0, "nobody had done anything before"
    assert told.loc["one", "never"].mean == pytest.approx(1 / 3)
    assert told["choices"].tolist() == [6, 3]


def test_scenarios_that_differ_are_not_mistaken_for_players_who_follow():
    """Who asks for the same gain wherever it sits leaves a share that the surplus decides, and so does the other."""
    scripts = scenarios("buying", 8, 0, {"no_deal": 0.0})
    actions = play(schedule(scripts, 24, 0), Styled("greedy")).table("actions")
    told = fidelity(decisions_of(actions, scripts)).loc["greedy"]
    assert told["noise"].mean == pytest.approx(0.0, abs=1e-9)
    assert told["adaptation"].n == 0
    alike = table("public_goods", RANDOM, **POT)
    assert alike["place"].nunique() == 1, "scenarios that differ by names alone are one"


def test_conditional_cooperators_follow_one_who_draws():
    scripts = scenarios("public_goods", 6, 0, POT | {"rounds": 8})
    games = schedule(scripts, 30, 0)

    def seats(game):
        return {n: RANDOM if i == 0 else Styled("conditional") for i, n in enumerate(game.script.names)}

    told = fidelity(decisions_of(play(games, seats).table("actions"), scripts))
    assert told.loc["conditional", "adaptation"].low > 0.8
    assert told.loc["conditional", "noise"].mean < 0.05 < 0.25 < told.loc["random", "noise"].mean


def test_what_is_published_names_its_source_and_is_nowhere_invented():
    known = published_people("public_goods")
    assert list(known["figure"]) == ["about 50 %", "a third", "14 %", "55 %"]
    assert known["source"].str.contains(r"(?:2001|2005)").all()
    assert not known.isna().any(axis=None)
    assert published_people("commons").empty
    assert list(published_people("commons")) == list(known)
    assert set(yaml.safe_load(PEOPLE_FILE.read_text())) <= set(COOPERATIVE)


# --- exploring ---------------------------------------------------------------------------------------


def by_hand(cooperation, games=8):
    """Per-game tables by temperature; each game is of its own scenario."""
    order = np.arange(games)
    return {t: pd.DataFrame({"order": order, "script": [f"s{k}" for k in order], "cooperation": c, "success": 1.0,
                             "welfare": 4.0, "legal": 1.0}) for t, c in cooperation.items()}  # fmt: skip


def test_changes_are_paired_with_the_lowest_temperature_by_game():
    level = np.arange(8) / 10
    told = by_hand({1.0: level + 0.1, 0.5: level})
    told[1.0] = told[1.0][::-1].reset_index(drop=True)
    rows = against(told).set_index(["temperature", "measure"])
    change = rows.loc[1.0, "cooperation"]
    assert (change["change"], change["change_low"], change["change_high"]) == pytest.approx((0.1, 0.1, 0.1))
    assert (change["mean"], rows.loc[0.5, "cooperation"]["mean"]) == pytest.approx((0.45, 0.35))
    assert change["p (Holm)"] == pytest.approx(4 * 2 / 2**8), "all eight the same way, by Holm over four measures"
    assert rows.loc[0.5]["p (Holm)"].isna().all()
    assert (rows.loc[0.5]["change"] == 0).all()


def test_the_verdict_says_where_cooperation_breaks_first():
    level = np.full(12, 0.9)
    falls = {0.0: level, 0.2: level - 0.02, 0.4: level - 0.3, 0.8: level - 0.5}
    told = against(by_hand(falls, 12))
    assert holds(told) == "cooperation holds up to 0.2; at 0.4 it changes by -0.30 [-0.30, -0.30] (n = 12)"
    assert holds(told, least=0.01).startswith("cooperation holds up to 0; at 0.2 it changes by -0.02")
    assert holds(told, least=0.6) == "cooperation holds up to 0.8"
    assert holds(against(by_hand({0.0: level, 0.4: level}, 12))) == "no difference shown up to 0.4"
    assert holds(against(by_hand({0.0: level, 0.4: level + 0.05}, 12))) == "cooperation holds up to 0.4"
    few = {0.0: level[:3], 0.4: level[:3] - 0.5}
    assert holds(against(by_hand(few, 3))) == "no difference shown up to 0.4", "three games show nothing"
    nowhere = against(by_hand({0.0: np.nan, 0.4: np.nan}, 12))
    assert holds(nowhere).startswith("cooperation was not measured")
    assert nowhere["games"].min() == 0


def test_exploring_breaks_the_pot_and_the_folder_keeps_each_temperature(tmp_path):
    games = schedule(scenarios("public_goods", 8, 0, POT), 8, 0)
    told = explore(games, lambda t: Scripted(1 - t), [0.5, 0.0], folder=tmp_path)
    rows = told.set_index(["temperature", "measure"])
    assert rows.loc[0.0, "cooperation"]["mean"] == 1.0
    assert rows.loc[0.0, "welfare"]["mean"] == 320.0
    assert rows.loc[0.5, "cooperation"]["change_high"] < -0.2
    assert rows.loc[0.5, "legal"]["mean"] == 1.0
    assert holds(told).startswith("cooperation holds up to 0; at 0.5 it changes by -0.")
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["0", "0.5"]
    again = explore(games, lambda t: Scripted(1 - t), [0.0, 0.5], folder=tmp_path)
    pd.testing.assert_frame_equal(told, again)


def test_exploring_is_compared_where_no_choice_is_cooperative_too():
    games = schedule(scenarios("coordination", 3, 0), 6, 0)
    told = explore(games, lambda t: Scripted(1 - t), [0.0, 1.0]).set_index(["temperature", "measure"])
    assert told.loc[1.0, "cooperation"]["games"] == 0
    assert told.loc[1.0, "success"]["change"] < 0
    assert holds(told.reset_index()).startswith("cooperation was not measured")
