"""The donor game: what a gift costs and brings, who learns of it, what success is, and who gets on."""

from functools import partial

import pytest
from worlds import averages as averages_in
from worlds import finish, last_words

from maro_lib.play.policies import RANDOM
from maro_lib.worlds.donor import Donor, DonorAct
from maro_lib.worlds.registry import WorldError, knobs_of


def begun(seed: int = 0, register: str = "compact", **knobs) -> Donor:
    """A game in which all have said what they mean to do."""
    env = Donor(Donor.generate(0, knobs_of(Donor, knobs), register))
    env.reset(len(env.names), seed)
    return answer(env, *(f"Way of {name}." for name in env.names))


def answer(env: Donor, *replies: str) -> Donor:
    """Let those who are awaited reply, in the order in which they were asked."""
    for player, reply in zip(env.pending_players(), replies, strict=True):
        env.step(reply, player)
    return env


def purses(env: Donor, *order: int) -> list[int]:
    return [env.now.purse[i] for i in order]


def seats_of(env: Donor) -> tuple[int, int, int, int]:
    """The first donor and its recipient, the second donor and its recipient."""
    (a, b), (c, d) = env.now.pairs
    return a, b, c, d


averages = partial(averages_in, Donor)


def test_a_gift_arrives_multiplied():
    env = begun(rounds=2)  # 4 seats with 10 each; a gives to b, c to d; then b to c, d to a
    a, b, c, d = seats_of(env)
    answer(env, "GIVE 4", "GIVE 0")
    assert purses(env, a, b, c, d) == [6, 18, 10, 10]  # b: 10 + 2 * 4
    assert env.now.pairs == ((b, c), (d, a))
    answer(env, "GIVE 18", "GIVE 1")
    assert [env.payoffs()[i] for i in (a, b, c, d)] == [8, 0, 46, 9]  # a: 6 + 2 * 1; c: 10 + 2 * 18
    own = env.record().own
    assert own["resources"] == [int(p) for p in env.payoffs()]
    assert own["share"] == pytest.approx((4 / 10 + 0 + 18 / 18 + 1 / 10) / 4)
    assert own["punishments"] == 0
    told = [(env.names.index(x.target), x.own["amount"], x.own["had"]) for x in env.log if x.kind == "give"]
    assert sorted(told) == sorted([(b, 4, 10), (d, 0, 10), (c, 18, 18), (a, 1, 10)])


def test_nobody_gives_back_to_whom_it_got_from_and_all_give_equally_often():
    for seed in range(20):
        env = Donor(Donor.generate(0, knobs_of(Donor, {"players": 6})))
        env.reset(6, seed)
        rounds = [pairs for kind, _, pairs in env.now.agenda[::-1] if kind == "round"]
        for first, second in zip(rounds[::2], rounds[1::2], strict=True):
            assert sorted(i for pair in first for i in pair) == list(range(6))
            assert sorted(d for d, _ in first) == sorted(r for _, r in second)
            assert not {(r, d) for d, r in first} & set(second)


def test_a_donor_that_says_nothing_legal_gives_nothing():
    env = begun(rounds=1)
    a, b, c, d = seats_of(env)
    env.step("GIVE 11", a), env.step("GIVE 2", c)
    assert "PUNISH" not in last_words(env, a)
    env.step("PUNISH 2", a)
    assert purses(env, a, b, c, d) == [10, 10, 8, 14]
    assert env.n_passes == 1


def test_a_gift_is_at_most_what_the_knob_says():
    env = begun(rounds=1, start=30, most=7)
    answer(env, "GIVE 8", "GIVE 7")
    assert env.pending_players() == (env.now.pairs[0][0],)
    assert Donor.payoff_range(env.script) == (0, 30 + 1 * 2 * 7)  # at most one gift in one round
    assert Donor.payoff_range(Donor.generate(0)) == (0, 10 + 3 * 2 * 50)  # three gifts in six rounds


def test_punishing_costs_one_and_takes_two_but_never_more_than_is_there():
    env = begun(rounds=2, punish=True)
    a, b, c, d = seats_of(env)
    answer(env, "PUNISH 3", "GIVE 10")
    assert purses(env, a, b, c, d) == [7, 4, 0, 30]  # b: 10 - 2 * 3
    assert env.now.pairs == ((b, c), (d, a))
    answer(env, "GIVE 0", "PUNISH 9")
    assert purses(env, a, d) == [0, 21], "18 is more than a has"
    assert env.record().own["punishments"] == 2
    assert [x.share for x in env.now.acts] == [0, 1, 0, 0], "punishing is not giving"


def test_who_has_nothing_can_only_give_nothing():
    env = begun(rounds=2, punish=True)
    answer(env, "PUNISH 5", "PUNISH 1")  # b loses all that it has
    b = env.now.pairs[0][0]
    assert [(c.word, c.blanks[0].options) for c in env.prompt(b).commands] == [("GIVE", ("0",))]


# --- what is known -----------------------------------------------------------------------------------


def views_after(reply: str, **knobs) -> tuple[tuple[int, ...], list]:
    """Who sits where, and what each reads up to the second round, if the first donor replies so."""
    env = begun(**knobs)
    order = seats_of(env)
    answer(env, reply, "GIVE 5")
    return order, [env.private_view(i) for i in range(4)]


@pytest.mark.parametrize("memory", [0, 1])
def test_an_act_is_known_to_its_recipient_and_to_later_donors_of_its_donor(memory):
    (_, b, c, d), gave = views_after("GIVE 5", memory=memory)
    _, kept = views_after("GIVE 0", memory=memory)
    assert gave[b] != kept[b]
    assert gave[c] == kept[c]
    assert (gave[d] != kept[d]) == (memory > 0), "d gives to a next: its past is told, or nothing is"


@pytest.mark.parametrize(("memory", "told"), [(1, "2 of 6 to"), (2, "2 of 6 to {d}; 4 of 10 to {b}")])
def test_the_last_acts_of_a_donor_are_told_the_last_first(memory, told):
    env = begun(memory=memory)
    a, b, _, d = (env.names[i] for i in seats_of(env))
    i = env.names.index(a)
    env.now.acts += [
        DonorAct(i, env.names.index(b), "give", 4, 10, 1),
        DonorAct(i, env.names.index(d), "give", 2, 6, 1),
    ]
    env._tell_past(env.names.index(d), i)
    line = env.now.seats[env.names.index(d)].lines[-1]
    assert f"{a} gave: {told.format(b=b, d=d)}" in line
    assert ("4 of 10" in line) == (memory > 1)


def test_a_way_to_play_is_read_by_nobody_else_in_one_generation():
    env = finish(begun(), RANDOM)
    for i, name in enumerate(env.names):
        read = "".join(m.content for m in env.private_view(i) if m.role != "assistant")
        assert not any(f"Way of {other}" in read for other in env.names)
        assert f"Way of {name}." in env.now.ways[i]


def test_where_nothing_is_told_of_the_past_not_even_that_is_said():
    told = ["nothing yet" in last_words(env, env.now.pairs[0][0]) for env in (begun(memory=0), begun(memory=1))]
    assert told == [False, True]


def test_nobody_hears_that_another_said_nothing():
    env = begun(rounds=1)
    env.reset(4, 0)
    for _ in range(2):
        env.step("", 0)
    assert not any(seat.lines for seat in env.now.seats[1:])
    assert 0 not in env.now.ways


# --- generations -------------------------------------------------------------------------------------


def test_the_best_half_hands_its_ways_down_and_all_begin_again():
    env = begun(rounds=1, generations=2)
    a, b, c, d = seats_of(env)
    answer(env, "GIVE 3", "GIVE 6")  # a 7, b 16, c 4, d 22: the best are b and d
    assert sorted(env.pending_players()) == sorted((a, c)), "only the heirs think again"
    assert purses(env, a, b, c, d) == [10] * 4
    for heir in (a, c):
        assert all(f'{env.names[i]} did well: "Way of {env.names[i]}."' in last_words(env, heir) for i in (b, d))
    answer(env, "As the best do.", "As the best do.")
    answer(env, "GIVE 0", "GIVE 0")
    assert [env.payoffs()[i] for i in (a, b, c, d)] == [17, 26, 14, 32]
    assert env.record().own["benchmark"] == 2 * 12.5  # half of 10 given and doubled: 5 and 20, on average 12.5


def test_a_new_generation_is_told_nothing_of_the_old_ones_acts():
    env = begun(rounds=2, generations=2)
    answer(env, "GIVE 1", "GIVE 2"), answer(env, "GIVE 3", "GIVE 4")  # all have been donors
    answer(env, "As the best do.", "As the best do.")
    assert all("nothing yet" in last_words(env, donor) for donor, _ in env.now.pairs)


def test_a_way_that_nobody_wrote_is_not_handed_down():
    env = begun(rounds=1, generations=2)
    b, d = env.now.pairs[0][1], env.now.pairs[1][1]
    del env.now.ways[b]
    answer(env, "GIVE 3", "GIVE 6")  # the best are b and d
    assert all(last_words(env, heir).count("did well") == 1 for heir in env.pending_players())
    assert all(env.names[d] + " did well" in last_words(env, heir) for heir in env.pending_players())


# --- success -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gift", "success"), [(1, 0), (2, 1)])
def test_success_is_above_an_equal_part_of_what_giving_half_makes(gift, success):
    env = begun(rounds=1, start=8)  # giving half: the donors have 4, the recipients 8 + 2 * 4 = 16, on average 10
    a, b, c, d = seats_of(env)
    answer(env, "GIVE 0", f"GIVE {gift}")
    assert env.payoffs()[d] == 8 + 2 * gift  # 10 is not above 10, 12 is
    assert env.record().own["benchmark"] == 10
    assert [env.successes()[i] for i in (a, b, c, d)] == [0, 0, 0, success]


def test_the_benchmark_gives_no_more_than_is_allowed():
    env = begun(rounds=1, start=20, most=4)
    answer(env, "GIVE 0", "GIVE 0")
    assert env.record().own["benchmark"] == 22  # 16 and 28


# --- players by rule ---------------------------------------------------------------------------------


def test_greed_pays_where_nothing_is_known_and_not_where_the_past_is():
    blind, known = (averages("greedy", "reciprocal", "reciprocal", "reciprocal", memory=m)[0] for m in (0, 3))
    assert blind[0] > 2 * max(blind[1:])
    assert known[0] < min(known[1:])


def test_all_are_better_off_if_all_give():
    greedy, generous, reciprocal = (averages(*[s] * 4, games=20)[0] for s in ("greedy", "generous", "reciprocal"))
    assert greedy == [10] * 4
    assert min(generous) > 30
    assert reciprocal == generous


def test_skill_is_above_chance():
    chance = averages(*["random"] * 4)[1]
    alone = averages("skilled", "random", "random", "random")[1]
    together = averages(*["skilled"] * 4)[1]
    assert alone[0] > max(alone[1:])
    assert min(together) > max(chance)


# --- knobs -------------------------------------------------------------------------------------------


def test_a_factor_multiplies():
    env = begun(rounds=1, factor=3)
    a, b, *_ = seats_of(env)
    answer(env, "GIVE 2", "GIVE 0")
    assert purses(env, a, b) == [8, 16]


def test_harm_multiplies():
    env = begun(rounds=1, punish=True, harm=3)
    a, b, *_ = seats_of(env)
    answer(env, "PUNISH 2", "GIVE 0")
    assert purses(env, a, b) == [8, 4]


@pytest.mark.parametrize("register", ["compact", "prose"])
def test_the_rules_tell_only_what_is_so(register):
    turned = ({"punish": True, "memory": 0}, {"punish": False, "memory": 1})
    rules = [begun(register=register, **knobs).private_view(0)[0].content for knobs in turned]
    assert ["punish" in text.lower() for text in rules] == [True, False]
    assert ["you gave" in text for text in rules] == [False, True]


@pytest.mark.parametrize(("knobs", "why"), [
    ({"players": 5}, "players: 5; an even number is needed"), ({"players": 2}, "at least 4"),
    ({"rounds": 0}, "rounds: 0; at least 1"), ({"memory": -1}, "memory: -1; at least 0"),
    ({"factor": 1.5}, "factor: 1.5; a whole number"), ({"most": 0}, "most: 0; at least 1"),
    ({"generations": 0}, "generations: 0; at least 1"),
])  # fmt: skip
def test_knobs_that_make_no_game_are_refused(knobs, why):
    with pytest.raises(WorldError, match=f"donor: .*{why}"):
        knobs_of(Donor, knobs)
