"""Training in several processes: `accelerate launch` as a subprocess of the notebook, its output shown line by line.

    launch() -- accelerate launch -- process 0, 1, ...      maro_lib.learn.training_process, a share of every step each

Each process holds the whole model on its own device (DDP); loss and adapter are those of one process. A kernel can't be
one of them itself: CUDA and bitsandbytes don't survive a fork. Each holds the reading end of a pipe whose writing end
is here, and ends when it closes: on an interrupt, and when the kernel is killed. Used in notebook 05.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch
import yaml
from accelerate import DistributedType
from accelerate.commands.config import load_config_from_file

from maro_lib.learn.corpus import Corpus, load_corpus, save_corpus
from maro_lib.learn.guard import Live, QuickGames
from maro_lib.learn.settings import Settings
from maro_lib.learn.training import Trained, finished, is_finished, train
from maro_lib.model.loading import Loaded, load
from maro_lib.model.players import Player
from maro_lib.model.server_process import TAIL, end_group
from maro_lib.play.rollout import Game
from maro_lib.runs import located, make_folder, read_record, write_atomic
from maro_lib.side_by_side import Tell, run_tasks
from maro_lib.strict_yaml import StrictLoader, read_text
from maro_lib.world.mystery import MurderMystery, Rules
from maro_lib.world.setups import dump_scripts, load_scripts
from maro_lib.worlds.registry import find_world

INPUTS = ".inputs"  # after the name of the folder that is trained into
DDP = Path(__file__).with_name("accelerate") / "ddp.yaml"
SECONDS_TO_END = 10.0  # seconds that processes have to end by themselves
LONGEST = 2000  # bytes of a line that are shown: what follows has no mark
FEW = 64  # dialogues: as many are read before another process has started
NOTED = 200  # lines of the launcher that are looked through for what happened
ENDED = re.compile(r"rank +: (\d+) .*\n +exitcode +: (-?\d+) \(pid: \d+\)(?: +\((\w+)\))?")  # its report of a process
MARK = re.compile(r"\[process (\d+)\] ")  # what accelerate puts before a line of one of the processes


class LaunchError(RuntimeError):
    """The processes can't be started, or ended too early; the message says why, and shows their last lines."""


@dataclass(frozen=True)
class WatchedGame:
    """A quick game, as job.json has it."""

    name: str
    order: int
    script: str  # its digest; scripts.yaml has it
    seed: int
    rules: Rules


@dataclass(frozen=True)
class Watched:
    """The quick games of a training, as job.json has them."""

    games: list[WatchedGame]
    player: Player
    concurrency: int


@dataclass(frozen=True)
class Stored:
    """job.json of a folder of inputs, whose name says which folder is trained into."""

    model: str
    precision: str
    adapter: str
    settings: Settings
    watch: Watched | None


@dataclass(frozen=True)
class Job:
    """A training, as the processes read it."""

    model: str
    precision: str
    adapter: str
    corpus: Corpus
    settings: Settings
    folder: Path
    watch: QuickGames | None = None

    def save(self, inputs: Path) -> None:
        """Write it into a folder of its own: Parquet, JSON and YAML."""
        make_folder(inputs)
        shutil.rmtree(inputs)  # of a launch that was cut short
        save_corpus(self.corpus, inputs)
        watched = None
        if watch := self.watch:
            scripts = {game.script.digest: game.script for game in watch.games}
            write_atomic(inputs / "scripts.yaml", dump_scripts(scripts.values()))
            games = [WatchedGame(g.name, g.order, g.script.digest, g.seed, g.rules) for g in watch.games]
            watched = Watched(games, watch.player, watch.concurrency)
        stored = Stored(self.model, self.precision, self.adapter, self.settings, watched)
        write_atomic(inputs / "job.json", json.dumps(asdict(stored), indent=1))

    def __call__(self, tell: Tell) -> None:
        """Train, in a process beside others; tell the curve."""
        loaded = load(self.model, precision=self.precision, adapter=self.adapter)
        train(loaded, self.corpus, self.settings, self.folder, watch=self.watch, live=tell)

    @classmethod
    def read(cls, inputs: Path) -> Job:
        """Read what `save` wrote."""
        stored, watch = read_record(inputs / "job.json", Stored), None
        if watched := stored.watch:
            scripts = load_scripts(inputs / "scripts.yaml")
            games = [Game(g.name, g.order, scripts[g.script], g.seed, g.rules) for g in watched.games]
            watch = QuickGames(games, watched.player, watched.concurrency)
        folder = inputs.with_name(inputs.name.removesuffix(INPUTS))
        return cls(
            stored.model, stored.precision, stored.adapter, load_corpus(inputs), stored.settings, folder, watch
        )  # fmt: skip


def launch(
    n_processes: int, *, model: str, precision: str, adapter: str, corpus: Corpus, settings: Settings, folder: Path,
    watch: QuickGames | None = None, config: str = "",
) -> Trained:  # fmt: skip
    """Do what `training.train` does, in several processes; `config` is another accelerate file than DDP's."""
    config = located(config) if config else DDP
    _check(n_processes, config, watch)
    folder = Path(folder).absolute()
    inputs = folder.with_name(folder.name + INPUTS)
    Job(model, precision, adapter, corpus, settings, folder, watch).save(inputs)
    _run(_command(n_processes, config, inputs), _environment(n_processes), inputs)
    shutil.rmtree(inputs)
    return finished(folder)


def train_ahead(jobs: Sequence[Job], loaded: Loaded, live: Live | None = None) -> None:
    """Do several trainings of a small model side by side; `training.train` finds them done.

    Where a model works in one process at a time, or for few dialogues, nothing is done here. `live` is shown the curve
    that is behind.
    """
    n_dialogues = sum(len(job.corpus) * job.settings.epochs for job in jobs)
    if loaded.n_side_by_side == 1 or n_dialogues < FEW or all(is_finished(job.folder) for job in jobs):
        return
    curves: dict[int, pd.DataFrame] = {}

    def show(number: int, curve: pd.DataFrame) -> None:
        curves[number] = curve
        if live:
            live(min(curves.values(), key=len))

    run_tasks(jobs, loaded.n_side_by_side, show)


# --- what is started -----------------------------------------------------------------------------------


def _check(n_processes: int, config: Path, watch: QuickGames | None) -> None:
    """Refuse what can't work, before anything is started."""
    n_gpus = torch.cuda.device_count()
    if n_processes < 1:
        raise LaunchError(f"num_processes: {n_processes}; at least 1 is needed")
    if n_gpus and n_processes > n_gpus:
        raise LaunchError(f"num_processes: {n_processes}, but there are {n_gpus} GPUs here, and each process needs one")
    try:
        if "distributed_type" not in (yaml.load(read_text(config), StrictLoader) or ()):
            raise ValueError("it names no distributed_type")  # of another file, accelerate's own errors would quote
        kind = load_config_from_file(str(config)).distributed_type
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise LaunchError(f"{config}: accelerate can't read it as its configuration ({error})") from None
    if kind == DistributedType.FSDP and not n_gpus:
        raise LaunchError(f"{config}: FSDP needs GPUs, and there are none here")
    if kind == DistributedType.FSDP and watch:
        raise LaunchError(f"{config}: quick games need a whole model, and FSDP cuts it; leave `watch` out")
    if watch and (others := {g.kind or find_world(g.script.world) for g in watch.games} - {MurderMystery}):
        raise LaunchError(f"watch: games of {', '.join(sorted(map(str, others)))} can't be handed to other processes")


def _command(n_processes: int, config: Path, inputs: Path) -> list[str]:
    options = {
        "config_file": config,
        "num_processes": n_processes,
        "main_process_port": 0,  # a free one
        "tee": 3,  # both streams, of every process, with its mark
        "log_dir": inputs / "logs",
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    return [
        *(sys.executable, "-m", "accelerate.commands.launch", *words),
        *("--module", "maro_lib.learn.training_process", str(inputs)),
    ]


def _environment(n_processes: int) -> dict[str, str]:
    cores = os.cpu_count() or 1
    return os.environ | {
        "OMP_NUM_THREADS": str(max(1, cores // n_processes)),
        "TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE": "[process ${rank}] ",
        "ACCELERATE_USE_CPU": str(not torch.cuda.is_available()),  # `--cpu` would start one process only
    }


def _run(command: Sequence[str], environment: Mapping[str, str], inputs: Path) -> None:
    """Run to the end, showing what the processes say; leave none of them behind."""
    launcher = subprocess.Popen(
        command, env=environment, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, noted = deque(maxlen=TAIL), deque(maxlen=NOTED)
    try:
        for piece in iter(lambda: launcher.stdout.readline(LONGEST), b""):
            line = piece.decode("utf-8", "replace").rstrip()
            if MARK.match(line):
                said.append(line.removeprefix("[process 0] "))
                print(f"{said[-1]}\n", end="", flush=True)  # in one piece: others may write, too
            else:
                noted.append(line)  # the launcher's own words: of use only when something went wrong
        code = launcher.wait()
    finally:
        launcher.stdin.close()  # the end of every process, wherever it is
        end_group(launcher, SECONDS_TO_END)
        launcher.stdout.close()
    if code:
        raise LaunchError("\n".join(_why(code, inputs, said, noted)))


def _why(code: int, inputs: Path, said: Sequence[str], noted: Sequence[str]) -> Iterator[str]:
    """Say what went wrong: which processes ended, what they left behind, and the last lines."""
    yield "the processes ended early; put right what they say and run it again: it goes on from the last checkpoint"
    ended = ENDED.findall("\n".join(noted))
    for rank, signal in sorted((r, s) for r, _, s in ended if s and s != "SIGTERM"):
        yield f"process {rank} was ended by {signal}{' (too little memory?)' if signal == 'SIGKILL' else ''}"
    for path in sorted(inputs.glob("failed.*"), key=lambda path: path.stat().st_mtime_ns):
        yield f"process {path.suffix[1:]}: {path.read_text(encoding='utf-8').rstrip()}"
    yield from ("The last lines:", *(f"  {line}" for line in said))
    if not ended:
        yield from (f"accelerate launch (exit code {code}):", *(f"  {line}" for line in [*noted][-TAIL:]))
