"""What a series says every minute while a stage runs, in a terminal and in logs.

    [2/8] 02_rollout: 3.0 min; 210 games, won by civilian 31 %, culprit 69 %; about 8.0 min left of all

Games are counted as they reach the disk, whichever process plays them. How long is left is known from the last time
that the run was made on this machine. Used by `maro_lib.run.series`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator

from tqdm import tqdm

from maro_lib.runs import run_folder
from maro_lib.wording import counted, duration

EVERY = 60.0  # seconds


@contextlib.contextmanager
def pulse(run: str, label: str, left: float = 0.0, every: float = EVERY) -> Iterator[None]:
    """Say how far a stage is, until it ends; `left`: seconds of it and of all after it the last time, 0: not known."""
    ended, began = threading.Event(), time.time()

    def beat() -> None:
        while not ended.wait(every):
            tqdm.write(f"{label}: {how_far(run, began, left)}")  # above the bars, if there are any

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
    return "; ".join(part for part in (duration(spent), games_since(run, began), remaining) if part)


def games_since(run: str, began: float) -> str:
    """Say how many of a run's games were saved since then, and who won them; nothing if there are none."""
    winners: Counter[str] = Counter()
    with contextlib.suppress(OSError):  # a folder that is being renamed is looked at again the next time
        files = run_folder(run).rglob("shard-*/games.parquet")
        for file in (file for file in files if file.stat().st_mtime >= began):
            winners.update(_winners(str(file)))
    if not winners:
        return ""
    shares = ", ".join(f"{who or 'nobody'} {100 * n / winners.total():.0f} %" for who, n in sorted(winners.items()))
    return f"{counted(winners.total(), 'game')}, won by {shares}"


def _winners(file: str) -> list[str]:
    import pyarrow.parquet as pq  # a series that skips every stage need not wait for it

    return pq.read_table(file, columns=["winner"])["winner"].to_pylist()
