"""Behaviour: what is counted is what the games show."""

import pandas as pd
import pytest

from maro_lib.embedded.lessons import HOME
from maro_lib.measure.behaviour import ends, rounds_to_find, suspicions, turns
from maro_lib.play.policies import SKILLED
from maro_lib.play.rollout import play, schedule
from maro_lib.world.generator import generate_many
from maro_lib.world.mystery import Rules

SCRIPTS = generate_many(4, 11, HOME)


def test_skilled_civilians_search_and_culprits_ask():
    played = play(schedule(SCRIPTS, 8, 0, Rules(rounds=2)), SKILLED)
    shares = turns(played.table("actions"), {s.digest: s for s in SCRIPTS})
    assert shares["culprit", "asks"].mean == 1.0
    assert shares["civilian", "finds evidence"].mean > 0.5
    assert shares["civilian", "finds evidence"].n == 4, "mysteries are resampled"
    for faction in ("civilian", "culprit"):
        assert sum(m.mean for (f, _), m in shares.items() if f == faction) == pytest.approx(1)


def test_a_second_try_is_the_same_turn():
    rows = [("illegal", False, False, None), ("ask", True, True, None), ("search", True, False, "c")]
    actions = pd.DataFrame(rows, columns=["kind", "legal", "retry", "clue"])
    actions = actions.assign(order=0, step=range(3), script="s", faction="civilian", phase="turn")
    shares = turns(actions, {})
    assert {name: m.mean for (_, name), m in shares.items()} == {
        "asks": 0.5, "finds evidence": 0.0, "finds a red herring": 0.5, "loses the turn": 0.0,
    }  # fmt: skip


@pytest.fixture
def rated():
    """One culprit at seat 1; two civilians rate after each of two rounds: wrong at first, then right."""
    games = pd.DataFrame({"order": [0], "factions": [["civilian", "culprit", "civilian"]]})
    rows = [(1, 0, [-1, 0, 2]), (1, 2, [1, 1, -1]), (2, 0, [-1, 2, 0]), (2, 2, [0, 2, -1])]
    actions = pd.DataFrame(rows, columns=["round", "seat", "suspicion"])
    actions = actions.assign(order=0, script="s", kind="rate", legal=True, faction="civilian")
    first = actions.iloc[:1].assign(suspicion=[[-1, 9, 9]])
    uncounted = first.assign(faction="culprit"), first.assign(legal=False), first.assign(kind="ask")
    return games, pd.concat([actions, *uncounted], ignore_index=True)


def test_suspicion_is_followed_round_by_round(rated):
    found = suspicions(*rated)
    assert [m.mean for m in found["culprits"]] == [0.5, 2.0]
    assert [m.mean for m in found["innocents"]] == [1.5, 0.0]
    assert found["culprits"][0].n == 1, "two raters, and one mystery to resample"


def test_the_culprit_is_found_when_suspected_most(rated):
    assert rounds_to_find(*rated).tolist() == [2]
    games, actions = rated
    assert rounds_to_find(games, actions[actions["round"] == 1]).isna().tolist() == [True], "never"
    actions["suspicion"] = [[-1, 1, 1]] * len(actions)
    assert rounds_to_find(games, actions).isna().tolist() == [True], "as much as another is not most"


def test_ends_say_who_is_condemned():
    accused = ["Ann", "Bob", "", "Ann", "Ann", "", "Ann", ""]
    games = pd.DataFrame({"accused": accused, "culprits": [["Ann"]] * 8, "script": list("aabbaabb")})
    found = ends(games)
    assert {m.n for m in found.values()} == {2}, "mysteries are resampled"
    assert {name: m.mean for name, m in found.items()} == {
        "a culprit is condemned": 0.5, "an innocent is condemned": 0.125, "nobody is condemned": 0.375,
    }  # fmt: skip
