"""Judgements: how well did a character play, beyond winning?

A judge scores each character of a game from 0 to 20 on four abilities and on role-play, and reconstructs its script's
sections from what was said in public; Rouge-L against the true sections says how much of the character came through.

    maro_lib.measure.rule_judge     no model: compares statements with the script's facts
    maro_lib.measure.model_judge    any policy, with prompts of its own
    maro_lib.measure.judges         which of them, from parameters; and whether it can be believed

Every table carries its judge's name, and how many judgements failed. What a judge can't read, or has been shown not to
judge well (`maro_lib.measure.gold`), is not judged: a status with its reason, never a number. Taught in notebook 06.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, NamedTuple

import pandas as pd

from maro_lib.world.phrases import BOOKS
from maro_lib.world.scripts import Character, Script

ABILITIES = ("reasoning", "communication", "observation", "creativity")
ROLE_PLAY, SECTION = "role-play", "section"
JUDGED_KINDS = (*ABILITIES, ROLE_PLAY, SECTION)
TOP = 20  # of a judge's scores
SECTIONS = ("story", "script", "relationship", "performance", "purpose", "ability")


class Status(StrEnum):
    """What became of a question to a judge."""

    OK = "ok"
    EMPTY = "empty"  # a section that the script leaves empty: nothing to reconstruct
    FAILED = "failed"
    NOT_JUDGED = "not judged"  # nothing that this judge can judge


class Case(NamedTuple):
    """One character in one played game, and what is asked about it."""

    order: int
    seat: int
    script: Script
    actions: pd.DataFrame  # the game's, in order
    kinds: tuple[str, ...] = JUDGED_KINDS

    @property
    def character(self) -> Character:
        return self.script.characters[self.seat]

    @property
    def book(self) -> str:
        """The words that its game is told in: a language, and its register."""
        return BOOKS[self.script.language, self.script.register_]

    @property
    def sections(self) -> dict[str, str]:
        """What the character's script tells it, by section, all stages together."""
        parts = self.character.sections
        return {name: "\n".join(filter(None, (getattr(part, name) for part in parts))) for name in SECTIONS}


class Judgement(NamedTuple):
    """One answer of a judge."""

    kind: str  # one of JUDGED_KINDS
    section: str
    score: float
    status: str  # a Status
    text: str = ""  # a reconstruction, or the judge's reasons
    tries: int = 1


@dataclass(kw_only=True)
class Judge:
    """Scores characters; its name stands in every table. A judge of one's own derives from it, and may leave it so."""

    name: ClassVar[str] = "judge"
    reads: ClassVar[str] = "any words"  # of the books below
    books: ClassVar[frozenset[str]] = frozenset(BOOKS.values())  # languages and registers that it can read
    failed: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (book, kind) -> what it was shown not to do

    def judge(self, cases: Sequence[Case]) -> list[list[Judgement]]:
        raise NotImplementedError

    def again(self) -> Judge:
        """The same judge, asked anew."""
        return self

    def why_not(self, book: str, kind: str) -> str:
        """Say why this judge is not asked for a kind of judgement in a book; empty when it is."""
        return self.failed.get((book, kind), "") if book in self.books else f"it does not read {book}"


def judge_cases(judge: Judge, cases: Sequence[Case]) -> list[list[Judgement]]:
    """Ask a judge for what it can judge; the rest is marked as not judged."""
    limits = [{kind: why for kind in case.kinds if (why := judge.why_not(case.book, kind))} for case in cases]
    asked = [case._replace(kinds=tuple(k for k in case.kinds if k not in limit))
             for case, limit in zip(cases, limits, strict=True)]  # fmt: skip
    return [
        [*(one for one in given if one.kind in case.kinds), *(not_judged(kind, why) for kind, why in limit.items())]
        for case, limit, given in zip(asked, limits, judge.judge(asked), strict=True)
    ]


def not_judged(kind: str, why: str) -> Judgement:
    """What stands in a table where a judge says nothing."""
    return Judgement(kind, "", math.nan, Status.NOT_JUDGED, why)


def judge_games(
    judge: Judge, games: pd.DataFrame, actions: pd.DataFrame, scripts: Mapping[str, Script]
) -> pd.DataFrame:
    """Judge every character of every game; a row per judgement."""
    of_game = dict(tuple(actions.sort_values("step").groupby("order")))
    cases = [
        Case(game.order, seat, scripts[game.digest], of_game[game.order])
        for game in games.itertuples() for seat in range(len(game.players))
    ]  # fmt: skip
    rows = [
        {"order": case.order, "seat": case.seat, "agent": case.character.name, **one._asdict(), "judge": judge.name}
        for case, judgements in zip(cases, judge_cases(judge, cases), strict=True) for one in judgements
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["order", "seat", "agent", *Judgement._fields, "judge"])


def failures(judgements: pd.DataFrame) -> str:
    """Say how many judgements failed, how many had to be asked for again, and what was not judged, and why."""
    n, failed = len(judgements), int((judgements["status"] == Status.FAILED).sum())
    why = judgements.loc[judgements["status"] == Status.NOT_JUDGED, "text"].value_counts()
    again = int((judgements["tries"] > 1).sum())
    judges = ", ".join(sorted(judgements["judge"].unique()))
    told = f"{n - why.sum():,} judgements by {judges}: {failed:,} failed, {again:,} were asked for more than once."
    return "\n".join([told, *(f"Not judged, because {reason}: {count:,}." for reason, count in why.items())])
