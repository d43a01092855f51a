"""How fast players play: scripted ones in actions per second on one core, a model in ratios of one run.

`python -m maro_lib bench` prints it; figures are claims of one machine, so it prints that too.
"""

from __future__ import annotations

import platform
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maro_lib.play.policies import RANDOM, SKILLED, Mixture, Policy, Reply, Request
from maro_lib.play.rollout import play, schedule
from maro_lib.world.generator import Knobs, generate_many
from maro_lib.world.mystery import Rules
from maro_lib.world.scripts import Script
from maro_lib.worlds.registry import WORLDS, scenarios

if TYPE_CHECKING:
    from maro_lib.model.loading import Loaded


def bench(n_games: int = 10_000) -> list[str]:
    """Play 6 characters and 3 rounds in memory, games of every other world, and `n_games` to disk; return lines."""
    scripts = generate_many(50, 0, Knobs(characters=6))
    lines = [f"{platform.machine()}, Python {platform.python_version()}, one process, 6 characters, 3 rounds"]
    for policy in (RANDOM, Mixture(), SKILLED):
        played = play(schedule(scripts, 400, 0, Rules()), policy)
        lines.append(f"{policy.name:<24} {len(played.table('actions', ['step'])) / played.seconds:8,.0f} actions/s")
    for world in [name for name in WORLDS if name not in ("mystery", "textarena")]:
        played = play(schedule(scenarios(world, 50, 0), 300, 0), SKILLED)
        lines.append(f"{world:<24} {len(played.table('actions', ['step'])) / played.seconds:8,.0f} actions/s")
    games, memory = schedule(scripts, n_games, 0, Rules()), {}
    with tempfile.TemporaryDirectory() as folder:
        for n in (n_games // 10, n_games):  # ten times the games must not take more memory
            played = play(games[:n], Mixture(), folder=Path(folder) / str(n))
            memory[n] = _peak_mb()
    lines.append(f"{'to disk':<24} {n_games / played.seconds:8,.0f} games/s")
    peaks = ", ".join(f"{mb:.0f} MB after {n:,} games" for n, mb in memory.items())
    return [*lines, f"{'peak memory':<24} {peaks}"]


def _peak_mb() -> float:
    scale = 1e6 if platform.system() == "Darwin" else 1e3  # bytes there, kilobytes here
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


class Timed:
    """A policy with a stop-watch: what is not its time is the environment's and the tables'."""

    def __init__(self, policy: Policy):
        self.policy, self.name, self.seconds, self.tokens = policy, policy.name, 0.0, 0

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        began = time.perf_counter()
        replies = self.policy.act(requests)
        self.seconds += time.perf_counter() - began
        self.tokens += sum(len(r.token_ids) for r in replies)
        return replies


class Generate:
    """What one would write first: the model's own `generate`, a request at a time."""

    name = "generate"

    def __init__(self, loaded: Loaded):
        from maro_lib.model.chat import Chat

        self.model, self.chat = loaded.model, Chat(loaded.tokenizer)

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        return [self._reply(self.chat.encode(r.view)) for r in requests]

    def _reply(self, ids: list[int]) -> Reply:
        import torch

        seen = torch.tensor([ids], device=self.model.device)
        out = self.model.generate(seen, attention_mask=torch.ones_like(seen), do_sample=True, top_k=0, top_p=1.0,
                                  max_new_tokens=64, eos_token_id=sorted(self.chat.stop_ids))  # fmt: skip
        said = out[0, len(ids) :].tolist()
        return Reply(self.chat.text(said), tuple(said))


@dataclass(frozen=True)
class Pace:
    """How fast one way of playing was."""

    way: str
    games_per_minute: float
    tokens_per_second: float  # sampled ones
    rest: float  # share of the time that is not the model's


def bench_model(model: str = "embedded", n_games: int = 96) -> list[Pace]:
    """Play the same mysteries four ways in one run: one call at a time (twice), batched, and with kept prefixes."""
    from maro_lib.model.loading import load
    from maro_lib.model.local import LocalPolicy  # torch and transformers: only for this

    loaded, scripts, few = load(model), generate_many(30, 0, Knobs(characters=6)), max(1, n_games // 32)
    ways = {
        "`generate`, one call at a time": (Generate(loaded), few, 1),
        "one call at a time": (LocalPolicy(loaded, max_batch=1, cache_gb=0.0), few, 1),
        "batched": (LocalPolicy(loaded, max_batch=256, cache_gb=0.0), n_games, n_games),
        "batched, prefixes kept": (LocalPolicy(loaded, max_batch=256, cache_gb=3.0), n_games, n_games),
    }
    return [_pace(way, policy, scripts, n, many) for way, (policy, n, many) in ways.items()]


def _pace(way: str, policy: Policy, scripts: Sequence[Script], n: int, concurrency: int) -> Pace:
    timed = Timed(policy)
    played = play(schedule(scripts, n, 0, Rules()), timed, concurrency=concurrency)
    return Pace(way, 60 * n / played.seconds, timed.tokens / played.seconds, 1 - timed.seconds / played.seconds)


def told_paces(paces: Sequence[Pace]) -> list[str]:
    """Return lines to print: figures, and ratios to the last."""
    best = paces[-1]
    return [
        f"{p.way:<32} {p.games_per_minute:8.1f} games/min {p.tokens_per_second:8.0f} sampled tokens/s "
        f"{best.games_per_minute / p.games_per_minute:6.1f}x   environment {100 * p.rest:.1f} %"
        for p in paces
    ]
