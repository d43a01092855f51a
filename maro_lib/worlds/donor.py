"""A donor game: who has gives to another, it arrives multiplied, and nobody gives to whom it has just got from.

After "Cultural Evolution of Cooperation among LLM Agents" (arXiv 2412.10270): every seat writes down its way to play,
then round after round half of the seats are donors, each of one other, and then the other half. A donor is told what
its recipient did when it was a donor itself (`memory`), so that giving can pay by what is known of it. Unlike the
paper, one gift has an upper bound, and heirs keep what they know: a view only grows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from maro_lib.world.protocol import Blank, Command, Prompt
from maro_lib.world.setups import Scenario
from maro_lib.world.turns import State
from maro_lib.worlds.commands import Told, numbers
from maro_lib.worlds.world import Happening, World, check_knobs, seats


@dataclass(frozen=True)
class DonorKnobs:
    """What can be turned."""

    players: int = 4
    rounds: int = 6  # in each generation
    start: int = 10  # what each seat has at first
    factor: int = 2  # a gift arrives multiplied by it
    most: int = 50  # what one donor can give or spend in a round
    memory: int = 3  # how many of the recipient's last acts as a donor are told
    punish: bool = False
    harm: int = 2  # what is lost for each one spent on punishing
    generations: int = 1  # the best half's ways are read by the others in the next

    def __post_init__(self) -> None:
        check_knobs(self, players=4, rounds=1, start=1, factor=1, most=1, memory=0, harm=1, generations=1)
        if self.players % 2:
            raise ValueError(f"players: {self.players}; an even number is needed, half of them give in each round")


class DonorAct(NamedTuple):
    """What a donor did."""

    donor: int
    recipient: int
    kind: str = "give"  # give, punish
    amount: int = 0
    had: int = 0  # what it could give
    generation: int = 1

    @property
    def share(self) -> float:
        """What it gave of what it could give."""
        return self.amount / self.had if self.kind == "give" and self.had else 0.0


@dataclass
class _Purses(State):
    generation: int = 0
    purse: dict[int, int] = field(default_factory=dict)
    banked: dict[int, int] = field(default_factory=dict)  # what earlier generations had at their ends
    even: dict[int, float] = field(default_factory=dict)  # the purses if every donor had given half
    benchmark: float = 0.0  # a seat's part of those, in earlier generations
    pairs: tuple[tuple[int, int], ...] = ()  # this round's, donors first
    done: dict[int, DonorAct] = field(default_factory=dict)  # this round, by donor
    acts: list[DonorAct] = field(default_factory=list)
    ways: dict[int, str] = field(default_factory=dict)  # what each seat means to do, in its own words


class Donor(World):
    """Half of the seats give, then the other half, over some rounds."""

    name = "donor"
    question = "Who gives to a stranger, and to which?"
    success = "own resources are above an equal part of what the group would have if every donor gave half"
    columns: ClassVar = {
        "games": {"resources": ("list of int32", "what each seat has at the end, all generations together"),
                  "share": ("float32", "what donors gave of what they could give, on average"),
                  "punishments": ("int32", "how often a donor punished"),
                  "benchmark": ("float32", "a seat's equal part if every donor had given half")},
        "actions": {"amount": ("int32", "what was given, or spent on punishing"),
                    "had": ("int32", "what could be given")},
    }  # fmt: skip
    cooperative = "the part of what could be given that was given; 0 for who punished instead"
    knobs = DonorKnobs
    state = _Purses

    @classmethod
    def deal(cls, knobs: DonorKnobs, rng: random.Random) -> dict[str, Any]:
        facts = {name: getattr(knobs, name) for name in _FACTS}
        told = "known" if knobs.memory else "unknown"
        return {"title": "donors", "cell": f"{told}, punishing" if knobs.punish else told, "facts": facts,
                "characters": seats(rng, knobs.players, "player")}  # fmt: skip

    @classmethod
    def payoff_range(cls, script: Scenario) -> tuple[float, float]:
        f = script.facts
        n_gifts = (f["rounds"] + 1) // 2  # a seat gets one in two rounds
        return 0.0, float(f["generations"] * (f["start"] + n_gifts * f["factor"] * f["most"]))

    def plan(self, rng: random.Random) -> list[tuple]:
        n, plan, k, pairs = len(self.names), [], 0, ()
        for g in range(1, self.facts["generations"] + 1):
            plan.append(("generation", g, tuple(rng.sample(range(n), n))))
            for j in range(self.facts["rounds"]):
                pairs, k = _turned(pairs) if j % 2 else _drawn(n, rng), k + 1
                plan.append(("round", k, pairs))
        return plan

    def beginning(self, player: int) -> str:
        others, words = ", ".join(self.others(player)), self.words
        more = [words.rules_known if self.facts["memory"] else "", words.rules_punish if self.facts["punish"] else ""]
        rules = " ".join([words.rules, *filter(None, more)])
        return rules.format(name=self.names[player], others=others, n=len(self.names), **self.facts)

    def begin(self, entry: tuple) -> None:
        match entry:
            case "generation", g, order:
                self._begin_generation(g, order)
            case "round", k, pairs:
                self.now.round, self.now.pairs = k, pairs
                j, n = (k - 1) % self.facts["rounds"] + 1, self.facts["rounds"]  # in this generation
                self.announce("round", Happening("round", value=j, round=k), k=j, n=n)
                for donor, recipient in pairs:
                    self._ask_donor(donor, recipient)

    def do(self, player: int, prompt: Prompt, told: Told) -> dict[str, Any]:
        now = self.now
        if prompt.phase == "way":
            now.ways[player] = told.text
            return {}
        recipient = dict(now.pairs)[player]
        act = DonorAct(player, recipient, told.kind, int(told.values["amount"]), self._could(player), now.generation)
        now.done[player] = act
        return {"amount": act.amount, "had": act.had, "target": self.names[recipient]}

    def miss(self, player: int, prompt: Prompt) -> None:
        """Tell nobody: a donor that says nothing gives nothing, and a way to play is nobody else's affair."""

    def settle(self) -> None:
        now = self.now
        for donor, recipient in now.pairs:
            act = now.done.get(donor) or DonorAct(donor, recipient, had=self._could(donor), generation=now.generation)
            now.acts.append(act)
            self._share_evenly(donor, recipient)
            self._carry_out(act)
        now.pairs = ()
        now.done.clear()

    @classmethod
    def cooperation(cls, script: Scenario, actions: Sequence[Mapping[str, Any]]) -> list[float | None]:  # noqa: ARG003
        could = [a["kind"] in ("give", "punish") and a["had"] > 0 for a in actions]
        return [(a["kind"] == "give") * a["amount"] / a["had"] if c else None
                for a, c in zip(actions, could, strict=True)]  # fmt: skip

    def payoffs(self) -> list[float]:
        return [float(x) for x in self._resources()]

    def successes(self) -> list[int]:
        benchmark = self._benchmark()
        return [int(p > benchmark) for p in self.payoffs()]

    def own_record(self) -> Mapping[str, Any]:
        acts = [a for a in self.now.acts if a.had]
        return {"resources": self._resources(), "share": sum(a.share for a in acts) / max(len(acts), 1),
                "punishments": sum(a.kind == "punish" for a in acts), "benchmark": self._benchmark()}  # fmt: skip

    # --- what is asked, and what comes of it -----------------------------------------------------------

    def _begin_generation(self, g: int, order: Sequence[int]) -> None:
        """Give everybody the same again; the worse half read the best half's ways and think again."""
        now, n = self.now, len(self.names)
        best = sorted(order, key=lambda i: -now.purse.get(i, 0))[: n // 2] if g > 1 else []
        now.banked = {i: now.banked.get(i, 0) + now.purse.get(i, 0) for i in range(n)}
        now.benchmark += sum(now.even.values()) / n
        now.purse = dict.fromkeys(range(n), self.facts["start"])
        now.even = dict.fromkeys(range(n), float(self.facts["start"]))
        now.generation = g
        if self.facts["generations"] > 1:
            self.announce("generation", k=g, n=self.facts["generations"], start=self.facts["start"])
        for i in range(n):
            if i not in best:
                self._hand_down(i, sorted(best))
                self.talk(i, "way")

    def _hand_down(self, heir: int, best: Sequence[int]) -> None:
        for i in best:
            if text := self.now.ways.get(i):
                line = self.words.said("heirloom", name=self.names[i], text=text)
                self.tell(heir, line, Happening("way", self.names[i], text=text, round=self.now.round))

    def _ask_donor(self, donor: int, recipient: int) -> None:
        """Tell a donor what it may know of its recipient, and ask what it gives."""
        whom, had = self.names[recipient], self._could(donor)
        if self.facts["memory"]:
            self._tell_past(donor, recipient)
        commands = [Command("GIVE", (Blank("amount", numbers(0, had)),))]
        if self.facts["punish"] and had:
            commands.append(Command("PUNISH", (Blank("amount", numbers(1, had)),)))
        self.choose(donor, "donate", commands, target=whom, had=self.now.purse[donor])

    def _tell_past(self, donor: int, recipient: int) -> None:
        """Tell a donor what its recipient did last when it was a donor, the last act first."""
        names, whom = self.names, self.names[recipient]
        acts = [a for a in self.now.acts if a.donor == recipient and a.generation == self.now.generation]
        acts = acts[: -self.facts["memory"] - 1 : -1]
        told = [self.words.said(a.kind, amount=a.amount, had=a.had, target=names[a.recipient]) for a in acts]
        known = Happening("known", whom, tuple((a.kind, a.amount, a.had) for a in acts), round=self.now.round)
        line = self.words.said("known" if acts else "unknown", name=whom, acts="; ".join(told))
        self.tell(donor, line, known)

    def _could(self, donor: int) -> int:
        return min(self.now.purse[donor], self.facts["most"])

    def _carry_out(self, act: DonorAct) -> None:
        """Move what was given, or take what a punishment costs; the recipient alone learns of it."""
        purse, facts, r = self.now.purse, self.facts, act.recipient
        purse[act.donor] -= act.amount
        change = act.amount * facts["factor"] if act.kind == "give" else -min(act.amount * facts["harm"], purse[r])
        purse[r] += change
        who, sentence = self.names[act.donor], "gets" if act.kind == "give" else "hit"
        line = self.words.said(sentence, name=who, amount=act.amount, change=abs(change), left=purse[r])
        self.tell(r, line, Happening(act.kind, who, act.amount, self.names[r], round=self.now.round))

    # --- what success is measured by -------------------------------------------------------------------

    def _share_evenly(self, donor: int, recipient: int) -> None:
        """Go on with the game in which every donor gives half."""
        even = self.now.even
        half = min(even[donor] / 2, self.facts["most"])
        even[donor] -= half
        even[recipient] += half * self.facts["factor"]

    def _benchmark(self) -> float:
        return self.now.benchmark + sum(self.now.even.values()) / len(self.names)

    def _resources(self) -> list[int]:
        return [self.now.banked[i] + self.now.purse[i] for i in range(len(self.names))]

    styles: ClassVar = {
        "generous": lambda request, _: _giving(request, "generous", lambda _: 1 / 2),
        "greedy": lambda request, _: _giving(request, "greedy", lambda _: 0.0),
        "reciprocal": lambda request, _: _giving(request, "reciprocal", _scored),
        "skilled": lambda request, _: _giving(request, "skilled", _foresighted),
    }


_FACTS = ("rounds", "start", "factor", "most", "memory", "punish", "harm", "generations")


def _drawn(n: int, rng: random.Random) -> tuple[tuple[int, int], ...]:
    """Draw who gives to whom: half of the seats to the other half."""
    order = rng.sample(range(n), n)
    return tuple(zip(order[: n // 2], order[n // 2 :], strict=True))


def _turned(pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Let those give who were given to, each to another one than it got from."""
    donors = [donor for donor, _ in pairs]
    return tuple((r, donors[(k + 1) % len(donors)]) for k, (_, r) in enumerate(pairs))


def _image(request: Any) -> float:
    """What share the recipient gave on average, as far as it is known; whom nothing is known of is trusted."""
    known = next((e.value for e in reversed(request.events) if e.kind == "known"), ())
    shares = [amount / max(had, 1) if kind == "give" else 0.0 for kind, amount, had in known]
    return sum(shares) / len(shares) if shares else 1.0


def _scored(request: Any) -> float:
    """Give half, but only to those who gave at least a quarter: image scoring."""
    return 1 / 2 if _image(request) >= 1 / 4 else 0.0


def _foresighted(request: Any) -> float:
    """Give all early and a quarter in one's last turn, and less to those who gave less than half."""
    to_come = request.brief.facts["rounds"] - next(e.value for e in reversed(request.events) if e.kind == "round")
    return min(2 * _image(request), 1.0) * (1.0 if to_come > 1 else 1 / 4)


def _giving(request: Any, style: str, rule: Callable[[Any], float]) -> str:
    """Say what one means to do, or give a share of what one could give."""
    if not request.prompt.commands:
        return request.brief.words.ways[style]
    could = int(request.prompt.commands[0].blanks[0].options[-1])
    return f"GIVE {int(rule(request) * could + 1 / 2)}"
