"""Credit by what the others make of it: their opinions of the speaker, and votes for it, before its next words.

    w(a) = (1 / n) * ( sum over the others of (change in trust - change in suspicion) / 2 - accusation * votes for it )

n counts the other characters. A stated change of opinion about a character, and a vote for it, go to the last thing
that it said before (a public action that is no rating and no vote). An opinion changes from the rater's own last one;
before the first, from the even 1 and 1.

Used are the columns `suspicion` and `trust` of ratings and `target` of votes. The weight is 0 for ratings, votes and
whatever is not public, for what is followed by the same character's next words before anybody rates or votes, and for
what moved nobody. The outcome is not used, nor who is guilty: to be trusted is what both sides want.

CoMAS (arXiv 2510.08529) has a language model score a solution by the evaluations that follow it in the discussion, and
pays an evaluator what it takes from the solver; here the evaluations are the ratings and votes that the game has
anyway, and raters are paid nothing. A question that takes up what was said is not counted: it may be praise or blame.

Taught in notebook 03.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from maro_lib.learn.rulebook import check_range, register
from maro_lib.play.tables import encode

_PLACE = ["game", "about"]


@register(
    "mean over the others of (change in trust - change in suspicion) / 2 of the speaker, less the share of them that"
    " votes for it, from what it says to its next words",
    "CoMAS, arXiv 2510.08529",
    needs="game agent seat step phase kind public target suspicion trust",
)
def interaction(actions: pd.DataFrame, *, accusation: float = 1.0) -> np.ndarray:
    """Weigh what a character says by how the others' opinion of it moves next; `accusation` weighs a vote for it."""
    check_range("accusation", accusation, 0, 10)
    coded = _coded_seats(actions)
    said = coded[coded["said"]].rename(columns={"seat": "about"})[["row", *_PLACE, "step"]].sort_values("step")
    votes = _votes(actions, coded).assign(change=-accusation)
    moves = pd.concat([_moved_opinions(actions, coded), votes]).astype({"step": "int64"}).sort_values("step")
    moves = pd.merge_asof(moves, said, on="step", by=_PLACE, allow_exact_matches=False).dropna(subset="row")
    sums = moves.groupby("row")["change"].sum()
    n_others = coded.groupby("game")["seat"].transform("nunique").to_numpy() - 1
    weights = np.zeros(len(actions))
    rows = sums.index.to_numpy(np.int64)
    weights[rows] = sums.to_numpy() / np.maximum(n_others[rows], 1)
    return weights


def _coded_seats(actions: pd.DataFrame) -> pd.DataFrame:
    """Return what is needed of every action, by place in the table; a game as a code."""
    talk = ~actions["phase"].isin(["rate", "vote"]) & actions["public"].astype(bool)
    return pd.DataFrame(
        {
            "row": np.arange(len(actions)),
            "game": encode(actions, ["game"]),
            "seat": actions["seat"].to_numpy(np.int64),
            "step": actions["step"].to_numpy(np.int64),
            "said": talk.to_numpy(bool),
        }
    )


def _moved_opinions(actions: pd.DataFrame, coded: pd.DataFrame) -> pd.DataFrame:
    """Return a row per rating and character rated: the game, whom it is about, the step, and the change of opinion."""
    rated = (actions["suspicion"].notna() & actions["trust"].notna()).to_numpy()
    suspicion, trust = (actions.loc[rated, name].tolist() for name in ("suspicion", "trust"))
    n_rated = [len(row) for row in suspicion]
    at = coded[rated].loc[lambda t: t.index.repeat(n_rated)]
    about = np.concatenate([np.arange(n) for n in n_rated]) if n_rated else np.zeros(0, np.int64)
    flat = [np.concatenate(column).astype(float) if n_rated else np.zeros(0) for column in (suspicion, trust)]
    opinions = at.assign(about=about, opinion=(flat[1] - flat[0]) / 2)[about != at["seat"].to_numpy()]
    opinions = opinions.sort_values(["game", "step"])
    last = opinions.groupby(["game", "seat", "about"])["opinion"].shift().fillna(0.0)
    return opinions.assign(change=opinions["opinion"] - last)[[*_PLACE, "step", "change"]]


def _votes(actions: pd.DataFrame, coded: pd.DataFrame) -> pd.DataFrame:
    """Return a row per vote for another character: the game, whom it is for, the step."""
    seats = coded.assign(target=actions["agent"].to_numpy()).drop_duplicates(["game", "target"])
    cast = coded.assign(target=actions["target"].to_numpy())[(actions["kind"] == "vote").to_numpy()]
    votes = cast.merge(seats[["game", "target", "seat"]].rename(columns={"seat": "about"}), on=["game", "target"])
    return votes.loc[votes["about"] != votes["seat"], [*_PLACE, "step"]]
