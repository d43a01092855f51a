"""Laws of the gold standard: only what changes the outcome has value, and by exactly so much."""

import numpy as np
import pytest
from worlds import Fixed

from maro_lib.learn.counterfactuals import counterfactual_values
from maro_lib.play.policies import SKILLED, Mixture, Reply
from maro_lib.play.rollout import play, schedule
from maro_lib.world.generator import Knobs, generate_many
from maro_lib.world.mystery import Rules
from maro_lib.world.scripts import parse_script

TRIO = parse_script(
    {
        "title": "Trio", "cell": "SOC", "register": "compact", "background": "Mr Gray is dead.",
        "characters": [
            {"name": "Ann", "faction": "civilian", "sections": [{}]},
            {"name": "Ben", "faction": "civilian", "sections": [{}]},
            {"name": "Cal", "faction": "culprit", "sections": [{}]},
        ],
        "clues": [{"id": "c", "place": "barn", "text": "A rope."}],
        "truth": {"culprits": ["Cal"], "text": "Cal did it."},
    }
)  # fmt: skip


class Voter:
    """Ann and Ben vote for Cal; but where Ann's vote is drawn anew, draw 1 falls on Ben, and draws 2 and 3 on Cal."""

    name = "voter"

    def act(self, requests):
        return [Reply(self.reply(r)) for r in requests]

    def reply(self, request):
        if request.prompt.phase != "vote":
            return {"intro": "Hello.", "turn": "Search barn.", "answer": "No."}[request.prompt.phase]
        ann_draws_anew = request.brief.me.name == "Ann" and request.salt == "draw1"
        return f"Vote {'Ben' if ann_draws_anew else {'Ann': 'Cal', 'Ben': 'Cal', 'Cal': 'Ann'}[request.brief.me.name]}."


def test_value_is_the_outcome_less_the_mean_of_the_other_draws():
    games = schedule([TRIO], 1, 0, Rules(rounds=1, ratings="never"))
    actions = (
        play(games, Voter())
        .table("actions")
        .drop(columns="text")
        .assign(text=play(games, Voter()).table("actions")["text"])
    )
    value = counterfactual_values(games, actions, Voter(), n_samples=4)
    # Ann's vote as recorded: Cal 2, Ann 1, civilians win (+1). Draws 0, 2, 3: the same (+1). Draw 1: a tie (-1).
    # value = 1 - (1 - 1 + 1 + 1) / 4 = 0.5; every other action has only one way to be
    ann = actions["agent"].eq("Ann") & actions["kind"].eq("vote")
    assert value[ann].tolist() == [0.5]
    assert (value[~ann] == 0).all()


def test_players_that_always_do_the_same_have_nothing_to_compare():
    scripts = generate_many(2, 0, Knobs(characters=4))
    games = schedule(scripts, 4, 0, Rules(rounds=1))
    actions = play(games, SKILLED).table("actions")
    for order in range(4):
        of_game = actions[actions["order"] == order]
        fixed = Fixed({(r.seat, r.t): r.text for r in of_game.itertuples()})
        value = counterfactual_values([games[order]], of_game, fixed, n_samples=2)
        assert (value.dropna() == 0).all()


def test_ratings_are_not_valued_and_everything_else_is():
    games = schedule(generate_many(2, 0, Knobs(characters=4)), 4, 0, Rules(rounds=1))
    actions = play(games, Mixture()).table("actions")
    value = counterfactual_values(games, actions, Mixture(), n_samples=2)
    assert value.isna().tolist() == (actions["phase"] == "rate").tolist()


def test_only_what_is_asked_for_is_valued_and_each_policy_draws_its_own():
    games = schedule(generate_many(2, 0, Knobs(characters=4)), 2, 0, Rules(rounds=1))
    players = {"civilian": Mixture(), "culprit": SKILLED}
    actions = play(games, players).table("actions")
    value = counterfactual_values(games, actions, players, n_samples=1, phases=["vote"])
    assert value.notna().tolist() == (actions["phase"] == "vote").tolist()


def test_one_action_alone_has_the_value_that_it_has_among_others():
    games = schedule(generate_many(1, 0, Knobs(characters=4)), 1, 0, Rules(rounds=1))
    actions = play(games, Mixture()).table("actions").sort_values("step")
    first = counterfactual_values(games, actions[:1], Mixture(), n_samples=1)
    assert first.tolist() == counterfactual_values(games, actions, Mixture(), n_samples=1)[:1].tolist()


def test_same_seed_same_value_whatever_else_is_played():
    games = schedule(generate_many(2, 0, Knobs(characters=4)), 6, 0, Rules(rounds=1))
    actions = play(games, Mixture()).table("actions")
    whole = counterfactual_values(games, actions, Mixture(), n_samples=3)
    part = counterfactual_values(games, actions[actions["order"] == 3], Mixture(), n_samples=3, concurrency=5)
    np.testing.assert_array_equal(whole[part.index], part)
    shuffled = actions.sample(frac=1, random_state=0)
    np.testing.assert_array_equal(counterfactual_values(games, shuffled, Mixture(), n_samples=3)[whole.index], whole)


def test_actions_of_other_games_are_refused():
    games = schedule(generate_many(2, 0, Knobs(characters=4)), 2, 0, Rules(rounds=1))
    actions = play(games, Mixture()).table("actions")
    with pytest.raises(ValueError, match="were not recorded in this game"):
        counterfactual_values(games, actions[actions["step"] != 1], Mixture(), n_samples=1)
    with pytest.raises(ValueError, match=r"1 of their games \(the first has order 1\) are not among the 1 games given"):
        counterfactual_values(games[:1], actions, Mixture(), n_samples=1)
