"""How fast scripted players play: actions per second on one core, and memory over many games.

`python -m maro_lib bench` prints it; figures are claims of one machine, so it prints that too.
"""

from __future__ import annotations

import platform
import resource
import tempfile
import time
from pathlib import Path

from maro_lib.environment import Rules
from maro_lib.generator import Knobs, generate_many
from maro_lib.policies import RANDOM, SKILLED, Mixture
from maro_lib.rollout import play, schedule


def bench(n_games: int = 10_000) -> list[str]:
    """Play 6 characters and 3 rounds in memory, then `n_games` to disk; return lines to print."""
    scripts = generate_many(50, 0, Knobs(characters=6))
    lines = [f"{platform.machine()}, Python {platform.python_version()}, one process, 6 characters, 3 rounds"]
    for policy in (RANDOM, Mixture(), SKILLED):
        lines.append(f"{policy.name:<24} {_rate(scripts, policy):8,.0f} actions/s")
    with tempfile.TemporaryDirectory() as folder:
        began, memory = time.perf_counter(), []
        games = schedule(scripts, n_games, 0, Rules())
        for part in range(1, 5):  # growing prefixes of one request: memory must not grow with them
            play(games[: n_games * part // 4], Mixture(), folder=Path(folder) / f"part{part}")
            memory.append(_peak_mb())
        n = sum(len(games[: n_games * part // 4]) for part in range(1, 5))
    seconds = time.perf_counter() - began
    lines.append(f"{n:,} games to disk         {n / seconds:8,.0f} games/s")
    peaks = ", ".join(f"{m:.0f} MB after {n_games * k // 4:,}" for k, m in enumerate(memory, start=1))
    return [*lines, f"peak memory              {peaks}"]


def _rate(scripts, policy) -> float:
    played = play(schedule(scripts, 400, 0, Rules()), policy)
    return len(played.table("actions", ["step"])) / played.seconds


def _peak_mb() -> float:
    scale = 1e6 if platform.system() == "Darwin" else 1e3  # bytes there, kilobytes here
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
