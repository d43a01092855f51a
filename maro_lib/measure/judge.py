"""Judges: how well did a character play, beyond winning?

A judge scores each character of a game from 0 to 20 on four abilities and on role-play, and reconstructs its script's
sections from what was said in public; Rouge-L against the true sections says how much of the character came through.

    maro_lib.measure.rule_judge     no model: compares statements with the script's facts
    maro_lib.measure.model_judge    any policy, with prompts of its own
    maro_lib.measure.judges         which one, from parameters; and whether it can be believed

Every table carries its judge's name, and how many judgements failed. Taught in notebook 06.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import pandas as pd

from maro_lib.world.scripts import Character, Script

SECTIONS = ("story", "script", "relationship", "performance", "purpose", "ability")
COLUMNS = ["order", "seat", "agent", "kind", "section", "score", "status", "text", "tries", "judge"]
OK, EMPTY, FAILED = "ok", "empty", "failed"


class Case(NamedTuple):
    """One character in one played game."""

    order: int
    seat: int
    script: Script
    actions: pd.DataFrame  # the game's, in order

    @property
    def character(self) -> Character:
        return self.script.characters[self.seat]


class Judgement(NamedTuple):
    """One answer of a judge."""

    kind: str  # an ability, role-play, or section
    section: str
    score: float
    status: str
    text: str = ""  # a reconstruction, or the judge's reasons
    tries: int = 1


class Judge(Protocol):
    """Scores characters; its name stands in every table."""

    name: str

    def judge(self, cases: Sequence[Case]) -> list[list[Judgement]]: ...


def cases_of(games: pd.DataFrame, actions: pd.DataFrame, scripts: Mapping[str, Script]) -> list[Case]:
    """List every character of every game."""
    of_game = dict(tuple(actions.sort_values("step").groupby("order")))
    return [
        Case(game.order, seat, scripts[game.digest], of_game[game.order])
        for game in games.itertuples() for seat in range(len(game.players))
    ]  # fmt: skip


def judge_games(
    judge: Judge, games: pd.DataFrame, actions: pd.DataFrame, scripts: Mapping[str, Script]
) -> pd.DataFrame:
    """Judge every character of every game; a row per judgement."""
    cases = cases_of(games, actions, scripts)
    rows = [
        (case.order, case.seat, case.character.name, *one, judge.name)
        for case, found in zip(cases, judge.judge(cases), strict=True) for one in found
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def failures(judgements: pd.DataFrame) -> str:
    """Say how many judgements failed, and how many had to be asked for again."""
    n, failed = len(judgements), int((judgements["status"] == FAILED).sum())
    again = int((judgements["tries"] > 1).sum())
    judges = ", ".join(sorted(judgements["judge"].unique()))
    return f"{n:,} judgements by {judges}: {failed:,} failed, {again:,} were asked for more than once."


def sections_of(character: Character) -> dict[str, str]:
    """What a character's script tells it, by section, all stages together."""
    return {name: "\n".join(filter(None, (getattr(s, name) for s in character.sections))) for name in SECTIONS}
