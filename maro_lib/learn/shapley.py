"""What a character contributed: play the game again with some of the players replaced, and see whom its side misses.

    phi_i = mean over orders of the players of  R_i(those before i, and i) - R_i(those before i)

R_i(S) is character i's outcome when the players in S play as they did, and all others' seats are a `base` policy's.
Every draw is seeded by game, seat and turn, as in `counterfactuals`: the S of all is the recorded game. A coalition is
played once for all orders that it occurs in. Where a side wins or loses together, the phi of all characters, taken
for that side (its own players' as they are, the others' with the sign turned), sum to R(all) - R(none).

The value is a player's, shared by all its actions: it tells who decided a game, not when; `shapley_actions` values each
action in the same way, and its values are this rule's too. SelfOrg (arXiv 2510.00685)
approximates contributions by the likeness of answers; here they are played out, at 2 to 2^n games for one.

Taught in notebook 03.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from maro_lib.learn.counterfactuals import check_games, result
from maro_lib.learn.rulebook import OUTCOMES, measured, register
from maro_lib.play.policies import Policy, Random
from maro_lib.play.rollout import Game, Seating, Session, run_sessions, seats_of, start
from maro_lib.wording import check_name

Coalition = frozenset[int]  # the seats whose own players play


@register(
    "phi_i: what player i adds to its own outcome, mean over coalitions of the others  (given as `values`)",
    "Shapley 1953; SelfOrg, arXiv 2510.00685",
    needs="",
)
def shapley(actions: pd.DataFrame, *, values: pd.Series | str) -> np.ndarray:
    """Take over measured values, a Series on the index of `actions` or a column's name: of players (`shapley_values`)
    or of actions (`action_shapley_values`).

    An action without a value gets 0 and is dropped.
    """
    return measured(actions, values, "shapley")


def shapley_values(
    games: Sequence[Game], actions: pd.DataFrame, policies: Seating, *, base: Policy | None = None, n_orders: int = 4,
    seed: int = 0, concurrency: int = 32, outcome: str = "success",
) -> pd.Series:  # fmt: skip
    """Value each action of recorded games by what its player added, over `n_orders` orders of the players."""
    check_name("outcome", outcome, OUTCOMES)
    if n_orders < 1:
        raise ValueError(f"n_orders: {n_orders}; at least one order of the players is needed")
    by_game = {g.order: g for g in games}
    check_games(by_game, actions)
    orders = {k: _orders(by_game[k], n_orders, seed) for k in sorted(set(actions["order"]))}
    outcomes = _play_coalitions(by_game, orders, policies, base or Random(), concurrency, outcome)
    phi = {k: _contributions(drawn, outcomes[k]) for k, drawn in orders.items()}
    values = [phi[order][seat] for order, seat in zip(actions["order"], actions["seat"], strict=True)]
    return pd.Series(values, index=actions.index, name="shapley", dtype="float64")


def _orders(game: Game, n_orders: int, seed: int) -> list[list[int]]:
    """Draw orders of a game's seats."""
    rng = np.random.default_rng([seed, game.order])
    return [rng.permutation(len(game.script.characters)).tolist() for _ in range(n_orders)]


def _play_coalitions(
    by_game: Mapping[int, Game],
    orders: Mapping[int, list[list[int]]],
    policies: Seating,
    base: Policy,
    concurrency: int,
    outcome: str,
) -> dict[int, dict[Coalition, list[float]]]:
    """Play each game once with each coalition of its orders; return R by seat."""
    names: dict[int, tuple[int, Coalition]] = {}  # of the sessions under way

    def sessions() -> Iterator[Session]:
        for k, drawn in orders.items():
            for coalition in sorted({c for order in drawn for c in _prefixes(order)}, key=sorted):
                session = _with_coalition(by_game[k], policies, base, coalition)
                names[id(session)] = k, coalition
                yield session

    outcomes: dict[int, dict[Coalition, list[float]]] = {k: {} for k in orders}
    for session in run_sessions(sessions(), concurrency):
        k, coalition = names.pop(id(session))
        outcomes[k][coalition] = result(session.env, outcome)
    return outcomes


def _prefixes(order: list[int]) -> list[Coalition]:
    """From nobody to all: who is in after each player of an order has joined."""
    return [frozenset(order[:n]) for n in range(len(order) + 1)]


def _with_coalition(game: Game, policies: Seating, base: Policy, coalition: Coalition) -> Session:
    seats = seats_of(game, policies)
    return start(game, {name: seats[i] if i in coalition else base for i, name in enumerate(game.script.names)})


def _contributions(orders: list[list[int]], outcomes: Mapping[Coalition, list[float]]) -> np.ndarray:
    """Average over the orders what each player adds to its own outcome when it joins."""
    phi = np.zeros(len(orders[0]))
    for order in orders:
        for i, before, after in zip(order, _prefixes(order), _prefixes(order)[1:], strict=False):
            phi[i] += (outcomes[after][i] - outcomes[before][i]) / len(orders)
    return phi
