"""What happened in a played game, from its actions: what all heard, what one could know, what was claimed.

Judges read it. A clue counts as known to all from the moment it is found; one that is private only to its finder, and
memories (clues that a spoken word releases) are not in the tables, so they are left out. Used in notebook 06.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pandas as pd

from maro_lib.world.phrases import phrasebook
from maro_lib.world.replies import Move, name_spelling, parse
from maro_lib.world.scripts import Fact, Script


class Moment(NamedTuple):
    """One action, what the others heard of it, and the facts that all knew just before, and its agent alone."""

    action: Any
    heard: str
    public: tuple[Fact, ...]
    own: tuple[Fact, ...]


def moments(actions: pd.DataFrame, script: Script) -> Iterator[Moment]:
    """Go through a game's actions in order."""
    spelling, names, clues = name_spelling(script), script.names, {c.id: c for c in script.clues}
    public: list[Fact] = list(script.given)
    own = {c.name: list(c.knows) for c in script.characters}
    for action in actions.sort_values("step").itertuples():
        heard = action.text
        if action.legal and action.kind in ("intro", "ask", "answer"):
            move = parse(action.phase, action.text, spelling, names, (), action.agent)
            heard = move.text if isinstance(move, Move) else action.text
        yield Moment(action, heard, tuple(public), tuple(own[action.agent]))
        clue = clues.get(action.clue)
        if clue:
            (own[action.agent] if clue.private_to else public).extend(clue.facts)


def public_lines(actions: pd.DataFrame, script: Script) -> list[str]:
    """Tell a game as all its players heard it, a line for each introduction, turn and answer."""
    book, clues = phrasebook(script.language, script.register_), {c.id: c for c in script.clues}
    templates = {"intro": book.says, "ask": book.asks, "answer": book.answers}
    lines = []
    for action, heard, *_ in moments(actions, script):
        if action.legal and action.kind in templates:
            lines.append(templates[action.kind].format(name=action.agent, target=action.target, text=heard))
        elif action.legal and action.kind == "search":
            clue = clues.get(action.clue)
            line = book.kept if clue is None or clue.private_to else book.found
            lines.append(line.format(name=action.agent, place=action.place, text=clue.text if clue else ""))
    return lines


class Factbook:
    """A script's facts, and what can be claimed in its words."""

    def __init__(self, script: Script):
        self.script, self.values = script, {}
        self.evidence = {clue.id for clue in script.clues if clue.facts}
        clues = (f for c in script.clues for f in c.facts)
        knows = (f for c in script.characters for f in c.knows)
        for fact in (*script.given, *clues, *knows):
            self.values.setdefault((fact.who, fact.trait), set()).add(fact.value)
        self.book, anything = phrasebook(script.language, script.register_), {}
        for (_, trait), values in self.values.items():
            anything.setdefault(trait, set()).update(values)
        self._sentences = {
            self.say(who, trait, value): Fact(who=who, trait=trait, value=value)
            for who in script.names for trait, values in sorted(anything.items()) for value in sorted(values)
        }  # fmt: skip
        self._accused = {name: self.book.suspect.format(name=name) for name in script.names}
        says = [self.book.name_self.format(name=name) for name in script.names]
        own = {*self._sentences, *self._accused.values(), *says, self.book.no_idea, self.book.question}
        self._own = re.compile("|".join(map(re.escape, sorted(own, key=len, reverse=True))))

    def say(self, who: str, trait: str, value: str) -> str:
        """State something in the game's own wording."""
        return self.book.fact.format(who=who, trait=trait, value=value)

    def name_to(self, name: str) -> str:
        """Tell a character who it is."""
        return self.book.named.format(name=name)

    def tell(self, facts: Iterable[Fact]) -> str:
        """Tell a character facts about itself, each once."""
        return " ".join(dict.fromkeys(self.say(self.book.you, fact.trait, fact.value) for fact in facts))

    def claims(self, text: str) -> list[Fact]:
        """The facts that a text states, true or false, in the game's own wording."""
        return [fact for sentence, fact in self._sentences.items() if sentence in text]

    def accused(self, text: str) -> list[str]:
        """Those whom a text accuses, in the game's own wording."""
        return [name for name, sentence in self._accused.items() if sentence in text]

    def rest(self, text: str) -> str:
        """What is left of a text without the game's own sentences."""
        return self._own.sub(" ", text)

    def is_true(self, fact: Fact) -> bool | None:
        """Whether a claim is so; None when the script says nothing about it."""
        values = self.values.get((fact.who, fact.trait))
        return None if values is None else fact.value in values
