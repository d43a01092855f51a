"""The kill campaign: work is killed at drawn moments (`kill -9`) and begun again until it is done, then compared.

    make kills [KILLS=25]                    every kind of work, that many kills each
    python tests/kills.py --kills 15 commons trust                             games of two worlds
    python tests/kills.py --kills 50 float32 one kind

A kind of work does the same wherever it is called: scripted games (of every world), games of the embedded model in
float64 and float32, a training. Its figures are in docs/how-to.md.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file

from maro_lib.embedded import HOME
from maro_lib.learn import Settings, make_corpus, train
from maro_lib.model import LocalPolicy, load
from maro_lib.play import Mixture, play, schedule
from maro_lib.play.policies import Policy
from maro_lib.world import Rules, generate_many
from maro_lib.worlds import WORLDS, scenarios

BEGUN = "begun"  # said once everything is loaded: a kill before that tests nothing


def games(n: int) -> list:
    return schedule(generate_many(max(2, n // 8), 11, HOME), n, 3, Rules(rounds=2))


def in_world(world: str) -> Callable[[int], list]:
    return lambda n: schedule(scenarios(world, max(2, n // 8), 11), n, 3)


def played(
    policy: Callable[[], Policy], n: int, shard_size: int, made: Callable[[int], list] = games
) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        players, wanted = policy(), made(n)
        print(BEGUN, flush=True)
        play(wanted, players, folder=folder, concurrency=16, shard_size=shard_size, shard_seconds=0.5)

    return work


def model(precision: str) -> Callable[[], Policy]:
    return lambda: LocalPolicy(load("embedded", precision=precision))


def trained(folder: Path) -> None:
    loaded = load("embedded", precision="float32")
    told = play(games(16), Mixture())
    actions = told.table("actions").assign(weight=1.0, desirable=lambda a: a["success"])
    corpus = make_corpus(told.table("dialogues"), actions[actions["legal"]], chat=LocalPolicy(loaded).chat)
    print(BEGUN, flush=True)
    train(loaded, corpus, Settings(batch=8, epochs=1, check_every=2, lora_rank=4, lora_alpha=8), folder)


WORK = {
    "scripted": played(Mixture, 1200, 40),
    "float64": played(model("float64"), 48, 4),
    "float32": played(model("float32"), 48, 4),
    "training": trained,
} | {world: played(Mixture, 400, 20, in_world(world)) for world in WORLDS if world not in ("mystery", "textarena")}


# --- killing -------------------------------------------------------------------------------------------


def child(kind: str, folder: Path) -> subprocess.Popen:
    """Start the work in a process of its own, and return once it has begun."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--work", str(folder), kind], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    process.stdout.readline()
    return process


def undisturbed(kind: str, folder: Path) -> float:
    """Do the work once without a kill; return how long it took."""
    process, began = child(kind, folder), time.monotonic()
    if process.wait():
        raise SystemExit(f"{kind}: the work fails without any kill, too")
    return time.monotonic() - began


def disturbed(kind: str, folder: Path, seconds: float, n_kills: int, rng: random.Random) -> int:
    """Kill the work at up to `n_kills` drawn moments, then let it end; return how often it was killed."""
    killed = 0
    for _ in range(n_kills):
        process = child(kind, folder)
        time.sleep(rng.uniform(0, seconds / 2))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        if process.returncode == 0:
            return killed
    if child(kind, folder).wait():
        raise SystemExit(f"{kind}: after {killed} kills the work fails")
    return killed


# --- comparing -----------------------------------------------------------------------------------------


def compare_games(kept: Path, folder: Path) -> dict[str, float]:
    """Games lost and doubled, replies that differ, and log-probs that differ, with the largest difference."""
    from maro_lib.play import read_table

    before, after = (read_table(f, "actions").sort_values(["order", "step"]) for f in (kept, folder))
    names, n = read_table(kept, "games")["game"], read_table(folder, "games")["game"].value_counts()
    found = {"lost": int((~names.isin(n.index)).sum()), "doubled": int((n > 1).sum())}
    both = before.merge(after, on=["game", "step"], how="outer")
    found |= {"of": len(both), "differ": int((both["text_x"] != both["text_y"]).sum())}
    logps = [
        pd.Series(read_table(f, "dialogues").sort_values(["order", "seat", "view"])["logps"]) for f in (kept, folder)
    ]
    if not found["differ"] and logps[0].notna().all():
        x, y = (torch.tensor([p for row in table for p in row], dtype=torch.float64) for table in logps)
        found |= {"numbers": len(x), "off": int((x != y).sum()), "by at most": float((x - y).abs().max())}
    return found


def compare_adapters(kept: Path, folder: Path) -> dict[str, float]:
    x, y = (load_file(f / "adapter" / "adapter_model.safetensors") for f in (kept, folder))
    off = torch.cat([(x[name] - y[name]).abs().flatten() for name in x])
    return {
        "lost": int(x.keys() != y.keys()),
        "numbers": len(off),
        "off": int((off > 0).sum()),
        "by at most": float(off.max()),
    }


def campaign(kind: str, n_kills: int, seed: int, place: Path) -> dict[str, float]:
    """Repeat the work under kills until there were enough of them; return the sums."""
    rng, kept = random.Random(f"{seed}/{kind}"), place / "kept"
    seconds = undisturbed(kind, kept)
    compare, total = compare_adapters if kind == "training" else compare_games, {"runs": 0, "kills": 0}
    while total["kills"] < n_kills:
        folder = place / "killed"
        total["kills"] += disturbed(kind, folder, seconds, min(6, n_kills - total["kills"]), rng)
        total["runs"] += 1
        for name, value in compare(kept, folder).items():
            total[name] = max(total.get(name, 0.0), value) if name == "by at most" else total.get(name, 0) + value
        shutil.rmtree(folder)
    return total


def campaigns(kinds: list[str], n_kills: int, seed: int) -> Iterator[dict[str, float]]:
    for kind in kinds:
        with tempfile.TemporaryDirectory() as place:
            yield {"work": kind} | campaign(kind, n_kills, seed, Path(place))
        print(f"{kind}: done", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kinds", nargs="*", help=f"which work: {', '.join(WORK)}; all of it unless named")
    parser.add_argument("--kills", type=int, default=25, help="of each kind of work")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        WORK[options.kinds[0]](options.work)
        return 0
    table = pd.DataFrame(campaigns(options.kinds or [*WORK], options.kills, options.seed)).set_index("work")
    print(table.to_string(na_rep="", float_format=lambda x: f"{x:.0e}" if 0 < x < 1 else f"{x:.0f}"))
    bad = table.reindex(columns=["lost", "doubled"]).fillna(0).to_numpy().any()
    exact = table.drop(["float32", "training"], errors="ignore").reindex(columns=["differ"]).fillna(0).to_numpy().any()
    print("lost, doubled or changed: NOT as promised" if bad or exact else "nothing lost, nothing doubled")
    return int(bad or exact)


if __name__ == "__main__":
    sys.exit(main())
