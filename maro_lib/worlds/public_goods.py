"""Public goods: what all put into a pot is multiplied and shared equally, and who keeps its own shares in it too.

After Fehr and Gaechter (2000) and "Investigating the Impact of Direct Punishment on the Emergence of Cooperation in
Multi-Agent Reinforcement Learning Systems" (arXiv 2301.08278): talk in turn, then everybody puts in private, all see
who put how much, and then it may cost points to take more points from another. Who punishes (`punishment`), who plays
with whom (`partners`) and whether the past is told again (`reputation`) are knobs. A partner is chosen by two who name
each other: their pot is their own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any, ClassVar

from maro_lib.wording import check_name
from maro_lib.world.protocol import Blank, Command, Prompt
from maro_lib.world.setups import Scenario
from maro_lib.world.turns import State
from maro_lib.worlds.commands import Told, numbers
from maro_lib.worlds.world import Happening, World, check_knobs, seats

_PUNISHMENTS = ("none", "direct", "third_party")
_PARTNERS = ("everybody", "chosen")


@dataclass(frozen=True)
class PublicGoodsKnobs:
    """What can be turned."""

    players: int = 4
    rounds: int = 5
    endowment: int = 10  # what each seat has in each round
    factor: float = 1.6  # the pot is multiplied by it
    punishment: str = "direct"  # none; direct: each of the group; third_party: a seat that looks on
    most: int = 3  # what one seat can spend on punishing in a round
    harm: int = 3  # what is lost for each point spent on punishing
    partners: str = "everybody"  # everybody; chosen: two who name each other
    reputation: bool = False  # what each has put on average is told in each round
    talk: bool = True

    def __post_init__(self) -> None:
        check_knobs(self, players=2, rounds=1, endowment=1, most=1, harm=1)
        check_name("punishment", self.punishment, _PUNISHMENTS)
        check_name("partners", self.partners, _PARTNERS)
        if self.punishment == "third_party":
            check_knobs(self, players=3)
        n = _size(self.players, self.punishment, self.partners)
        if not 1 < self.factor < n:
            raise ValueError(f"factor: {self.factor!r}; above 1 and below {n} is needed (how many share a pot): else "
                             "there is no dilemma")  # fmt: skip


@dataclass
class _Pot(State):
    points: dict[int, float] = field(default_factory=dict)
    stage: str = ""  # what is being answered: pick, put, punish; empty in talk
    observer: int = -1  # who looks on in this round
    groups: tuple[tuple[int, ...], ...] = ()  # who shares a pot in this round, in the order in which it is told
    picks: dict[int, int] = field(default_factory=dict)
    puts: dict[int, int] = field(default_factory=dict)
    punished: dict[int, tuple[int, int]] = field(default_factory=dict)  # whom, how much was spent; by seat
    given: list[tuple[int, int]] = field(default_factory=list)  # seat, what it put; of all rounds
    n_punished: int = 0


class PublicGoods(World):
    """A pot for all, over some rounds."""

    name = "public_goods"
    question = "Who pays for what all share, and who for making others pay?"
    success = "own points are above what all have if everybody keeps everything in every round"
    columns: ClassVar = {
        "games": {"contribution": ("float32", "what was put on average, by those who shared a pot"),
                  "points": ("list of float32", "what each seat has at the end"),
                  "punishments": ("int32", "how often somebody punished"),
                  "welfare": ("float32", "the points of all seats together")},
        "actions": {"amount": ("int32", "what was put, or spent on punishing")},
    }  # fmt: skip
    cooperative = "the part of the endowment that was put"
    knobs = PublicGoodsKnobs
    state = _Pot

    @classmethod
    def deal(cls, knobs: PublicGoodsKnobs, rng: random.Random) -> dict[str, Any]:
        facts = {name: getattr(knobs, name) for name in _FACTS}
        return {"title": "pot", "cell": f"{knobs.punishment}, {knobs.partners}", "facts": facts,
                "characters": seats(rng, knobs.players, "player")}  # fmt: skip

    @classmethod
    def payoff_range(cls, script: Scenario) -> tuple[float, float]:
        f, n = script.facts, len(script.names)
        size = _size(n, f["punishment"], f["partners"])
        alone = f["endowment"] * f["factor"] / size  # who puts all, where nobody else puts anything
        hit = f["most"] * f["harm"]  # by one other
        low = {"none": alone, "direct": alone - f["most"] - hit * (size - 1),
               "third_party": min(alone - hit, f["endowment"] - f["most"])}[f["punishment"]]  # fmt: skip
        high = f["endowment"] + alone * (size - 1)  # who keeps all, where all others put everything
        return round(f["rounds"] * low, 6), round(f["rounds"] * high, 6)

    def opened(self, rng: random.Random, seats: list) -> _Pot:
        state = super().opened(rng, seats)
        state.points = dict.fromkeys(range(len(self.names)), 0.0)
        return state

    def plan(self, rng: random.Random) -> list[tuple]:
        n, f, plan = len(self.names), self.facts, []
        for k in range(1, f["rounds"] + 1):
            order = rng.sample(range(n), n)
            observer = rng.choice(order) if f["punishment"] == "third_party" else -1
            plan.append(("round", k, observer, tuple(order)))
            plan += [("talk", i) for i in order if f["talk"]]
            plan += [("pick",)] if f["partners"] == "chosen" else []
            plan.append(("put",))
            plan += [("punish",)] if f["punishment"] != "none" else []
        return plan

    def beginning(self, player: int) -> str:
        f, words = self.facts, self.words
        more = {"rules_chosen": f["partners"] == "chosen", "rules_direct": f["punishment"] == "direct",
                "rules_third_party": f["punishment"] == "third_party"}  # fmt: skip
        rules = " ".join([words.rules, *(getattr(words, name) for name, holds in more.items() if holds)])
        return rules.format(name=self.names[player], others=", ".join(self.others(player)), n=len(self.names), **f)

    def begin(self, entry: tuple) -> None:
        match entry:
            case "round", k, observer, order:
                self._begin_round(k, observer, order)
            case "talk", i:
                self.talk(i)
            case ("pick",):
                self._ask_for_partners()
            case ("put",):
                self._ask_for_puts()
            case ("punish",):
                self._ask_who_is_punished()

    def do(self, player: int, prompt: Prompt, told: Told) -> dict[str, Any]:
        if prompt.phase == "talk":
            return self.speak(player, told)
        name, amount = told.values.get("name", ""), int(told.values.get("amount", 0))
        match told.kind:
            case "pick":
                self.now.picks[player] = self.names.index(name)
                return {"target": name}
            case "put":
                self.now.puts[player] = amount
                return {"amount": amount}
            case "punish":
                self.now.punished[player] = self.names.index(name), amount
                return {"amount": amount, "target": name}
        return {}

    def settle(self) -> None:
        stage, self.now.stage = self.now.stage, ""
        match stage:
            case "pick":
                self._pair_up()
            case "put":
                self._share_out()
            case "punish":
                self._take_away()

    @classmethod
    def cooperation(cls, script: Scenario, actions: Sequence[Mapping[str, Any]]) -> list[float | None]:
        endowment = script.facts["endowment"]
        return [a["amount"] / endowment if a["kind"] == "put" else None for a in actions]

    def payoffs(self) -> list[float]:
        return [round(self.now.points[i], 6) for i in range(len(self.names))]

    def successes(self) -> list[int]:
        defection = self.facts["endowment"] * self.facts["rounds"]
        return [int(p > defection) for p in self.payoffs()]

    def own_record(self) -> Mapping[str, Any]:
        puts, points = [amount for _, amount in self.now.given], self.payoffs()
        return {"contribution": mean(puts or [0]), "points": points, "punishments": self.now.n_punished,
                "welfare": sum(points)}  # fmt: skip

    # --- what is asked ---------------------------------------------------------------------------------

    def _begin_round(self, k: int, observer: int, order: Sequence[int]) -> None:
        """Give everybody the same, and say who looks on and, if the knob says so, what all have put so far."""
        now, facts = self.now, self.facts
        now.round, now.observer = k, observer
        now.groups = () if facts["partners"] == "chosen" else (tuple(i for i in order if i != observer),)
        for i in now.points:
            now.points[i] += facts["endowment"]
        self.announce("round", Happening("round", value=k, round=k), k=k, n=facts["rounds"])
        if facts["reputation"] and now.given:
            self._tell_record()
        if observer >= 0:
            name = self.names[observer]
            self.announce("observer", Happening("observer", name, round=k), name=name)

    def _tell_record(self) -> None:
        """Say what each seat has put on average."""
        puts = {i: [amount for seat, amount in self.now.given if seat == i] for i in range(len(self.names))}
        means = [(self.names[i], round(mean(amounts), 1)) for i, amounts in puts.items() if amounts]
        events = [Happening("record", name, value, round=self.now.round) for name, value in means]
        self.announce("record", *events, record=_in_a_row(means))

    def _players(self) -> list[int]:
        """All who may share a pot in this round."""
        return [i for i in range(len(self.names)) if i != self.now.observer]

    def _ask_for_partners(self) -> None:
        self.now.stage = "pick"
        for i in self._players():
            names = tuple(self.names[j] for j in self._players() if j != i)
            self.choose(i, "pick", [Command("PICK", (Blank("name", names),))])

    def _ask_for_puts(self) -> None:
        command = Command("PUT", (Blank("amount", numbers(0, self.facts["endowment"])),))
        for group in self.now.groups:
            self.now.stage = "put"
            for i in group:
                mates = ", ".join(self.names[j] for j in group if j != i)
                self.choose(i, "put", [command], mates=mates, endowment=self.facts["endowment"])

    def _ask_who_is_punished(self) -> None:
        """Ask all who may punish: each of a group whom it shared a pot with, or who looked on."""
        now = self.now
        if now.observer < 0:
            may = {i: [j for j in group if j != i] for group in now.groups for i in group}
        else:
            may = {now.observer: [i for group in now.groups for i in group]}
        for i, targets in may.items():
            if targets:
                now.stage = "punish"
                blanks = (Blank("name", tuple(self.names[j] for j in targets)),
                          Blank("amount", numbers(1, self.facts["most"])))  # fmt: skip
                self.choose(i, "punish", [Command("PASS"), Command("PUNISH", blanks)], harm=self.facts["harm"])

    # --- what comes of it ------------------------------------------------------------------------------

    def _pair_up(self) -> None:
        """Let those share a pot who named each other."""
        picks = self.now.picks
        self.now.groups = tuple((i, picks[i]) for i in sorted(picks) if i < picks[i] and picks.get(picks[i]) == i)
        for i, j in self.now.groups:
            a, b = self.names[i], self.names[j]
            self.announce("paired", Happening("paired", a, target=b, round=self.now.round), a=a, b=b)
        if not self.now.groups:
            self.announce("nobody_paired")
        picks.clear()

    def _share_out(self) -> None:
        """Multiply each pot, and give its group equal parts of it."""
        now, k = self.now, self.now.round
        for group in now.groups:
            puts = [(i, now.puts.get(i, 0)) for i in group]
            total = sum(amount for _, amount in puts)
            each = total * self.facts["factor"] / len(group)
            for i, amount in puts:
                now.points[i] += each - amount
            now.given += puts
            events = [Happening("put", self.names[i], amount, round=k) for i, amount in puts]
            row = _in_a_row((self.names[i], amount) for i, amount in puts)
            self.announce("shared", *events, puts=row, total=total, each=f"{round(each, 1):g}")
        now.puts.clear()

    def _take_away(self) -> None:
        """Let punishments cost, and take; all see them."""
        now = self.now
        for i, (j, amount) in sorted(now.punished.items()):
            loss = amount * self.facts["harm"]
            now.points[i] -= amount
            now.points[j] -= loss
            a, b = self.names[i], self.names[j]
            event = Happening("punish", a, amount, b, round=now.round)
            self.announce("punished", event, name=a, target=b, amount=amount, loss=loss)
        now.n_punished += len(now.punished)
        now.punished.clear()

    styles: ClassVar = {
        "generous": lambda request, _: _playing(request, lambda r: r.brief.facts["endowment"]),
        "greedy": lambda request, _: _playing(request, lambda _: 0),
        "conditional": lambda request, _: _playing(request, _as_the_others),
        "punisher": lambda request, _: _playing(request, _as_the_others, _free_rider),
        "skilled": lambda request, _: _playing(request, _as_most, _lone_free_rider),
    }


_FACTS = ("rounds", "endowment", "factor", "punishment", "most", "harm", "partners", "reputation", "talk")


def _size(players: int, punishment: str, partners: str) -> int:
    """How many share a pot."""
    return 2 if partners == "chosen" else players - (punishment == "third_party")


def _in_a_row(values: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values)


# --- players by rule -----------------------------------------------------------------------------------


def _last_puts(request: Any, before: int) -> dict[str, int]:
    """Who put how much in the last round before one that anybody put anything in."""
    k = max((e.round for e in request.events if e.kind == "put" and e.round < before), default=0)
    return {e.who: e.value for e in request.events if e.kind == "put" and e.round == k}


def _round(request: Any) -> int:
    return next(e.value for e in reversed(request.events) if e.kind == "round")


def _others_puts(request: Any) -> list[int]:
    """What others put last."""
    puts = _last_puts(request, _round(request))
    return [amount for name, amount in puts.items() if name != request.brief.me.name]


def _as_the_others(request: Any) -> int:
    """Put what others put last on average, and all at first."""
    others = _others_puts(request)
    return int(mean(others) + 1 / 2) if others else request.brief.facts["endowment"]


def _as_most(request: Any) -> int:
    """Put all at first, and as long as most others put nearly all; one free rider among them changes nothing."""
    others, endowment = _others_puts(request), request.brief.facts["endowment"]
    return endowment if not others or 4 * median(others) >= 3 * endowment else 0


def _free_rider(request: Any) -> str:
    """Who put least now, if that is less than half of what the rest put on average."""
    names = request.prompt.commands[1].blanks[0].options
    puts = _last_puts(request, _round(request) + 1)
    least = min(names, key=lambda name: puts[name])
    rest = [amount for name, amount in puts.items() if name != least]
    return least if rest and 2 * puts[least] < mean(rest) else ""


def _lone_free_rider(request: Any) -> str:
    """A free rider, if there is a round to come and everybody else put at least half of what it has."""
    facts, least = request.brief.facts, _free_rider(request)
    puts = _last_puts(request, _round(request) + 1)
    alone = all(2 * amount >= facts["endowment"] for name, amount in puts.items() if name != least)
    return least if alone and _round(request) < facts["rounds"] else ""


def _partner(request: Any) -> str:
    """Who put most on average as far as is known; among equals the neighbour, if seats are counted in twos."""
    names, me = request.prompt.commands[0].blanks[0].options, request.brief.me.name
    there = [name for name in request.brief.names if name in (*names, me)]
    neighbour = there.index(me) ^ 1
    puts = {name: [e.value for e in request.events if e.kind == "put" and e.who == name] for name in names}
    trust = {name: mean(amounts or [request.brief.facts["endowment"]]) for name, amounts in puts.items()}
    return max(names, key=lambda name: (trust[name], there.index(name) == neighbour))


def _playing(request: Any, amount: Callable[[Any], int], punished: Callable[[Any], str] = lambda _: "") -> str:
    """Say what would be best for all, name a partner, put an amount, and punish somebody or nobody."""
    match request.prompt.phase:
        case "talk":
            return request.brief.words.offer.format(amount=request.brief.facts["endowment"])
        case "pick":
            return f"PICK {_partner(request)}"
        case "put":
            return f"PUT {amount(request)}"
    name = punished(request)
    return f"PUNISH {name} 1" if name else "PASS"
