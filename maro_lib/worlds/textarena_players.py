"""Who plays TextArena's games by rule: five families of them, each read from its prompt and the game's own lines."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from math import gcd
from typing import Any, NamedTuple

from maro_lib.world.protocol import Blank, Form, Message, Prompt
from maro_lib.worlds.commands import SAY, numbers
from maro_lib.worlds.registry import WorldError
from maro_lib.worlds.wordbook import Words


def game_family(game: str) -> str:
    """What the variants of a game have in common: SimpleNegotiation-v0-short."""
    return game.partition("-v")[0]


class AskedInGame(NamedTuple):
    """What a player by rule looks at."""

    player: int
    prompt: Prompt
    view: Sequence[Message]
    words: Words

    @property
    def is_talk(self) -> bool:
        return self.prompt.phase in ("conversation", "day-discussion")

    @property
    def opponents(self) -> list[int]:
        return [int(name.split()[-1]) for name in self.prompt.names]

    def last(self, pattern: str) -> list[re.Match[str]]:
        """What the game's own lines said last time; nobody's words begin a line."""
        found = [[*re.finditer(rf"^(?:\[GAME\])?\s*{pattern}", m.content, re.M)] for m in self.view if m.role == "user"]
        return next((matches for matches in reversed(found) if matches), [])


class _Guide(NamedTuple):
    """How one of the games is played by rule."""

    forms: Callable[[AskedInGame], Sequence[Form]]
    skilled: Callable[[AskedInGame], str] | None = None
    greedy: Callable[[AskedInGame], str] | None = None


def _guide_of(request: Any, style: str) -> tuple[AskedInGame, Any]:
    game = request.brief.facts["game"]
    rule = getattr(GUIDES.get(game_family(game)), "forms" if style == "random" else style, None)
    if rule is None:
        there = [name for name, guide in GUIDES.items() if style == "random" or getattr(guide, style)]
        raise WorldError(f"world: textarena: {game} has no player by rule called {style}; let a model play it (there "
                         f"is one for {', '.join(there)})")  # fmt: skip
    return AskedInGame(request.player, request.prompt, request.view, request.brief.words), rule


def play_by_rule(request: Any, style: str) -> str:
    asked, rule = _guide_of(request, style)
    return asked.words.pledge if request.prompt.phase == "summary" else rule(asked)


def play_at_random(request: Any, rng: random.Random) -> str:
    """Reply in any way that the game takes."""
    asked, forms = _guide_of(request, "random")
    chatter = rng.choice(request.brief.words.chatter)
    if request.prompt.phase == "summary":
        return chatter
    form = rng.choice(forms(asked))
    return form.say({b.name: rng.choice(b.options) if b.options else chatter for b in form.blanks})


def _pick(title: str, options: Sequence[str]) -> Form:
    """One of some tokens, between the game's brackets."""
    return Form(title, (Blank("option", tuple(options)),), lambda values: f"[{values['option']}]")


_CHOICES = ("cooperate", "defect")


def _three_ways(asked: AskedInGame) -> Sequence[Form]:
    if asked.is_talk:
        return (SAY,)
    blanks = tuple(Blank(name, _CHOICES) for name in asked.prompt.names)
    return (Form("decide", blanks, lambda values: _tokens({int(k.split()[-1]): v for k, v in values.items()})),)


def _tokens(choices: Mapping[int, str]) -> str:
    return " ".join(f"[{opponent} {choice}]" for opponent, choice in choices.items())


def _three_in_kind(asked: AskedInGame) -> str:
    """Tit for tat, against each of the two on its own."""
    if asked.is_talk:
        return asked.words.pledge
    did = {}
    for m in asked.last(r"Player (\d) vs Player (\d) chose to (\w+) and (\w+)"):
        one, other = int(m[1]), int(m[2])
        did[one, other], did[other, one] = m[3], m[4]
    return _tokens({k: did.get((k, asked.player), "cooperate") for k in asked.opponents})


def _three_defecting(asked: AskedInGame) -> str:
    return asked.words.pledge if asked.is_talk else _tokens(dict.fromkeys(asked.opponents, "defect"))


def _two_ways(asked: AskedInGame) -> Sequence[Form]:
    return (SAY,) if asked.is_talk else (_pick("decide", [c.capitalize() for c in _CHOICES]),)


def _two_in_kind(asked: AskedInGame) -> str:
    """Tit for tat."""
    if asked.is_talk:
        return asked.words.pledge
    outcome = asked.last(r"(?:Both players \w+ed|Player 0 \w+ed, Player 1 \w+ed)\.$")
    did = outcome[-1][0] if outcome else ""
    defected = "Both players defected" in did or f"Player {asked.opponents[0]} defected" in did
    return "[Defect]" if defected else "[Cooperate]"


def _public_ways(asked: AskedInGame) -> Sequence[Form]:
    if asked.is_talk:
        return (Form("say", (Blank("words"),), lambda values: f"{{{values['words']}}}"),)
    return (_pick("contribute", numbers(0, _endowment(asked))),)


def _endowment(asked: AskedInGame) -> int:
    return int(re.search(r"you receive (\d+) tokens", asked.view[0].content)[1])


def _as_others_gave(asked: AskedInGame) -> str:
    """Give what the others gave on average; all of it at first."""
    if asked.is_talk:
        return f"{{{asked.words.pledge}}}"
    given = {int(m[1]): int(m[2]) for line in asked.last(r"Contributions: (.*)")
             for m in re.finditer(r"P(\d+): (\d+)", line[1]) if int(m[1]) != asked.player}  # fmt: skip
    return f"[{round(sum(given.values()) / len(given)) if given else _endowment(asked)}]"


_GOODS = {"Wheat": 5, "Wood": 10, "Sheep": 15, "Brick": 25, "Ore": 40}  # what each is worth, within a fifth
_GOOD = re.compile(r"\[(\w+)\] +Qty: (\d+) +Value: (\d+)")
_OFFER = re.compile(r"^\[GAME\] Player (\d) made .* Offered items: (.*) -> Requested items: (.*)$")
_DEAL = re.compile(r"^\[GAME\] Player (\d) accepted the trade offer from Player (\d)")


class _Market(NamedTuple):
    """What a negotiator has, what that is worth to it, and what is offered to it."""

    stock: dict[str, int]
    worth: dict[str, int]
    offered: dict[str, int]  # what it would get, less what it would give; empty: nothing

    def gain(self, change: Mapping[str, int]) -> int:
        return sum(self.worth[good] * n for good, n in change.items())

    def can(self, change: Mapping[str, int]) -> bool:
        return all(self.stock[good] + n >= 0 for good, n in change.items())


def _market(asked: AskedInGame) -> _Market:
    """Read the own goods from the prompt, and follow the trades since."""
    goods = {m[1]: (int(m[2]), int(m[3])) for m in _GOOD.finditer(asked.view[0].content)}
    stock, change, by = {good: n for good, (n, _) in goods.items()}, {}, -1
    for line in (line for m in asked.view if m.role == "user" for line in m.content.split("\n")):
        if offer := _OFFER.match(line):
            by, change = int(offer[1]), dict.fromkeys(stock, 0)
            for side, sign in ((offer[2], -1), (offer[3], 1)):  # as who offers sees it
                for n, good in re.findall(r"(\d+) (\w+)", side):
                    change[good] += (sign if by == asked.player else -sign) * int(n)
        elif deal := _DEAL.match(line):  # an offer that was turned down may still be accepted, even by who made it
            stock = {good: n + change.get(good, 0) * (deal[1] != deal[2]) for good, n in stock.items()}
            change = {}
    worth = {good: value for good, (_, value) in goods.items()}
    return _Market(stock, worth, change if by != asked.player else {})


def _trades(asked: AskedInGame) -> Sequence[Form]:
    market = _market(asked)
    has = tuple(good for good, n in market.stock.items() if n)
    offer = Form("offer", (Blank("give", has), Blank("get", tuple(_GOODS))),
                 lambda values: f"[Offer: 1 {values['give']} -> 1 {values['get']}]")  # fmt: skip
    answers = ("Accept", "Deny") if market.offered and market.can(market.offered) else ("Deny",)
    return offer, _pick("answer", answers), SAY


def _trading(asked: AskedInGame) -> str:
    """Accept what is a gain; else offer what is fair by what goods are worth on average, the best for oneself first."""
    market = _market(asked)
    if market.offered and market.gain(market.offered) > 0 and market.can(market.offered):
        return "[Accept]"
    swaps = [{give: -_GOODS[get] // gcd(_GOODS[give], _GOODS[get]), get: _GOODS[give] // gcd(_GOODS[give], _GOODS[get])}
             for give, get in permutations(_GOODS, 2)]  # fmt: skip
    good = sorted((s for s in swaps if market.can(s) and market.gain(s) > 0), key=market.gain, reverse=True)
    if not good:
        return "[Deny]"
    (give, n_given), (get, n_got) = good[sum(m.role == "assistant" for m in asked.view) % len(good)].items()
    return f"[Offer: {-n_given} {give} -> {n_got} {get}]"


def _mafia_ways(asked: AskedInGame) -> Sequence[Form]:
    if asked.is_talk:
        return (SAY,)
    targets = asked.last(r"(?:Valid targets|Voting phase|Night phase)[^\n]*?(\[\d+\](?:, \[\d+\])*)$")
    return (_pick("name", re.findall(r"\d+", targets[-1][1])),)


GUIDES: Mapping[str, _Guide] = {
    "ThreePlayerIPD": _Guide(_three_ways, _three_in_kind, _three_defecting),
    "IteratedPrisonersDilemma": _Guide(
        _two_ways, _two_in_kind, lambda asked: asked.words.pledge if asked.is_talk else "[Defect]"
    ),
    "PublicGoodsGame": _Guide(
        _public_ways, _as_others_gave, lambda asked: f"{{{asked.words.pledge}}}" if asked.is_talk else "[0]"
    ),
    "SimpleNegotiation": _Guide(_trades, _trading),
    "SecretMafia": _Guide(_mafia_ways),
}
