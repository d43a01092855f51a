"""Who plays: anything that, given many requests, returns as many replies.

A policy keeps no state between calls: what it does depends on the request alone (its view and its seed), so
games may interleave, stop and resume, and a batch's composition changes nothing.

Players by rule follow their world's styles (`World.styles`): `skilled` is in all; who is not skilled is `naive` where a
world has that, else random. Taught in notebook 02.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from maro_lib.wording import check_name
from maro_lib.world.mystery import Brief, Event
from maro_lib.world.protocol import Message, Prompt
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
        return [Reply(self._reply(r)) for r in requests]

    def _reply(self, request: Request) -> str:
        styles, rng = find_world(request.brief.world).styles, request.rng()
        if "naive" not in styles:
            rng.random()  # it is a scripted player of no skill there
        return styles.get("random", random_style)(request, rng)


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


def _scripted_reply(request: Request, skill: float) -> str:
    styles, rng = find_world(request.brief.world).styles, request.rng()
    if rng.random() < skill:
        return styles["skilled"](request, rng)
    return styles.get("naive" if "naive" in styles else "random", random_style)(request, rng)
