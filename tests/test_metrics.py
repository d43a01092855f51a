"""Social metrics: every formula against examples worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from maro_lib.measure.metrics import (
    ABILITIES,
    DEFINITIONS,
    Ratings,
    by,
    clue_investigation,
    compliance,
    interactivity,
    mirage_rank,
    moves_lost,
    overall,
    ratings_about,
    reciprocal_rank,
    social,
    trust_inclination,
    victory,
    with_judge,
)  # fmt: skip
from maro_lib.measure.published import beside, leaderboard

PLAYERS = ["Ann", "Bob", "Cid", "Dot"]


# --- Victory -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("votes", "culprits", "expected"),
    [(["Bob", "Ann", "Bob", "Bob"], ["Bob"], 1.0), (["Bob", "Ann", "Bob", "Bob"], ["Ann"], 1 / 2),
     (["Bob", "Ann", "Ann", "Ann"], ["Bob"], 1 / 2), (["Bob", "Cid", "Ann", "Ann"], ["Ann", "Dot"], 1.0),
     (["Bob", "", "", ""], ["Bob"], 1.0), (["Ann", "Bob", "Ann", "Bob"], ["Ann", "Bob"], 1.0)],
)  # fmt: skip
def test_victory_is_one_over_the_rank_of_the_best_placed_culprit(votes, culprits, expected):
    assert {reciprocal_rank(votes, PLAYERS, culprits, seed) for seed in range(20)} == {expected}


def test_ties_are_broken_by_the_seed():
    tied = [reciprocal_rank(["Bob", "Ann", "", ""], PLAYERS, ["Bob"], seed) for seed in range(400)]
    assert set(tied) == {1.0, 0.5}
    assert np.mean(tied) == pytest.approx(0.75, abs=0.05), "first or second, as often"
    nobody = [reciprocal_rank([""] * 4, PLAYERS, ["Bob"], seed) for seed in range(2000)]
    assert np.mean(nobody) == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, abs=0.03), "no votes: any rank"
    assert tied == [reciprocal_rank(["Bob", "Ann", "", ""], PLAYERS, ["Bob"], seed) for seed in range(400)]


def test_victory_has_a_number_for_every_game():
    games = pd.DataFrame(
        {"votes": [["Ann"] * 4, ["Bob"] * 4], "players": [PLAYERS] * 2, "culprits": [["Ann"]] * 2, "seed": [1, 2]},
        index=[7, 3],
    )
    assert victory(games).loc[7] == 1.0
    assert victory(games).loc[3] < 1.0


def test_mirage_ranks_by_suspicion_less_trust_and_votes():
    ratings = {0: Ratings(5, 2, 6), 1: Ratings(1, 6, 6), 2: Ratings(9, 0, 6), 3: Ratings(0, 0, 6)}
    # Ann 5 - 2 + 4 = 7, Bob 1 - 6 + 8 = 3, Cid 9 - 0 + 0 = 9, Dot 0 - 0 + 4 = 4
    votes = ["Bob", "Dot", "Bob", "Ann"]
    assert [mirage_rank(votes, PLAYERS, [who], ratings) for who in PLAYERS] == [1 / 2, 1 / 4, 1.0, 1 / 3]
    same = dict.fromkeys(range(4), Ratings(1, 1, 6))
    assert mirage_rank([""] * 4, PLAYERS, ["Cid"], same) == 1 / 3, "ties go by seat"


# --- trust and clues ---------------------------------------------------------------------------------


def rated(*rows):
    return pd.DataFrame(
        [("rate", legal, list(s), list(b)) for legal, s, b in rows], columns=["kind", "legal", "suspicion", "trust"]
    )


def test_ratings_about_a_character_are_those_of_the_others():
    actions = rated((True, (-1, 2, 0), (-1, 0, 2)), (True, (1, -1, 0), (1, -1, 0)), (False, (0, 2, -1), (0, 2, -1)))
    assert ratings_about(actions, 3) == {0: (1, 1, 1), 1: (2, 0, 1), 2: (0, 2, 2)}
    assert ratings_about(actions.iloc[:0], 3) == dict.fromkeys(range(3), (0, 0, 0))


@pytest.mark.parametrize(
    ("ratings", "strict", "mirage"),
    [(Ratings(3, 1, 2), 0.75, 0.75), (Ratings(0, 4, 2), 0.0, 0.0), (Ratings(4, 0, 2), 1.0, 1.0),
     (Ratings(0, 0, 2), 0.5, math.nan), (Ratings(0, 0, 0), math.nan, math.nan)],
)  # fmt: skip
def test_trust_inclination_is_suspicion_over_both(ratings, strict, mirage):
    assert trust_inclination(ratings) == pytest.approx(strict, nan_ok=True)
    assert trust_inclination(ratings, "mirage") == pytest.approx(mirage, nan_ok=True)


def test_shares_are_of_the_most_that_could_be_stated():
    assert Ratings(3, 1, 2).shares == (3 / 4, 1 / 4)


def test_clues_count_once_and_in_mirage_every_search_counts():
    searches = [("search", "c1"), ("search", "c1"), ("search", "c2"), ("search", ""), ("ask", None)]
    actions = pd.DataFrame(searches, columns=["kind", "clue"])
    assert clue_investigation(actions, 8) == 2 / 8
    assert clue_investigation(actions, 8, "mirage") == 4 / 8
    assert math.isnan(clue_investigation(actions, 0)), "0 / 0 has no value"


# --- what a judge says -------------------------------------------------------------------------------


def test_interactivity_is_the_four_abilities_over_eighty():
    scores = dict(zip(ABILITIES, (20, 10, 5, 1), strict=True))
    assert interactivity(scores) == 36 / 80
    del scores["creativity"]
    assert math.isnan(interactivity(scores)), "a missing score is no score of 0"


def test_compliance_is_half_role_play_half_rouge():
    assert compliance(15, [0.5, 0.1]) == pytest.approx((0.75 + 0.3) / 2)
    assert math.isnan(compliance(15, []))


# --- the whole table ---------------------------------------------------------------------------------


@pytest.fixture
def game():
    games = pd.DataFrame([{
        "order": 0, "digest": "d", "cell": "SOC", "players": PLAYERS, "votes": ["Bob", "Ann", "Bob", "Bob"], "seed": 1,
        "culprits": ["Bob"], "factions": ["civilian", "culprit", "civilian", "civilian"], "winner": "civilian",
        "clues_reachable": 4,
    }])  # fmt: skip
    rows = []
    for seat, name in enumerate(PLAYERS):
        common = {"order": 0, "seat": seat, "agent": name, "role": "r", "faction": games["factions"][0][seat]}
        suspicion = [-1 if k == seat else 2 * (k == 1) for k in range(4)]
        trust = [-1 if k == seat else 2 * (k != 1) for k in range(4)]
        rows.append(common | {"kind": "rate", "legal": True, "suspicion": suspicion, "trust": trust, "clue": None})
        rows.append(common | {"kind": "search", "legal": True, "clue": f"c{seat % 2}", "phase": "turn"})
    return games, pd.DataFrame(rows).assign(retry=False)


def judgements(seat, rouge):
    scored = [(0, seat, kind, 10.0, "ok") for kind in (*ABILITIES, "role-play")]
    sections = [
        (0, seat, "section", rouge, "ok"),
        (0, seat, "section", 0.0, "empty"),
        (0, seat, "section", 9, "failed"),
    ]
    return pd.DataFrame([*scored, *sections], columns=["order", "seat", "kind", "score", "status"])


def test_social_measures_every_character_and_the_game(game):
    table = social(*game, judgements(0, 0.5)).set_index(["seat", "metric"])["value"]
    assert table[-1, "Victory"] == 1.0
    assert table[-1, "CIC, all together"] == 2 / 4
    assert (table[1, "S"], table[1, "B"], table[1, "TII"]) == (1.0, 0.0, 1.0)
    assert (table[0, "S"], table[0, "B"], table[0, "TII"]) == (0.0, 1.0, 0.0)
    assert table[0, "CIC"] == 1 / 4
    assert table[0, "ICI"] == 0.5
    assert table[0, "SCI"] == (0.5 + 0.5) / 2, "strict leaves out what the script leaves empty"
    assert (1, "ICI") not in table.index, "who was not judged has no score"
    won = social(*game).query("metric == 'games won'").set_index("faction")["value"]
    assert won.to_dict() == {"civilian": 1.0, "culprit": 0.0}


@pytest.mark.parametrize(
    ("replies", "lost"),  # of one seat, (phase, legal, retry) each
    [([("turn", False, False), ("turn", True, True)], 0), ([("turn", False, False), ("turn", False, True)], 1),
     ([("vote", False, False)], 1), ([("rate", False, False), ("rate", False, True)], 0),
     ([("turn", True, False), ("vote", False, False), ("vote", False, True), ("vote", False, True)], 1)],
)  # fmt: skip
def test_a_turn_or_vote_is_lost_when_its_corrections_were_illegal_too(game, replies, lost):
    games, actions = game
    more = pd.DataFrame(replies, columns=["phase", "legal", "retry"]).assign(order=0, seat=1, kind="illegal", role="r",
                                                                             faction="culprit")  # fmt: skip
    assert moves_lost(more).sum() == lost
    both = pd.concat([actions, more.assign(agent="Bob")], ignore_index=True)
    apart = social(games, both).query("metric == 'games won, errors apart'").set_index("faction")["value"]
    assert apart.isna().all() == bool(lost), "whoever erred: the game counts for neither side"
    assert lost or apart.to_dict() == {"civilian": 1.0, "culprit": 0.0}


def test_mirage_mode_counts_what_mirage_counts(game):
    table = social(*game, judgements(0, 0.5), mode="mirage").set_index(["seat", "metric"])["value"]
    assert table[-1, "CIC, all together"] == 4 / 4
    assert table[0, "SCI"] == (0.5 + 0.25) / 2, "an empty section counts, with Rouge-L 0; a failed one does not"
    with pytest.raises(ValueError, match="strict, mirage"):
        social(*game, mode="strickt")


def test_each_mode_ranks_the_culprits_its_own_way(game):
    games, actions = game
    games["votes"] = [["Ann", "", "", ""]]
    rank = {mode: social(games, actions, mode=mode).set_index("metric")["value"]["Victory"] for mode in DEFINITIONS}
    assert rank["strict"] < 1, "Ann got the only vote"
    assert rank["mirage"] == 1, "three pairs of 2 and 0 for Bob, of 0 and 2 for the others: 6 against 4 - 6 and -6"


def test_what_a_judge_gave_is_shown_with_its_name():
    assert [with_judge(name, "rules") for name in ("ICI", "SCI", "TII")] == ["ICI (rules)", "SCI (rules)", "TII"]


def test_overall_stands_beside_a_leaderboard(game):
    found = overall(social(*game, judgements(0, 0.5)))
    assert found.to_dict() == {"Victory": 100, "TII": 25, "CIC": 50, "ICI": 50, "SCI": 50}
    assert [*found.index] == [*leaderboard()]
    assert beside({"here": found / 3}).loc["here"].tolist() == [33.3, 8.3, 16.7, 16.7, 16.7], "one place"


def test_intervals_resample_mysteries():
    table = pd.DataFrame({"order": range(4), "script": list("aabb"), "faction": "civilian", "value": [1.0, 0, 1, 1]})
    (row,) = by(table.assign(metric="TII"), ["faction"]).to_dict("records")
    assert (row["mean"], row["games"], row["mysteries"]) == (0.75, 4, 2)
