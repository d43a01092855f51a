"""What an action contributed, in company: play the game again with some of its actions drawn anew.

    phi_a = mean over orders of the actions of  R_i(those before a, and a) - R_i(those before a)

R_i(S) is the outcome of a's own character i when the actions in S are done as they were recorded, wherever the game
still asks that character for such an action, and its policy draws all others anew, with one salt per order. The S of
all is the recorded game. `counterfactuals` takes one action away from all others: of two votes that were both needed
each is worth everything there, and half here.

Where a side wins or loses together, the phi of all actions, taken for that side (its own players' as they are, the
others' with the sign turned), sum to R(recorded) - mean over orders R(all drawn anew), however few orders are drawn.

An order is cut into `n_cuts` parts, whose actions join at once and share equally what they add: n_orders * n_cuts games
for one, however long it is. As many cuts as actions are Shapley's value; fewer smooth it within an order. What comes
before the first action that is drawn anew is not played again: a coalition goes on from a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from maro_lib.learn.counterfactuals import by_step, check_games, recorded_steps, result, valued_phases, with_outcome
from maro_lib.play.policies import Policy, Reply, Request, Windowed
from maro_lib.play.rollout import Game, Seating, Session, run_sessions, seats_of

_Told = dict[tuple[str, int, int], tuple[str, str]]  # game, seat, t -> phase, text


class Drawn(NamedTuple):
    """An order of a game's valued actions: which join when, as places in its rows."""

    k: int
    parts: list[list[int]]

    def absent(self, n_joined: int) -> list[int]:
        """Return what is drawn anew after so many parts have joined."""
        return [*chain.from_iterable(self.parts[n_joined:])]


def action_shapley_values(
    games: Sequence[Game], actions: pd.DataFrame, policies: Seating, *, n_orders: int = 4, n_cuts: int = 8,
    seed: int = 0, concurrency: int = 32, phases: Sequence[str] | None = None, outcome: str = "success",
) -> pd.Series:  # fmt: skip
    """Value each action of recorded games over `n_orders` orders of them; NaN where not asked for.

    What is asked for, and what R is, is as in `counterfactual_values`. The rule `shapley` takes it as its `values`.
    """
    for name, n in (("n_orders", n_orders), ("n_cuts", n_cuts)):
        if n < 1:
            raise ValueError(f"{name}: {n}; at least one is needed")
    by_game = {g.order: g for g in games}
    check_games(by_game, actions)
    phases = valued_phases(games, actions, phases)
    rows = by_step(with_outcome(actions, outcome))
    orders = {k: _orders(own, phases, n_orders, n_cuts, [seed, k]) for k, own in rows.items()}
    outcomes = _play_coalitions(by_game, rows, orders, policies, concurrency, outcome)
    phi = pd.Series(np.nan, index=actions.index, name="shapley", dtype="float64")
    for k, own in rows.items():
        for place, value in _contributions(own, orders[k], outcomes).items():
            phi[own[place].Index] = value
    return phi


def _orders(rows: list, phases: Sequence[str], n_orders: int, n_cuts: int, seed: list[int]) -> list[Drawn]:
    """Draw orders of a game's valued actions, each cut into parts of about one size."""
    valued = [i for i, row in enumerate(rows) if row.phase in phases]
    rng, n = np.random.default_rng(seed), min(n_cuts, len(valued))
    drawn = [rng.permutation(valued) for _ in range(n_orders if n else 0)]
    return [Drawn(k, [part.tolist() for part in np.array_split(order, n)]) for k, order in enumerate(drawn)]


def _play_coalitions(
    by_game: Mapping[int, Game], rows: Mapping[int, list], orders: Mapping[int, list[Drawn]], policies: Seating,
    concurrency: int, outcome: str,
) -> dict[tuple[int, int, int], list[float]]:  # fmt: skip
    """Play each game once after each part of each order has joined, but for the last; return R by seat."""
    names: dict[int, tuple[int, int, int]] = {}  # of the sessions under way
    seated = _Seated(policies, {(by_game[k].name, r.seat, r.t): (r.phase, r.text) for k in rows for r in rows[k]})

    def sessions() -> Iterator[Session]:
        for k, own in rows.items():
            absent = {(k, order.k, n): order.absent(n) for order in orders[k] for n in range(len(order.parts))}
            for name, session in _from_snapshots(by_game[k], own, seated, absent):
                names[id(session)] = name
                yield session

    return {names.pop(id(session)): result(session.env, outcome) for session in run_sessions(sessions(), concurrency)}


def _from_snapshots(
    game: Game, rows: list, seated: _Seated, absent: Mapping[tuple[int, int, int], list[int]]
) -> Iterator[tuple[tuple[int, int, int], Session]]:
    """Replay a recorded game, and begin each coalition before the first of its actions that is drawn anew."""
    for i, (main, _) in enumerate(recorded_steps(game, rows, seated.policies)):
        beginning = [name for name, places in absent.items() if min(places) == i]
        snapshot = main.env.snapshot() if beginning else None
        for name in beginning:
            env = game.environment()
            env.restore(snapshot)
            salts = {(rows[j].seat, rows[j].t): f"absent{name[1]}" for j in absent[name]}
            yield name, Session(game, env, seated.of(game), salts, main.taken.copy())


def _contributions(rows: list, orders: list[Drawn], outcomes: Mapping) -> dict[int, float]:
    """Average over the orders what each action's part adds to its own character's outcome, an equal share."""
    phi: dict[int, float] = {}
    recorded = {row.seat: row.r for row in rows}
    for order in orders:
        parts = [outcomes[rows[0].order, order.k, n] for n in range(len(order.parts))] + [recorded]
        for part, (before, after) in zip(order.parts, pairwise(parts), strict=True):
            for place in part:
                seat = rows[place].seat
                phi[place] = phi.get(place, 0.0) + (after[seat] - before[seat]) / len(part) / len(orders)
    return phi


# --- who does again what was recorded --------------------------------------------------------------------


class _Again:
    """A policy that does what was recorded; what has a salt, or was never asked for, it draws."""

    def __init__(self, policy: Policy, told: _Told):
        self.name, self.policy, self.told = policy.name, policy, told

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        texts = [self._text(request) for request in requests]
        asked = [request for request, text in zip(requests, texts, strict=True) if text is None]
        drawn = iter(self.policy.act(asked) if asked else ())
        return [next(drawn) if text is None else Reply(text) for text in texts]

    def _text(self, request: Request) -> str | None:
        phase, text = self.told.get((request.game, request.player, request.t), ("", ""))
        return text if phase == request.prompt.phase and not request.salt else None


class _AgainWindowed(_Again):
    """The same of a policy with a window: where its view outgrows that, it sums up, with the words it used then."""

    def check_window(self, views) -> None:
        self.policy.check_window(views)

    def fits(self, request: Request) -> bool:
        return self.policy.fits(request)


class _Seated:
    """Who plays, each policy once for all games, so that what it is asked comes in one batch."""

    def __init__(self, policies: Seating, told: _Told):
        self.policies, self.told = policies, told
        self._players: dict[int, _Again] = {}

    def of(self, game: Game) -> list[Policy]:
        return [self._again(policy) for policy in seats_of(game, self.policies)]

    def _again(self, policy: Policy) -> _Again:
        if id(policy) not in self._players:
            kind = _AgainWindowed if isinstance(policy, Windowed) else _Again
            self._players[id(policy)] = kind(policy, self.told)
        return self._players[id(policy)]
