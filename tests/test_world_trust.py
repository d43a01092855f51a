"""Laws of trust and split: who gets what, what truthful fair play gives, what a lie is, and what stays private."""

import pytest
from worlds import Says, finish, requests

from maro_lib.play.policies import RANDOM, Styled
from maro_lib.play.rollout import Game, play
from maro_lib.worlds.registry import WorldError, knobs_of
from maro_lib.worlds.trust import Trust, TrustKnobs


def game(*values, seed=0, **knobs):
    """Begin a game of one round for each pair of values that is given."""
    env = Trust(Trust.generate(seed, TrustKnobs(**{"rounds": len(values) or 5} | knobs)))
    plan = env.plan

    def given(rng):
        rest = iter(values)
        return [(*entry[:2], *next(rest)) if entry[0] == "round" and values else entry for entry in plan(rng)]

    env.plan = given
    env.reset(2, seed)
    return env


def said(env, *by_seat):
    """Give each seat's replies in turn; whose turn it is asks for them."""
    left = [list(replies) for replies in by_seat]
    while any(left) and (pending := env.pending_players()):
        for i in pending:
            env.step(left[i].pop(0), i)
    return env


def against(env, *policies, seed=0):
    """Play a game to its end, each seat by its own policy."""
    while pending := env.pending_players():
        for r in requests(env, dict.fromkeys(pending, len(env.log)), seed):
            env.step(policies[r.player].act([r])[0].text, r.player)
    return env


def duel(one, two, n=100, **knobs):
    """Mean success, mean points and mean part of the best welfare of two policies over games."""
    ended = [against(game(seed=seed, **knobs), one, two, seed=seed) for seed in range(n)]
    success, points = ([sum(e) / n for e in zip(*each, strict=True)]
                       for each in ([env.successes() for env in ended], [env.payoffs() for env in ended]))  # fmt: skip
    own = [env.record().own for env in ended]
    return success, points, sum(o["welfare"] / o["best_welfare"] for o in own) / n


def players(*styles):
    return [Styled(s) for s in styles]


# --- payoffs and success -----------------------------------------------------------------------------


def test_a_game_by_hand():
    env = game(((10,), (1,)), ((10,), (10,)))
    said(
        env,
        ["CLAIM 10: Truly.", "KEEP 6", "CLAIM 10", "KEEP 10"],
        ["CLAIM 10: Me too.", "KEEP 9", "SAY: Hm.", "KEEP 6"],
    )
    # round 1: 15 of 10 are asked for; 6 * 10/15 = 4 coins of 10 points, 9 * 10/15 = 6 coins of 1 point
    # round 2: 16 of 10; 6.25 and 3.75 coins of 10 points
    assert env.payoffs() == pytest.approx([40 + 62.5, 6 + 37.5])
    # fair: all ten coins to the first seat, 100 and 0; then a tie, 5 coins each, 50 and 50
    assert env.record().own == {"welfare": pytest.approx(146), "best_welfare": 200, "fair": [150, 50]}
    assert env.successes() == [0, 0]
    rows = [(a.player, env.own_columns(a)) for a in env.log]
    spoken = {(i, str(o["claimed"])): (o["true"], o["lie"]) for i, o in rows if o["true"]}
    assert spoken == {(0, "[10]"): ([10], 0), (1, "[10]"): ([1], 1), (1, "None"): ([10], None)}
    kept = [(i, o["kept"], o["got"], o["points"]) for i, o in rows if o["kept"]]
    assert kept[:2] == [(0, [6], [4.0], 40.0), (1, [9], [6.0], 6.0)]
    assert kept[2:] == [(0, [10], [6.25], 62.5), (1, [6], [3.75], 37.5)]


@pytest.mark.parametrize(("claim", "lie"), [("9 2", 0), ("10 2", 1), ("8 2", 1), ("9 1", 1), ("2 9", 1)])
def test_a_lie_is_any_claim_that_differs_from_the_truth(claim, lie):
    env = said(game(((9, 2), (9, 2)), kinds=2, values="wide"), *[[f"CLAIM {claim}"]] * 2)
    assert [env.own_columns(a)["lie"] for a in env.log] == [lie, lie]


def test_what_nobody_keeps_is_lost():
    env = said(game(((10,), (1,)), talks=0), ["KEEP 3"], ["KEEP 4"])
    assert env.payoffs() == [30, 4]
    env = said(game(((10,), (1,)), talks=0), ["no", "no"], ["KEEP 4"])
    assert env.payoffs() == [0, 4], "who says nothing keeps nothing"
    env = said(game(((1,), (1,)), ((1,), (1,)), talks=0), ["KEEP 5", "no", "no"], ["KEEP 4", "KEEP 3"])
    assert env.payoffs() == [5, 7], "in each round anew"


@pytest.mark.parametrize(
    ("kept", "success"), [((5, 5), [1, 1]), ((6, 5), [1, 0]), ((4, 6), [0, 1]), ((4, 4), [0, 0]), ((10, 10), [1, 1])]
)
def test_success_is_at_least_what_truthful_fair_play_gives(kept, success):
    env = said(game(((10,), (10,)), talks=0), *[[f"KEEP {n}"] for n in kept])
    assert env.record().own["fair"] == [50, 50]  # a tie: half of ten coins, at 10
    assert env.successes() == success  # (6, 5) gives 5.45 and 4.55 coins


def test_who_values_it_less_is_due_nothing():
    for kept, success in (((10, 0), [1, 1]), ((9, 0), [0, 1]), ((10, 1), [0, 1])):
        env = said(game(((10,), (1,)), talks=0), *[[f"KEEP {n}"] for n in kept])
        assert env.record().own["fair"] == [100, 0]
        assert env.successes() == success


def test_success_counts_all_rounds_together():
    env = game(((10,), (1,)), ((1,), (10,)), talks=0)
    said(env, ["KEEP 9", "KEEP 10"], ["KEEP 1", "KEEP 0"])
    assert env.payoffs() == [100, 1]  # 90 + 10 are as good as the 100 + 0 of fair play
    assert env.successes() == [1, 0]


def test_each_kind_goes_its_own_way():
    env = said(game(((9, 2, 4), (3, 8, 4)), kinds=3, values="wide", talks=0), ["KEEP 10 0 6"], ["KEEP 0 5 6"])
    assert env.record().own["fair"] == [9 * 10 + 4 * 5, 8 * 10 + 4 * 5]
    assert env.record().own["best_welfare"] == 110 + 100
    assert env.payoffs() == [9 * 10 + 4 * 5, 8 * 5 + 4 * 5]  # of the third kind 12 are asked for: 5 each
    assert env.successes() == [1, 0]


@pytest.mark.parametrize("values", ["sharp", "wide"])
def test_no_split_has_a_greater_welfare_than_truthful_fair_play(values):
    for style in (*players(*Trust.styles), RANDOM):
        for seed in range(20):
            env = Trust(Trust.generate(seed, TrustKnobs(values=values, kinds=2)))
            env.reset(2, seed)
            own = finish(env, style, seed).record().own
            assert own["welfare"] <= own["best_welfare"] + 1e-6
            assert own["best_welfare"] == sum(own["fair"])
            assert style.name != "fair" or env.payoffs() == own["fair"]


# --- what is private ---------------------------------------------------------------------------------


def other_values(facts, values):
    """Values of which none is as it was."""
    return tuple(facts["high"] + 1 - v if facts["values"] == "sharp" else v % facts["high"] + 1 for v in values)


def changed_in(round_, seat, knobs):
    """A game, and another in which one seat's values of one round alone are others."""
    env, changed = (Trust(Trust.generate(0, TrustKnobs(**knobs))) for _ in range(2))

    def plan(rng):
        planned = env.plan(rng)
        k = next(k for k, entry in enumerate(planned) if entry[:2] == ("round", round_))
        values = list(planned[k][2:])
        values[seat] = other_values(env.facts, values[seat])
        planned[k] = ("round", round_, *values)
        return planned

    changed.plan = plan
    env.reset(2, 0), changed.reset(2, 0)
    return env, changed


def whatever(env, i):
    """What a seat says that does not look at its values."""
    command = env.prompt(i).commands[0]
    amounts = [b.options[(env.now.round + i) % len(b.options)] for b in command.blanks if b.options]
    return " ".join([command.word, *amounts])


@pytest.mark.parametrize("round_", [1, 3])
@pytest.mark.parametrize("seat", [0, 1])
@pytest.mark.parametrize("knobs", [{}, {"reveal": False}, {"kinds": 2, "values": "wide", "talks": 2}])
def test_no_other_view_holds_a_seats_values_before_they_are_told(round_, seat, knobs):
    (env, changed), other = changed_in(round_, seat, knobs), 1 - seat
    last, seen = round_ if env.facts["reveal"] else env.facts["rounds"], False
    while env.pending_players() and env.now.round <= last:
        assert env.pending_players() == changed.pending_players()
        assert env.private_view(other) == changed.private_view(other)
        assert env.events(other) == changed.events(other)
        seen |= env.private_view(seat) != changed.private_view(seat)
        for i in env.pending_players():
            reply = whatever(env, i)
            env.step(reply, i), changed.step(reply, i)
    assert seen, "the seat itself reads its own values"
    told = env.events(other) != changed.events(other)
    assert told == env.facts["reveal"], "they are told when the round is over, or never"


def test_values_are_drawn_by_the_games_seed_for_each_seat_and_round():
    drawn = set()
    for seed in range(40):
        env = Trust(Trust.generate(0))
        env.reset(2, seed)
        values = [entry[2:] for entry in reversed(env.now.agenda) if entry[0] == "round"]
        drawn |= {*values}
        assert len(values) == 4, "the first of five rounds is under way"
    assert drawn == {((a,), (b,)) for a in (1, 10) for b in (1, 10)}
    mine = {game(kinds=2, seed=seed).now.values[0] for seed in range(40)}
    assert mine == {(a, b) for a in (1, 10) for b in (1, 10)}, "each kind by itself"


# --- the course --------------------------------------------------------------------------------------


def test_the_first_speaker_alternates():
    env = finish(game(), Styled("fair"))
    first = [a.player for a in env.log if a.phase == "claim"][::2]
    assert first in ([0, 1, 0, 1, 0], [1, 0, 1, 0, 1])
    assert {finish(game(seed=s), Styled("fair")).log[0].player for s in range(10)} == {0, 1}


def test_both_choose_at_once_and_then_read_of_each_other():
    env = game(((10,), (1,)), ((1,), (1,)))
    said(env, ["CLAIM 10"], ["CLAIM 10: Please."])
    assert sorted(env.pending_players()) == [0, 1]
    env.step("KEEP 8", 0)
    assert env.pending_players() == (1,)
    assert "8" not in env.private_view(1)[-1].content
    env.step("KEEP 2", 1)
    text = env.private_view(env.pending_players()[0])[-1].content
    assert f"{env.names[0]}: kept 8 coins, got 8 coins. Worth: coins 10." in text
    assert f"{env.names[1]}: kept 2 coins, got 2 coins. Worth: coins 1." in text


def test_a_claim_and_its_words_reach_the_other():
    for reply, read in (
        ("CLAIM 10: Truly.", '{}: "Truly." Worth: coins 10.'), ("CLAIM 1", "{}: worth coins 1."),
        ("SAY: Hello.", '{} says: "Hello."'),
    ):  # fmt: skip
        env = game()
        speaker = env.pending_players()[0]
        env.step(reply)
        assert read.format(env.names[speaker]) in env.private_view(1 - speaker)[-1].content
    env = said(game(), *[["no", "no"]] * 2)
    assert any("says nothing" in m.content for m in env.private_view(0))


# --- knobs -------------------------------------------------------------------------------------------


def test_knobs_turn_what_they_say():
    env = game(rounds=3, kinds=2, pile=6, high=4, values="wide", talks=2)
    assert [b.name for b in env.prompt(env.pending_players()[0]).commands[0].blanks] == ["coins", "cups", "words"]
    assert env.prompt(env.pending_players()[0]).commands[0].blanks[0].options == ("1", "2", "3", "4")
    finish(env, Styled("greedy"))
    assert len(env.log) == 3 * (2 * 2 + 2)  # two talks and one choice for each of two seats
    assert {tuple(a.own["kept"]) for a in env.log if a.kind == "keep"} == {(6, 6)}
    assert Trust.payoff_range(env.script) == (0, 3 * 2 * 6 * 4)
    assert not any("Worth" in m.content for m in finish(game(reveal=False), Styled("cautious")).private_view(0)[3::4])
    assert game(talks=0).prompt(0).phase == "keep"
    assert (game(talks=0).script.cell, game(values="wide").script.cell) == ("sharp, silent", "wide")


@pytest.mark.parametrize(
    ("knobs", "complaint"),
    [({"rounds": 0}, "rounds: 0; at least 1"), ({"kinds": 5}, "kinds: 5; at most 4"), ({"kinds": 0}, "kinds: 0; at"),
     ({"pile": 9}, "pile: 9; an even number"), ({"high": 1}, "high: 1; at least 2"), ({"talks": -1}, "talks: -1; at"),
     ({"values": "narrow"}, "values: 'narrow' is not one of sharp, wide"), ({"coins": 3}, "has no 'coins'")],
)  # fmt: skip
def test_bad_knobs_are_refused_with_a_sentence(knobs, complaint):
    with pytest.raises(WorldError, match=complaint):
        knobs_of(Trust, knobs)


# --- tables and players by rule ----------------------------------------------------------------------


def test_lies_and_welfare_can_be_counted_from_the_tables_alone():
    games = [Game(f"g{s}", s, Trust.generate(s), s) for s in range(20)]
    for style, lies in (("fair", False), ("greedy", True), ("cautious", None)):
        played = play(games, Styled(style))
        actions, table = played.table("actions"), played.table("games")
        claims = actions.dropna(subset=["lie"])
        assert len(claims) == (0 if lies is None else 20 * 10)
        assert all(
            lie == (list(c) != list(t)) for lie, c, t in zip(claims.lie, claims.claimed, claims.true, strict=True)
        )
        assert bool(claims["lie"].sum()) == bool(lies)
        points = actions[actions["kind"] == "keep"].groupby("game")["points"].sum()
        assert list(points[table["game"]]) == pytest.approx(list(table["welfare"]))
        assert (style == "fair") == (list(table["welfare"]) == list(table["best_welfare"]))


def test_the_truthful_reach_the_best_together():
    for knobs in ({}, {"kinds": 2, "values": "wide"}):
        success, _, part = duel(*players("fair", "fair"), n=30, **knobs)
        assert (success, part) == ([1, 1], pytest.approx(1))


def test_a_lie_pays_against_who_trusts_and_not_against_who_looks():
    _, (trusting, liar), _ = duel(*players("fair", "greedy"))
    _, (looking, caught), _ = duel(*players("skilled", "greedy"))
    _, (honest, _), _ = duel(*players("fair", "fair"))
    assert liar > honest > trusting, "against who trusts"
    assert looking > trusting + 20
    assert caught < honest, "against who looks, honesty would have paid more"


def test_greed_on_both_sides_wastes_welfare():
    (one, two), _, part = duel(*players("greedy", "greedy"))
    assert part < 0.85
    assert max(one, two) < 0.5


def test_a_betrayed_player_trusts_no_more():
    """In round 1 the other lies, in the next it does not: who looks keeps all from then on."""
    for style, then in (("skilled", [10]), ("fair", [0])):
        env = game(((1,), (1,)), ((1,), (10,)))
        other = Says("liar once", lambda r: "CLAIM 10" if r.prompt.phase == "claim" else "KEEP 5")
        against(env, Styled(style), other)
        assert [a.own["kept"] for a in env.log if a.player == 0 and a.kind == "keep"] == [[0], then]


def test_who_keeps_more_than_was_due_is_found_out_without_the_truth():
    env = game(((10,), (10,)), ((1,), (10,)), reveal=False)
    other = Says("keeps much", lambda r: "CLAIM 10" if r.prompt.phase == "claim" else "KEEP 6")
    against(env, Styled("skilled"), other)
    assert [a.own["kept"] for a in env.log if a.player == 0 and a.kind == "keep"] == [[5], [10]]


def test_skilled_beats_random():
    (skilled, _), (points, _), _ = duel(Styled("skilled"), RANDOM)
    (chance, _), (least, _), _ = duel(RANDOM, RANDOM)
    assert skilled > chance + 0.1
    assert points > least + 30
