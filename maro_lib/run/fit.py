"""Does a model fit: its memory for playing and for training, its window, its time, and are views read twice.

The arithmetic is in `maro_lib.model.estimates`. How long the games will take is a range, said with what it rests on: a
small model is timed while it plays as many games at a time as the run will. On a processor the time of the processor
counts: a busy neighbour makes the clock run on, not the work. Larger models are estimated from what the device does in
a second. Used by `maro_lib.run.doctor`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from maro_lib.model import estimates
from maro_lib.model.estimates import Memory, Plan, Speed, Training
from maro_lib.model.players import Player
from maro_lib.play.rollout import advance, schedule, start
from maro_lib.run.machine import OK, PROBLEM, WARNING, Finding
from maro_lib.run.sample import Sample, scripts_of
from maro_lib.wording import amount, between
from maro_lib.world.mystery import Rules

if TYPE_CHECKING:
    from transformers import PretrainedConfig

FULL = 0.95  # of the memory: from here on it may fail for what is not counted
TIMED_BYTES = 200 * 2**20  # bytes: models up to this size are loaded and timed
TIMED_SECONDS = 4.0  # of the processor
BUSY = 1.5  # times as long by the clock as by the processor: somebody else computes here


def plan_of(player: Player, values: Mapping[str, Any], config: PretrainedConfig, sample: Sample) -> Plan:
    import torch

    from maro_lib.model.loading import best_device, fast_type
    from maro_lib.model.local import MAX_BATCH

    device, size = best_device(), estimates.shape(config)
    fast = fast_type(player.model, device)
    precision = fast if player.precision == "auto" else player.precision
    compute = getattr(torch, fast if precision == "nf4" else precision).itemsize
    n_views = min(values["concurrency"], values["n_games"]) * sample.n_players
    return Plan(
        estimates.count_weights(config), size, precision, compute, min(player.window or size.window, size.window),
        sample.first, sample.typical, sample.at_most, n_views, min(MAX_BATCH[device], n_views),
        player.batch_tokens,
    )  # fmt: skip


def check_memory(memory: Memory, free: int) -> Finding:
    """Compare an estimate, part by part, with what is free."""
    parts = ", ".join(f"{name} {amount(n)}" for name, n in memory._asdict().items())
    found = f"about {amount(memory.total)} of {amount(free)} free: {parts}"
    if memory.total <= FULL * free:
        return Finding(OK, "memory", found)
    advice = "; ".join(_relief(memory))
    if memory.total <= free:
        return Finding(WARNING, "memory", found, f"at most {amount(FULL * free)}, to be safe", advice)
    return Finding(PROBLEM, "memory", found, f"at most {amount(free)}", advice)


def _relief(memory: Memory) -> Iterator[str]:
    """What to lower, the largest part first."""
    ways = {
        "weights": "`precision: nf4` or a smaller model",
        "kept": "a smaller `cache_gb`",
        "batch": "fewer games at a time (`concurrency`), or a smaller `window`",
        "reading": "a `cache_gb` that keeps all views, for fewer games at a time",
    }
    sizes = memory._asdict()
    yield from (ways[name] for name in sorted(ways, key=lambda name: -sizes[name]) if sizes[name] > memory.total / 5)


def check_training(plan: Plan, values: Mapping[str, Any], free: int) -> Finding:
    """Compare a step of training over the longest dialogue with what is free; playing is over by then."""
    precision = "nf4" if values["load_in_4bit"] else plan.precision
    how = {
        "precision": precision, "compute": 2 if values["half"] else plan.compute, "rank": values["lora_rank"],
        "checkpointing": values["checkpointing"],
    }  # fmt: skip
    n = min(plan.at_most, plan.window)
    memory = estimates.training_memory(plan.weights, plan.shape, n, **how)
    fits = estimates.longest_dialogue(plan.weights, plan.shape, FULL * free, **how)
    parts = ", ".join(f"{name} {amount(size)}" for name, size in memory._asdict().items())
    found = f"a dialogue of {n:,} tokens takes about {amount(memory.total)} of {amount(free)} free: {parts}"
    if fits >= n:
        return Finding(OK, "training", found)
    return Finding(WARNING if fits else PROBLEM, "training", found, f"dialogues of {fits:,} tokens fit",
                   "; ".join(_lighter(memory, values)))  # fmt: skip


def _lighter(memory: Training, values: Mapping[str, Any]) -> Iterator[str]:
    """What makes a step of training smaller."""
    if not values["load_in_4bit"] and memory.weights > memory.total / 5:
        yield "`load_in_4bit: true`"
    if not values["checkpointing"]:
        yield "`checkpointing: true`"
    if not values["half"]:
        yield "`half: true`"
    yield "a smaller `window`, or shorter replies (`max_new_tokens`)"


def check_reuse(plan: Plan, cache_gb: float, n_players: int) -> Finding:
    """Say whether views are read once, or again and again."""
    holds = plan.holds(cache_gb)
    found = f"`cache_gb: {cache_gb:g}` keeps {min(holds, plan.n_views):,} of {plan.n_views:,} views of {plan.usual:,} "
    if holds >= plan.n_views:
        return Finding(OK, "reuse", f"{found}tokens: each is read once")
    if holds >= plan.n_views / 2:
        return Finding(OK, "reuse", f"{found}tokens: towards the end of a game some are read again")
    fits = holds // n_players
    way = f"`concurrency: {fits}` or a larger `cache_gb`" if fits else "a larger `cache_gb`, or 0 to save its memory"
    return Finding(WARNING, "reuse", f"{found}tokens: what is dropped is read again at every turn", "", way)


def room_of(window: int, player: Player) -> int:
    """Tokens that a view may have, as the player's own policy counts it."""
    from maro_lib.model.local import SUMMARY_PROMPT

    return window - 2 * player.max_new_tokens - (128 if player.server_url else SUMMARY_PROMPT)


def check_context(sample: Sample, window: int, room: int) -> Finding:
    """Compare views with the window: the beginning must fit, the rest can be summed up."""
    found = f"window {window:,}, of which {room:,} for a view; it begins with {sample.first:,} tokens"
    if sample.first > room:
        long = [f"{title} {n:,}" for title, n in sample.beginnings if n > room]
        told = f" ({len(long)} of {len(sample.beginnings)} scripts are too long: {', '.join(long)})" if long else ""
        return Finding(PROBLEM, "context", f"{found}{told}", f"at most {room:,}",
                       "a larger `window`, a smaller `max_new_tokens`, shorter scripts, or another model")  # fmt: skip
    found += f" and grows to {sample.longest:,}"
    if sample.longest > room:
        return Finding(WARNING, "context", f"{found}: views will be continued from summaries", f"at most {room:,}",
                       "a larger `window` or fewer `rounds`, to play with whole views")  # fmt: skip
    if sample.at_most > room:
        found += f" ({sample.at_most:,} if all replies were as long as allowed: then continued from summaries)"
    return Finding(OK, "context", found)


# --- time --------------------------------------------------------------------------------------------


class Timing(NamedTuple):
    """How fast a model played a few steps."""

    seconds: float  # per reply, of the processor; with a GPU by the clock
    threads: int  # that may have shared them
    busy: float  # how many times as long it took by the clock

    def span(self, n_replies: int) -> tuple[float, float]:
        """Seconds for so many replies on a machine that does nothing else: the first steps are dearer than most."""
        return 0.5 * n_replies * self.seconds / self.threads, 1.5 * n_replies * self.seconds


class ReplySeconds(NamedTuple):
    """Seconds of one reply, from at least to at most."""

    low: float
    high: float


def time_of(span: ReplySeconds, values: Mapping[str, Any], sample: Sample, how: str) -> Finding:
    """Say how long all games take, from at least to at most."""
    n, n_rounds = values["n_games"] * sample.n_actions, values.get("maro_iterations", 1)
    each = f" of each of {n_rounds} rounds" if n_rounds > 1 else ""
    told = between(n * span.low, n * span.high)
    return Finding(OK, "time", f"{told} for the {values['n_games']:,} games{each} ({how})")


def pace_measured(player: Player, values: Mapping[str, Any]) -> tuple[ReplySeconds, str]:
    """Let scripted players, or a small model that is here, play a few steps."""
    pace = play_some(player, values)
    is_busy = pace.busy > BUSY * 2  # a single thread of several, or a little company, is no news
    now = f"; this machine is busy: now it takes {pace.busy:.0f} times as long" if is_busy else ""
    return ReplySeconds(*pace.span(1)), f"measured here: {1 / pace.seconds:,.0f} replies a second of the processor{now}"


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


def pace_estimated(player: Player, sample: Sample, plan: Plan, speed: Speed) -> tuple[ReplySeconds, str]:
    """Work out the time of a larger model, or of one that is not here."""
    rows = _usual_rows(plan, plan.n_views // sample.n_players)
    is_kept = plan.holds(player.cache_gb) >= plan.n_views
    seconds = estimates.reply_seconds(
        plan.weights, plan.precision, plan.compute, rows=rows, speed=speed, n_written=player.max_new_tokens / 2,
        n_read=sample.n_players * plan.usual / sample.n_actions if is_kept else (sample.first + plan.usual) / 2,
    )  # fmt: skip
    device = f"{speed.flops / 1e12:.2g} TFLOP/s and moves {amount(speed.bytes)}/s"
    how = f"very rough: replies half as long as allowed, {rows} at a time, by a device that does {device}"
    return ReplySeconds(seconds / 3, 3 * seconds), how


def _usual_rows(plan: Plan, n_games: int) -> int:
    """How many replies are given together: most phases ask one player of each game."""
    return max(1, min(n_games, plan.rows, plan.batch_tokens // plan.usual))
