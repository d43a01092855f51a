"""A commons: a lake that all fish in. What is left doubles, up to what the lake holds; taken too far, it dies.

After GovSim (arXiv 2404.16698): talk in turn, then everybody takes in private, then all see who took how much. Who
asks for more than is left is served in an order that the game's seed draws.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from maro_lib.world.protocol import Blank, Command, Prompt
from maro_lib.world.setups import Scenario
from maro_lib.world.turns import State
from maro_lib.worlds.commands import Told, numbers
from maro_lib.worlds.world import Happening, World, check_knobs, seats


@dataclass(frozen=True)
class CommonsKnobs:
    """What can be turned."""

    players: int = 4
    rounds: int = 5
    capacity: int = 40  # what the lake holds, and holds at first
    growth: int = 2  # what is left grows by this factor
    dead_below: int = 4  # less than this left, and nothing comes back
    talk: bool = True

    def __post_init__(self) -> None:
        check_knobs(self, players=2, rounds=1, capacity=2, growth=1, dead_below=0)


@dataclass
class _Lake(State):
    stock: int = 0
    wanted: dict[int, int] = field(default_factory=dict)  # this round, by seat
    taken: dict[int, int] = field(default_factory=dict)  # in all, by seat
    overused: int = 0  # how often more was taken than grows back
    alive: int = 0  # rounds that the lake has lived through
    order: tuple[int, ...] = ()  # who is served first


class Commons(World):
    """One lake, over some rounds."""

    name = "commons"
    question = "Who holds back when all would gain if all did?"
    success = "the lake lives at the end, and the own catch is at least two thirds of the fair one"
    columns: ClassVar = {
        "games": {"stock": ("int32", "what is left in the lake at the end"),
                  "survived": ("int32", "rounds that the lake lived through"),
                  "overused": ("int32", "rounds in which more was taken than grows back"),
                  "catches": ("list of int32", "what each seat took in all")},
        "actions": {"amount": ("int32", "what was asked for"), "got": ("int32", "what was got of it")},
    }  # fmt: skip
    cooperative = "the part of the lake that was not asked for"
    knobs = CommonsKnobs
    state = _Lake

    @classmethod
    def deal(cls, knobs: CommonsKnobs, rng: random.Random) -> dict[str, Any]:
        facts = {"rounds": knobs.rounds, "capacity": knobs.capacity, "growth": knobs.growth,
                 "dead_below": knobs.dead_below, "talk": knobs.talk}  # fmt: skip
        return {"title": "lake", "cell": "talk" if knobs.talk else "silent", "facts": facts,
                "characters": seats(rng, knobs.players, "fisher")}  # fmt: skip

    @classmethod
    def payoff_range(cls, script: Scenario) -> tuple[float, float]:
        return 0.0, float(script.facts["capacity"] * script.facts["rounds"])

    def opened(self, rng: random.Random, seats: list) -> _Lake:
        state = super().opened(rng, seats)
        state.stock, state.taken = self.facts["capacity"], dict.fromkeys(range(len(self.names)), 0)
        return state

    def plan(self, rng: random.Random) -> list[tuple]:
        n, plan = len(self.names), []
        for k in range(1, self.facts["rounds"] + 1):
            order = rng.sample(range(n), n)
            plan.append(("round", k))
            plan += [("talk", i) for i in order if self.facts["talk"]]
            plan.append(("harvest", tuple(rng.sample(range(n), n))))
        return plan

    def beginning(self, player: int) -> str:
        others = ", ".join(self.others(player))
        return self.words.rules.format(name=self.names[player], others=others, n=len(self.names), **self.facts)

    def begin(self, entry: tuple) -> None:
        lake = self.now
        match entry:
            case "round", k:
                lake.round = k
                self.announce("round", Happening("stock", value=lake.stock, round=k), k=k, n=self.facts["rounds"])
            case "talk", i if lake.stock:
                self.talk(i, stock=lake.stock)
            case "harvest", order if lake.stock:
                lake.order = order
                for i in range(len(self.names)):
                    self.choose(i, "harvest", [_take(lake.stock)], stock=lake.stock)

    def do(self, player: int, prompt: Prompt, told: Told) -> dict[str, Any]:
        if prompt.phase == "talk":
            return self.speak(player, told)
        self.now.wanted[player] = int(told.values["amount"])
        return {"amount": self.now.wanted[player]}

    def settle(self) -> None:
        lake = self.now
        if not lake.order:
            return
        start, got = lake.stock, {}
        for i in lake.order:
            got[i] = min(lake.wanted.get(i, 0), lake.stock)
            lake.stock -= got[i]
            lake.taken[i] += got[i]
        self.note(lambda a: {"got": got[a.player]} if a.kind == "take" else {})
        lake.overused += _grown(lake.stock, self.facts) < start
        lake.stock = _next_stock(lake.stock, self.facts)
        lake.alive += lake.stock > 0
        caught = ", ".join(f"{self.names[i]} {got[i]}" for i in sorted(got))
        events = [Happening("catch", self.names[i], got[i], round=lake.round) for i in sorted(got)]
        self.announce("caught" if lake.stock else "died", *events, caught=caught, stock=lake.stock)
        lake.order = ()
        lake.wanted.clear()

    @classmethod
    def cooperation(cls, script: Scenario, actions: Sequence[Mapping[str, Any]]) -> list[float | None]:
        stock, stocks = script.facts["capacity"], {}
        for k in range(1, script.facts["rounds"] + 1):
            stocks[k] = stock
            got = sum(a["got"] for a in actions if a["kind"] == "take" and a["round"] == k)
            stock = _next_stock(stock - got, script.facts)
        return [1 - a["amount"] / stocks[a["round"]] if a["kind"] == "take" else None for a in actions]

    def payoffs(self) -> list[float]:
        return [float(self.now.taken[i]) for i in range(len(self.names))]

    def successes(self) -> list[int]:
        fair = fair_catch(self.script)
        return [int(self.now.stock > 0 and 3 * p >= 2 * fair) for p in self.payoffs()]

    def own_record(self) -> Mapping[str, Any]:
        lake = self.now
        return {"stock": lake.stock, "survived": lake.alive, "overused": lake.overused,
                "catches": [lake.taken[i] for i in range(len(self.names))]}  # fmt: skip

    styles: ClassVar = {
        "greedy": lambda request, _: _fishing(request, _stock(request)),
        "fair": lambda request, _: _fishing(request, _share(request)),
        "careful": lambda request, _: _fishing(request, _share(request) * 4 // 5),
        "skilled": lambda request, _: _fishing(request, _share(request)),
    }


def fair_catch(script: Scenario) -> float:
    """What a seat catches in all if the full lake's growth is shared out equally, round after round."""
    f = script.facts
    return f["rounds"] * (f["capacity"] - f["capacity"] / f["growth"]) / len(script.names)


def _grown(left: int, facts: Mapping[str, Any]) -> int:
    """What stock comes of what is left, if it lives."""
    return min(left * facts["growth"], facts["capacity"])


def _next_stock(left: int, facts: Mapping[str, Any]) -> int:
    return _grown(left, facts) if left >= facts["dead_below"] else 0


def _take(stock: int) -> Command:
    return Command("TAKE", (Blank("amount", numbers(0, stock)),))


def _stock(request: Any) -> int:
    return next(e.value for e in reversed(request.events) if e.kind == "stock")


def _share(request: Any) -> int:
    """The own part of what grows back if just so much is left."""
    stock, facts = _stock(request), request.brief.facts
    keep = -(-min(stock, facts["capacity"]) // facts["growth"])
    return (stock - keep) // len(request.brief.names)


def _fishing(request: Any, amount: int) -> str:
    """Say what is fair, and take an amount."""
    if request.prompt.phase == "talk":
        return request.brief.words.offer.format(amount=_share(request))
    return f"TAKE {amount}"
