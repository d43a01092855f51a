"""Laws of buying and selling: who gets which part of the surplus, what stays private, and that the rules bargain."""

import pytest
from worlds import Says, finish, requests

from maro_lib.play.policies import RANDOM, Styled
from maro_lib.play.rollout import Game, play
from maro_lib.worlds.buying import Buying, BuyingKnobs
from maro_lib.worlds.registry import WorldError, knobs_of

SELLER, BUYER = 0, 1


def game(cost=30, value=70, seed=0, **knobs):
    """Begin a game with limits that are given; the seller opens unless told otherwise."""
    script = Buying.generate(seed, BuyingKnobs(**{"opens": "seller"} | knobs))
    private = tuple(told | {"limit": limit} for told, limit in zip(script.private, (cost, value), strict=True))
    env = Buying(script.model_copy(update={"private": private}))
    env.reset(2, seed)
    return env


def said(env, *replies):
    for text in replies:
        env.step(text)
    return env


def duel(seller, buyer, n=100, **knobs):
    """Mean success of two policies over games, by role."""
    success = [0, 0]
    for seed in range(n):
        env = Buying(Buying.generate(seed, BuyingKnobs(**knobs)))
        env.reset(2, seed)
        while pending := env.pending_players():
            policy = (seller, buyer)[pending[0]]
            env.step(policy.act(requests(env, {pending[0]: len(env.log)}, seed))[0].text)
        success = [a + b / n for a, b in zip(success, env.successes(), strict=True)]
    return success


# --- payoffs and success -----------------------------------------------------------------------------


def test_a_game_by_hand():
    env = said(game(), "OFFER 80: A fine lamp.", "OFFER 40", "OFFER 60: Last price.", "ACCEPT")
    assert not env.pending_players()
    assert env.payoffs() == [0.75, 0.25]  # cost 30, value 70: of 40, the price of 60 gives 30 and 10
    assert env.successes() == [1, 0]
    assert env.record().own == {
        "cost": 30, "value": 70, "surplus": 40, "fair_price": 50.0, "deal": True, "price": 60, "first_offer": 80,
        "first_offers": [80, 40], "n_offers": 3, "end": "deal", "personas": ["none", "none"],
    }  # fmt: skip
    assert [env.own_columns(a)["price"] for a in env.log] == [80, 40, 60, 60]
    assert [env.own_columns(a)["gain"] for a in env.log] == [50, 30, 30, 10]  # each by its own limit
    assert [a.kind for a in env.log] == ["offer", "offer", "offer", "accept"]
    assert all(a.public and a.target == env.names[1 - a.player] for a in env.log)


@pytest.mark.parametrize(("price", "success"), [(49, [0, 1]), (50, [1, 1]), (51, [1, 0]), (30, [0, 1]), (71, [1, 0])])
def test_success_is_at_least_half_of_the_surplus(price, success):
    assert said(game(), f"OFFER {price}", "ACCEPT").successes() == success  # 50 lies in the middle of 30 and 70


@pytest.mark.parametrize(("price", "payoffs"), [(20, [-0.25, 1.25]), (90, [1.5, -0.5])])
def test_who_goes_beyond_its_limit_gets_less_than_nothing(price, payoffs):
    assert said(game(), f"OFFER {price}", "ACCEPT").payoffs() == payoffs  # of 40: -10 and 50; 60 and -20


def test_where_there_is_no_surplus_success_is_to_make_no_deal():
    left = said(game(cost=70, value=30), "LEAVE")
    assert (left.payoffs(), left.successes()) == ([0, 0], [1, 1])
    sold = said(game(cost=70, value=30), "OFFER 60", "ACCEPT")
    assert (sold.payoffs(), sold.successes()) == ([-0.25, -0.75], [0, 0])  # -10 and -30, in the size of the gap, 40
    even = said(game(cost=50, value=50), "OFFER 50", "ACCEPT")
    assert (even.payoffs(), even.successes()) == ([0, 0], [0, 0])


@pytest.mark.parametrize("end", ["left", "time"])
def test_without_a_deal_nobody_gets_anything(end):
    env = game(rounds=2)
    said(env, "LEAVE") if end == "left" else said(env, "OFFER 90", "OFFER 10", "no", "no")
    assert (env.payoffs(), env.successes()) == ([0, 0], [0, 0])
    own = env.record().own
    assert (own["deal"], own["price"], own["end"]) == (False, None, end)
    assert own["first_offer"] == (None if end == "left" else 90)


# --- the course --------------------------------------------------------------------------------------


def words_on_offer(env):
    return [c.word for c in env.prompt(env.pending_players()[0]).commands]


def test_only_the_others_last_price_can_be_accepted():
    env = game(rounds=3)
    assert words_on_offer(env) == ["OFFER", "LEAVE"]
    said(env, "OFFER 60")
    assert words_on_offer(env) == ["OFFER", "ACCEPT", "LEAVE"]
    said(env, "no", "no")  # the buyer does nothing: the price of 60 is still the seller's own
    assert env.pending_players() == (SELLER,)
    assert words_on_offer(env) == ["OFFER", "LEAVE"]
    said(env, "OFFER 55", "OFFER 45", "ACCEPT")
    assert env.record().own["price"] == 45


def test_nobody_names_a_price_that_nobody_could_answer():
    env = said(game(rounds=1), "OFFER 60")
    assert words_on_offer(env) == ["ACCEPT", "LEAVE"]
    env = said(game(rounds=1), "no", "no")
    assert not env.pending_players(), "without a price on the table the last turn decides nothing"
    assert env.record().own["end"] == "time"


def test_a_price_comes_with_words_that_the_other_reads():
    env = said(game(), "OFFER 60: A fine lamp.")
    assert '60. "A fine lamp."' in env.private_view(BUYER)[-1].content
    said(env, "OFFER 40")
    assert f"{env.names[BUYER]}: 40.\n" in env.private_view(SELLER)[-1].content
    assert "A fine lamp" not in env.private_view(SELLER)[-1].content, "its own words a seat knows already"


def test_a_limit_is_told_to_its_own_seat_alone():
    env = game(cost=33, value=77)
    beginnings = [env.private_view(i)[0].content for i in (SELLER, BUYER)]
    assert ["33" in text for text in beginnings] == [True, False]
    assert ["77" in text for text in beginnings] == [False, True]
    assert [env.brief(i).private["limit"] for i in (SELLER, BUYER)] == [33, 77]
    assert not {"limit", "cost", "value"} & env.script.facts.keys()


# --- knobs -------------------------------------------------------------------------------------------


def scenarios(n=200, **knobs):
    return [Buying.generate(seed, BuyingKnobs(**knobs)) for seed in range(n)]


def gaps(scripts):
    return [s.private[BUYER]["limit"] - s.private[SELLER]["limit"] for s in scripts]


def test_the_gap_is_even_and_as_wide_as_the_knobs_say():
    drawn = {*gaps(scenarios(least=5, most=12, no_deal=0.0))}
    assert drawn == {6, 8, 10, 12}
    assert {*gaps(scenarios(least=5, most=6, no_deal=1.0))} == {-6}
    limits = [told["limit"] for s in scenarios(max_price=60) for told in s.private]
    assert 0 <= min(limits) < max(limits) <= 60


def test_a_share_of_the_scenarios_is_worth_no_deal():
    scripts = scenarios(no_deal=0.3)
    assert 0.2 < sum(gap < 0 for gap in gaps(scripts)) / 200 < 0.4
    assert all((s.cell == "surplus") == (gap > 0) for s, gap in zip(scripts, gaps(scripts), strict=True))


@pytest.mark.parametrize("register", ["compact", "prose"])
def test_whose_own_price_stands_is_not_told_that_there_is_none(register):
    env = Buying(Buying.generate(0, BuyingKnobs(opens="seller"), register))
    env.reset(2, 0)
    said(env, "OFFER 80", "", "")  # the buyer says nothing, twice
    told = env.private_view(SELLER)[-1].content
    assert {"compact": f"No price from {env.names[BUYER]}.", "prose": f"No price of {env.names[BUYER]}'s"}[
        register
    ] in told
    said(env, "", "", "ACCEPT")  # it stood all the while
    assert env.record().own["price"] == 80


def test_who_opens_is_a_knob():
    for opens, seats in (("seller", {SELLER}), ("buyer", {BUYER}), ("either", {SELLER, BUYER})):
        assert {game(opens=opens, seed=seed).pending_players()[0] for seed in range(20)} == seats


def test_rounds_bound_the_turns():
    env = finish(game(rounds=3), Says("stubborn", lambda r: "OFFER 99" if r.prompt.phase != "last" else "LEAVE"))
    assert len(env.log) == 6
    assert env.record().n_rounds == 3


@pytest.mark.parametrize("who", ["both", "seller", "buyer"])
def test_a_persona_is_told_to_its_own_seat_alone(who):
    env = game(persona="tough", persona_seats=who)
    has_it = ["tough" in env.private_view(i)[0].content for i in (SELLER, BUYER)]
    assert has_it == [who in ("both", "seller"), who in ("both", "buyer")]
    assert env.record().own["personas"] == ["tough" if told else "none" for told in has_it]
    assert not any("tough" in env.private_view(i)[0].content for env in [game()] for i in (SELLER, BUYER))


def test_every_persona_has_its_sentence_in_both_registers():
    drawn = {told["persona"] for s in scenarios(persona="any") for told in s.private}
    for register in ("compact", "prose"):
        env = Buying(Buying.generate(0, register=register))
        assert drawn == {*env.words.personas}


@pytest.mark.parametrize(
    ("knobs", "complaint"),
    [({"rounds": 0}, "rounds: 0; at least 1"), ({"least": 1}, "least: 1; at least 2"),
     ({"least": 31, "most": 31}, "most: 31; at least 32"), ({"most": 101}, "most: 101; at most max_price, 100"),
     ({"no_deal": 1.5}, "no_deal: 1.5; a share of at most 1"), ({"no_deal": -0.1}, "no_deal: -0.1; at least 0"),
     ({"persona": "shy"}, "persona: 'shy' is not one of none, friendly"),
     ({"opens": "Ann"}, "opens: 'Ann' is not one of either"),
     ({"persona_seats": "none"}, "persona_seats: 'none' is not one of both"), ({"price": 1}, "has no 'price'")],
)  # fmt: skip
def test_bad_knobs_are_refused_with_a_sentence(knobs, complaint):
    with pytest.raises(WorldError, match=complaint):
        knobs_of(Buying, knobs)


def test_payoffs_stay_within_the_range_that_is_declared():
    script = Buying.generate(0, BuyingKnobs(least=20, max_price=100))
    assert Buying.payoff_range(script) == (-5.0, 5.0)  # a price of 100 too many, of a surplus of 20
    worst = said(game(cost=0, value=20), "OFFER 100", "ACCEPT")
    assert worst.payoffs() == [5.0, -4.0]


# --- tables and players by rule ----------------------------------------------------------------------


def test_shares_and_deals_can_be_computed_from_the_tables_alone():
    games = [Game(f"g{s}", s, Buying.generate(s), s) for s in range(40)]
    played = play(games, Styled("skilled"))
    table = played.table("games")
    dealt = table[table["deal"]]
    assert 0.8 < len(dealt) / len(table) < 1
    share = (dealt["price"] - dealt["cost"]) / dealt["surplus"]
    assert [p[SELLER] for p in dealt["payoffs"]] == pytest.approx(list(share), abs=1e-6)
    assert list((dealt["cost"] + dealt["value"]) / 2) == list(dealt["fair_price"])
    accepted = played.table("actions").query("kind == 'accept'")
    assert list(accepted["price"]) == list(dealt["price"])


@pytest.mark.parametrize("style", list(Buying.styles))
def test_nobody_by_rule_goes_beyond_its_own_limit(style):
    for seed in range(60):
        env = Buying(Buying.generate(seed, BuyingKnobs(no_deal=0.5)))
        env.reset(2, seed)
        finish(env, Styled(style), seed)
        assert all(env.own_columns(a)["gain"] >= 0 for a in env.log if a.kind != "leave")


def test_skilled_beats_random_in_both_seats():
    good, bad = Styled("skilled"), RANDOM
    (as_seller, _), (_, as_buyer), (worst, _) = duel(good, bad), duel(bad, good), duel(bad, bad)
    assert min(as_seller, as_buyer) > worst + 0.15


def test_skilled_gets_more_than_its_half_of_fair_and_soft_players():
    for style in ("fair", "soft"):
        skilled, other = duel(Styled("skilled"), Styled(style))
        assert skilled > 0.9 > 0.4 > other


def test_greed_makes_fewer_deals_with_the_fair_and_none_with_itself():
    fair = duel(Styled("fair"), Styled("fair"), no_deal=0.0)
    greedy = duel(Styled("greedy"), Styled("fair"), no_deal=0.0)
    assert sum(fair) > sum(greedy) + 0.3
    assert greedy[SELLER] > greedy[BUYER], "what deals there are go to the greedy one"
    assert duel(Styled("greedy"), Styled("greedy"), no_deal=0.0) == [0, 0]


def test_greed_never_concedes_and_skill_concedes_slowly():
    for style, falls in (("greedy", False), ("skilled", True)):
        env = game(cost=40, value=44, rounds=4)  # so little to gain that nobody accepts before the end
        finish(env, Styled(style))
        prices = [a.own["price"] for a in env.log if a.player == SELLER and a.kind == "offer"]
        assert prices == sorted(prices, reverse=True)
        assert (len({*prices}) > 1) == falls
