"""A model with one habit forced on it, all else left to it: how many games is that habit worth?

Training moves what a model does often to what it does sometimes. What it can win at most that way is told by forcing it
there: no training, no noise of labels. Where training leaves a habit is worked out for two actions. Taught in
notebook 10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from maro_lib.measure.matches import match
from maro_lib.model.loading import load
from maro_lib.model.local import LocalPolicy, Sampling
from maro_lib.play.policies import Reply, Request
from maro_lib.study.evidence import home_games
from maro_lib.world.protocol import Message


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

    def sharing(self, share: float) -> Searching:
        return Searching(self.model.sharing(share))

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


def force(habit: str, seeds: Sequence[int], n: int, n_scripts: int, folder: Path) -> pd.DataFrame:
    """Force a habit on either faction of the embedded model, in the held-out games of a study; a row per game."""
    model = LocalPolicy(load("embedded", precision="float32"), Sampling(1.0, 64))
    tables = []
    for seed in seeds:
        games = home_games(seed).held_out(n, n_scripts)
        matched = match(games, HABITS[habit](model), folder=folder / f"seed-{seed}")
        tables.append(matched.assign(cell=habit, seed=seed))
    return pd.concat(tables, ignore_index=True)


def resting_share(
    share: float, won: tuple[float, float], *, beta: float, anchor: float, lam_pos: float, lam_neg: float
) -> float:
    """Where training leaves a habit that takes `share` of base's turns, if there are two actions and z0 is 0.

    `won` is how often they win who have the habit, and who do the other thing. From base's share the expected loss is
    followed downhill, to where the labels' push and the anchor's pull are equal.
    """
    p = np.linspace(0.001, 0.999, 999)
    loss = np.zeros_like(p)
    for n, now, w in ((share, p, won[0]), (1 - share, 1 - p, won[1])):
        x = beta * np.log(now / n)
        utility = lam_pos * w * expit(x) + lam_neg * (1 - w) * expit(-x)
        loss -= n * (utility + anchor * np.log(now))
    at = int(np.abs(p - share).argmin())
    falling = np.diff(loss) < 0  # to the right of each point
    while at < len(falling) and falling[at]:
        at += 1
    while at > 0 and not falling[at - 1]:
        at -= 1
    return float(p[at])
