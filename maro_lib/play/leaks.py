"""Does a secret reach anybody else? Plant a marked word in every private text, play, and look for it.

Each player repeats aloud what it was last shown, less its own marks, so that a mark which reached one wrong
view spreads to all. Marks in public clues are the control: they must reach everybody.

Taught in notebook 01. MIRAGE's code fails here: who answers a question is prompted with the asker's secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from maro_lib.play.policies import Policy, Reply, Request
from maro_lib.play.rollout import Game, Session, advance, start
from maro_lib.world.mystery import Rules
from maro_lib.world.replies import MAX_REPLY
from maro_lib.world.scripts import Script, Sections

PUBLIC = "everybody"
_MARK = re.compile(r"canary\d+x")


class Leak(NamedTuple):
    """A marked text found where it does not belong (or, for a control, missing where it does)."""

    mark: str
    where: str  # what was marked
    owner: str
    seen_by: str


@dataclass
class Planted:
    """A script with marks in it, and whose each is."""

    script: Script
    owners: dict[str, tuple[str, str]]  # mark -> (owner, what was marked)


def plant(script: Script) -> Planted:
    """Mark every private section, goal, private clue and memory, and every public clue as the control."""
    owners: dict[str, tuple[str, str]] = {}

    def mark(text: str, owner: str, where: str) -> str:
        word = f"canary{len(owners)}x"
        owners[word] = (owner, where)
        return f"{text} {word}".strip()

    def marked(sections: Sections, stage: int, owner: str) -> Sections:
        return Sections(**{k: mark(text, owner, f"{k}, stage {stage}") for k, text in sections})

    characters = [
        c.model_copy(update={
            "sections": tuple(marked(s, k, c.name) for k, s in enumerate(c.sections, start=1)),
            "goals": tuple(g.model_copy(update={"text": mark(g.text, c.name, "goal")}) for g in c.goals),
        })
        for c in script.characters
    ]  # fmt: skip
    clues = [c.model_copy(update={"text": mark(c.text, c.private_to or PUBLIC, f"clue {c.id}")}) for c in script.clues]
    return Planted(script.model_copy(update={"characters": tuple(characters), "clues": tuple(clues)}), owners)


def find_leaks(
    script: Script, seeds: Sequence[int] = (0, 1, 2), rules: Rules | None = None, players: Policy | None = None
) -> list[Leak]:
    """Play a marked script, with repeating players unless others are given; return each mark that is out of place."""
    planted = plant(script)
    players = players or Echo(planted.owners, tuple(c.trigger for c in script.clues if c.trigger))
    leaks: set[Leak] = set()
    for seed in seeds:
        rules = rules or Rules(rounds=2 * len(script.stages), max_chars=MAX_REPLY)
        session = start(Game("leaks", 0, planted.script, seed, rules), players)
        while session.env.pending_players():
            advance([session])
            leaks.update(_misplaced(session, planted))
        leaks.update(_missing(session, planted))
    return sorted(leaks)


@dataclass(frozen=True)
class Echo:
    """A player that searches, asks, and repeats aloud what it was last shown, less what is its own."""

    owners: dict[str, tuple[str, str]]
    triggers: tuple[str, ...] = ()
    name: str = "echo"

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        return [Reply(self._reply(r)) for r in requests]

    def _reply(self, request: Request) -> str:
        prompt, book = request.prompt, request.brief.book
        if prompt.phase == "vote":
            return book.voted.format(name=prompt.names[0])
        if prompt.phase == "rate":
            return book.rate_all(dict.fromkeys(prompt.names, (1, 1)))
        if prompt.phase == "turn" and prompt.places and request.rng().random() < 0.6:
            return book.search.format(place=request.rng("place", request.t).choice(prompt.places))
        aloud = " ".join((*self.triggers, self._public(request.view[-1].content, request.brief.me.name)))
        if prompt.phase == "turn":
            return book.ask.format(
                name=request.rng("name", request.t).choice(prompt.names), text=" ".join(aloud.split())
            )
        return aloud

    def _public(self, text: str, me: str) -> str:
        """What it was shown, less its own marks; the marks come first, for of a long reply the beginning is read."""
        public = _MARK.sub(lambda m: "" if self.owners[m[0]][0] == me else m[0], text)
        return " ".join((*dict.fromkeys(_MARK.findall(public)), public))


def _misplaced(session: Session, planted: Planted) -> Iterator[Leak]:
    """Marks in a view, or in what a player is given as data, that are another's."""
    for i, name in enumerate(session.game.script.names):
        env = session.env
        shown = [m.content for m in env.private_view(i)] + [repr(env.events(i)), repr(env.brief(i))]
        shown += [repr(env.prompt(i))] if i in env.pending_players() else []
        for mark in set(_MARK.findall("\n".join(shown))):
            owner, where = planted.owners[mark]
            if owner not in (PUBLIC, name):
                yield Leak(mark, where, owner, name)


def _missing(session: Session, planted: Planted) -> Iterator[Leak]:
    """The control: a public clue that was found must have reached everybody, a secret its owner."""
    found = session.env.found
    views = ["\n".join(m.content for m in session.env.private_view(i)) for i in range(len(session.seats))]
    texts = dict(zip(session.game.script.names, views, strict=True))
    for mark, (owner, where) in planted.owners.items():
        reached = where.removeprefix("clue ") in found if where.startswith("clue ") else True
        for name in texts if owner == PUBLIC else (owner,):
            if reached and mark not in texts[name]:
                yield Leak(mark, f"{where} (did not arrive)", owner, name)
