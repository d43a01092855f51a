"""Coordination: agents on a graph, each of whom hears its neighbours alone, solve one task together, or all fail.

After AgentsNet (arXiv 2507.08616), of whose tasks three are here: colouring (neighbours differ), consensus (all agree)
and leader (exactly one leads). Some rounds of messages, all at once, then one answer, all at once; the game's seed
draws in which order messages are read. Different from there: a message goes to all neighbours alike, and the share of a
task that is solved can be paid for. What is agreed beforehand needs no talk: `focal` players solve consensus without a
word. Taught in notebook 14.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Literal, get_args, get_type_hints

from maro_lib.wording import check_name
from maro_lib.world.protocol import Blank, Command, Prompt
from maro_lib.world.setups import Scenario
from maro_lib.world.turns import State
from maro_lib.worlds.commands import Told
from maro_lib.worlds.world import Briefing, Happening, World, WorldRules, check_knobs, seats

PAINTS = ("red", "blue", "green", "yellow", "black", "white", "brown", "pink")
_REWIRED = 0.3  # of a small world's chords
_LEAD = Command("LEAD", (Blank("lead", ("yes", "no")),))
Edges = list[list[int]]


@dataclass(frozen=True)
class CoordinationKnobs:
    """What can be turned."""

    players: int = 6
    rounds: int = 3  # of messages
    task: Literal["colouring", "consensus", "leader"] = "colouring"
    graph: Literal["ring", "small_world", "random", "complete"] = "small_world"
    values: int = 0  # to pick from; 0: two for consensus, one more than anybody has neighbours for colouring
    payoff: Literal["solved", "share"] = "solved"

    def __post_init__(self) -> None:
        check_knobs(self, players=4, rounds=0, values=0)
        if self.players > 100 or self.values == 1:
            raise ValueError(f"{self}: at most 100 players, and at least 2 values (or 0), are needed")
        for name in ("task", "graph", "payoff"):
            check_name(name, getattr(self, name), get_args(get_type_hints(CoordinationKnobs)[name]))


@dataclass
class _Network(State):
    said: dict[int, str] = field(default_factory=dict)  # this round, by seat
    order: tuple[int, ...] = ()  # in which what is said now will be read
    n_messages: int = 0
    choices: dict[int, str] = field(default_factory=dict)  # by seat


class Coordination(World):
    """One graph, one task."""

    name = "coordination"
    question = "Do neighbours who hear only each other find a protocol that solves what all must solve?"
    success = "all have solved the task: every edge is satisfied, or exactly one leads"
    sides = ("team",)
    columns: ClassVar = {
        "games": {"task": ("text", "colouring, consensus or leader"),
                  "solved": ("bool", "whether the whole group solved it"),
                  "share": ("float32", "satisfied edges among all edges; for the leader task 1 / how many lead, or 0"),
                  "n_edges": ("int32", "edges of the graph"),
                  "messages": ("int32", "messages that reached a neighbour")},
        "actions": {"choice": ("text", "the answer: a colour, or yes or no")},
    }  # fmt: skip
    knobs = CoordinationKnobs
    state = _Network

    def __init__(self, script: Scenario, rules: WorldRules | None = None):
        super().__init__(script, rules)
        self.edges: Edges = script.hidden["edges"]
        self.neighbours = _neighbours(self.edges, len(self.names))

    @classmethod
    def deal(cls, knobs: CoordinationKnobs, rng: random.Random) -> dict[str, Any]:
        edges = _GRAPHS[knobs.graph](knobs.players, rng)
        sat = seats(rng, knobs.players, "agent", factions=cls.sides)
        near = _neighbours(edges, knobs.players)
        facts = {"task": knobs.task, "rounds": knobs.rounds, "values": _values(knobs, near), "payoff": knobs.payoff}
        return {"title": f"{knobs.graph} of {knobs.players}", "cell": f"{knobs.task} {knobs.graph}", "facts": facts,
                "characters": sat, "hidden": {"edges": edges},
                "private": [{"neighbours": sorted(sat[j]["name"] for j in js)} for js in near]}  # fmt: skip

    @classmethod
    def payoff_range(cls, _script: Scenario) -> tuple[float, float]:
        return 0.0, 1.0

    @classmethod
    def another(cls, fact: str, value: list[str]) -> list[str]:  # noqa: ARG003 - there is but one
        return [*value[1:], "Zoe"]

    # --- the course ----------------------------------------------------------------------------------

    def plan(self, rng: random.Random) -> list[tuple]:
        n = len(self.names)
        talks = [("talk", k, tuple(rng.sample(range(n), n))) for k in range(1, self.facts["rounds"] + 1)]
        return [*talks, ("answer",)]

    def others(self, player: int) -> tuple[str, ...]:
        """The names of those whom a player knows."""
        return tuple(self.script.alone(player)["neighbours"])

    def brief(self, player: int) -> Briefing:
        return super().brief(player)._replace(names=tuple(sorted([*self.others(player), self.names[player]])))

    def beginning(self, player: int) -> str:
        facts, others = self.facts, ", ".join(self.others(player))
        task = self.words.tasks[facts["task"]].format(values=", ".join(facts["values"]))
        return self.words.rules.format(name=self.names[player], others=others, n=len(self.names), task=task,
                                       rounds=facts["rounds"], paid=self.words.paid[facts["payoff"]])  # fmt: skip

    def begin(self, entry: tuple) -> None:
        network = self.now
        match entry:
            case "talk", k, order:
                network.round, network.order = k, order
                self.announce("round", Happening("round", value=k, round=k), k=k, n=self.facts["rounds"])
                for i in range(len(self.names)):
                    self.talk(i, others=", ".join(self.others(i)))
            case ("answer",):
                command, example = self._command()
                for i in range(len(self.names)):
                    self.choose(i, "answer", [command], example=example)

    def _command(self) -> tuple[Command, str]:
        if self.facts["task"] == "leader":
            return _LEAD, "LEAD no"
        values = tuple(self.facts["values"])
        return Command("PICK", (Blank("value", values),)), f"PICK {values[-1]}"

    def do(self, player: int, prompt: Prompt, told: Told) -> dict[str, Any]:
        if prompt.phase == "talk":
            self.now.said[player] = told.text
            return {}
        (choice,) = told.values.values()
        self.now.choices[player] = choice
        return {"choice": choice}

    def miss(self, player: int, prompt: Prompt) -> None:
        """Say nothing at once: neighbours learn of it with the others' words."""

    def settle(self) -> None:
        """Let all hear what their neighbours said, now that all have spoken."""
        network = self.now
        for i in network.order:
            self._pass_on(i, network.said.get(i, ""))
        network.said.clear()
        network.order = ()

    def _pass_on(self, speaker: int, text: str) -> None:
        """Let the neighbours of a speaker read it; itself, it remembers what it said."""
        me, near = self.names[speaker], self.neighbours[speaker]
        line, events = self.words.silent.format(name=me), []
        if text:
            line, events = self.words.says.format(name=me, text=text), [self._happened(me, text)]
            self.now.seats[speaker].events.extend(events)
            self.now.n_messages += len(near)
        for j in near:
            self.tell(j, line, *events)

    def _happened(self, speaker: str, text: str) -> Happening:
        return Happening("say", speaker, text=text, round=self.now.round)

    # --- the end -------------------------------------------------------------------------------------

    @property
    def share(self) -> float:
        """How much of the task is solved, from 0 to 1; who gave no answer satisfies no edge, and does not lead."""
        choices, task = self.now.choices, self.facts["task"]
        if task == "leader":
            n_leaders = sum(c == "yes" for c in choices.values())
            return 1 / n_leaders if n_leaders else 0.0
        answered = [(choices[i], choices[j]) for i, j in self.edges if i in choices and j in choices]
        return sum((a == b) == (task == "consensus") for a, b in answered) / len(self.edges)

    @property
    def is_solved(self) -> bool:
        """Whether nothing is missing; the graph is connected, so that neighbours who agree all agree."""
        return self.share == 1.0

    def payoffs(self) -> list[float]:
        paid = self.share if self.facts["payoff"] == "share" else float(self.is_solved)
        return [paid] * len(self.names)

    def successes(self) -> list[int]:
        return [int(self.is_solved)] * len(self.names)

    def own_record(self) -> Mapping[str, Any]:
        return {"task": self.facts["task"], "solved": self.is_solved, "share": self.share, "n_edges": len(self.edges),
                "messages": self.now.n_messages}  # fmt: skip

    styles: ClassVar = {
        "skilled": lambda request, rng: _PROTOCOLS[request.brief.facts["task"]](request, rng),
        "focal": lambda request, rng: _focal(request, rng),
        "stubborn": lambda request, rng: _stubborn(request, rng),
    }


# --- graphs ------------------------------------------------------------------------------------------


def _ring(n: int, _rng: random.Random) -> Edges:
    return _edges((i, (i + 1) % n) for i in range(n))


def _complete(n: int, _rng: random.Random) -> Edges:
    return _edges((i, j) for i in range(n) for j in range(i))


def _small_world(n: int, rng: random.Random) -> Edges:
    """A ring with chords to the next but one, of which some go anywhere: the ring stays, so it is connected."""
    chords = ((i, rng.choice(_but(n, i)) if rng.random() < _REWIRED else (i + 2) % n) for i in range(n))
    return _edges([*_ring(n, rng), *chords])


def _random(n: int, rng: random.Random) -> Edges:
    """A random tree, and half as many edges more, anywhere."""
    order = rng.sample(range(n), n)
    tree = [(order[k], rng.choice(order[:k])) for k in range(1, n)]
    return _edges([*tree, *((i, rng.choice(_but(n, i))) for i in rng.sample(range(n), n // 2))])


def _but(n: int, i: int) -> list[int]:
    return [j for j in range(n) if j != i]


def _edges(pairs: Any) -> Edges:
    """Each edge once, from the lower to the higher."""
    return sorted({(min(i, j), max(i, j)): [min(i, j), max(i, j)] for i, j in pairs}.values())


def _neighbours(edges: Edges, n: int) -> list[list[int]]:
    near: list[list[int]] = [[] for _ in range(n)]
    for i, j in edges:
        near[i].append(j)
        near[j].append(i)
    return near


_GRAPHS = {"ring": _ring, "small_world": _small_world, "random": _random, "complete": _complete}


def _values(knobs: CoordinationKnobs, near: list[list[int]]) -> list[str]:
    """What can be picked: as many as are asked for, if that can be solved."""
    if knobs.task == "leader":
        return []
    k = knobs.values or (2 if knobs.task == "consensus" else 1 + max(map(len, near)))
    if knobs.task == "colouring" and _n_colours(near) > k:
        raise ValueError(f"values: {k} colours may be too few for this graph; give {_n_colours(near)}, or 0")
    return [PAINTS[i % 8] + ("" if i < 8 else str(i // 8 + 1)) for i in range(k)]


def _n_colours(near: list[list[int]]) -> int:
    """How many colours suffice, colouring next whoever sees most of them (exact for two, and for complete graphs)."""
    colours: dict[int, int] = {}
    for _ in near:
        seen = {i: {colours[j] for j in js if j in colours} for i, js in enumerate(near) if i not in colours}
        i = max(seen, key=lambda i: (len(seen[i]), len(near[i])))
        colours[i] = next(c for c in range(len(near)) if c not in seen[i])
    return 1 + max(colours.values())


# --- players by rule: each knows its neighbours, and understands the sentences of its kind ----------------


@cache
def _pattern(sentence: str) -> re.Pattern[str]:
    """A sentence with its braces as groups."""
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>\\w+)", re.escape(sentence)))


def _heard(request: Any, sentence: str) -> dict[str, dict[str, str]]:
    """What each neighbour, and the player itself, said last in the form of a sentence."""
    pattern = _pattern(getattr(request.brief.words, sentence))
    matches = ((e.who, pattern.search(e.text)) for e in request.events if e.kind == "say")
    return {who: match.groupdict() for who, match in matches if match}


def _coloured(request: Any, rng: random.Random) -> str:
    """Keep the own colour unless a neighbour whose name comes before has it; else take one that nobody near has."""
    me, values = request.brief.me.name, request.brief.facts["values"]
    colours = {who: said["value"] for who, said in _heard(request, "colour").items() if said["value"] in values}
    mine = colours.pop(me, "") or rng.choice(values)
    if any(colour == mine and who < me for who, colour in colours.items()):
        taken = {*colours.values()}
        mine = rng.choice([v for v in values if v not in taken] or values)
    return _said(request, "colour", value=mine)


def _agreed(request: Any, rng: random.Random) -> str:
    """Pass on what the first name that is known of proposed; who has heard nothing yet proposes something itself."""
    me, values = request.brief.me.name, request.brief.facts["values"]
    heard = [(s["first"], s["value"]) for s in _heard(request, "proposal").values() if s["value"] in values]
    first, value = min(heard, default=(me, rng.choice(values)))
    return _said(request, "proposal", first=first, value=value)


def _elected(request: Any, _rng: random.Random) -> str:
    """Pass on the first name that is known of, and lead if it is the own one."""
    first = min((*request.brief.names, *(said["first"] for said in _heard(request, "leader").values())))
    return _said(request, "leader", first=first, lead="yes" if first == request.brief.me.name else "no")


def _focal(request: Any, _rng: random.Random) -> str:
    """Do what everybody could think of alone: the first value of all, or the own place in the order of names."""
    brief, values = request.brief, request.brief.facts["values"]
    place = brief.names.index(brief.me.name)
    value = values[place % len(values) if brief.facts["task"] == "colouring" else 0] if values else ""
    said = {"value": value, "first": brief.names[0], "lead": "no" if place else "yes"}
    return _said(request, _SENTENCES[brief.facts["task"]], **said)


def _stubborn(request: Any, _rng: random.Random) -> str:
    """Stay with what came to mind first, and lead in any case."""
    brief, rng = request.brief, request.rng("stubborn")
    value = rng.choice(brief.facts["values"] or [""])
    return _said(request, _SENTENCES[brief.facts["task"]], value=value, first=brief.me.name, lead="yes")


def _said(request: Any, sentence: str, **what: str) -> str:
    """Say it to the neighbours, or answer with it."""
    if not request.prompt.commands:
        return getattr(request.brief.words, sentence).format(**what)
    return f"LEAD {what['lead']}" if sentence == "leader" else f"PICK {what['value']}"


_PROTOCOLS = {"colouring": _coloured, "consensus": _agreed, "leader": _elected}
_SENTENCES = {"colouring": "colour", "consensus": "proposal", "leader": "leader"}
