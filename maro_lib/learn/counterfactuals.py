"""What one action was worth: play the game again with that action drawn anew and everything else the same.

    value(t) = R(G) - mean over draws k of R(G with action t drawn with salt k)

Every draw of every player is seeded by game, seat and turn, so what follows differs only where the other action
made a difference (common random numbers). This is the gold standard that the cheap rules of
`maro_lib.learn.decomposition` are scored against; it costs many games for one, which is why MARO does not train on it.

Taught in notebook 03. The paper has no such check.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np
import pandas as pd

from maro_lib.learn.rulebook import OUTCOMES
from maro_lib.play.rollout import Game, Seating, Session, run_sessions, seats_of, start
from maro_lib.wording import check_name
from maro_lib.world.protocol import Environment

PHASES = ("intro", "turn", "answer", "vote")  # ratings are private and decide nothing

ActionKey = tuple[int, int, int]  # the game's order, the seat, its action index t


def counterfactual_values(
    games: Sequence[Game], actions: pd.DataFrame, policies: Seating, *, n_samples: int = 4, concurrency: int = 32,
    phases: Sequence[str] | None = None, outcome: str = "success",
) -> pd.Series:  # fmt: skip
    """Value each action of recorded games by `n_samples` games with that action drawn anew; NaN where not asked for.

    Unless phases are named, all are asked for but a mystery's private ratings. R is 1 or -1 by success, or the payoff.
    """
    by_game = {g.order: g for g in games}
    check_games(by_game, actions)
    phases = valued_phases(games, actions, phases)
    outcomes: dict[ActionKey, list[float]] = {}
    actions = with_outcome(actions, outcome)
    branches = _all_branches(by_game, actions, policies, n_samples, phases, outcomes)
    for session in run_sessions(branches, concurrency):
        (player, t), *_ = session.salts
        outcomes.setdefault((session.game.order, player, t), []).append(result(session.env, outcome)[player])
    actual = actions["r"].to_numpy(float)
    keys = zip(actions["order"], actions["seat"], actions["t"], strict=True)
    expected = np.array([np.mean(outcomes[k]) if k in outcomes else np.nan for k in keys], dtype=float)
    return pd.Series(actual - expected, index=actions.index, name="counterfactual")


def result(env: Environment, outcome: str) -> list[float]:
    """Return R of each seat at the end of a game: 1 or -1 by success, or the payoff."""
    return env.payoffs() if outcome == "payoff" else [2.0 * s - 1 for s in env.successes()]


def valued_phases(games: Sequence[Game], actions: pd.DataFrame, phases: Sequence[str] | None) -> Sequence[str]:
    """Return the phases whose actions are valued: those named, else all but a mystery's ratings and summaries."""
    return phases or (PHASES if games[0].script.world == "mystery" else sorted(set(actions["phase"]) - {"summary"}))


def with_outcome(actions: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Return the actions with R of each one's trajectory in a column `r`: 1 or -1 by success, or the payoff."""
    check_name("outcome", outcome, OUTCOMES)
    return actions.assign(r=2.0 * actions["success"] - 1 if outcome == "success" else actions["payoff"])


def by_step(actions: pd.DataFrame) -> dict[int, list]:
    """Return each game's rows in the order of its steps; `Index` says where one stood in the table."""
    columns = ["order", "seat", "t", "phase", "text", "r"]
    rows = actions.sort_values(["order", "step"])[columns].itertuples()
    return {order: [*own] for order, own in groupby(rows, key=lambda r: r.order)}


def check_games(by_game: Mapping[int, Game], actions: pd.DataFrame) -> None:
    """Raise if actions were recorded in a game that is not given, by its order."""
    unknown = sorted(set(actions["order"]) - set(by_game))
    if unknown:
        raise ValueError(
            f"actions: {len(unknown)} of their games (the first has order {unknown[0]}) are not among the "
            f"{len(by_game)} games given; give all games that these actions were recorded in"
        )


def _all_branches(by_game, actions, policies, n_samples, phases, outcomes) -> Iterator[Session]:
    for order, rows in by_step(actions).items():
        yield from _branches(by_game[order], rows, policies, n_samples, phases, outcomes)


def _branches(game: Game, rows: list, policies: Seating, n_samples: int, phases, outcomes) -> Iterator[Session]:
    """Yield the games that go another way; where the new draw is the old action, the outcome is known already."""
    for session, row in _redraw(_forks(game, rows, policies, n_samples, phases)):
        if session.replies[row.seat][-1].text == row.text:
            outcomes.setdefault((row.order, row.seat, row.t), []).append(row.r)
        else:
            yield session


def _forks(game: Game, rows: list, policies: Seating, n_samples: int, phases) -> Iterator[tuple[Session, tuple]]:
    """Replay a recorded game and fork it, `n_samples` times, before each action."""
    for main, row in recorded_steps(game, rows, policies):
        if row.phase in phases:
            snapshot = main.env.snapshot()
            for k in range(n_samples):
                env = game.environment()
                env.restore(snapshot)
                salts = {(row.seat, row.t): f"draw{k}"}
                yield Session(game, env, seats_of(game, policies), salts, main.taken.copy()), row


def recorded_steps(game: Game, rows: Sequence, policies: Seating) -> Iterator[tuple[Session, tuple]]:
    """Replay a recorded game; yield it before each of its actions, with that action."""
    main = start(game, policies)
    for row in rows:
        if row.seat not in main.env.pending_players():
            raise ValueError(f"{game.name}: these actions were not recorded in this game (seat {row.seat}, t {row.t})")
        yield main, row
        if row.phase == "summary":
            main.env.summarise(row.seat)
        main.taken[row.seat] += 1
        main.env.step(row.text, row.seat)


def _redraw(forks: Iterator[tuple[Session, tuple]]) -> list[tuple[Session, tuple]]:
    """Let the agent of each fork act anew, all forks of one policy in one batch."""
    forks = list(forks)
    batches: dict[int, list[tuple[Session, tuple]]] = {}
    for session, row in forks:
        batches.setdefault(id(session.seats[row.seat]), []).append((session, row))
    for batch in batches.values():
        requests = [next(r for r in s.requests() if r.player == row.seat) for s, row in batch]
        replies = batch[0][0].seats[batch[0][1].seat].act(requests)
        for (session, row), reply in zip(batch, replies, strict=True):
            session.take(row.seat, reply)
    return forks
