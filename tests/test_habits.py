"""Habits: what is forced is forced and all else left to the model; a habit rests where the real loss has no slope."""

import pytest
import torch

from maro_lib.embedded.lessons import HOME
from maro_lib.learn.loss import anchor_loss, maro_loss
from maro_lib.model.loading import load
from maro_lib.model.local import LocalPolicy, Sampling
from maro_lib.play.rollout import Game, play, start
from maro_lib.study.habits import Searching, resting_share
from maro_lib.world.generator import generate
from maro_lib.world.mystery import Rules


@pytest.fixture(scope="module")
def model():
    return LocalPolicy(load("embedded", precision="float32"), Sampling(max_new_tokens=10))


def test_every_turn_is_a_search_of_an_open_place_and_all_else_is_the_models(model):
    played = play([Game("g0", 0, generate(5, HOME), 5, Rules(rounds=1))], Searching(model))
    actions = played.table("actions")
    turns = actions[actions["phase"] == "turn"]
    assert set(turns["kind"]) == {"search"}
    assert turns["legal"].all()
    assert turns["place"].nunique() > 1, "drawn, not always the same"
    assert set(actions["phase"]) >= {"intro", "vote", "rate"}


def test_what_is_not_a_turn_is_answered_as_by_the_model_alone(model):
    session = start(Game("g0", 0, generate(5, HOME), 5, Rules(rounds=1)), Searching(model))
    requests = list(session.requests())
    assert requests
    assert all(r.prompt.phase == "intro" for r in requests)
    assert Searching(model).act(requests) == model.act(requests)


def test_it_is_another_policy_than_its_model_and_its_opponent_is_the_plain_one(model):
    assert Searching(model).name != model.name
    assert Searching(model).fingerprint != model.fingerprint
    assert Searching(model).with_adapter(False).name == model.with_adapter(False).name


WORLD = {"lam_pos": 0.5 / 0.75, "lam_neg": 0.5 / 0.25}  # of 100 turns 70 ask: 50 are won; 30 search: 25 are won
WON = (50 / 70, 25 / 30)


def slope(share, beta, anchor):
    """How steep the real loss is in the log-odds of asking, on those hundred turns."""
    theta = torch.tensor(share, dtype=torch.float64).logit().requires_grad_()
    both = torch.stack([theta, -theta]).sigmoid().log()
    kind = torch.tensor([0] * 70 + [1] * 30)
    desirable = torch.tensor([True] * 50 + [False] * 20 + [True] * 25 + [False] * 5)
    before = torch.tensor([0.7, 0.3], dtype=torch.float64).log()
    loss, _ = maro_loss(both[kind], before[kind], desirable, torch.ones(100), beta=beta, z0=torch.tensor(0.0), **WORLD)
    (loss + anchor * anchor_loss(both[kind])).backward()
    return float(theta.grad)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_a_habit_rests_where_the_real_loss_has_no_slope(beta):
    rests = resting_share(0.7, WON, beta=beta, anchor=0.02, **WORLD)
    assert 0.01 < rests < 0.65
    assert slope(rests - 0.002, beta, 0.02) < 0 < slope(rests + 0.002, beta, 0.02)


def test_a_stronger_anchor_holds_a_habit_nearer_to_base_and_none_does_not_hold_it():
    none, weak, strong = (resting_share(0.7, WON, beta=1.0, anchor=a, **WORLD) for a in (0.0, 0.02, 0.2))
    assert none == pytest.approx(0.001)
    assert none < weak < strong < 0.7


def test_a_habit_that_decides_nothing_stays():
    assert resting_share(0.7, (0.75, 0.75), beta=1.0, anchor=0.02, **WORLD) == pytest.approx(0.7, abs=1e-3)


def test_where_all_is_pushed_down_the_likelier_goes_further():
    """Descent begins at base: it does not jump to a deeper valley on the other side."""
    assert resting_share(0.3, (0.2, 0.27), beta=1.0, anchor=0.0, lam_pos=1.0, lam_neg=1.0) < 0.3
