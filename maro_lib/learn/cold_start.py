"""Cold start: a language model that can talk, but has never seen the game, is told how it is played.

As it comes, next to none of its moves are legal, so there is nothing that MARO could learn from. It imitates scripted
players, good and bad ones, each of whom keeps its skill for a whole game; what they said wrongly and were corrected for
is read, not imitated. The same training does it (`objective: sft`), with every action desirable. Taught in notebook 11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch

from maro_lib.embedded.lessons import Slips
from maro_lib.learn.corpus import Corpus, make_corpus
from maro_lib.model.chat import Chat
from maro_lib.model.loading import Loaded, token_logps
from maro_lib.model.local import LocalPolicy, Sampling
from maro_lib.play.policies import Mixture
from maro_lib.play.rollout import Game, play

ENGLISH = Path(__file__).with_name("english.txt")  # what it must not forget: the beginning of Alice in Wonderland


def imitation(games: Sequence[Game], chat: Chat, *, share_good: float = 0.4, window: int = 0) -> Corpus:
    """What scripted players said in some games, as a corpus of actions that are all desirable."""
    played = play(games, Slips(Mixture(share_good)))
    actions = played.table("actions")
    said = actions[actions["legal"]].assign(desirable=True, weight=1.0)
    return make_corpus(played.table("dialogues"), said, chat=chat, window=window)


@dataclass(frozen=True)
class Listening:
    """At each look: how many of its first replies are legal, who wins, and what it has kept of its English."""

    games: Sequence[Game]
    sampling: Sampling = field(default_factory=Sampling)
    options: Mapping[str, int | float | bool] = field(default_factory=dict)  # the other settings of a LocalPolicy
    names = ("legal", "civilians win", "english")

    def __call__(self, loaded: Loaded) -> dict[str, float]:
        played = play(self.games, LocalPolicy(loaded, self.sampling, **self.options))
        legal = first_replies(played.table("actions"))["legal"].mean()
        won = (played.table("games")["winner"] == "civilian").mean()
        return dict(zip(self.names, (float(legal), float(won), english_loss(loaded)), strict=True))


def first_replies(actions: pd.DataFrame) -> pd.DataFrame:
    """The replies that were no second try after a correction."""
    return actions[~actions["retry"]]


def english_loss(loaded: Loaded) -> float:
    """Nats a token on a page of English: what a model that learns to play should not lose."""
    ids = loaded.tokenizer.encode(ENGLISH.read_text(encoding="utf-8"), add_special_tokens=False)
    with torch.no_grad():
        return float(-token_logps(loaded.active(), [ids])[0].mean())
