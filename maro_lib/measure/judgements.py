"""Judgements: how well did a character play, beyond winning?

A judge scores each character of a game from 0 to 20 on four abilities and on role-play, and reconstructs its script's
sections from what was said in public; Rouge-L against the true sections says how much of the character came through.

    maro_lib.measure.rule_judge     no model: compares statements with the script's facts
    maro_lib.measure.model_judge    any policy, with prompts of its own
    maro_lib.measure.judges         which of them, from parameters; and whether it can be believed

Every table carries its judge's name, and how many judgements failed. Taught in notebook 06.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

import pandas as pd

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


class Case(NamedTuple):
    """One character in one played game."""

    order: int
    seat: int
    script: Script
    actions: pd.DataFrame  # the game's, in order

    @property
    def character(self) -> Character:
        return self.script.characters[self.seat]

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


class Judge(Protocol):
    """Scores characters; its name stands in every table."""

    name: str

    def judge(self, cases: Sequence[Case]) -> list[list[Judgement]]: ...


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
        for case, judgements in zip(cases, judge.judge(cases), strict=True) for one in judgements
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["order", "seat", "agent", *Judgement._fields, "judge"])


def failures(judgements: pd.DataFrame) -> str:
    """Say how many judgements failed, and how many had to be asked for again."""
    n, failed = len(judgements), int((judgements["status"] == Status.FAILED).sum())
    again = int((judgements["tries"] > 1).sum())
    judges = ", ".join(sorted(judgements["judge"].unique()))
    return f"{n:,} judgements by {judges}: {failed:,} failed, {again:,} were asked for more than once."
