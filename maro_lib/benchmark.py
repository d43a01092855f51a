"""How fast scripted players play: actions per second on one core, and memory over many games.

`python -m maro_lib bench` prints it; figures are claims of one machine, so it prints that too.
"""

from __future__ import annotations

import platform
import resource
import tempfile
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
    games, memory = schedule(scripts, n_games, 0, Rules()), {}
    with tempfile.TemporaryDirectory() as folder:
        for n in (n_games // 10, n_games):  # ten times the games must not take more memory
            played = play(games[:n], Mixture(), folder=Path(folder) / str(n))
            memory[n] = _peak_mb()
    lines.append(f"{'to disk':<24} {n_games / played.seconds:8,.0f} games/s")
    peaks = ", ".join(f"{mb:.0f} MB after {n:,} games" for n, mb in memory.items())
    return [*lines, f"{'peak memory':<24} {peaks}"]


def _rate(scripts, policy) -> float:
    played = play(schedule(scripts, 400, 0, Rules()), policy)
    return len(played.table("actions", ["step"])) / played.seconds


def _peak_mb() -> float:
    scale = 1e6 if platform.system() == "Darwin" else 1e3  # bytes there, kilobytes here
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
