"""The rule-based judge: no model, only the script's facts against what a character said and did.

    reasoning      its ratings, accusations and vote fall on somebody whom the facts it could know make likeliest; a
                   culprit, who knows better, is to follow what all know
    communication  what it says aloud tells something, and nothing that is not so
    observation    its turns bring facts to light
    creativity     its turns are not what somebody did before
    role-play      what it says of itself is what its script says, and it never contradicts itself
    section        its name for its story, what was said in public about it for its script; nothing for the rest

Each is a share of its chances, times 20; without a chance, half. It reads only the kit's own sentences, of scripted and
embedded players. Who says less than half of its words in them is not judged, nor is a script without facts: its marks
would tell how little was understood. A measure of behaviour, not of taste. Taught in notebook 06.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from maro_lib.measure.judgements import ROLE_PLAY, SECTION, TOP, Case, Judge, Judgement, Status, not_judged
from maro_lib.measure.rouge import rouge_l
from maro_lib.world.history import Factbook, Moment, moments
from maro_lib.world.scripts import Fact, Script
from maro_lib.world.solver import has_logic, suspects

SPOKEN = ("intro", "ask", "answer")
READ = 0.5  # of a character's words: scripted players are read to 0.9 or more, the embedded model to 0.98 on average
_LETTER = re.compile(r"\w")


@dataclass
class RuleJudge(Judge):
    """Judges by facts alone, the same every time."""

    name: ClassVar[str] = "rules"
    reads: ClassVar[str] = "the kit's own sentences"
    _books: dict[str, Factbook] = field(default_factory=dict, repr=False)
    _moments: tuple[object, list[Moment]] = field(default=(None, []), repr=False)  # of the last game's actions

    def judge(self, cases: Sequence[Case]) -> list[list[Judgement]]:
        return [list(self._judge(case)) for case in cases]

    def _judge(self, case: Case) -> Iterator[Judgement]:
        script, me = case.script, case.character.name
        book = self._books.setdefault(script.digest, Factbook(script))
        if case.actions is not self._moments[0]:
            self._moments = case.actions, list(moments(case.actions, script))  # its characters follow one another
        game = self._moments[1]
        if why := _unread(game, me, book):
            yield from (not_judged(kind, why) for kind in case.kinds)
            return
        for kind, chances in _scores(game, me, book).items():
            yield Judgement(kind, "", TOP * _share(chances), Status.OK)
        rebuilt = _rebuilt(game, me, book)
        for name, text in case.sections.items():
            said = rebuilt.get(name, "")
            score, status = (rouge_l(said, text, script.language), Status.OK) if text else (0.0, Status.EMPTY)
            yield Judgement(SECTION, name, score, status, said)


def _unread(game: Sequence[Moment], me: str, book: Factbook) -> str:
    """Say why a character can't be judged by rules; empty when it can."""
    if not has_logic(book.script):
        return "the script states no facts"
    aloud = [m.heard for m in game if m.action.agent == me and m.action.public and m.action.kind in SPOKEN]
    if read_share(aloud, book) < READ:
        return "less than half of a character's words are the kit's own sentences"
    return ""


def read_share(texts: Sequence[str], book: Factbook) -> float:
    """How much of what was said is the kit's own sentences, by letters; of nothing, all."""
    said, rest = (sum(len(_LETTER.findall(text)) for text in group) for group in (texts, map(book.rest, texts)))
    return 1 - rest / said if said else 1.0


def _share(chances: Sequence[float]) -> float:
    return sum(chances) / len(chances) if chances else 0.5


def _scores(game: Sequence[Moment], me: str, book: Factbook) -> dict[str, list[float]]:
    """For each ability, what became of each chance to show it: 0 to 1. Facts that say the same of all are no chance."""
    own = [m for m in game if m.action.agent == me]
    pointed = [
        (names, guilt) for m in own
        if (names := _pointed_at(m, book)) and len(set((guilt := _guilt(m, book.script)).values())) > 1
    ]  # fmt: skip
    return {
        "reasoning": [_hits(names, guilt) for names, guilt in pointed],
        "communication": [_tells(m, book) for m in own if m.action.kind in ("intro", "answer")],
        "observation": [float(m.action.clue in book.evidence) for m in own if m.action.phase == "turn"],
        "creativity": list(_new_turns(game, me)),
        ROLE_PLAY: list(_in_character(own, me, book)),
    }


def _guilt(moment: Moment, script: Script) -> dict[str, float]:
    is_culprit = moment.action.agent in script.culprits
    return guilty_shares(script, moment.public if is_culprit else moment.public + moment.own, moment.action.agent)


def guilty_shares(script: Script, known: Sequence[Fact], me: str) -> dict[str, float]:
    """How probable each other player is as a culprit to somebody who knows these facts and knows to be innocent."""
    sets = [c for c in suspects(script, known) if me not in c]
    others = [n for n in script.names if n != me]
    return {n: sum(n in c for c in sets) / max(len(sets), 1) for n in others}


def _pointed_at(moment: Moment, book: Factbook) -> list[str]:
    """Whom an action makes out to be guilty: a vote, an accusation, or the most suspected of a rating."""
    action = moment.action
    if not action.legal:
        return []
    if action.kind == "vote":
        return [action.target] if action.target else []
    if action.kind == "rate":
        gap = {n: s - b for n, s, b in zip(book.script.names, action.suspicion, action.trust, strict=True) if s >= 0}
        top = max(gap.values())
        return [n for n, x in gap.items() if x == top] if min(gap.values()) < top else []
    return [n for n in book.accused(moment.heard) if n != action.agent] if action.public else []


def _hits(names: Sequence[str], share: dict[str, float]) -> float:
    """Of those pointed at, how many are among the likeliest."""
    top = max(share.values())
    return sum(share[n] == top for n in names) / len(names)


def _tells(moment: Moment, book: Factbook) -> float:
    """1 for a reply that tells something, 0 for one that tells nothing or a falsehood."""
    said = book.claims(moment.heard)
    if any(book.is_true(fact) is False for fact in said):
        return 0.0
    return float(bool(said or book.accused(moment.heard)))


def _new_turns(game: Sequence[Moment], me: str) -> Iterator[float]:
    """For each of its turns: had nobody asked the same person the same, or searched to no avail?"""
    seen = set()
    for moment in game:
        action = moment.action
        if action.phase != "turn":
            continue
        what = (action.kind, action.target, moment.heard) if action.kind == "ask" else (action.kind, action.clue)
        if action.agent == me:
            yield float(action.legal and what not in seen and (action.kind == "ask" or bool(action.clue)))
        seen.add(what)


def _in_character(own: Sequence[Moment], me: str, book: Factbook) -> Iterator[float]:
    """For each thing it says of itself: is it so, and does it not contradict what it said before?"""
    said: dict[str, str] = {}
    for moment in own:
        for fact in book.claims(moment.heard) if moment.action.public else ():
            if fact.who == me:
                yield float(book.is_true(fact) is not False and said.setdefault(fact.trait, fact.value) == fact.value)


def _rebuilt(game: Sequence[Moment], me: str, book: Factbook) -> dict[str, str]:
    """What was said about a character, addressed to it, by section of its script."""
    said = [fact for m in game if m.action.public for fact in book.claims(m.heard) if fact.who == me]
    return {"story": book.name_to(me), "script": book.tell(said)}
