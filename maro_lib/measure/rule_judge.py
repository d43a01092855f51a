"""The rule-based judge: no model, only the script's facts against what a character said and did.

    reasoning      its ratings, accusations and vote fall on somebody whom the facts it could know make likeliest; a
                   culprit, who knows better, is to follow what all know
    communication  what it says aloud tells something, and nothing that is not so
    observation    its turns bring facts to light
    creativity     its turns are not what somebody did before
    role-play      what it says of itself is what its script says, and it never contradicts itself
    section        its name for its story, what was said in public about it for its script; nothing for the rest

Each is a share of its chances, times 20; without a chance, half. It knows only the game's own sentences, so it judges
scripted and embedded players in the kit's scripts; of free prose it can say little, and a script without facts leaves
it silent. A measure of behaviour, not of taste. Taught in notebook 06.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from maro_lib.measure.judgements import ROLE_PLAY, SECTION, TOP, Case, Judgement, Status
from maro_lib.measure.rouge import rouge_l
from maro_lib.world.history import Factbook, Moment, moments
from maro_lib.world.scripts import Fact, Script
from maro_lib.world.solver import has_logic, suspects


@dataclass
class RuleJudge:
    """Judges by facts alone, the same every time."""

    name: str = "rules"
    _books: dict[str, Factbook] = field(default_factory=dict, repr=False)
    _moments: dict[int, list[Moment]] = field(default_factory=dict, repr=False)

    def judge(self, cases: Sequence[Case]) -> list[list[Judgement]]:
        return [list(self._judge(case)) for case in cases]

    def _judge(self, case: Case) -> Iterator[Judgement]:
        script, me = case.script, case.character.name
        book = self._books.setdefault(script.digest, Factbook(script))
        if case.order not in self._moments:
            self._moments = {case.order: list(moments(case.actions, script))}  # its characters follow one another
        game, status = self._moments[case.order], Status.OK if has_logic(script) else Status.FAILED
        for kind, chances in _scores(game, me, book).items():
            yield Judgement(kind, "", TOP * _share(chances) if status == Status.OK else float("nan"), status)
        rebuilt = _rebuilt(game, me, book)
        for name, text in case.sections.items():
            said = rebuilt.get(name, "")
            score, status = (rouge_l(said, text, script.language), Status.OK) if text else (0.0, Status.EMPTY)
            yield Judgement(SECTION, name, score, status, said)


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
