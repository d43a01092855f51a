"""Public goods: what a pot brings, what punishing costs, who shares with whom, what success is, and who gets on."""

from functools import partial

import pytest
from worlds import averages as averages_in
from worlds import finish, last_words, requests

from maro_lib.play.policies import RANDOM, Styled
from maro_lib.worlds.public_goods import PublicGoods
from maro_lib.worlds.registry import WorldError, knobs_of


def begun(seed: int = 0, register: str = "compact", **knobs) -> PublicGoods:
    """A game without talk, and without punishment unless the knobs say so."""
    knobs = {"talk": False, "punishment": "none"} | knobs
    env = PublicGoods(PublicGoods.generate(0, knobs_of(PublicGoods, knobs), register))
    env.reset(len(env.names), seed)
    return env


def answer(env: PublicGoods, *replies: str) -> PublicGoods:
    """Let those who are awaited reply, by seat; "{1}" stands for the name in seat 1."""
    for player, reply in zip(sorted(env.pending_players()), replies, strict=True):
        env.step(reply.format(*env.names), player)
    return env


def put(env: PublicGoods, *amounts: int) -> PublicGoods:
    return answer(env, *(f"PUT {amount}" for amount in amounts))


averages = partial(averages_in, PublicGoods)


def test_a_pot_is_multiplied_and_shared_equally():
    env = put(begun(rounds=2), 10, 5, 5, 0)  # 20 * 1.6 / 4 = 8 for each: 8, 13, 13, 18, and 10 for the second round
    assert env.now.points == {0: 18, 1: 23, 2: 23, 3: 28}
    put(env, 0, 0, 0, 5)  # 5 * 1.6 / 4 = 2
    assert env.payoffs() == [20, 25, 25, 25]
    assert env.record().own == {"contribution": 25 / 8, "points": [20, 25, 25, 25], "punishments": 0, "welfare": 95}
    assert [(a.kind, a.own["amount"]) for a in env.log[:4]] == [("put", 10), ("put", 5), ("put", 5), ("put", 0)]


def test_nothing_is_known_of_a_put_before_all_have_put():
    env = begun()
    before = [(env.private_view(i), list(env.events(i))) for i in (1, 2, 3)]
    env.step("PUT 7", 0)
    assert [(env.private_view(i), list(env.events(i))) for i in (1, 2, 3)] == before
    assert not any(seat.lines for seat in env.now.seats)
    for i in (1, 2, 3):
        env.step("PUT 0", i)
    assert all(f"{env.names[0]} 7" in last_words(env, i) for i in range(4))


def test_who_says_nothing_legal_keeps_everything():
    env = begun(rounds=1)
    answer(env, "PUT 11", "PUT 5", "PUT 5", "PUT 0")
    env.step("PUT -1", 0)
    assert env.payoffs() == [14, 9, 9, 14]  # 10 * 1.6 / 4 = 4
    assert env.n_passes == 1


def test_the_seed_draws_the_order_in_which_it_is_told_who_put_how_much():
    told = {tuple(e.who for e in put(begun(seed), 1, 2, 3, 4).events(0) if e.kind == "put") for seed in range(8)}
    assert len(told) > 1


def test_what_was_done_in_one_round_is_not_done_again_in_the_next():
    env = begun(rounds=2, partners="chosen", punishment="direct")
    answer(env, "PICK {1}", "PICK {0}", "PICK {1}", "PICK {1}")
    put(env, 10, 10), answer(env, "PUNISH {1} 1", "PASS")  # 16 - 1, 16 - 3
    for player in env.pending_players() * 2:
        env.step("nothing", player)  # no partner is named
    assert not env.pending_players()
    assert env.payoffs() == [25, 23, 20, 20]
    once = put(begun(rounds=2, punishment="direct"), 10, 0, 0, 0)  # 10 * 1.6 / 4 = 4: 4, 14, 14, 14
    answer(once, "PUNISH {1} 1", "PASS", "PASS", "PASS")  # 3, 11, 14, 14
    for player in once.pending_players() * 2:
        once.step("nothing", player)
    answer(once, *["PASS"] * 4)
    assert once.payoffs() == [13, 21, 24, 24]
    assert once.record().own["punishments"] == 1


# --- punishment --------------------------------------------------------------------------------------


def test_punishing_costs_one_and_takes_three_and_all_see_it():
    env = put(begun(rounds=1, punishment="direct"), 0, 0, 0, 0)
    answer(env, "PUNISH {1} 2", "PASS", "PUNISH {1} 1", "PUNISH {0} 3")
    assert env.payoffs() == [-1, 1, 9, 7]  # 10 - 2 - 9; 10 - 3 * (2 + 1); 10 - 1; 10 - 3
    assert env.record().own["punishments"] == 3
    told = [(a.player, a.target, a.own["amount"]) for a in env.log if a.kind == "punish"]
    assert told == [(0, env.names[1], 2), (2, env.names[1], 1), (3, env.names[0], 3)]
    assert all(sum(e.kind == "punish" for e in env.events(i)) == 3 for i in range(4))


def test_nobody_punishes_itself_or_with_more_than_the_knob_says():
    env = put(begun(punishment="direct", most=2), 0, 0, 0, 0)
    name, amount = env.prompt(0).commands[1].blanks
    assert sorted(name.options) == sorted(env.names[1:])
    assert amount.options == ("1", "2")


def test_a_third_party_has_no_part_in_the_pot_and_alone_punishes():
    for seed in range(8):
        env = begun(seed, rounds=1, punishment="third_party")
        looks_on = env.now.observer
        in_it = [i for i in range(4) if i != looks_on]
        assert sorted(env.pending_players()) == in_it
        put(env, 10, 5, 0)  # 15 * 1.6 / 3 = 8
        assert [env.now.points[i] for i in (*in_it, looks_on)] == [8, 13, 18, 10]
        assert env.pending_players() == (looks_on,)
        env.step(f"PUNISH {env.names[in_it[2]]} 3", looks_on)
        assert [env.payoffs()[i] for i in (*in_it, looks_on)] == [8, 13, 9, 7]
    assert len({begun(seed, punishment="third_party").now.observer for seed in range(8)}) > 1, "the seed draws it"


def test_without_punishment_nobody_is_asked_for_it():
    env = finish(begun(), RANDOM)
    assert {a.kind for a in env.log} == {"put"}


# --- partners ----------------------------------------------------------------------------------------


def test_two_who_name_each_other_share_a_pot_and_the_others_keep_theirs():
    env = begun(rounds=1, partners="chosen")
    answer(env, "PICK {2}", "PICK {0}", "PICK {0}", "PICK {1}")
    assert sorted(env.pending_players()) == [0, 2]
    put(env, 10, 0)  # 10 * 1.6 / 2 = 8
    assert env.payoffs() == [8, 10, 18, 10]
    assert env.record().own["contribution"] == 5, "of those who shared a pot"


def test_where_no_two_name_each_other_there_is_no_pot():
    env = begun(rounds=1, partners="chosen", punishment="direct")
    answer(env, "PICK {1}", "PICK {2}", "PICK {3}", "PICK {0}")
    assert env.pending_players() == ()
    assert env.payoffs() == [10] * 4


def test_partners_punish_each_other_only():
    env = begun(rounds=1, partners="chosen", punishment="direct")
    answer(env, "PICK {1}", "PICK {0}", "PICK {3}", "PICK {2}")
    put(env, 10, 10, 10, 0)
    assert [env.prompt(i).commands[1].blanks[0].options[0] for i in range(4)] == [env.names[i ^ 1] for i in range(4)]
    assert all(len(env.prompt(i).commands[1].blanks[0].options) == 1 for i in range(4))


def test_who_looks_on_names_nobody_and_is_named_by_nobody():
    env = begun(partners="chosen", punishment="third_party")
    looks_on = env.now.observer
    assert sorted(env.pending_players()) == [i for i in range(4) if i != looks_on]
    assert all(env.names[looks_on] not in env.prompt(i).commands[0].blanks[0].options for i in env.pending_players())


# --- talk, reputation --------------------------------------------------------------------------------


def test_what_was_put_on_average_is_told_again_if_the_knob_says_so():
    shown, hidden = (put(put(begun(reputation=r), 10, 5, 5, 0), 1, 5, 4, 0) for r in (True, False))
    record = "Put before: " + ", ".join(f"{n} {v}" for n, v in zip(shown.names, ("5.5", "5", "4.5", "0"), strict=True))
    assert all(record in last_words(shown, i) for i in range(4))
    assert not any("Put before" in last_words(hidden, i) for i in range(4))


def test_talk_is_heard_before_anybody_puts():
    env = begun(talk=True)
    speaker = env.pending_players()[0]
    env.step('All in, "friends"!', speaker)
    for _ in range(3):
        env.step("Yes.")
    others = [i for i in range(4) if i != speaker]
    assert env.prompt(0).phase == "put"
    assert all(f"{env.names[speaker]} says: \"All in, 'friends'!\"" in read(env, i) for i in others)


def read(env: PublicGoods, player: int) -> str:
    return "\n".join(m.content for m in env.private_view(player) if m.role == "user")


# --- success -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "points", "success"), [(4, 10, 0), (3, 10.6, 1), (5, 9.4, 0)])
def test_success_is_more_than_keeping_everything_brings(own, points, success):
    env = put(begun(rounds=1), own, 2, 2, 2)  # 10 - 4 + 10 * 1.6 / 4 = 10
    assert env.payoffs()[0] == points
    assert env.successes() == [success, 1, 1, 1]


def test_nobody_succeeds_where_all_keep_everything():
    env = begun(rounds=3)
    for _ in range(3):
        put(env, 0, 0, 0, 0)
    assert env.payoffs() == [30] * 4
    assert env.successes() == [0] * 4


# --- the range of payoffs ----------------------------------------------------------------------------


@pytest.mark.parametrize(("knobs", "low", "high"), [
    ({"punishment": "none"}, 4, 22),  # alone 10 * 1.6 / 4; 10 + 30 * 1.6 / 4
    ({"punishment": "direct"}, 4 - 3 - 3 * 9, 22),  # punishes once and is punished by three
    ({"punishment": "third_party", "players": 5}, 4 - 9, 22),
    ({"punishment": "third_party", "players": 5, "most": 9, "harm": 1, "factor": 3.2}, 8 - 9, 34),
    ({"punishment": "third_party", "players": 3, "most": 9, "harm": 1, "factor": 1.9}, 9.5 - 9, 19.5),
    ({"partners": "chosen", "punishment": "direct"}, 8 - 3 - 9, 18),
])  # fmt: skip
def test_the_range_is_what_the_worst_and_the_best_round_bring(knobs, low, high):
    script = PublicGoods.generate(0, knobs_of(PublicGoods, {"rounds": 1} | knobs))
    assert PublicGoods.payoff_range(script) == pytest.approx((low, high))
    three = PublicGoods.generate(0, knobs_of(PublicGoods, {"rounds": 3} | knobs))
    assert PublicGoods.payoff_range(three) == pytest.approx((3 * low, 3 * high))


def test_the_worst_and_the_best_payoff_can_be_got():
    low, high = PublicGoods.payoff_range(begun(rounds=1, punishment="direct").script)
    env = put(begun(rounds=1, punishment="direct"), 10, 0, 0, 0)
    answer(env, "PUNISH {1} 3", *["PUNISH {0} 3"] * 3)
    assert env.payoffs()[0] == low
    env = put(begun(rounds=1, punishment="direct"), 0, 10, 10, 10)
    assert answer(env, *["PASS"] * 4).payoffs()[0] == high


# --- players by rule ---------------------------------------------------------------------------------


def test_a_free_rider_gets_most_unless_it_is_punished():
    ridden = averages("greedy", *["conditional"] * 3, games=10)
    punished = averages("greedy", *["punisher"] * 3, games=10)
    assert ridden[0][0] > 1.2 * max(ridden[0][1:])
    assert ridden[1][0] == 1
    assert punished[0][0] < min(punished[0][1:])
    assert punished[1][0] == 0


def test_all_are_better_off_if_all_put():
    greedy, generous, conditional = (averages(*[s] * 4, games=5) for s in ("greedy", "generous", "conditional"))
    assert greedy == ([50] * 4, [0] * 4)
    assert generous == conditional == ([80] * 4, [1] * 4)  # 5 rounds of 40 * 1.6 / 4


@pytest.mark.parametrize("knobs", [{}, {"punishment": "third_party"}, {"partners": "chosen"}], ids=str)
def test_skill_is_above_chance(knobs):
    chance = averages(*["random"] * 4, **knobs)[1]
    alone = averages("skilled", *["random"] * 3, **knobs)[1]
    together = averages(*["skilled"] * 4, games=10, **knobs)[1]
    assert alone[0] > sum(chance) / 4
    assert min(together) > max(chance)


@pytest.mark.parametrize(("rounds", "puts", "punished"), [
    (2, (10, 0, 10, 10), True), (2, (10, 0, 0, 10), False), (2, (10, 5, 10, 10), False), (1, (10, 0, 10, 10), False),
])  # fmt: skip
def test_the_skilled_punish_a_lone_free_rider_while_it_may_still_help(rounds, puts, punished):
    env = put(begun(rounds=rounds, punishment="direct"), *puts)
    reply = Styled("skilled").act(requests(env, {}))[env.pending_players().index(0)].text
    assert reply == (f"PUNISH {env.names[1]} 1" if punished else "PASS")


def test_a_chosen_partner_leaves_who_keeps_everything():
    payoffs, _ = averages("greedy", *["conditional"] * 3, games=5, partners="chosen", punishment="none", rounds=8)
    assert payoffs[0] < min(payoffs[2:]), "after one round nobody plays with it"


# --- knobs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("register", ["compact", "prose"])
def test_the_rules_tell_only_what_is_so(register):
    def rules(**knobs):
        return begun(register=register, **knobs).private_view(0)[0].content.lower()

    assert "punish" not in rules()
    assert "punish" in rules(punishment="direct")
    assert "looks on" in rules(punishment="third_party")
    assert "looks on" not in rules(punishment="direct")
    assert [("share a pot;" in t or "pick" in t) for t in (rules(), rules(partners="chosen"))] == [False, True]


@pytest.mark.parametrize(("knobs", "why"), [
    ({"players": 1}, "players: 1; at least 2"), ({"players": 2, "punishment": "third_party"}, "players: 2; at least 3"),
    ({"rounds": 0}, "rounds: 0; at least 1"), ({"most": 0}, "most: 0; at least 1"),
    ({"harm": 0}, "harm: 0; at least 1"),
    ({"endowment": 2.5}, "endowment: 2.5; a whole number"), ({"factor": 1}, "factor: 1; above 1 and below 4"),
    ({"factor": 4}, "above 1 and below 4"), ({"factor": 2, "partners": "chosen"}, "above 1 and below 2"),
    ({"factor": 3, "punishment": "third_party"}, "above 1 and below 3"),
    ({"punishment": "some"}, "punishment: 'some' is unknown"),
    ({"partners": "some"}, "partners: 'some' is unknown"),
])  # fmt: skip
def test_knobs_that_make_no_game_are_refused(knobs, why):
    with pytest.raises(WorldError, match=f"public_goods: .*{why}"):
        knobs_of(PublicGoods, knobs)
