"""A model with one habit forced on it, all else left to it: how many games is that habit worth?

Training moves what a model does often to what it does sometimes. What it can win at most that way is told by forcing it
there: no training, no noise of labels. Taught in notebook 08.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maro_lib.environment import Message
from maro_lib.local import LocalPolicy
from maro_lib.policies import Reply, Request


@dataclass(frozen=True)
class Searching:
    """Spends every turn on searching a place, drawn by seed, while one is open."""

    model: LocalPolicy

    @property
    def name(self) -> str:
        return f"searching {self.model.name}"

    @property
    def fingerprint(self) -> str:
        return f"searching {self.model.fingerprint}"

    def with_adapter(self, on: bool) -> LocalPolicy:
        """The model without its habit, as an opponent."""
        return self.model.with_adapter(on)

    def check_window(self, views: Mapping[str, Sequence[Message]]) -> None:
        self.model.check_window(views)

    def fits(self, request: Request) -> bool:
        return self.model.fits(request)

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        own = iter(self.model.act([r for r in requests if not _can_search(r)]))
        return [_search(r) if _can_search(r) else next(own) for r in requests]


def _can_search(request: Request) -> bool:
    return request.prompt.phase == "turn" and bool(request.prompt.places)


def _search(request: Request) -> Reply:
    place = request.rng("habit", request.t, request.salt).choice(request.prompt.places)
    return Reply(request.brief.book.search.format(place=place))


HABITS = {"always searches": Searching}
