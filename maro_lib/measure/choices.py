"""What a model would choose: from one view, the probability of each move that the rules allow, base beside trained.

A move is scored as the kit's phrasebook writes it, up to the token from which on no other move begins like it: its
probability is that of saying so much. What is missing to 1 goes to other texts. Taught in notebook 05.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, NamedTuple

import pandas as pd
import torch

from maro_lib.model.chat import Chat
from maro_lib.model.loading import Loaded
from maro_lib.play.rollout import Played
from maro_lib.world.phrases import phrasebook
from maro_lib.world.protocol import Message


def move_probabilities(loaded: Loaded, view: Sequence[Message], moves: Sequence[str]) -> pd.DataFrame:
    """Return one row per move: its probability under the base, and under the model as it is now."""
    if len(set(moves)) < len(moves):
        raise ValueError(f"moves: some are the same: {', '.join(moves)}")
    chat = Chat(loaded.tokenizer, rewriting=True)
    prompt, said = chat.encode(view), [(*chat.text_ids(move), chat.stop_id) for move in moves]

    def score() -> list[float]:
        logps = dict(_own_logps(loaded, prompt, said))
        return [math.exp(logps[ids]) for ids in said]

    with loaded.base():
        base = score()
    return pd.DataFrame({"move": list(moves), "base": base, "trained": score()})


def _own_logps(
    loaded: Loaded, prompt: list[int], said: Sequence[tuple[int, ...]], logp: float = 0.0, n: int = 0
) -> Iterator[tuple[tuple[int, ...], float]]:
    """Yield for each of some texts, whose first n tokens are the same, the log-probability of what is its own."""
    end = next(k for k in count(n) if len({ids[k] for ids in said}) > 1)
    ids = torch.tensor([[*prompt, *said[0][:end]]], device=loaded.device)
    with torch.inference_mode():
        logits = loaded.model(input_ids=ids, logits_to_keep=end - n + 1).logits[0].float().log_softmax(-1)
    logp += sum(float(logits[k - n, said[0][k]]) for k in range(n, end))
    for token in {ids[end] for ids in said}:
        alike, so_far = [ids for ids in said if ids[end] == token], logp + float(logits[-1, token])
        if len(alike) == 1:
            yield alike[0], so_far
        else:  # two Mr Hills: the next tokens decide
            yield from _own_logps(loaded, prompt, alike, so_far, end + 1)


@dataclass(frozen=True)
class MoveChoice:
    """How likely a move was before training, and is now."""

    move: str
    base: float
    trained: float


@dataclass(frozen=True)
class Choice:
    """choices.json: the vote that training moved most, as `most_moved` gives it."""

    game: str
    agent: str
    culprits: list[str]
    moves: list[MoveChoice]


class VoteView(NamedTuple):
    """A civilian's view at the vote, and what it may say."""

    game: str
    script: str
    agent: str
    messages: list[Message]
    moves: list[str]
    right: list[bool]  # which moves name a culprit
    culprits: tuple[str, ...]


def vote_views(played: Played, game: str = "", agent: str = "") -> Iterator[VoteView]:
    """Civilians' views at the vote: one of each game, then another of each, ...; or those of one game and agent."""
    tries = played.table("actions").query("phase == 'vote' and faction == 'civilian'")
    n_tries = tries.groupby(["game", "agent"]).size()
    votes = tries[~tries["retry"]]  # whatever was said then: legal or not
    votes = votes.assign(place=votes.groupby("game").cumcount()).sort_values(["place", "order"])
    views = played.table("dialogues").groupby(["game", "agent"])["messages"].last()
    games = played.table("games").set_index("game")
    for vote in votes.itertuples():
        if game not in ("", vote.game) or agent not in ("", vote.agent):
            continue
        g = games.loc[vote.game]
        messages = [Message(m["role"], m["content"]) for m in views[vote.game, vote.agent]]
        said = [k for k, m in enumerate(messages) if m.role == "assistant"]
        asked = messages[: said[-min(n_tries[vote.game, vote.agent], len(said))]]
        others = [name for name in g["players"] if name != vote.agent]
        moves = [phrasebook(g["language"], g["register"]).voted.format(name=name) for name in others]
        right = [name in set(g["culprits"]) for name in others]
        yield VoteView(vote.game, g["script"], vote.agent, asked, moves, right, tuple(g["culprits"]))


def vote_probabilities(loaded: Loaded, played: Played, n: int) -> pd.DataFrame:
    """Return for n votes of civilians, from the views in which they were cast, how likely a right one is now."""
    rows = []
    for view in islice(vote_views(played), n):
        table = move_probabilities(loaded, view.messages, view.moves)
        known = {"game": view.game, "script": view.script, "agent": view.agent}
        rows.append(known | table.loc[view.right, ["base", "trained"]].sum().to_dict())
    return pd.DataFrame(rows, columns=["game", "script", "agent", "base", "trained"])


def most_moved(loaded: Loaded, played: Played, votes: pd.DataFrame) -> dict[str, Any]:
    """Return the vote that training moved most, with the probabilities of all its moves, as plain data."""
    most = votes.iloc[(votes["trained"] - votes["base"]).abs().argmax()]
    view = next(vote_views(played, most["game"], most["agent"]))
    moves = move_probabilities(loaded, view.messages, view.moves).to_dict("records")
    return {"game": view.game, "agent": view.agent, "culprits": list(view.culprits), "moves": moves}
