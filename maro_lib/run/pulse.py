"""What a series says every minute while a stage runs, in a terminal and in logs.

    [2/8] 02_rollout: 3.0 min; 210 games, won by civilian 31 %, culprit 69 %; about 8.0 min left of all
    [5/8] 05_maro_training: 2.0 min; learning: step 12 of 31, loss 0.481, margin +0.05; about 4.0 min left of all

Games are counted as they reach the disk, and steps as checkpoints do, whichever process makes them. How long is left is
known from the last time that the run was made on this machine. Used by `maro_lib.run.series`.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from maro_lib.runs import run_folder
from maro_lib.wording import counted, duration, signed

EVERY = 60.0  # seconds


@contextlib.contextmanager
def pulse(run: str, label: str, left: float = 0.0, every: float = EVERY) -> Iterator[None]:
    """Say how far a stage is, until it ends; `left`: seconds of it and of all after it the last time, 0: not known."""
    ended, began = threading.Event(), time.time()

    def beat() -> None:
        while not ended.wait(every):
            tqdm.write(f"{label}: {how_far(run, began, left)}")  # above the bars, if there are any
            sys.stdout.flush()  # at once, also into a log file

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def how_far(run: str, began: float, left: float) -> str:
    """Say how long a stage has run, what came of its games, and how long the whole run will take."""
    spent = time.time() - began
    remaining = f"about {duration(left - spent)} left of all" if left > spent else ""
    parts = (duration(spent), games_since(run, began), training_since(run, began), remaining)
    return "; ".join(part for part in parts if part)


def games_since(run: str, began: float) -> str:
    """Say how many of a run's games were saved since then, and who won; nothing if there are none."""
    games: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, ValueError):  # what is being renamed or is damaged: its stage will say so
        files = run_folder(run).rglob("shard-*/games.parquet")
        for file in (file for file in files if file.stat().st_mtime >= began):
            games += _ends(str(file))
    if len(worlds := {game["world"] for game in games}) > 1:  # whose winners have nothing in common
        return f"{counted(len(games), 'game')} of {len(worlds)} worlds"
    told = [counted(len(games), "game"), *_won_by_sides(games), *_reached_by_seats(games)]
    return ", ".join(told) if games else ""


def _won_by_sides(games: list[dict[str, Any]]) -> Iterator[str]:
    """Say which sides won the games that have some."""
    sides = Counter(
        next((side for side, won in zip(game["factions"], game["success"], strict=True) if won), "nobody")
        for game in games if any(game["factions"])
    )  # fmt: skip
    if sides:
        yield f"won by {', '.join(f'{who} {100 * n / sides.total():.0f} %' for who, n in sorted(sides.items()))}"


def _reached_by_seats(games: list[dict[str, Any]]) -> Iterator[str]:
    """Say how many seats reached their goal where there are no sides."""
    if goals := [won for game in games if not any(game["factions"]) for won in game["success"]]:
        yield f"{100 * sum(goals) / len(goals):.0f} % of seats reached their goal"


def training_since(run: str, began: float) -> str:
    """Say how far a training is by its last checkpoint since then; nothing if there is none."""
    with contextlib.suppress(OSError, ValueError, KeyError):  # one that is being written is read the next time
        files = {file: file.stat().st_mtime for file in run_folder(run).rglob("checkpoint-*/trainer_state.json")}
        last = max((file for file in files if files[file] >= began), key=files.get, default=None)
        if last is None:
            return ""
        state = json.loads(last.read_text(encoding="utf-8"))
        step = next(entry for entry in reversed(state["log_history"]) if "objective" in entry)
        margin = "" if math.isnan(step["margin"]) else f", margin {signed(step['margin'], 2)}"  # imitation has none
        curve = f"loss {step['objective']:.3f}{margin}"
        return f"{last.parent.parent.name}: step {state['global_step']} of {state['max_steps']}, {curve}"
    return ""


def _ends(file: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq  # a series that skips every stage need not wait for it

    return pq.read_table(file, columns=["world", "factions", "success"]).to_pylist()
