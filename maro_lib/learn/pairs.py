"""Pairs: what a winner and a loser said in the very same situation, which is all that DPO can learn from.

Two dialogues make a pair if they are the same, token by token, up to an action that is desirable in one and undesirable
in the other. Two games of one script have a player's first words in common; after those each view is another one, so
next to nothing but first words is compared. MARO's loss needs no pairs, and so reads everything.

    rows 2k and 2k + 1 of the corpus     the desirable and the undesirable half of pair k, each up to its action's end

Used by `trainer` where `objective` is `dpo`; taught in notebook 05.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from maro_lib.learn.balancing import NothingToLearn
from maro_lib.learn.corpus import Corpus, steps
from maro_lib.model.pieces import n_common

UNPAIRED = "nobody of the other outcome acted in the same situation"


def paired(corpus: Corpus) -> Corpus:
    """Return the pairs of a corpus, each dialogue in one of them at most; raise if there is none."""
    pairs = [pair for rows in _same_beginnings(corpus) for pair in _parted(corpus, rows)]
    if not pairs:
        raise NothingToLearn(
            f"no pairs: of {len(corpus):,} dialogues no two are the same up to an action that is desirable in one and "
            "undesirable in the other. DPO needs such pairs: play several games of each mystery (`n_games` above "
            "`n_scripts`), keep all characters (`mode: all`), or take another objective, which needs none"
        )
    kept = corpus.actions.iloc[np.concatenate(pairs)]
    left = corpus.actions.drop(kept.index)["faction"].value_counts()
    ids = [corpus.ids[a.row][: a.end] for a in kept.itertuples()]
    dropped = pd.concat([corpus.dropped, pd.DataFrame([left], index=[UNPAIRED])]).fillna(0).astype(int)
    actions = kept.assign(row=np.arange(len(kept))).reset_index(drop=True)
    return Corpus(ids, actions, dropped, int(actions["end"].sum()))


def paired_steps(corpus: Corpus, batch: int, epochs: float, seed: int) -> list[np.ndarray]:
    """Plan the optimiser's steps over whole pairs: about `batch` sequences each."""
    desirable = corpus.actions.iloc[::2]
    halves = replace(corpus, ids=corpus.ids[::2], actions=desirable.assign(row=np.arange(len(desirable))))
    plan = steps(halves, max(1, batch // 2), epochs, seed)
    return [np.concatenate((2 * step, 2 * step + 1)) for step in plan]


def _same_beginnings(corpus: Corpus) -> Iterator[list[int]]:
    """Yield the dialogues that are the same up to their first action."""
    groups = defaultdict(list)
    for row, ids in enumerate(corpus.ids):
        groups[ids[: corpus.spans[corpus.places[row][0]][0]].tobytes()].append(row)
    yield from groups.values()


def _parted(corpus: Corpus, rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield pairs of actions, the desirable one first: each dialogue with the first one left that parts from it so."""
    left = [*rows]
    while left:
        row = left.pop(0)
        pairs = ((k, _parting(corpus, row, other)) for k, other in enumerate(left))
        if found := next(((k, pair) for k, pair in pairs if pair), None):
            del left[found[0]]
            yield found[1]


def _parting(corpus: Corpus, a: int, b: int) -> tuple[int, int] | None:
    """Return the actions in which two dialogues part, the desirable one first, if that is what they part in."""
    n, both = n_common(corpus.ids[a], corpus.ids[b]), []
    for row in (a, b):
        places = corpus.places[row]
        start, end = corpus.spans[places].T
        both += places[(start <= n) & (n < end)].tolist()
    if len(both) < 2 or corpus.spans[both[0]][0] != corpus.spans[both[1]][0]:
        return None
    good = [bool(corpus.actions["desirable"].iat[k]) for k in both]
    return None if good[0] == good[1] else (both[0], both[1]) if good[0] else (both[1], both[0])
