"""A game as a strip: a picture for each round, and what its title says."""

import numpy as np
import pandas as pd
import pytest
import synthetic
from matplotlib.patches import FancyArrowPatch

from maro_lib.show.strip import plot_strip, strip_title, suspicion_by_round

NAMES = ["Ann", "Bob", "Cid"]


def game(accused="Cid", culprits=("Cid",)) -> pd.Series:
    return pd.Series({"players": np.array(NAMES), "culprits": np.array(culprits), "accused": accused})


def moves(*rows) -> pd.DataFrame:
    return synthetic.table([{"game": "g", "agent": NAMES[row["seat"]], **row} for row in rows])


def rated(k, seat, stated):
    return {"round": k, "seat": seat, "phase": "rate", "kind": "rate", "suspicion": stated}


ACTIONS = moves(
    {"round": 1, "seat": 0, "target": "Bob"}, {"round": 1, "seat": 1, "kind": "search", "place": "inn"},
    rated(1, 0, [-1, 0, 0]), rated(1, 0, [-1, 2, 1]),  # the last word counts
    rated(1, 1, [0, -1, 1]), rated(1, 2, [1, 1, -1]),
    {"round": 2, "seat": 2, "target": "Ann"}, {"round": 2, "seat": 1, "target": "Cid"},
    rated(2, 0, [-1, 0, 2]), rated(2, 1, [0, -1, 2]), rated(2, 2, [1, 1, -1]),
    {"round": 2, "seat": 0, "phase": "vote", "kind": "vote", "target": "Cid"},
)  # fmt: skip


def test_suspicion_is_what_the_others_state_after_each_round():
    assert suspicion_by_round(ACTIONS, NAMES) == {
        1: {"Ann": 0.5, "Bob": 1.5, "Cid": 1.0}, 2: {"Ann": 0.5, "Bob": 0.5, "Cid": 2.0},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("of", "said"),
    [(game(), "Cid did it, suspected most since round 2, and is accused"),
     (game(accused=""), "Cid did it, suspected most since round 2, and nobody is accused"),
     (game(culprits=("Bob",)), "Bob did it, not suspected most at the end, and Cid is accused"),
     (game(culprits=("Ann",)), "Ann did it, not suspected most at the end, and Cid is accused")],
)  # fmt: skip
def test_the_title_is_what_became_of_the_game(of, said):
    assert strip_title(of, ACTIONS) == said


def test_each_round_has_a_picture_with_its_questions_and_places_and_the_vote_is_last():
    fig = plot_strip(game(), ACTIONS)
    arrows = [sum(isinstance(patch, FancyArrowPatch) for patch in ax.patches) for ax in fig.axes]
    assert arrows == [1, 2, 1]
    assert [ax.get_title() for ax in fig.axes] == ["Round 1", "Round 2", "The vote: Cid is accused"]
    assert [any(text.get_text() == "inn" for text in ax.texts) for ax in fig.axes] == [True, False, False]
