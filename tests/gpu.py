"""What only a GPU can tell: a model of Qwen2.5-7B's shape in 4 bits plays, trains beside TRL, and fits; SmolLM2 learns.

    make gpu                                  everything, about eight minutes of a large card
    python tests/gpu.py play train --shape 7b
    python tests/gpu.py play train smollm2 --shape tiny --device cpu     the same path, small: this is tested

Weights are random where speed and memory are asked for, so nothing is downloaded. Figures are printed as YAML.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from transformers import AutoModelForCausalLM

from maro_lib.embedded import HOME
from maro_lib.learn import Settings, balance, decompose, make_corpus, train
from maro_lib.learn.balancing import shuffle_outcomes
from maro_lib.learn.cold_start import Listening, imitation
from maro_lib.measure.matches import CONTROL, MARO, gains, match
from maro_lib.model import estimates
from maro_lib.model.loading import Loaded, guard_4bit, in_precision, load, quiet
from maro_lib.model.local import LocalPolicy, Sampling
from maro_lib.play import Gamebook, play
from maro_lib.study import trainbench
from maro_lib.study.trainbench import OURS, TRL_BEST, Bench, Size
from maro_lib.world import Knobs, Rules

MATCH = 4  # dialogues of a step


@dataclass(frozen=True)
class Machine:
    """Where it runs, and with what shape."""

    shape: str
    device: str

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu"

    def random_model(self) -> Loaded:
        """A model with random weights in 4 bits, quantised where it is."""
        config = trainbench.make_config(self.shape)
        setting = in_precision("nf4", "bfloat16" if self.on_gpu else "float32")
        with torch.device(self.device), quiet():
            torch.manual_seed(0)
            plain = AutoModelForCausalLM.from_config(config, dtype=setting["dtype"])
        with quiet():
            made = type(plain).from_pretrained(
                None, config=config, state_dict=plain.state_dict(), device_map={"": self.device}, **setting
            )
        guard_4bit(made)
        return Loaded(made.eval(), load("embedded", device="cpu").tokenizer, self.shape, "nf4")

    def seconds(self, work: Callable[[], object]) -> float:
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if self.on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter() - began

    @property
    def peak_gb(self) -> float:
        return torch.cuda.max_memory_allocated() / 2**30 if self.on_gpu else float("nan")


def play_part(at: Machine, _folder: Path) -> dict[str, float]:
    """Prose games at the settings of params/gpu_qwen2.5_7b.yaml, but for replies, which random weights never end."""
    loaded, knobs, new = at.random_model(), Knobs(characters=6, red_herrings=3, register="prose"), 24
    games = Gamebook(n_scripts=3, knobs=knobs, rules=Rules(rounds=1)).games(3)
    policy = LocalPolicy(loaded, Sampling(1.0, new), window=8192, cache_gb=7.0)
    played = []
    seconds = at.seconds(lambda: played.append(play(games, policy, concurrency=3)))
    spans = [s for row in played[0].table("dialogues")["spans"] for s in row]
    written = sum(s["end"] - s["start"] for s in spans)
    read = sum(map(len, played[0].table("dialogues")["token_ids"])) - written
    size, n = estimates.shape(loaded.model.config), 18
    plan = estimates.Plan(
        estimates.count_weights(loaded.model.config), size, "nf4", 2 if at.on_gpu else 4, 8192, read // n,
        (read + written) // n, (read + written) // n, n, n, 65_536,
    )  # fmt: skip
    return {"seconds": seconds, "tokens written": written, "tokens read": read, "written a second": written / seconds,
            "peak GB": at.peak_gb, "predicted GB": plan.memory(7.0).total / 2**30}  # fmt: skip


def train_part(at: Machine, folder: Path) -> dict[str, float]:
    """A step over four dialogues of 10 actions and 500 script tokens: this trainer, TRL's at its best, arithmetic."""
    bench = Bench("", Size(500, 10, 40, 60), n_dialogues=MATCH, precision="nf4", device=at.device, half=at.on_gpu,
                  checkpointing=True)  # fmt: skip
    found: dict[str, float] = {}
    for way in (OURS, TRL_BEST):
        loaded = at.random_model()
        loaded.tokenizer = trainbench.make_tokenizer()
        contender = trainbench.build(bench, way, folder / way, loaded)
        contender.step()
        found[way] = min(at.seconds(contender.step) for _ in range(2))
        found[f"{way}, peak GB"] = at.peak_gb
        del contender, loaded
    config = trainbench.make_config(at.shape)
    work = trainbench.work_of(bench, config).total
    speed = trainbench.product_speed(at.device, torch.bfloat16 if at.on_gpu else torch.float32)
    tokens = MATCH * bench.size.n_tokens
    predicted = estimates.training_memory(
        estimates.count_weights(config), estimates.shape(config), bench.size.n_tokens, precision="nf4",
        compute=2 if at.on_gpu else 4, checkpointing=True,
    )  # fmt: skip
    return found | {"times faster": found[TRL_BEST] / found[OURS], "tokens a second": tokens / found[OURS],
                    "share of peak": work / speed / found[OURS], "predicted GB": predicted.total / 2**30}  # fmt: skip


def smollm2_part(at: Machine, folder: Path) -> dict[str, float]:
    """SmolLM2 is told how the game is played, then learns from its own games, beside its control."""
    small = not at.on_gpu
    loaded = load("embedded" if small else "smollm2", precision="float32", device=at.device)
    book = Gamebook(seed=1_000_000, n_scripts=100, knobs=HOME, rules=Rules(rounds=2))
    corpus = imitation(book.games(4 if small else 160), LocalPolicy(loaded).chat)
    settings = Settings(objective="sft", anchor=0.0, lora_rank=8, lora_alpha=16, learning_rate=1e-3, batch=8,
                        max_illegal=1.0, check_every=1000, optimiser="adamw_torch")  # fmt: skip
    seconds = at.seconds(lambda: train(loaded, corpus, settings, folder / "cold"))
    cold = load("embedded" if small else "smollm2", precision="float32", adapter=str(folder / "cold" / "adapter"),
                device=at.device)  # fmt: skip
    told = Listening(book.held_out(4 if small else 64, 16), Sampling(1.0, 48))(cold)
    start = load(str(folder / "cold" / "adapter"), precision="float32", device=at.device)
    gained = a_round(start, small, folder)
    return {"cold start, seconds": seconds, **told, **gained}


def a_round(start: Loaded, small: bool, folder: Path) -> dict[str, float]:
    """A model plays itself and learns from that, and from shuffled outcomes; what either gains, in points."""
    book = Gamebook(n_scripts=50, knobs=HOME, rules=Rules(rounds=2))
    policy = LocalPolicy(start, Sampling(1.0, 48), cache_gb=2 if small else 20)
    played = play(book.games(8 if small else 200), policy, folder=folder / "rollout")
    actions, dialogues = played.table("actions"), played.table("dialogues")
    held_out, gained = book.held_out(4 if small else 60, 2 if small else 30), {}
    for name, labelled in ((MARO, actions), (CONTROL, shuffle_outcomes(actions, 0))):
        kept = balance(labelled.assign(weight=decompose(labelled, "uniform")), "min", classes="per_faction")
        settings = Settings(learning_rate=3e-4, batch=8 if small else 64, lam_pos=kept.lam_pos, lam_neg=kept.lam_neg,
                            optimiser="adamw_torch")  # fmt: skip
        trained = train(start, make_corpus(dialogues, kept.actions), settings, folder / name)
        learned = start.beside(str(trained.folder))
        contender = LocalPolicy(learned, policy.sampling, cache_gb=policy.cache_gb)
        table = match(held_out, contender, folder=folder / name / "matches")
        gained |= {f"{name}, {who}": 100 * gain.mean for who, gain in gains(table).items()}
    return gained


PARTS = {"play": play_part, "train": train_part, "smollm2": smollm2_part}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=PARTS, default=[*PARTS])
    parser.add_argument("--shape", choices=[*trainbench.SHAPES], default="7b")
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args()
    at = Machine(given.shape, given.device)
    for name in given.parts:
        with tempfile.TemporaryDirectory() as folder:
            figures = PARTS[name](at, Path(folder))
        print(yaml.safe_dump({name: {k: round(float(v), 3) for k, v in figures.items()}}, sort_keys=False), flush=True)


if __name__ == "__main__":
    main()
