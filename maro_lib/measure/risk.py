"""Risk, in any world: how far a seat's payoff spreads, and whether a player pays for safety.

    spread    sd of a seat's payoff, over games of the same scenario with the same players in all seats and other seeds
    aversion  of the options that differ from the chosen one by more payoff on average and more spread, or less of both,
              the share that it is safer than: 0 for who never pays for safety, 1 for who always does, 1 / 2 for chance

The first is read from a table of games. For the second, games are played on from one choice with several options and
other draws of all players; what the world has drawn for that game stays as it is. An option with both the higher mean
and the smaller spread says nothing of risk and is left out; where no other is there, or nobody draws (players by fixed
rules), there is no number. Worlds that ask for words alone are refused. With few samples luck decides between options
that are nearly alike, which moves aversion towards 1 / 2. Taught in notebook 14.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

from maro_lib.measure.decisions import DecisionError, resampled, sd_within
from maro_lib.play.policies import Reply
from maro_lib.play.rollout import Game, Seating, Session, advance, run_sessions, seats_of, start
from maro_lib.statistics import Mean, bootstrap_mean
from maro_lib.world.protocol import Command, Illegal, Prompt
from maro_lib.worlds.commands import written

_EVEN = 1e-9  # payoffs are fractions; what is so near is the same


def payoff_spread(games: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Return each player's mean payoff and its spread, `Mean`s both; NaN where no table sat twice in a scenario."""
    seats = pd.DataFrame([
        {"order": g.order, "script": g.script, "player": player, "payoff": float(payoff),
         "situation": (g.script, seat, tuple(g.policies))}
        for g in games.itertuples() for seat, (player, payoff) in enumerate(zip(g.policies, g.payoffs, strict=True))
    ])  # fmt: skip
    rows = {
        player: {"payoff": bootstrap_mean(own["payoff"], seed, groups=resampled(own)),
                 "spread": sd_within(own, "payoff", own["situation"], seed)}
        for player, own in seats.groupby("player")
    }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("player")


def gambles(
    games: Sequence[Game], policies: Seating, *, seat: int = 0, at: int = 1, n_options: int = 5, n_samples: int = 16,
    concurrency: int = 32,
) -> pd.DataFrame:  # fmt: skip
    """Play on from a seat's `at`-th choice of each game, several times with each of some options; a row per option.

    The options are the one that its player takes and others, evenly from the first to the last that is allowed.
    """
    ends = [
        {"order": fork.game.order, "script": fork.game.script.title, "option": fork.option, "chosen": fork.is_chosen,
         "payoff": fork.env.payoffs()[seat]}
        for game in games for fork in _ends(_forks(game, policies, seat, at, n_options, n_samples), concurrency)
    ]  # fmt: skip
    if not ends:
        raise DecisionError(
            f"seat {seat} has no legal choice number {at} among commands in these games: nothing to fork"
        )
    by_option = pd.DataFrame(ends).groupby(["order", "script", "option", "chosen"], sort=False)["payoff"]
    return by_option.agg(payoff="mean", spread="std", n="size").reset_index()


def aversion(gambles: pd.DataFrame, seed: int = 0) -> Mean:
    """Return how often the chosen option is the safer one of two of which the riskier has the higher mean."""
    chosen = gambles[gambles["chosen"]].set_index("order")
    others = gambles[~gambles["chosen"]]
    more, riskier = (others[c] - others["order"].map(chosen[c]) for c in ("payoff", "spread"))
    pays = (more * riskier > 0) & (more.abs() > _EVEN) & (riskier.abs() > _EVEN)
    if not pays.any():
        return Mean(np.nan, np.nan, np.nan, 0)
    return bootstrap_mean((riskier[pays] > 0).astype(float), seed, groups=resampled(others[pays]))


# --- games that go on in other ways ------------------------------------------------------------------


class _Luck(NamedTuple):
    """The same salt for every reply to come: other draws of every player."""

    salt: str

    def get(self, _reply: tuple[int, int], _default: str = "") -> str:
        return self.salt


@dataclass
class _Fork(Session):
    """A game that goes on from a choice with one of its options."""

    option: str = ""
    is_chosen: bool = False


def _ends(forks: Sequence[_Fork], concurrency: int) -> Iterator[_Fork]:
    """Play forks to their ends; some are over at once."""
    over = [fork for fork in forks if not fork.env.pending_players()]
    going = [fork for fork in forks if fork.env.pending_players()]
    yield from over
    yield from run_sessions(going, concurrency)


def _forks(game: Game, policies: Seating, seat: int, at: int, n_options: int, n_samples: int) -> list[_Fork]:
    """Play a game up to a seat's choice, and fork it there; none where the choice does not come, or is illegal."""
    main = _at_choice(start(game, policies), seat, at)
    if main is None:
        return []
    request = next(r for r in main.requests() if r.player == seat)
    reply = main.seats[seat].act([request])[0].text
    options, snapshot = _options(main, seat, request.prompt, reply, n_options), main.env.snapshot()
    forks = []
    for option, k in product(options, range(n_samples)):
        env = game.environment()
        env.restore(snapshot)
        fork = _Fork(game, env, seats_of(game, policies), _Luck(f"luck{k}"), main.taken.copy(), option=option,
                     is_chosen=option == reply)  # fmt: skip
        fork.take(seat, Reply(option))
        forks.append(fork)
    return forks


def _at_choice(session: Session, seat: int, at: int) -> Session | None:
    """Play on until a seat is to choose for the `at`-th time; None if the game ends before."""
    choices = set()  # by how many replies the seat had given before
    while pending := session.env.pending_players():
        if seat in pending and (prompt := session.env.prompt(seat)).commands and not prompt.retry:
            choices.add(session.taken[seat])
            if len(choices) == at:
                return session
        advance([session])
    return None


def _options(session: Session, seat: int, prompt: Prompt, reply: str, n: int) -> list[str]:
    """The reply, and up to `n` others, evenly from the first to the last; none if the reply is illegal."""
    chosen = session.env.read(seat, prompt, reply)
    if isinstance(chosen, Illegal):
        return []
    texts = [text for command in prompt.commands for text in _ways(command)]
    picked = dict.fromkeys(texts[round(i * (len(texts) - 1) / max(n - 1, 1))] for i in range(n))
    moves = {text: session.env.read(seat, prompt, text) for text in picked}
    others = [text for text, move in moves.items() if not isinstance(move, Illegal) and move[:2] != chosen[:2]]
    return [reply, *others]


def _ways(command: Command) -> list[str]:
    """Every way to fill in a command, without words."""
    names = [b.name for b in command.blanks]
    return [written(command, dict(zip(names, values, strict=True)))
            for values in product(*(b.options or ("",) for b in command.blanks))]  # fmt: skip
