"""Who plays: anything that, given many requests, returns as many replies.

A policy keeps no state between calls: what it does depends on the request alone (its view and its seed), so
games may interleave, stop and resume, and a batch's composition changes nothing.

Scripted players are the yardstick and, later, the embedded model's teachers. A skilled civilian searches fresh
places, weighs the evidence and votes by it; a skilled culprit finds nothing, wastes time and turns everybody
against one innocent. A naive player does what comes to mind, believes what is said most often, and, if guilty,
forgets to deflect. Taught in notebook 02.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from maro_lib.wording import check_name
from maro_lib.world.mystery import Brief, Event
from maro_lib.world.protocol import Message, Prompt
from maro_lib.world.solver import suspects
from maro_lib.worlds.registry import find_world
from maro_lib.worlds.world import random_style


class Request(NamedTuple):
    """One reply that is wanted: whose, to what, and from which view."""

    game: str
    player: int
    t: int  # this will be the player's t-th action, from 1
    seed: int
    salt: str  # another salt is another draw from the same view
    view: Sequence[Message]
    prompt: Prompt
    events: Sequence[Event]
    brief: Brief
    said: Sequence[Reply] = ()  # this player's replies so far, as its policy gave them

    def rng(self, *purpose: object) -> random.Random:
        """Return a generator of this player's own, for one purpose in this game (by default: this one reply)."""
        key = (self.seed, self.player, *(purpose or (self.t, self.salt)))
        return random.Random("/".join(map(str, key)))


class Reply(NamedTuple):
    """What a policy says; a model adds the token ids as sampled, and what it read before.

    A player's replies with ids are one growing sequence: seen, sampled, seen, sampled, ... A reply that `opens` begins
    a new one: the first of a view, and every one of a model whose chat template rewrites what was said.
    """

    text: str
    token_ids: tuple[int, ...] | None = None
    logps: tuple[float, ...] | None = None  # of token_ids, as sampled
    seen_ids: tuple[int, ...] = ()  # read since the last reply; the whole context if it opens a sequence
    opens: bool = False


@runtime_checkable
class Policy(Protocol):
    """A player of any number of seats; `name` identifies it in the tables, settings included.

    If a name does not tell all (weights can be trained again under it), a policy has a `fingerprint` too.
    """

    name: str

    def act(self, requests: Sequence[Request]) -> list[Reply]: ...


@runtime_checkable
class Remote(Protocol):
    """A policy that answers each request in its own time, so that a slow one keeps no other game waiting."""

    name: str

    def submit(self, request: Request) -> Future[Reply]: ...


@runtime_checkable
class Windowed(Protocol):
    """A policy that reads no more than so many tokens: what outgrows them is continued from a summary."""

    name: str

    def check_window(self, views: Mapping[str, Sequence[Message]]) -> None: ...  # before a game; raises WindowError
    def fits(self, request: Request) -> bool: ...


class WindowError(ValueError):
    """A view can't be made to fit a model's context window; the message names both and the way out."""


@dataclass(frozen=True)
class Random:
    """A player that picks any legal reply."""

    name: str = "random"

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        return [Reply(_scripted_reply(r, 0.0)) if not _in_mystery(r) else Reply(_random_reply(r, r.rng()))
                for r in requests]  # fmt: skip


@dataclass(frozen=True)
class Scripted:
    """A player by rule: an action is skilled with the probability that its faction's skill says, else naive."""

    civilian: float = 1.0
    culprit: float = 1.0

    @property
    def name(self) -> str:
        return f"scripted({self.civilian:g},{self.culprit:g})"

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        return [Reply(self._reply(r)) for r in requests]

    def _reply(self, request: Request) -> str:
        return _scripted_reply(request, getattr(self, request.brief.me.faction, self.civilian))


@dataclass(frozen=True)
class Mixture:
    """Good and bad scripted players, drawn once per game and seat: who is good stays good for the whole game."""

    share_good: float = 0.4
    good: float = 0.95
    bad: float = 0.05

    @property
    def name(self) -> str:
        return f"mixture({self.share_good:g},{self.good:g},{self.bad:g})"

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        return [Reply(_scripted_reply(r, self.skill(r))) for r in requests]

    def skill(self, request: Request) -> float:
        """The skill of this seat in this game."""
        return self.good if request.rng("skill").random() < self.share_good else self.bad


@dataclass(frozen=True)
class Styled:
    """A player by one of its world's own rules (`World.styles`): fair, greedy, ..."""

    style: str

    @property
    def name(self) -> str:
        return self.style

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        return [Reply(self._reply(r)) for r in requests]

    def _reply(self, request: Request) -> str:
        styles = find_world(request.brief.world).styles
        check_name(f"player in {request.brief.world}", self.style, styles)
        return styles[self.style](request, request.rng())


RANDOM = Random()
NAIVE = Scripted(0.0, 0.0)
SKILLED = Scripted(1.0, 1.0)


# --- one scripted reply ------------------------------------------------------------------------------


def _scripted_reply(request: Request, skill: float) -> str:
    rng = request.rng()
    if not _in_mystery(request):
        styles = find_world(request.brief.world).styles
        return (styles["skilled"] if rng.random() < skill else styles.get("random", random_style))(request, rng)
    if rng.random() >= skill:
        return _naive_reply(request, rng)
    return _civilian_reply(request, rng) if request.brief.me.faction == "civilian" else _culprit_reply(request)


def _in_mystery(request: Request) -> bool:
    return isinstance(request.brief, Brief)


def _random_reply(request: Request, rng: random.Random) -> str:
    prompt, brief, book = request.prompt, request.brief, request.brief.book
    others = [n for n in brief.names if n != brief.me.name]
    if prompt.phase == "intro":
        return book.name_self.format(name=brief.me.name)
    if prompt.phase == "turn":
        if prompt.places and rng.random() < 0.5:
            return book.search.format(place=rng.choice(prompt.places))
        return book.ask.format(name=rng.choice(prompt.names), text=book.question)
    if prompt.phase == "rate":
        return book.rate_all({n: (rng.randrange(3), rng.randrange(3)) for n in prompt.names})
    if prompt.phase == "vote":
        return book.voted.format(name=rng.choice(prompt.names))
    return book.suspect.format(name=rng.choice(others)) if rng.random() < 0.5 else book.no_idea


def _naive_reply(request: Request, rng: random.Random) -> str:
    """Do what comes to mind, but believe of others what is said most often."""
    prompt, book, accused = request.prompt, request.brief.book, _accusations(request)
    if not accused or prompt.phase not in ("rate", "vote"):
        return _random_reply(request, rng)
    worst = _best(dict.fromkeys(prompt.names, 0.0), accused, rng)
    if prompt.phase == "vote":
        return book.voted.format(name=worst)
    return book.rate_all({n: (2, 0) if n == worst else (int(accused[n] > 0), 1) for n in prompt.names})


def _civilian_reply(request: Request, rng: random.Random) -> str:
    """Search what nobody has searched, tell what you know, and rate and vote by the evidence."""
    prompt, brief, book = request.prompt, request.brief, request.brief.book
    guilt = suspicion(request)
    top = _best(guilt, _accusations(request), rng)
    if prompt.phase == "turn":
        if prompt.places:
            return book.search.format(place=_freshest(request, rng))
        return book.ask.format(name=top, text=book.question)
    if prompt.phase == "rate":
        return book.rate_all({n: _rating(guilt[n]) for n in prompt.names})
    if prompt.phase == "vote":
        return book.voted.format(name=top)
    testimony = " ".join(_testimony(request))
    if prompt.phase == "intro":
        return f"{book.name_self.format(name=brief.me.name)} {testimony}".strip()
    sure = book.suspect.format(name=top) if guilt[top] > 1 / 2 else book.no_idea
    return f"{testimony} {sure}".strip()


def _culprit_reply(request: Request) -> str:
    """Find nothing, spend time on questions, and turn everybody against one innocent."""
    prompt, brief, book = request.prompt, request.brief, request.brief.book
    victim = _scapegoat(request)
    accuse = book.suspect.format(name=victim)
    if prompt.phase == "turn":
        return book.ask.format(name=victim, text=f"{accuse} {book.question}")
    if prompt.phase == "rate":
        return book.rate_all({n: (2, 0) if n == victim else (0, 2) for n in prompt.names})
    if prompt.phase == "vote":
        return book.voted.format(name=victim)
    return f"{book.name_self.format(name=brief.me.name)} {accuse}" if prompt.phase == "intro" else accuse


# --- what a scripted player makes of its view --------------------------------------------------------


def suspicion(request: Request) -> dict[str, float]:
    """How probable each other player is as a culprit: its share among the culprit sets that fit what was seen."""
    brief, me = request.brief, request.brief.me.name
    seen = [f for e in request.events if e.clue for f in e.clue.facts]
    sets = [c for c in suspects(brief, (*brief.given, *seen, *brief.me.knows)) if me not in c]
    share = Counter(n for c in sets for n in c)
    return {n: share[n] / max(len(sets), 1) for n in brief.names if n != me}


def _accusations(request: Request) -> Counter[str]:
    """How often each other player was accused aloud, as far as this one has heard."""
    brief = request.brief
    others = [n for n in brief.names if n != brief.me.name]
    charges = {n: brief.book.suspect.format(name=n) for n in others}
    return Counter(n for e in request.events if e.text for n in others if charges[n] in e.text)


def _best(guilt: Mapping[str, float], accused: Counter[str], rng: random.Random) -> str:
    """The likeliest culprit; talk decides between equals, then chance."""
    return max(guilt, key=lambda n: (guilt[n], accused[n], rng.random()))


def _scapegoat(request: Request) -> str:
    """The innocent who is easiest to accuse: by evidence, by talk, then one and the same for the whole game."""
    brief, guilt, accused = request.brief, suspicion(request), _accusations(request)
    innocent = [n for n in guilt if n not in brief.partners]
    taste = request.rng("scapegoat").sample(innocent, len(innocent))
    return max(taste, key=lambda n: (guilt[n], accused[n]))


def _freshest(request: Request, rng: random.Random) -> str:
    """A place that was searched as rarely as any."""
    searched = Counter(e.place for e in request.events if e.kind == "search")
    return min(request.prompt.places, key=lambda p: (searched[p], rng.random()))


def _testimony(request: Request) -> list[str]:
    """What a civilian can tell: facts of its own, and clues that it alone has seen."""
    book, own = request.brief.book, request.brief.me.knows
    secret = [e.clue.text for e in request.events if e.clue and e.clue.private_to]
    return [book.fact.format(**dict(f)) for f in own] + secret


def _rating(guilt: float) -> tuple[int, int]:
    """Suspicion and trust that say a probability."""
    s = 0 if guilt == 0 else 2 if guilt > 1 / 2 else 1
    return s, 2 - s
