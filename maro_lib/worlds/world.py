"""What a world is, beyond its rules: who sits there, what it is told in, who plays it by rule, what success means.

A world of one's own is a subclass of `World` in one file, beside a file of words of the same name: its knobs, its
scenarios (`deal`), its course (`plan`, `begin`), what a command does (`do`), its payoffs, its rule of success, and some
players by rule. `docs/how-to.md` shows one of a hundred lines. Taught in notebook 14.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from maro_lib.world.protocol import Action, Command, Form, Illegal, Prompt
from maro_lib.world.replies import MAX_REPLY
from maro_lib.world.setups import Scenario, Seated
from maro_lib.world.turns import TurnGame
from maro_lib.worlds.commands import SAY, Told, at_random, forms_of, read_command
from maro_lib.worlds.wordbook import Words, words_of

NAMES = ("Ann", "Ben", "Cal", "Dot", "Eve", "Fay", "Gus", "Hal", "Ida", "Jon", "Kim", "Lea")
Columns = Mapping[str, Mapping[str, tuple[str, str]]]  # table -> column -> type, meaning


@dataclass(frozen=True)
class WorldRules:
    """How many corrections a reply gets, and how long what is heard of it may be."""

    corrections: int = 1
    max_chars: int = 1200

    def __post_init__(self) -> None:
        if self.corrections < 0 or not 20 <= self.max_chars <= MAX_REPLY:
            raise ValueError(f"{self}: corrections >= 0 and max_chars from 20 to {MAX_REPLY} are needed")


class Happening(NamedTuple):
    """Something that a player saw, as data."""

    kind: str
    who: str = ""
    value: Any = None
    target: str = ""
    text: str = ""
    round: int = 0


class Briefing(NamedTuple):
    """What a player knows from the start, as data."""

    world: str
    names: tuple[str, ...]
    me: Seated
    facts: Mapping[str, Any]
    private: Mapping[str, Any]
    words: Words


Style = Callable[[Any, random.Random], str]  # (request, its generator) -> a reply


class World(TurnGame):
    """A world: its rules, and all that the kit needs to know of it."""

    name: ClassVar[str]
    question: ClassVar[str]  # what it is about, in a line
    success: ClassVar[str]  # the rule of success, in a line
    sides: ClassVar[tuple[str, ...]] = ()  # that win or lose together
    columns: ClassVar[Columns] = MappingProxyType({})  # its own, beside the common ones
    cooperative: ClassVar[str] = ""  # what makes a choice cooperative, in a line; empty: nothing that has a number
    knobs: ClassVar[type]  # a frozen dataclass: what can be turned
    styles: ClassVar[Mapping[str, Style]]  # players by rule; `skilled` is there, `random` comes by itself

    def __init__(self, script: Scenario, rules: WorldRules | None = None):
        super().__init__(script, rules or WorldRules())
        self.facts, self.words = script.facts, words_of(type(self), script.register_)

    # --- what a world says ---------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def deal(cls, knobs: Any, rng: random.Random) -> dict[str, Any]:
        """Draw a scenario: its `title`, `cell`, `characters`, `facts`, `private` and `hidden`."""

    @classmethod
    @abstractmethod
    def payoff_range(cls, script: Scenario) -> tuple[float, float]:
        """The least and the most that a seat can get."""

    @abstractmethod
    def do(self, player: int, prompt: Prompt, told: Told) -> dict[str, Any]:
        """Do what a command says; return what is noted of it (the world's own columns; `target`, `public`)."""

    @classmethod
    def cooperation(cls, script: Scenario, actions: Sequence[Mapping[str, Any]]) -> list[float | None]:  # noqa: ARG003
        """Say how cooperative each action of one game was, from 0 to 1, by its row; None: no such choice."""
        return [None] * len(actions)

    @classmethod
    def another(cls, fact: str, value: Any) -> Any:  # noqa: ARG003 - worlds may look which fact
        """Another value that a private fact could have: a leak test changes it and looks who notices."""
        return value + 1 if isinstance(value, int | float) else f"{value}x"

    # --- made of it ----------------------------------------------------------------------------------

    @classmethod
    def generate(cls, seed: int, knobs: Any = None, register: str = "compact") -> Scenario:
        """Make a scenario from a seed and knobs."""
        knobs = knobs or cls.knobs()
        dealt = cls.deal(knobs, random.Random(f"{cls.name}/{seed}/{sorted(asdict(knobs).items())}"))
        return Scenario(world=cls.name, register=register, **dealt | {"title": f"{dealt['title']} {seed}"})

    @property
    def refusals(self) -> Words:
        return self.words

    @property
    def drawn_from(self) -> str:
        """All of the scenario but what one seat alone knows: others see what is drawn."""
        return self.script.model_copy(update={"private": ()}).digest

    def read(self, player: int, prompt: Prompt, text: str) -> Told | Illegal:  # noqa: ARG002 - worlds may look who
        if prompt.commands:
            return read_command(prompt.commands, text)
        return Told("say", text=text) if self._is_words(text) else Illegal("empty")

    @staticmethod
    def _is_words(text: str) -> bool:
        return any(c.isalnum() for c in text[:MAX_REPLY])

    def take(self, player: int, prompt: Prompt, text: str, move: Told) -> Action:
        heard = move._replace(text=self.spoken(move.text[:MAX_REPLY]))
        if prompt.phase == "summary":
            self.resume(player, heard.text)
            return Action(player, self.now.round, prompt.phase, "summary", text)
        own = dict(self.do(player, prompt, heard))
        target, public = own.pop("target", ""), own.pop("public", False)
        return Action(player, self.now.round, prompt.phase, move.kind, text, target, public=public, own=own)

    def own_columns(self, action: Action) -> dict[str, Any]:
        return {name: action.own.get(name) for name in self.columns.get("actions", {})}

    def correction(self, prompt: Prompt, why: Illegal) -> str:
        form = self.words.said(f"form_{prompt.phase}", "form_any", commands=_listed(prompt.commands))
        return self.words.correction.format(reason=self.words.reasons[why.reason], form=form)

    def forms(self, player: int) -> Sequence[Form]:
        prompt = self.prompt(player)
        return forms_of(prompt.commands) or (SAY,)

    def brief(self, player: int) -> Briefing:
        s = self.script
        return Briefing(s.world, s.names, s.characters[player], s.facts, s.alone(player), self.words)

    def talk(self, player: int, phase: str = "talk", **what: Any) -> None:
        """Ask a player for words of its own."""
        self.ask(player, Prompt(phase, self.others(player)), self.words.said(phase, **what))

    def choose(self, player: int, phase: str, commands: Sequence[Command], **what: Any) -> None:
        """Ask a player for one of some commands; the sentence is the phase's own."""
        text = self.words.said(phase, **what | {"commands": _listed(commands)})
        self.ask(player, Prompt(phase, self.others(player), commands=tuple(commands)), text)

    def announce(self, sentence: str, *events: Happening, but: int = -1, **what: Any) -> None:
        """Tell everybody something, in the world's words."""
        self.show(self.words.said(sentence, **what), *events, but=but)

    def miss(self, player: int, prompt: Prompt) -> None:
        if not prompt.commands:
            self.announce("silent", but=player, name=self.names[player])

    def note(self, more: Callable[[Action], Mapping[str, Any]]) -> None:
        """Add what became known to the actions of the phase that has just ended (in `settle`)."""
        log = self.now.log
        for k in range(len(log) - self.now.n_settled, len(log)):
            if log[k].legal and (new := more(log[k])):
                log[k] = log[k]._replace(own={**log[k].own, **new})

    def speak(self, player: int, told: Told) -> dict[str, Any]:
        """Let the others hear what a player says."""
        me = self.names[player]
        self.announce("says", Happening("say", me, text=told.text, round=self.now.round), but=player, name=me,
                      text=told.text)  # fmt: skip
        return {"public": True}


def seats(rng: random.Random, n: int, *roles: str, factions: Sequence[str] = ("",)) -> list[dict[str, str]]:
    """Draw names for `n` seats; roles and sides go round."""
    names = NAMES if n <= len(NAMES) else [f"{NAMES[i % 12]}{i // 12 + 1}" for i in range(n)]
    return [{"name": name, "role": roles[i % len(roles)], "faction": factions[i % len(factions)]}
            for i, name in enumerate(rng.sample(names, n))]  # fmt: skip


_MOST = {"players": 1_000, "rounds": 1_000, "generations": 100}  # a slip of the pen must not fill the memory
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def check_knobs(knobs: Any, **lowest: float) -> None:
    """Refuse knobs of another kind than their defaults, and those below their lowest values."""
    for f in fields(knobs):
        value, kind = getattr(knobs, f.name), type(f.default)
        if kind in _KINDS and not _is_of(kind, value):
            raise ValueError(f"{f.name}: {value!r}; {_KINDS[kind]} is needed")
    for name, low in lowest.items():
        if not getattr(knobs, name) >= low:
            raise ValueError(f"{name}: {getattr(knobs, name)!r}; at least {low} is needed")
    for name, most in _MOST.items():
        if getattr(knobs, name, 0) > most:
            raise ValueError(f"{name}: {getattr(knobs, name)!r}; at most {most:,} is possible")


def _is_of(kind: type, value: Any) -> bool:
    """Whether a value is of a kind; `True` is no number, and a whole number will do where any is needed."""
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, int | float if kind is float else kind)


def random_style(request: Any, rng: random.Random) -> str:
    """Say anything that is allowed."""
    prompt, words = request.prompt, request.brief.words
    if not prompt.commands:
        return rng.choice(words.chatter)
    return at_random(prompt.commands, rng, rng.choice(words.chatter))


def _listed(commands: Sequence[Command]) -> str:
    """Say which commands there are: TAKE 0-10, PASS."""
    return " | ".join(" ".join([c.word, *(_shape(b.options) for b in c.blanks if b.options)]) for c in commands)


def _shape(options: tuple[str, ...]) -> str:
    if options[0].isdigit() and len(options) > 3:
        return f"{options[0]}-{options[-1]}"
    return "/".join(options)
