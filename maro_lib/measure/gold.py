"""Pairs with known answers: how often does a judge give more to what is better?

    accuracy = share of pairs (better, worse) with score(better) > score(worse)

In the same short game one character says either of two things: an accusation with or without evidence, something true
of itself or its opposite, a question that is new or was asked before. A judge is asked for both, in the words and by
the code by which it judges played games. Equal scores and unreadable replies count as wrong, so guessing reaches half
at most; a kind of judgement whose accuracy is not clearly above that is not to be believed. The pairs are in
words/gold_*.yaml, by book of words: the kit's own sentences (compact), and free prose in English and Chinese.
Taught in notebook 06.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from pydantic import BaseModel, ConfigDict, model_validator

from maro_lib.measure.judgements import JUDGED_KINDS, Case, Judge, Judgement, Status, judge_cases
from maro_lib.statistics import Rate, win_rate
from maro_lib.world.phrases import BOOKS, CheckedWords, read_words
from maro_lib.world.replies import Illegal, name_spelling, parse
from maro_lib.world.scripts import Script

ABOVE_CHANCE, BY_CHANCE = "above chance", "not above chance"
CHANCE = 0.5
IN_A_TURN = ("observation", "creativity")  # kinds that are shown by what is done; the rest by what is answered
_WORDS = Path(__file__).with_name("words")


class Line(NamedTuple):
    """One reply of one player."""

    who: str
    phase: str
    text: str


class Pair(BaseModel):
    """Two replies, of which one is better."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    better: str
    worse: str


class Situation(BaseModel):
    """A short game up to the reply of one character, who says one of each pair."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    script: Script
    who: str
    before: tuple[Line, ...]
    question: Line
    pairs: dict[str, tuple[Pair, ...]]

    @model_validator(mode="after")
    def _check(self) -> Situation:
        if [*self.pairs] != [*JUDGED_KINDS]:
            raise ValueError(f"pairs: {', '.join(self.pairs)} given; {', '.join(JUDGED_KINDS)} are needed")
        for kind, pairs in self.pairs.items():
            for text in (text for pair in pairs for text in (pair.better, pair.worse)):
                self.actions(kind, text)
        return self

    def case(self, kind: str, text: str) -> Case:
        """The game in which it says this, to be asked for one kind of judgement."""
        return Case(0, self.script.names.index(self.who), self.script, self.actions(kind, text), (kind,))

    def actions(self, kind: str, text: str) -> pd.DataFrame:
        """The game as a table, as far as judges read it."""
        asked = () if kind in IN_A_TURN else (self.question,)
        last = Line(self.who, "turn" if kind in IN_A_TURN else "answer", text)
        return pd.DataFrame(_played(self.script, (*self.before, *asked, last)))


class Gold(CheckedWords):
    """The pairs of one book of words."""

    scenes: tuple[Situation, ...]


@cache
def gold(book: str) -> Gold:
    """Return the pairs of one book of words."""
    return read_words(_WORDS / f"gold_{book}.yaml", Gold)


def books(scripts: Iterable[Script]) -> list[str]:
    """The books of words that some scripts are told in."""
    return sorted({BOOKS[script.language, script.register_] for script in scripts})


def _played(script: Script, lines: Sequence[Line]) -> Iterator[dict[str, object]]:
    """Read replies as the game does, one action each; a place gives its clues in turn."""
    spelling, left = name_spelling(script), list(script.clues)
    for step, (who, phase, text) in enumerate(lines):
        others = tuple(name for name in script.names if name != who)
        move = parse(phase, text, spelling, others, script.places, who)
        if isinstance(move, Illegal):
            raise ValueError(f"{who}, {phase}: {text!r} is no legal reply ({move.reason})")
        clue = next((c for c in left if move.kind == "search" and c.place == move.place), None)
        left = [c for c in left if c is not clue]
        yield {"step": step, "agent": who, "phase": phase, "kind": move.kind, "text": text, "target": move.target,
               "place": move.place, "clue": clue.id if clue else "", "legal": True, "public": True}  # fmt: skip


def ask_pairs(judge: Judge, books: Iterable[str]) -> pd.DataFrame:
    """Ask a judge for the pairs of some books; a row per book and kind, with its accuracy and interval.

    `n` counts the pairs that it judged: what it says it can't read is no mistake, and no accuracy either.
    """
    rates = {(book, kind): win_rate(right) for book in books for kind, right in _marked(judge, book).items()}
    rows = [{"book": book, "kind": kind, "n": rate.n, "right": rate.mean, "low": rate.low, "high": rate.high,
             "verdict": _verdict(rate)} for (book, kind), rate in rates.items()]  # fmt: skip
    return pd.DataFrame(rows)


def _marked(judge: Judge, book: str) -> dict[str, list[bool]]:
    """By kind, whether each pair that was judged was judged rightly."""
    pairs = [(kind, scene, pair) for scene in gold(book).scenes for kind, some in scene.pairs.items() for pair in some]
    better, worse = (
        judge_cases(judge, [scene.case(kind, getattr(pair, which)) for kind, scene, pair in pairs])
        for which in ("better", "worse")
    )
    right: dict[str, list[bool]] = {kind: [] for kind in JUDGED_KINDS}
    for (kind, *_), *two in zip(pairs, better, worse, strict=True):
        if (one := _is_right(*two)) is not None:
            right[kind].append(one)
    return right


def _is_right(better: Sequence[Judgement], worse: Sequence[Judgement]) -> bool | None:
    """Whether the better of two got more; None when they were not judged."""
    if any(one.status == Status.NOT_JUDGED for one in (*better, *worse)):
        return None
    return _score(better) > _score(worse)


def _score(judgements: Sequence[Judgement]) -> float:
    """The mean of its scores; what failed has none, and is neither more nor less than anything."""
    scores = [one.score for one in judgements if one.status != Status.EMPTY]
    return sum(scores) / len(scores) if scores else math.nan


def _verdict(rate: Rate) -> str:
    if not rate.n:
        return Status.NOT_JUDGED.value
    return ABOVE_CHANCE if rate.low > CHANCE else BY_CHANCE


def accuracy(answered: pd.DataFrame) -> Rate:
    """All pairs that were judged, together."""
    right = (answered["right"].fillna(0) * answered["n"]).round().astype(int).sum()
    return win_rate([1] * right + [0] * (answered["n"].sum() - right))
