"""How long the games will take, as a range that is said with what it rests on.

A small model is timed while it plays as many games at a time as the run will. On a processor the time of the processor
counts: a busy neighbour makes the clock run on, not the work. Larger models are estimated from what the device does in
a second. Used by `maro_lib.run.doctor`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from maro_lib.model import estimates
from maro_lib.model.estimates import Plan
from maro_lib.model.players import Player
from maro_lib.play.rollout import advance, schedule, start
from maro_lib.run.machine import OK, Finding, measure_speed
from maro_lib.run.sample import Sample, scripts_of
from maro_lib.wording import amount, duration
from maro_lib.world.mystery import Rules

TIMED_BYTES = 200 * 2**20  # bytes: models up to this size are loaded and timed
TIMED_SECONDS = 4.0  # of the processor
BUSY = 1.5  # times as long by the clock as by the processor: somebody else computes here


class Timing(NamedTuple):
    """How fast a model played a few steps."""

    seconds: float  # per reply, of the processor; with a GPU by the clock
    threads: int  # that may have shared them
    busy: float  # how many times as long it took by the clock

    def span(self, n_replies: int) -> tuple[float, float]:
        """Seconds for so many replies on a machine that does nothing else: the first steps are dearer than most."""
        return 0.5 * n_replies * self.seconds / self.threads, 1.5 * n_replies * self.seconds


def time_of(low: float, high: float, values: Mapping[str, Any], how: str) -> Finding:
    """Say how long all games take, from at least to at most."""
    each = f" of each of {n} rounds" if (n := values.get("maro_iterations", 1)) > 1 else ""
    span = duration(high) if duration(low) == duration(high) else f"{duration(low)} to {duration(high)}"
    return Finding(OK, "time", f"{span} for the {values['n_games']:,} games{each} ({how})")


def time_measured(player: Player, values: Mapping[str, Any], sample: Sample) -> Finding:
    """Let scripted players, or a small model that is here, play a few steps."""
    pace = play_some(player, values)
    is_busy = pace.busy > BUSY * 2  # a single thread of several, or a little company, is no news
    now = f"; this machine is busy: now it takes {pace.busy:.0f} times as long" if is_busy else ""
    how = f"measured here: {1 / pace.seconds:,.0f} replies a second of the processor{now}"
    return time_of(*pace.span(values["n_games"] * sample.n_actions), values, how)


def play_some(player: Player, values: Mapping[str, Any]) -> Timing:
    """Time the first steps of as many games as are played at a time."""
    import torch

    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    n = min(values["n_games"], values["concurrency"])
    games = schedule(scripts_of(values), n, values["seed"], Rules(rounds=values["rounds"]))
    with player.seated() as policy:
        sessions, n_replies = [start(game, policy) for game in games], 0
        began, by_clock = clock(), time.perf_counter()
        while clock() - began < TIMED_SECONDS and any(s.env.pending_players() for s in sessions):
            n_replies += advance(sessions)
        spent, waited = clock() - began, time.perf_counter() - by_clock
    return Timing(spent / n_replies, 1 if torch.cuda.is_available() else torch.get_num_threads(), waited / spent)


def time_estimated(player: Player, values: Mapping[str, Any], sample: Sample, plan: Plan) -> Finding:
    """Work out the time of a larger model, or of one that is not here."""
    speed, rows = measure_speed(plan.compute), _usual_rows(plan, plan.n_views // sample.n_players)
    is_kept = plan.holds(player.cache_gb) >= plan.n_views
    seconds = values["n_games"] * sample.n_actions * estimates.reply_seconds(
        plan.weights, plan.precision, plan.compute, rows=rows, speed=speed, n_written=player.max_new_tokens / 2,
        n_read=sample.n_players * plan.usual / sample.n_actions if is_kept else (sample.first + plan.usual) / 2,
    )  # fmt: skip
    device = f"{speed.flops / 1e12:.2g} TFLOP/s and moves {amount(speed.bytes)}/s"
    how = f"very rough: replies half as long as allowed, {rows} at a time, by a device that does {device}"
    return time_of(seconds / 3, 3 * seconds, values, how)


def _usual_rows(plan: Plan, n_games: int) -> int:
    """How many replies are given together: most phases ask one player of each game."""
    return max(1, min(n_games, plan.rows, plan.batch_tokens // plan.usual))
