"""The commons: what is left grows back, taken too far it dies, and who holds back far enough has reached its goal."""

import pytest

from maro_lib.worlds.commons import Commons, CommonsKnobs, fair_catch


def fished(*rounds, seed=0, **knobs):
    """Play a silent lake of 12 for two, who take these amounts round after round."""
    turned = {"players": 2, "rounds": 2, "capacity": 12, "growth": 2, "dead_below": 4, "talk": False} | knobs
    env = Commons(Commons.generate(seed, CommonsKnobs(**turned)))
    env.reset(2, seed)
    for amounts in rounds:
        for i, amount in enumerate(amounts):
            env.step(f"TAKE {amount}", i)
    return env


def ended(env):
    own = env.record().own
    return own["stock"], own["survived"], own["overused"], own["catches"]


@pytest.mark.parametrize(("rounds", "end", "success"), [
    # fair is (12 - 6) / 2 in each of two rounds: 6; two thirds of it are 4
    ([(2, 4), (2, 4)], (12, 2, 0, [4, 8]), [1, 1]),  # 6 left, 12 again, twice
    ([(2, 4), (1, 4)], (12, 2, 0, [3, 8]), [0, 1]),  # 7 left in the end: would be 14, but the lake holds 12
    ([(3, 5), (0, 4)], (8, 2, 1, [3, 9]), [0, 1]),  # 4 left: it lives, and 8 come back; 4 of them left, 8 again
    ([(3, 5), (1, 4)], (0, 1, 2, [4, 9]), [0, 0]),  # 3 of 8 left: too few, and a dead lake is nobody's
])  # fmt: skip
def test_a_game_by_hand(rounds, end, success):
    env = fished(*rounds)
    assert not env.pending_players()
    assert ended(env) == end
    assert env.payoffs() == list(map(float, end[3]))
    assert env.successes() == success


def test_a_dead_lake_asks_nobody_any_more():
    env = fished((5, 4))  # 3 left
    assert not env.pending_players()
    assert ended(env) == (0, 0, 1, [5, 4])


def test_who_asks_for_more_than_is_left_is_served_in_an_order_that_the_seed_draws():
    catches = [ended(fished((12, 12), seed=seed))[3] for seed in range(20)]
    assert sorted(map(tuple, {tuple(c) for c in catches})) == [(0, 12), (12, 0)]


def test_what_was_asked_for_and_what_was_got_of_it_are_noted():
    env = fished((10, 10))
    rows = [env.own_columns(action) for action in env.log]
    assert [row["amount"] for row in rows] == [10, 10]
    assert sorted(row["got"] for row in rows) == [2, 10]


def test_the_fair_catch_is_the_full_lakes_growth_in_equal_parts():
    assert fair_catch(fished().script) == 6
    assert fair_catch(fished(growth=3, rounds=3).script) == 12  # 8 grow back in each of 3 rounds, for two


def test_growth_and_the_least_that_lives_are_knobs():
    assert ended(fished((4, 4), rounds=1, growth=3)) == (12, 1, 0, [4, 4])  # 4 left, three times as many
    assert ended(fished((5, 6), rounds=1, dead_below=0)) == (2, 1, 1, [5, 6])


def test_fishers_talk_before_they_fish_if_the_knob_says_so():
    assert fished().prompt(0).phase == "harvest"
    assert len(fished(talk=True).pending_players()) == 1
    assert fished(talk=True).prompt(fished(talk=True).pending_players()[0]).phase == "talk"
