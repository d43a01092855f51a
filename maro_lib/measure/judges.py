"""Which judge, from parameters; and whether it can be believed.

A judge is tested before it is asked about results, and is not asked for what it fails (`limited`). First come pairs of
which one is known to be better (`maro_lib.measure.gold`); then four questions: does it rank skilled scripted players
above random ones, honest ones above those who contradict themselves; does it judge the same when all have other names;
and when it is asked again? Taught in notebook 06.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maro_lib.measure.gold import BY_CHANCE
from maro_lib.measure.judgements import JUDGED_KINDS, ROLE_PLAY, Judge, Status, judge_games
from maro_lib.measure.model_judge import Cache, ModelJudge
from maro_lib.measure.rule_judge import RuleJudge
from maro_lib.model.players import Player
from maro_lib.play.policies import RANDOM, SKILLED, Policy
from maro_lib.play.rollout import play, schedule
from maro_lib.world.generator import Knobs, generate_many
from maro_lib.world.history import Factbook
from maro_lib.world.mystery import Rules
from maro_lib.world.scripts import Script

RULE_BASED = "rules"
CHECK_SEED = 700_000


@contextlib.contextmanager
def seated(player: Player, *, cache: Path | None = None, retries: int = 2, progress: bool = False) -> Iterator[Judge]:
    """Make a judge ready for the time of a `with`: `rules` for its model's name, or any model that could play."""
    if player.model == RULE_BASED:
        yield RuleJudge()
        return
    with player.seated() as policy:
        judge = ModelJudge(policy, Cache(cache), retries, progress)
        del policy
        try:
            yield judge
        finally:
            judge.policy = None  # whoever still holds the judge holds no model: the next one would stand beside it


# --- can it be believed? -----------------------------------------------------------------------------


def check_judge(judge: Judge, knobs: Knobs, n_games: int = 8, like: Script | None = None) -> pd.DataFrame:
    """Put the four questions; a row per question and kind of judgement, with the two means that are compared.

    With a script of the games to be judged, in its language and register.
    """
    knobs = replace(knobs, language=like.language, register=like.register_) if like else knobs
    scripts = generate_many(max(1, n_games // 2), CHECK_SEED, knobs)
    skilled, rand = (_judged(judge, scripts, policy, n_games) for policy in (SKILLED, RANDOM))
    parts = {
        "skilled above random": (_means(rand), _means(skilled), ">"),
        "honest above self-contradicting": (*_honesty(judge, scripts[0], n_games), ">"),
        "blind to names": (_means(rand), _means(_judged(judge, scripts, RANDOM, n_games, renamed=True)), "="),
        "stable on repeats": (_means(rand), _means(_judged(judge.again(), scripts, RANDOM, n_games)), "="),
    }
    rows = [
        {"question": question, "kind": kind, "first": one[kind], "second": two[kind],
         "holds": two[kind] > one[kind] if sign == ">" else bool(np.isclose(one[kind], two[kind], rtol=0.05))}
        for question, (one, two, sign) in parts.items() for kind in JUDGED_KINDS if kind in one and kind in two
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["question", "kind", "first", "second", "holds"])


def limited(judge: Judge, answers: pd.DataFrame, checked: pd.DataFrame | None = None) -> Judge:
    """The same judge, not to be asked for what it failed: pairs in a book, or a question in any."""
    failed = {(r.book, r.kind): "it fails the gold set" for r in answers.itertuples() if r.verdict == BY_CHANCE}
    if checked is not None:
        held = checked.groupby("kind")["holds"].all()
        lost = [kind for kind in JUDGED_KINDS if not held.get(kind, False)]
        failed = {(book, kind): "it fails the questions to a judge" for book in judge.books for kind in lost} | failed
    return replace(judge, failed={**judge.failed, **failed})


def _judged(judge: Judge, scripts: list[Script], policy: Policy, n: int, *, renamed: bool = False) -> pd.DataFrame:
    """What a judge says of the civilians of some games."""
    played = play(schedule(scripts, n, CHECK_SEED, Rules(rounds=2)), policy)
    games, actions, known = played.table("games"), played.table("actions"), {s.digest: s for s in scripts}
    if renamed:
        names = sorted({n for s in scripts for n in s.names})
        other = dict(zip(names, names[1:] + names[:1], strict=True))
        games, actions, known = (rename(x, other) for x in (games, actions, known))
    judged = judge_games(judge, games, actions, known)
    factions = actions.drop_duplicates(["order", "seat"])[["order", "seat", "faction"]]
    return judged.merge(factions).query("faction == 'civilian'")


def _means(judged: pd.DataFrame) -> dict[str, float]:
    """Mean score by kind; a kind of which every judgement failed is not there."""
    return judged[judged["status"] == Status.OK].groupby("kind")["score"].mean().to_dict()


def _honesty(judge: Judge, script: Script, n: int) -> tuple[dict[str, float], dict[str, float]]:
    """The same games, in which one civilian says one true thing of itself, or that and its opposite in turn."""
    played = play(schedule([script], n, CHECK_SEED, Rules(rounds=2)), RANDOM)
    games, actions = played.table("games"), played.table("actions")
    seat, true, false = opposites(script)
    tables = [judge_games(judge, games, with_texts(actions, seat, texts), {script.digest: script})
              for texts in ([true, false], [true])]  # fmt: skip
    contradicting, honest = (
        _means(table[(table["seat"] == seat) & table["kind"].isin(["communication", ROLE_PLAY])]) for table in tables
    )
    return contradicting, honest


def opposites(script: Script) -> tuple[int, str, str]:
    """Return a civilian's seat, a true sentence about itself, and a false one about the same."""
    book = Factbook(script)
    for seat, character in enumerate(script.characters):
        for fact in character.knows if character.faction == "civilian" else ():
            others = {v for (_, trait), values in book.values.items() if trait == fact.trait for v in values}
            if fact.who == character.name and len(others) > 1:
                lie = min(others - book.values[fact.who, fact.trait])
                return seat, *(book.say(fact.who, fact.trait, value) for value in (fact.value, lie))
    raise ValueError(f"{script.title}: no civilian knows anything of itself that could be otherwise")


def with_texts(actions: pd.DataFrame, seat: int, texts: list[str]) -> pd.DataFrame:
    """The same games, in which one character says these texts in turn, whenever it introduces itself or answers."""
    own = actions["seat"].eq(seat) & actions["kind"].isin(["intro", "answer"])
    table = actions.copy()
    table.loc[own, "text"] = [texts[k % len(texts)] for k in range(own.sum())]
    return table


def rename(what: Any, names: Mapping[str, str]) -> Any:
    """The same table, script, scripts or cell with other names, wherever they stand."""
    if isinstance(what, Script):
        return Script.model_validate_json(_replaced(what.model_dump_json(by_alias=True), names))
    if isinstance(what, dict):
        return {digest: rename(script, names) for digest, script in what.items()}
    if isinstance(what, pd.DataFrame):
        return what.map(lambda cell: rename(cell, names))
    if isinstance(what, np.ndarray) and what.dtype.kind == "O":
        return np.array([_replaced(text, names) for text in what])
    return _replaced(what, names) if isinstance(what, str) else what


def _replaced(text: str, names: Mapping[str, str]) -> str:
    pattern = "|".join(rf"(?<!(?a:\w)){re.escape(name)}(?!(?a:\w))" for name in names)  # Chinese has no blanks
    return re.sub(pattern, lambda found: names[found[0]], text)
