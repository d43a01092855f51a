"""Buying and selling: one thing, a seller who paid for it, a buyer to whom it is worth something, and prices in turn.

    surplus = value - cost;   seller's share = (price - cost) / surplus;   buyer's share = (value - price) / surplus

After NegotiationArena (arXiv 2402.05863) and the buy-and-sell game with personas (arXiv 2511.17990): each knows its own
limit alone, names prices with words in turn, accepts the other's last price, or leaves. Unlike there, the surplus is
always even, so that a price exists at which both reach half of it. Where the value lies below the cost, shares are
counted in the size of that gap: together the two lose 1 by a deal.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from maro_lib.world.protocol import Blank, Command, Prompt
from maro_lib.world.setups import Scenario
from maro_lib.world.turns import State
from maro_lib.worlds.commands import Told, numbers
from maro_lib.worlds.world import Happening, World, check_knobs, seats

_ROLES = ("seller", "buyer")
_PERSONAS = ("friendly", "generous", "tough", "cunning")
_CHOICES = {"opens": ("either", *_ROLES), "persona": ("none", *_PERSONAS, "any"), "persona_seats": ("both", *_ROLES)}


@dataclass(frozen=True)
class BuyingKnobs:
    """What can be turned."""

    rounds: int = 5  # turns of each seat
    max_price: int = 100
    least: int = 20  # the gap between the two limits, at least and at most; an even number is drawn
    most: int = 60
    no_deal: float = 0.1  # share of scenarios in which the value lies below the cost
    opens: str = "either"  # who names the first price: seller, buyer; either: drawn
    persona: str = "none"  # how a seat is told to be: none, friendly, generous, tough, cunning; any: drawn
    persona_seats: str = "both"  # who is told so: both, seller, buyer

    def __post_init__(self) -> None:
        check_knobs(self, rounds=1, max_price=2, least=2, no_deal=0)
        check_knobs(self, most=2 * -(-self.least // 2))
        if self.most > self.max_price:
            raise ValueError(f"most: {self.most}; at most max_price, {self.max_price}, is possible")
        if self.no_deal > 1:
            raise ValueError(f"no_deal: {self.no_deal!r}; a share of at most 1 is needed")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: {getattr(self, name)!r} is not one of {', '.join(choices)}")


@dataclass
class _Table(State):
    price: int = -1  # that is on the table
    by: int = -1  # whose price that is
    first: int = -1  # the first price of all
    asked: dict[int, int] = field(default_factory=dict)  # the first price of each seat
    n_offers: int = 0
    end: str = ""  # deal, left; time if neither


class Buying(World):
    """One thing to sell, over some rounds."""

    name = "buying"
    question = "Who gets the better part of a deal, and who sees when there is none to be made?"
    success = "at least half of the surplus; where there is no surplus, that no deal is made"
    columns: ClassVar = {
        "games": {"cost": ("int32", "what the thing cost the seller"),
                  "value": ("int32", "what it is worth to the buyer"),
                  "surplus": ("int32", "value less cost: what a deal gains; below 0, no deal is worth it"),
                  "fair_price": ("float32", "the middle of cost and value"),
                  "deal": ("bool", "whether it was sold"),
                  "price": ("int32", "for how much; empty without a deal"),
                  "first_offer": ("int32", "the first price that anybody named; empty if nobody did"),
                  "first_offers": ("list of int32", "the first price that each seat named; -1 if it named none"),
                  "n_offers": ("int32", "prices named"),
                  "end": ("text", "deal, left, or time (the rounds were over)"),
                  "personas": ("list of text", "how each seat was told to be; none if it was not")},
        "actions": {"price": ("int32", "the price named or accepted"),
                    "gain": ("int32", "what the seat would gain by it: below 0, it lies beyond its own limit")},
    }  # fmt: skip
    cooperative = "the part of the surplus that a price, named or accepted, leaves to the other; none without a surplus"
    knobs = BuyingKnobs
    state = _Table

    @classmethod
    def deal(cls, knobs: BuyingKnobs, rng: random.Random) -> dict[str, Any]:
        gap = 2 * rng.randint(-(-knobs.least // 2), knobs.most // 2)
        low = rng.randint(0, knobs.max_price - gap)
        worth_it = rng.random() >= knobs.no_deal
        limits = (low, low + gap) if worth_it else (low + gap, low)
        facts = {"rounds": knobs.rounds, "max_price": knobs.max_price, "least": knobs.least, "most": knobs.most,
                 "opens": knobs.opens}  # fmt: skip
        private = [{"limit": limit, "persona": _persona(knobs, role, rng)}
                   for limit, role in zip(limits, _ROLES, strict=True)]  # fmt: skip
        return {"title": "lamp", "cell": "surplus" if worth_it else "no surplus", "facts": facts,
                "characters": seats(rng, 2, *_ROLES), "private": tuple(private)}  # fmt: skip

    @classmethod
    def payoff_range(cls, script: Scenario) -> tuple[float, float]:
        most = script.facts["max_price"] / script.facts["least"]  # a whole price gained over the smallest gap
        return -most, most

    @classmethod
    def another(cls, fact: str, value: Any) -> Any:
        if fact == "persona":
            return next(p for p in _PERSONAS if p != value)
        return value + 1

    def plan(self, rng: random.Random) -> list[tuple]:
        opens = self.facts["opens"]
        first = _ROLES.index(opens) if opens in _ROLES else rng.randrange(2)
        plan: list[tuple] = []
        for k in range(1, self.facts["rounds"] + 1):
            plan += [("round", k), ("turn", first), ("turn", 1 - first)]
        return plan

    def beginning(self, player: int) -> str:
        alone, sentence = self.script.alone(player), f"rules_{_ROLES[player]}"
        rules = self.words.said(sentence, name=self.names[player], other=self.names[1 - player], limit=alone["limit"],
                                **self.facts)  # fmt: skip
        return "\n".join([rules, *(v for k, v in self.words.personas.items() if k == alone["persona"])])

    def begin(self, entry: tuple) -> None:
        table = self.now
        match entry:
            case "round", k if not table.end:
                table.round = k
                self.announce("round", Happening("round", value=k, round=k), k=k, n=self.facts["rounds"])
            case "turn", i if not table.end:
                self._ask_for_a_move(i)

    def _ask_for_a_move(self, player: int) -> None:
        """Ask for a price, or yes or no to the other's; nobody could answer to a new price at the last turn."""
        offered, is_last = self.now.by == 1 - player, not self.now.agenda
        if is_last and not offered:
            return
        offer = Command("OFFER", (Blank("price", numbers(0, self.facts["max_price"])), Blank("words")))
        commands = [*([] if is_last else [offer]), *([Command("ACCEPT")] if offered else []), Command("LEAVE")]
        phase = "last" if is_last else "answer" if offered else "open"
        self.choose(player, phase, commands, name=self.names[1 - player], price=self.now.price)

    def do(self, player: int, prompt: Prompt, told: Told) -> dict[str, Any]:  # noqa: ARG002 - the command says all
        table, me = self.now, self.names[player]
        seen = {"target": self.names[1 - player], "public": True}
        if told.kind == "leave":
            table.end = "left"
            self.announce("left", Happening("leave", me, round=table.round), but=player, name=me)
            return seen
        if told.kind == "accept":
            table.end = "deal"
            event = Happening("accept", me, table.price, round=table.round)
            self.announce("accepted", event, but=player, name=me, price=table.price)
        else:
            self._offer(player, int(told.values["price"]), told.text)
        return seen | {"price": table.price, "gain": self._gain(player, table.price)}

    def _offer(self, player: int, price: int, text: str) -> None:
        """Put a price on the table; one that was there is gone."""
        table, me = self.now, self.names[player]
        table.price, table.by = price, player
        table.n_offers += 1
        table.first = price if table.first < 0 else table.first
        table.asked.setdefault(player, price)
        event = Happening("offer", me, price, text=text, round=table.round)
        self.announce("offers" if text else "offers_bare", event, but=player, name=me, price=price, text=text)

    def miss(self, player: int, prompt: Prompt) -> None:  # noqa: ARG002 - all prompts are alike
        self.announce("silent", but=player, name=self.names[player])

    def _limit(self, player: int) -> int:
        return self.script.alone(player)["limit"]

    def _gain(self, player: int, price: int) -> int:
        return price - self._limit(0) if player == 0 else self._limit(1) - price

    @property
    def _surplus(self) -> int:
        return self._limit(1) - self._limit(0)

    @classmethod
    def cooperation(cls, script: Scenario, actions: Sequence[Mapping[str, Any]]) -> list[float | None]:
        surplus = script.alone(1)["limit"] - script.alone(0)["limit"]
        is_price = [surplus > 0 and a["kind"] in ("offer", "accept") for a in actions]
        return [min(max(1 - a["gain"] / surplus, 0.0), 1.0) if p else None
                for a, p in zip(actions, is_price, strict=True)]  # fmt: skip

    def payoffs(self) -> list[float]:
        if self.now.end != "deal":
            return [0.0, 0.0]
        size = max(abs(self._surplus), 1)
        return [self._gain(i, self.now.price) / size for i in range(2)]

    def successes(self) -> list[int]:
        dealt = self.now.end == "deal"
        if self._surplus <= 0:
            return [int(not dealt)] * 2
        return [int(dealt and 2 * self._gain(i, self.now.price) >= self._surplus) for i in range(2)]

    def own_record(self) -> Mapping[str, Any]:
        table, dealt = self.now, self.now.end == "deal"
        return {"cost": self._limit(0), "value": self._limit(1), "surplus": self._surplus,
                "fair_price": (self._limit(0) + self._limit(1)) / 2,
                "deal": dealt, "price": table.price if dealt else None,
                "first_offer": table.first if table.first >= 0 else None,
                "first_offers": [table.asked.get(i, -1) for i in range(2)],
                "n_offers": table.n_offers, "end": table.end or "time",
                "personas": [self.script.alone(i)["persona"] for i in range(2)]}  # fmt: skip

    styles: ClassVar = {
        "skilled": lambda request, _: _bargain(request, lambda left, f: left * f["most"]),
        "fair": lambda request, _: _bargain(request, lambda left, f: left * (f["least"] + f["most"]) / 4),
        "soft": lambda request, _: _bargain(request, lambda left, f: left * f["least"] / 2, enough=1),
        "greedy": lambda request, _: _bargain(request, lambda _, f: (f["least"] + f["most"]) / 2, gives_in=False),
    }


def _persona(knobs: BuyingKnobs, role: str, rng: random.Random) -> str:
    drawn = rng.choice(_PERSONAS) if knobs.persona == "any" else knobs.persona
    return drawn if knobs.persona_seats in ("both", role) else "none"


# --- players by rule ---------------------------------------------------------------------------------


def _bargain(
    request: Any, asked: Callable[[float, Mapping[str, Any]], float], enough: float | None = None, gives_in: bool = True
) -> str:
    """Ask for a gain that depends on the share of time left; accept what gives as much, or `enough`.

    Who gives in takes any gain at the last turn. Nobody goes beyond its own limit.
    """
    words, facts = [c.word for c in request.prompt.commands], request.brief.facts
    ask = max(round(asked(_left(request), facts)), 1)
    needed = 1 if gives_in and "OFFER" not in words else min(ask, enough or ask)
    if "ACCEPT" in words and _own_gain(request, _standing(request)) >= needed:
        return "ACCEPT"
    return f"OFFER {_price(request, ask)}: {_pitch(request)}" if "OFFER" in words else "LEAVE"


def _left(request: Any) -> float:
    """The share of the rounds that is left, this one included."""
    n, k = request.brief.facts["rounds"], max(e.value for e in request.events if e.kind == "round")
    return (n - k + 1) / n


def _standing(request: Any) -> int:
    return next(e.value for e in reversed(request.events) if e.kind == "offer")


def _own_gain(request: Any, price: int) -> int:
    limit = request.brief.private["limit"]
    return price - limit if request.brief.me.role == "seller" else limit - price


def _price(request: Any, gain: int) -> int:
    """The price that gives a gain, as far as prices go."""
    limit = request.brief.private["limit"]
    wanted = limit + gain if request.brief.me.role == "seller" else limit - gain
    return min(max(wanted, 0), request.brief.facts["max_price"])


def _pitch(request: Any) -> str:
    return request.brief.words.said(f"pitch_{request.brief.me.role}")
