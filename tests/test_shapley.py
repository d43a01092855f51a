"""Laws of `shapley`: a player is worth what it adds to its own side, and together they are worth what all changed."""

import pytest
from test_counterfactual import TRIO

from maro_lib.learn.decomposition import decompose
from maro_lib.learn.shapley import shapley_values
from maro_lib.play.policies import Mixture, Random, Reply
from maro_lib.play.rollout import play, schedule
from maro_lib.world.generator import Knobs, generate_many
from maro_lib.world.mystery import Rules


class Votes:
    """Players that vote as they are told to."""

    def __init__(self, **votes):
        self.name, self.votes = f"votes {votes}", votes

    def act(self, requests):
        return [Reply(self.reply(r)) for r in requests]

    def reply(self, request):
        vote = f"Vote {self.votes[request.brief.me.name]}."
        return {"intro": "Hello.", "turn": "Search barn.", "answer": "No.", "vote": vote}[request.prompt.phase]


GOOD, BASE = Votes(Ann="Cal", Ben="Cal", Cal="Ann"), Votes(Ann="Ben", Ben="Ann", Cal="Ben")


def valued(n_orders, seed=0):
    games = schedule([TRIO], 1, 0, Rules(rounds=1, ratings="never"))
    actions = play(games, GOOD).table("actions")
    actions["phi"] = shapley_values(games, actions, GOOD, base=BASE, n_orders=n_orders, seed=seed)
    assert (actions.groupby("agent")["phi"].nunique() == 1).all()
    return actions.drop_duplicates("agent").set_index("agent")["phi"]


def test_values_by_hand():
    # who plays well     nobody  Ann   Ben   Cal   Ann Ben   Ann Cal   Ben Cal   all
    # votes A B C        B A B   C A B B C B B A A C C B     C A A     B C A     C C A
    # civilians' R       -1      -1    -1    -1    +1        -1        -1        +1
    # of Ann and Ben, whoever joins second adds 2, the other nothing; Cal adds nothing
    one = valued(n_orders=1)
    assert sorted(one[["Ann", "Ben"]]) == [0, 2]
    assert one["Cal"] == 0
    many = valued(n_orders=400)  # 8 games, since a coalition is played once
    assert many["Ann"] == pytest.approx(1, abs=0.15)  # 3 of 6 orders
    assert many["Ann"] + many["Ben"] == pytest.approx(2)
    assert many["Cal"] == 0


def test_values_of_a_side_sum_to_what_all_changed():
    games = schedule(generate_many(3, 0, Knobs(characters=4)), 12, 0, Rules(rounds=1))
    actions = play(games, Mixture()).table("actions")
    nobody = play(games, Random()).table("actions")
    actions["phi"] = shapley_values(games, actions, Mixture(), n_orders=3)
    change = 0
    for order in range(12):
        seats = actions[actions["order"] == order].drop_duplicates("seat")
        civilian = (seats["faction"] == "civilian").to_numpy()
        r_all = 2 * seats["success"].to_numpy()[civilian][0] - 1
        r_none = 2 * nobody[(nobody["order"] == order) & (nobody["faction"] == "civilian")]["success"].iloc[0] - 1
        total = seats["phi"][civilian].sum() - seats["phi"][~civilian].sum()
        assert total == pytest.approx(r_all - r_none)
        change += abs(r_all - r_none)
    assert change > 0, "in some game it mattered who played"


def test_same_seed_same_values_and_order_of_rows_does_not_matter():
    assert valued(1, seed=3).tolist() == valued(1, seed=3).tolist()
    games = schedule([TRIO], 2, 0, Rules(rounds=1, ratings="never"))
    actions = play(games, GOOD).table("actions")
    values = shapley_values(games, actions, GOOD, base=BASE, n_orders=1)
    shuffled = actions.sample(frac=1, random_state=1)
    assert shapley_values(games, shuffled, GOOD, base=BASE, n_orders=1).loc[actions.index].tolist() == values.tolist()
    assert decompose(actions, "shapley", values=values).tolist() == values.tolist()


def test_what_it_needs_is_said():
    games = schedule([TRIO], 2, 0, Rules(rounds=1, ratings="never"))
    actions = play(games, GOOD).table("actions")
    with pytest.raises(ValueError, match="rule 'shapley' needs the option `values`"):
        decompose(actions, "shapley")
    with pytest.raises(ValueError, match="n_orders: 0; at least one order"):
        shapley_values(games, actions, GOOD, n_orders=0)
    with pytest.raises(ValueError, match=r"1 of their games \(the first has order 1\) are not among the 1 games given"):
        shapley_values(games[:1], actions, GOOD)
