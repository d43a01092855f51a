"""The training corpus: dialogues as token ids, and where in them the actions lie that are to be learned from.

One dialogue is one sequence, however many of its actions are trained: with S script tokens and T actions a forward
reads S + T(A + O) tokens, one row per action T S + (A + O) T (T + 1) / 2. Where a view is not one growing sequence (a
template that rewrites history) there is one row per action. Nothing is ever cut: what does not fit is counted.

Taught in notebook 05.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from maro_lib.model.chat import Chat
from maro_lib.runs import make_folder, read_record, write_atomic
from maro_lib.world.protocol import Message

ACTION = ("game", "seat", "t")  # what an action is known by
TAKEN = [*ACTION, "faction", "success", "desirable", "weight"]  # what training knows of an action


class Fit(StrEnum):
    """Whether an action can be trained."""

    TRAINED = "trained"
    UNKNOWN = "its dialogue is not there"
    LONG = "longer than the window"


@dataclass(frozen=True)
class Corpus:
    """Sequences, and the actions in them."""

    ids: list[np.ndarray]  # of each sequence, up to the end of its last trained action
    actions: pd.DataFrame  # TAKEN, and: row (of `ids`), start, end, logps (as sampled; None: not known)
    dropped: pd.DataFrame  # reason x faction: actions that are not trained
    n_separate: int  # tokens that one row per action would read

    def __len__(self) -> int:
        return len(self.ids)

    def relabelled(self, actions: pd.DataFrame) -> Corpus:
        """The same sequences with other labels and weights."""
        return replace(self, actions=actions)

    @cached_property
    def spans(self) -> np.ndarray:
        """Where each action lies in its sequence: (n_actions, 2)."""
        return self.actions[["start", "end"]].to_numpy(np.int64)

    @cached_property
    def places(self) -> list[np.ndarray]:
        """The actions of each sequence, as rows of `actions`."""
        bounds = np.searchsorted(self.actions["row"].to_numpy(), np.arange(len(self) + 1))
        return [np.arange(a, b) for a, b in pairwise(bounds)]

    @property
    def n_action_tokens(self) -> int:
        return int((self.spans[:, 1] - self.spans[:, 0]).sum())

    def token_places(self, actions: Sequence[int]) -> np.ndarray:
        """Where the tokens of some actions stand among the tokens of all actions."""
        lengths = self.spans[:, 1] - self.spans[:, 0]
        first = np.cumsum(lengths) - lengths
        return np.concatenate([np.arange(first[k], first[k] + lengths[k]) for k in actions])

    @property
    def sampled(self) -> np.ndarray | None:
        """The log-probs of all action tokens as they were sampled, if they are known: (n_action_tokens,)."""
        logps = self.actions.get("logps")
        return None if logps is None or logps.isna().any() else np.concatenate([*logps, np.empty(0)]).astype(np.float64)

    @property
    def n_tokens(self) -> int:
        return sum(map(len, self.ids))

    @property
    def sharing(self) -> float:
        """How many times fewer tokens are read than with one row per action."""
        return self.n_separate / max(1, self.n_tokens)

    @property
    def statement(self) -> str:
        """The account in words."""
        lost = [
            f"{n} {faction} actions: {reason}"
            for reason, row in self.dropped.iterrows() for faction, n in row.items() if n
        ]  # fmt: skip
        longest = max(map(len, self.ids), default=0)
        return (
            f"{len(self.actions):,} actions in {len(self):,} sequences, {self.n_tokens:,} tokens, at most {longest:,}; "
            f"one row per action would read {self.sharing:.1f} times as many. Left out: {'; '.join(lost) or 'none'}."
        )


class Span(NamedTuple):
    """Where an action lies in a sequence."""

    t: int
    start: int
    end: int


class View(NamedTuple):
    """One sequence of tokens, with the actions that it can train."""

    game: str
    seat: int
    ids: Sequence[int]
    spans: list[Span]
    logps: Sequence[Sequence[float] | None]  # of each span's tokens, as sampled


def make_corpus(
    dialogues: pd.DataFrame, training: pd.DataFrame, *, window: int = 0, chat: Chat | None = None
) -> Corpus:
    """Join played dialogues with the actions that balancing kept; `chat` is needed where token ids are not known."""
    wanted = training[TAKEN].drop_duplicates(list(ACTION)).set_index(list(ACTION))
    ids, places = [], []
    for view in _sequences(dialogues, chat):
        spans = [
            s._asdict() | {"logps": logps}
            for s, logps in zip(view.spans, view.logps, strict=True) if (view.game, view.seat, s.t) in wanted.index
        ]  # fmt: skip
        if not spans:
            continue
        end = spans[-1]["end"]  # what comes after the last trained action is not read
        fit = Fit.LONG if window and end > window else Fit.TRAINED
        place = {"game": view.game, "seat": view.seat, "row": len(ids), "fit": fit.value}
        places += [place | span for span in spans]
        if fit is Fit.TRAINED:
            ids.append(np.asarray(view.ids[:end], np.int32))
    places = pd.DataFrame(places, columns=[*ACTION, "row", "start", "end", "logps", "fit"]).set_index(list(ACTION))
    actions = wanted.join(places).reset_index()
    fit = actions.pop("fit").fillna(Fit.UNKNOWN.value)
    dropped = pd.crosstab(fit.to_numpy(), actions["faction"].to_numpy())
    dropped = dropped.reindex([Fit.UNKNOWN.value, Fit.LONG.value], fill_value=0)
    trained = actions[fit == Fit.TRAINED].astype({"row": int, "start": int, "end": int})
    trained = trained.sort_values(["row", "start"]).reset_index(drop=True)
    return Corpus(ids, trained, dropped, int(trained["end"].sum()))


def steps(corpus: Corpus, batch: int, epochs: float, seed: int) -> list[np.ndarray]:
    """Plan the optimiser's steps: about `batch` sequences each, with every faction and outcome's share in each.

    Within a faction and outcome the order is drawn; its k-th of n sequences then gets the place (k + u) / n in the
    epoch, u drawn from 0..1, so that every stretch of the epoch holds the same mixture.
    """
    first = corpus.actions.groupby("row").first()
    strata = [np.asarray(rows) for _, rows in sorted(first.groupby(["faction", "desirable"]).groups.items())]
    n_steps = max(1, round(len(corpus) / batch))
    plan = []
    for epoch in range(math.ceil(epochs)):
        rng = np.random.default_rng([seed, epoch])
        place = np.empty(len(corpus))
        for rows in strata:
            place[rng.permutation(rows)] = (np.arange(len(rows)) + rng.random()) / len(rows)
        plan += np.array_split(np.argsort(place, kind="stable"), n_steps)
    return plan[: max(1, round(epochs * n_steps))]


def crossed(corpus: Corpus, seed: int) -> Corpus:
    """Put behind a view of each sequence an action of another one: what KTO estimates its reference point from."""
    rng = np.random.default_rng([seed, 1])
    other = np.roll(order := rng.permutation(len(corpus)), 1)[np.argsort(order)]
    chosen = [places[rng.integers(len(places))] for places in corpus.places]
    ids = []
    for row, partner in enumerate(other):
        start, (begin, end) = corpus.spans[chosen[row]][0], corpus.spans[chosen[partner]]
        ids.append(np.concatenate((corpus.ids[row][:start], corpus.ids[partner][begin:end])))
    starts, ends = corpus.spans[chosen][:, 0], np.array([len(i) for i in ids])
    actions = corpus.actions.loc[chosen].reset_index(drop=True)
    actions = actions.drop(columns="logps", errors="ignore").assign(row=np.arange(len(ids)), start=starts, end=ends)
    return Corpus(ids, actions, corpus.dropped, int(ends.sum()))


# --- dialogues as sequences ----------------------------------------------------------------------------


class ToldView(NamedTuple):
    """A view as text, and which of its player's actions its replies are."""

    row: Any  # of the table `dialogues`
    messages: list[Message]
    before: int  # replies in the views before
    n_old: int  # of this view's replies, the first ones, which stand in an earlier row

    def replies(self) -> list[tuple[int, int]]:
        """Return each reply's place among the messages and the t of its action; those of earlier rows left out."""
        places = [k for k, message in enumerate(self.messages) if message.role == "assistant"]
        return list(zip(places, range(self.before + 1, self.before + len(places) + 1), strict=True))[self.n_old :]


def told_views(dialogues: pd.DataFrame) -> Iterator[ToldView]:
    """Yield the views of a table in order; where one view has several rows, each begins with the one before."""
    before: dict[tuple[str, int], tuple[list[Message], int]] = {}  # a player's row before: its view, its last t
    for d in dialogues.sort_values(["order", "seat", "view"]).itertuples():
        view = [Message(m["role"], m["content"]) for m in d.messages]
        earlier, t = before.get((d.game, d.seat), ([], 0))
        n_old = _n_replies(earlier) if view[: len(earlier)] == earlier else 0
        yield ToldView(d, view, t - n_old, n_old)
        before[d.game, d.seat] = view, t - n_old + _n_replies(view)


def _sequences(dialogues: pd.DataFrame, chat: Chat | None) -> Iterator[View]:
    for d, view, before, n_old in told_views(dialogues):
        if d.exact:
            spans = [Span(**s) for s in d.spans]
            ends = np.cumsum([s.end - s.start for s in spans])
            yield View(d.game, d.seat, d.token_ids, spans, np.split(np.asarray(d.logps), ends[:-1]))
        elif chat is None:
            raise ValueError("some dialogues are known as text only; give the `chat` of the model that is trained")
        else:
            yield from _encoded(d.game, d.seat, view, before, n_old, chat)


def _n_replies(view: Sequence[Message]) -> int:
    return sum(m.role == "assistant" for m in view)


def _encoded(game: str, seat: int, view: list[Message], before: int, n_old: int, chat: Chat) -> Iterator[View]:
    """Encode a view that is known as text: as one sequence where its template allows it, else a row per action."""
    stop, ids, spans = [chat.stop_id], [], []
    for k, message in enumerate(view):
        if message.role != "assistant":
            continue
        prompt = chat.observe(stop, view[k - 1].content) if ids and chat.is_append_only else chat.encode(view[:k])
        ids = [*(ids if chat.is_append_only else ()), *prompt]
        reply = [*chat.text_ids(message.content), *stop]
        spans.append(Span(before + len(spans) + 1, len(ids), len(ids) + len(reply)))
        ids = ids + reply
        if not chat.is_append_only and len(spans) > n_old:
            yield View(game, seat, ids, spans[-1:], [None])
    if chat.is_append_only and len(spans) > n_old:
        yield View(game, seat, ids, spans[n_old:], [None] * len(spans[n_old:]))


# --- on disk -------------------------------------------------------------------------------------------


class Counts(NamedTuple):
    """corpus.json: what no table of it tells."""

    n_separate: int


def save_corpus(corpus: Corpus, folder: Path) -> None:
    """Write a corpus into a folder; `load_corpus` reads back an equal one."""
    make_folder(folder)
    pd.DataFrame({"ids": corpus.ids}).to_parquet(folder / "ids.parquet")
    corpus.actions.to_parquet(folder / "actions.parquet")
    corpus.dropped.to_parquet(folder / "dropped.parquet")
    write_atomic(folder / "corpus.json", json.dumps(Counts(corpus.n_separate)._asdict()))


def load_corpus(folder: Path) -> Corpus:
    """Read a corpus that `save_corpus` wrote."""
    ids, actions, dropped = (pd.read_parquet(folder / f"{name}.parquet") for name in ("ids", "actions", "dropped"))
    counts = read_record(folder / "corpus.json", Counts)
    return Corpus(list(ids["ids"]), actions, dropped, counts.n_separate)
