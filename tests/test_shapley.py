"""Laws of `shapley`: a player is worth what it adds to its own side, and together they are worth what all changed."""

import numpy as np
import pytest
from test_counterfactual import TRIO

from maro_lib.learn.counterfactuals import by_step, counterfactual_values, with_outcome
from maro_lib.learn.decomposition import decompose
from maro_lib.learn.shapley import shapley_values
from maro_lib.learn.shapley_actions import _from_snapshots, _Seated, action_shapley_values
from maro_lib.play.policies import Mixture, Random, Reply
from maro_lib.play.rollout import Session, play, run_sessions, schedule, start
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
    with pytest.raises(ValueError, match="n_cuts: 0; at least one is needed"):
        action_shapley_values(games, actions, GOOD, n_cuts=0)
    with pytest.raises(ValueError, match=r"1 of their games \(the first has order 1\) are not among the 1 games given"):
        shapley_values(games[:1], actions, GOOD)


# --- of actions ------------------------------------------------------------------------------------------


class Redraws(Votes):
    """Players that vote as they are told to, and like the others where a vote is drawn anew; they count replies."""

    n_asked = 0

    def act(self, requests):
        self.n_asked += len(requests)
        return [Reply((BASE if r.salt else GOOD).reply(r)) for r in requests]


def votes_valued(**options):
    games = schedule([TRIO], 1, 0, Rules(rounds=1, ratings="never"))
    actions = play(games, GOOD).table("actions")
    actions["phi"] = action_shapley_values(games, actions, Redraws(), phases=["vote"], **options)
    assert actions["phi"].notna().tolist() == (actions["phase"] == "vote").tolist()
    return actions.dropna(subset="phi").set_index("agent")["phi"]


def test_votes_by_hand():
    # whose votes are as recorded: the table of `test_values_by_hand`, with a vote in a player's place
    one = votes_valued(n_orders=1)
    assert sorted(one[["Ann", "Ben"]]) == [0, 2], "of two that are both needed, the second to join adds all"
    assert one["Cal"] == 0
    many = votes_valued(n_orders=200)
    assert many["Ann"] == pytest.approx(1, abs=0.2)
    assert many["Ann"] + many["Ben"] == pytest.approx(2)
    games = schedule([TRIO], 1, 0, Rules(rounds=1, ratings="never"))
    actions = play(games, GOOD).table("actions")
    alone = counterfactual_values(games, actions, Redraws(), n_samples=1, phases=["vote"])
    assert alone.dropna().tolist() == [2, 2, 0], "taken away alone, each of the two is worth all"


def test_actions_that_join_together_share_equally():
    assert votes_valued(n_cuts=1, n_orders=1).tolist() == pytest.approx([2 / 3, 2 / 3, -2 / 3])  # Cal lost 2


def test_values_of_actions_sum_to_what_drawing_all_anew_changed():
    games = schedule(generate_many(3, 0, Knobs(characters=4)), 6, 0, Rules(rounds=1))
    actions = play(games, Mixture()).table("actions")
    actions["phi"] = action_shapley_values(games, actions, Mixture(), n_orders=3, n_cuts=4, seed=1)
    assert actions["phi"].isna().tolist() == (actions["phase"] == "rate").tolist()
    change = 0
    for order, own in actions.groupby("order"):
        sign = np.where(own["faction"] == "civilian", 1, -1)
        r = 2 * own["success"].to_numpy()[sign == 1][0] - 1
        lost = [r - drawn_anew(games[order], own, f"absent{k}") for k in range(3)]
        assert np.nansum(sign * own["phi"]) == pytest.approx(np.mean(lost))
        change += np.abs(lost).sum()
    assert change > 0, "in some game it mattered what was done"


def drawn_anew(game, actions, salt):
    """The civilians' outcome where all but ratings are drawn with a salt, played from the beginning."""
    salts = {(r.seat, r.t): salt for r in actions.itertuples() if r.phase != "rate"}
    session = start(game, Mixture())
    (played,) = run_sessions([Session(game, session.env, session.seats, salts)], 1)
    return 2 * played.env.successes()[game.script.names.index(civilian(game))] - 1


def civilian(game):
    return next(c.name for c in game.script.characters if c.faction == "civilian")


def test_a_bounded_number_of_games_is_played_and_none_from_before_its_first_new_draw():
    games = schedule([TRIO], 1, 0, Rules(rounds=1, ratings="never"))
    actions = play(games, GOOD).table("actions")
    players = Redraws()
    action_shapley_values(games, actions, players, phases=["vote"], n_orders=2, n_cuts=2)
    # an order of 3 votes in 2 parts: 2 and 1; first all 3 are drawn, then 1: and nothing else is asked of anybody
    assert players.n_asked == 2 * (3 + 1)
    (rows,) = by_step(with_outcome(actions, "success")).values()
    begun = dict(_from_snapshots(games[0], rows, _Seated(players, {}), {(0, 0, 0): [2, 5], (0, 0, 1): [5]}))
    assert {name: sum(session.taken) for name, session in begun.items()} == {(0, 0, 0): 2, (0, 0, 1): 5}


def test_who_does_the_same_again_has_nothing_to_compare_and_a_table_s_order_does_not_matter():
    games = schedule([TRIO], 2, 0, Rules(rounds=1, ratings="never"))
    actions = play(games, GOOD).table("actions")
    assert (action_shapley_values(games, actions, GOOD) == 0).all()
    values = action_shapley_values(games, actions, Redraws(), n_orders=2)
    shuffled = action_shapley_values(
        games, actions.sample(frac=1, random_state=1), Redraws(), n_orders=2, concurrency=1
    )
    assert shuffled.loc[actions.index].tolist() == values.tolist()
    assert values.abs().sum() > 0
    assert decompose(actions, "shapley", values=values).tolist() == values.tolist()


class Forgetful(Redraws):
    """Players that sum up before they vote."""

    def check_window(self, views):
        pass

    def fits(self, request):
        return request.prompt.phase != "vote" or not any(m.content == "Search barn." for m in request.view)

    def act(self, requests):
        return [Reply("We met.") if r.prompt.phase == "summary" else super(Forgetful, self).act([r])[0]
                for r in requests]  # fmt: skip


def test_who_summed_up_does_so_again():
    games = schedule([TRIO], 1, 0, Rules(rounds=1, ratings="never"))
    actions = play(games, Forgetful()).table("actions")
    assert (actions["phase"] == "summary").sum() == 3
    actions["phi"] = action_shapley_values(games, actions, Forgetful(), phases=["vote"], n_orders=1)
    votes = actions.dropna(subset="phi").set_index("agent")["phi"]
    assert sorted(votes[["Ann", "Ben"]]) == [0, 2]
    phi = action_shapley_values(games, actions, Forgetful(), phases=["turn", "vote"], n_orders=1)
    assert phi.groupby(actions["faction"]).sum().tolist() == [2, 0], "also where what is drawn anew comes before"
    alone = counterfactual_values(games, actions, Forgetful(), n_samples=1, phases=["vote"])
    assert alone.dropna().tolist() == [2, 2, 0]
