"""How fast training is: the same dialogues and the same loss by this trainer and by TRL's, against bare arithmetic.

A dialogue of S script tokens and T actions of A tokens, each behind O observed ones, is S + T(A + O) tokens here and
T S + (A + O) T (T + 1) / 2 tokens as one row per action; of m dialogues of one script, S is read once. What n tokens, k
of them predicted, behind b others that are read already, must take, forward and backward, in floating-point operations
(the base is frozen, so its weights get no gradient):

    linear layers   4 n W          W weights; nothing learns below the first layer's q, k, v: 2 n W of those
    adapters        6 n r (in + out)               of which nothing goes further down there either: 2 n r in less
    attention       6 n (2 b + n + 1) heads head_size    two products forward, four backward, over what is looked at
    head            4 k hidden vocabulary

Times are processor time on a CPU, so that what else runs there counts little, and wall time on a GPU. Used by
notebook 09.
"""

from __future__ import annotations

import contextlib
import io
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from transformers import Trainer, TrainerCallback

from maro_lib.learn.adapters import adapt
from maro_lib.learn.corpus import TAKEN, Corpus
from maro_lib.learn.settings import Settings
from maro_lib.learn.trainer import MaroTrainer
from maro_lib.model.estimates import shape
from maro_lib.model.loading import Loaded, load, quiet

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

OURS, TRL_BEST, TRL_DEFAULT = "this trainer", "TRL, best setting", "TRL, default"
ALONE = "this trainer, one by one"  # as for a model that can't read several dialogues in a forward
SIZES = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "num_key_value_heads",
         "vocab_size")  # fmt: skip
SHAPES = {  # by SIZES, of Qwen2 models with random weights: what is timed does not depend on what they have learned
    "toy": (4, 1, 6, 2, 1, 10),  # to be counted by hand
    "tiny": (256, 4, 768, 4, 2, 2048),
    "small": (512, 4, 1536, 8, 2, 8192),
    "smollm2": (576, 30, 1536, 9, 3, 49_152),
    "7b": (3584, 28, 18_944, 28, 4, 152_064),
}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class BenchError(RuntimeError):
    """Two trainers can't be compared; the message says why."""


# --- what is trained -----------------------------------------------------------------------------------


class Size(NamedTuple):
    """One dialogue, in tokens."""

    script: int  # S
    n_actions: int  # T
    action: int  # A
    observed: int  # O, before each action

    @property
    def n_tokens(self) -> int:
        return self.script + self.n_actions * (self.action + self.observed)

    @property
    def rows(self) -> list[int]:
        """The lengths of its rows, one per action."""
        return [self.script + t * (self.action + self.observed) for t in range(1, self.n_actions + 1)]


class Reading(NamedTuple):
    """Tokens that are read: how many, how many of them are predicted, and behind how many others they stand."""

    n: int
    predicted: int
    behind: int = 0


@dataclass(frozen=True)
class Bench:
    """A measurement: the model's folder, the dialogues of one optimiser step, and how both trainers are set."""

    folder: str
    size: Size
    n_dialogues: int = 1
    one_script: bool = False  # whether all dialogues begin with the same
    precision: str = "float32"
    device: str = "cpu"
    lora_rank: int = 16
    half: bool = False
    checkpointing: bool = False
    seed: int = 0

    def of_one_script(self, n: int) -> Bench:
        """The same with so many dialogues of one character in a step, which share their script."""
        return replace(self, n_dialogues=n, one_script=True)

    @property
    def settings(self) -> Settings:
        """z0 = 0 and no anchor: TRL's `apo_zero_unpaired`."""
        return Settings(
            z0="fixed", anchor=0.0, learning_rate=1e-6, epochs=1, batch=self.n_dialogues, lora_rank=self.lora_rank,
            half=self.half, checkpointing=self.checkpointing, optimiser="adamw_torch", seed=self.seed,
        )  # fmt: skip


def make_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer that never joins letters: TRL encodes text anew, and must arrive at the same tokens."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    stop, padding = "<|im_end|>", "<|endoftext|>"
    vocabulary = {token: k for k, token in enumerate([padding, stop, *sorted(ByteLevel.alphabet())])}
    return Qwen2Tokenizer(vocab=vocabulary, merges=[], eos_token=stop, pad_token=padding)


def make_model(folder: Path, config: PretrainedConfig, *, dtype: torch.dtype, device: str, seed: int = 0) -> None:
    """Write a model with random weights as if it were a trained one."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    with torch.device(device), quiet():
        AutoModelForCausalLM.from_config(config, dtype=dtype).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


def make_config(name: str) -> PretrainedConfig:
    """The configuration of one of SHAPES."""
    from transformers import Qwen2Config

    sizes = dict(zip(SIZES, SHAPES[name], strict=True))
    return Qwen2Config(**sizes, max_position_embeddings=131_072, tie_word_embeddings=False)


def make_dialogues(
    size: Size, n: int, tokenizer: PreTrainedTokenizerBase, seed: int = 0, *, one_script: bool = False
) -> Corpus:
    """Make up dialogues of letters, perhaps with one script; every action ends with the token that ends a turn."""
    rng, letters = np.random.default_rng(seed), tokenizer.convert_tokens_to_ids(list(LETTERS))
    ids, rows = [], []
    for row in range(n):
        ids.append(rng.choice(letters, size.n_tokens).astype(np.int32))
        if one_script:
            ids[-1][: size.script] = ids[0][: size.script]
        for t, end in enumerate(size.rows, 1):
            ids[-1][end - 1] = tokenizer.eos_token_id
            rows.append((f"game {row}", 0, t, "civilian", 1, bool((row + t) % 2), 1.0, row, end - size.action, end))
    actions = pd.DataFrame(rows, columns=[*TAKEN, "row", "start", "end"])
    return Corpus(ids, actions, pd.DataFrame(), int(actions["end"].sum()))


# --- who trains it -------------------------------------------------------------------------------------


class Stopwatch(TrainerCallback):
    """Times one optimiser step, from when its data are laid out until the weights have moved."""

    def __init__(self, device: str):
        self.device, self.seconds, self.began = device, math.nan, math.nan

    def now(self) -> float:
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def on_epoch_begin(self, *_, **__):
        self.began = self.now()

    def on_step_end(self, *_, **__):
        self.seconds = self.now() - self.began


class Gradient(TrainerCallback):
    """Copies the gradient that the optimiser is about to use."""

    def __init__(self):
        self.found: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, *_, model: torch.nn.Module, **__):
        self.found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@dataclass
class Contender:
    """A trainer that can be told to take the same step again."""

    trainer: Trainer
    watch: Stopwatch

    def step(self) -> float:
        """Take one optimiser step over all actions, and return its seconds."""
        with _silence():
            self.trainer.train()
        return self.watch.seconds

    def learned(self) -> tuple[float, dict[str, torch.Tensor]]:
        """Take the step, and return its loss and its gradient."""
        seen = Gradient()
        self.trainer.add_callback(seen)
        self.step()
        self.trainer.remove_callback(seen)
        losses = [entry["loss"] for entry in self.trainer.state.log_history if "loss" in entry]
        return losses[-1], seen.found


def build(bench: Bench, way: str, folder: Path, loaded: Loaded | None = None) -> Contender:
    """Set up one of the ways to train."""
    with _silence():
        loaded = loaded or load(bench.folder, precision=bench.precision, device=bench.device)
        if way in (OURS, ALONE):
            made = _maro(bench, loaded, folder, way == ALONE)
        else:
            made = _trl(bench, loaded, folder, way == TRL_DEFAULT)
        made.trainer.add_callback(made.watch)
    return made


def _maro(bench: Bench, loaded: Loaded, folder: Path, alone: bool) -> Contender:
    trainer = MaroTrainer(adapt(loaded, bench.settings), _corpus(bench, loaded), bench.settings, folder)
    if alone:
        trainer.at_once = 0
    trainer.args.set_save("no")
    with trainer.accelerator.autocast():  # the Trainer wraps its model only where it trains
        trainer.compute_references(trainer.model, trainer.material)
    return Contender(trainer, Stopwatch(bench.device))


def _trl(bench: Bench, loaded: Loaded, folder: Path, default: bool) -> Contender:
    """TRL's trainer: at its best for this, or with its defaults but for what would drop or round what is compared."""
    import trl.trainer.utils
    from datasets import Dataset
    from peft import LoraConfig
    from trl import KTOConfig, KTOTrainer

    trl.trainer.utils._use_triton = lambda _device: True  # only action tokens through the head, as on a GPU
    s, n_rows, batch = bench.settings, bench.n_dialogues * bench.size.n_actions, 8 if default else 1
    config = KTOConfig(
        output_dir=str(folder), per_device_train_batch_size=batch,
        gradient_accumulation_steps=math.ceil(n_rows / batch),
        loss_type="kto" if default else "apo_zero_unpaired", precompute_ref_log_probs=not default,
        gradient_checkpointing=default or s.checkpointing, max_length=None, bf16=s.half, beta=s.beta,
        learning_rate=s.learning_rate, max_grad_norm=s.max_grad_norm, optim=s.optimiser, num_train_epochs=1,
        use_cpu=bench.device == "cpu", logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True,
        seed=s.seed,
    )  # fmt: skip
    lora = LoraConfig(r=s.lora_rank, lora_alpha=s.lora_alpha, lora_dropout=0.0, target_modules="all-linear",
                      task_type="CAUSAL_LM")  # fmt: skip
    rows = Dataset.from_list(as_rows(_corpus(bench, loaded), loaded.tokenizer))
    trainer = KTOTrainer(
        loaded.model, args=config, train_dataset=rows, processing_class=loaded.tokenizer, peft_config=lora
    )
    return Contender(trainer, Stopwatch(bench.device))


def _corpus(bench: Bench, loaded: Loaded) -> Corpus:
    return make_dialogues(bench.size, bench.n_dialogues, loaded.tokenizer, bench.seed, one_script=bench.one_script)


def as_rows(corpus: Corpus, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    """The same actions as TRL wants them: a text before, a text, and a label for each."""
    rows = []
    for a in corpus.actions.itertuples():
        before, action = (tokenizer.decode(corpus.ids[a.row][x:y]) for x, y in ((0, a.start), (a.start, a.end)))
        rows.append({"prompt": before, "completion": action, "label": bool(a.desirable)})
    return rows


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Bars, logs and hints of four libraries: none of them is a result."""
    with quiet(), contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        yield


def teach(contenders: Iterable[Contender], seed: int = 0) -> None:
    """Give all the same adapter, one that has learned something, so that r is not 0."""
    for contender in contenders:
        rng = torch.Generator().manual_seed(seed)
        for name, p in sorted(contender.trainer.model.named_parameters()):
            if "lora_" in name:
                p.data.copy_(0.02 * torch.randn(p.shape, generator=rng))


def gap(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> float:
    """How far two gradients are apart, as a share of the first one's size."""
    if a.keys() != b.keys():
        raise BenchError(f"other parameters have a gradient: {sorted(a.keys() ^ b.keys())[:3]}")
    apart, size = (torch.stack([t.norm() for t in x]).norm() for x in ([a[k] - b[k] for k in a], a.values()))
    return float(apart / size)


# --- time ----------------------------------------------------------------------------------------------


def race(contenders: Mapping[str, Contender], rounds: int, speed: Callable[[], float]) -> pd.DataFrame:
    """Let all take turns, so that whatever else the machine does meets all of them.

    Columns: round, way, seconds (of a step), speed (of a product of matrices, in that round).
    """
    rows = []
    for k in range(rounds):
        flops = speed()
        rows += [(k, way, contender.step(), flops) for way, contender in contenders.items()]
    return pd.DataFrame(rows, columns=["round", "way", "seconds", "speed"])


def times_faster(table: pd.DataFrame, *, other: str, way: str = OURS) -> float:
    """The median over the rounds of how many times faster one way was than another in the same round."""
    wide = table.pivot(index="round", columns="way", values="seconds")
    return float((wide[other] / wide[way]).median())


def product_speed(device: str, dtype: torch.dtype) -> float:
    """Operations per second of a large product of matrices."""
    n, watch = (1536, 8192)[device != "cpu"], Stopwatch(device)
    a = torch.randn(n, n, device=device, dtype=dtype)
    a @ a
    times = []
    for _ in range(3):
        began = watch.now()
        a @ a
        times.append(watch.now() - began)
    return 2 * n**3 / min(times)


# --- arithmetic ----------------------------------------------------------------------------------------


class Work(NamedTuple):
    """Floating-point operations of one step, by what they are for."""

    linear: float
    adapters: float
    attention: float
    head: float

    @property
    def total(self) -> float:
        return sum(self)


def arithmetic(config: PretrainedConfig, rank: int, readings: Iterable[tuple[int, ...]]) -> Work:
    """Count what readings (tokens, predicted ones, others behind which they stand) must take, forward and backward.

    The last layer's MLP is needed only where a token is predicted.
    """
    s, heads = shape(config), config.num_attention_heads
    own, kv = heads * s.head_size, s.kv_heads * s.head_size
    first = [(s.hidden, own), (s.hidden, kv), (s.hidden, kv)]  # q, k, v: of the first layer nothing lies below them
    mlp = [*[(s.hidden, s.intermediate)] * 2, (s.intermediate, s.hidden)]
    attention = [*first, (own, s.hidden)]
    n = k = pairs = 0
    for part in (Reading(*given) for given in readings):
        n, k, pairs = n + part.n, k + part.predicted, pairs + part.n * (2 * part.behind + part.n + 1) // 2
    places = [(attention, n * s.layers), (mlp, n * (s.layers - 1) + k)]
    in_and_out = sum((a + b) * m for side, m in places for a, b in side)
    return Work(
        linear=4 * sum(a * b * m for side, m in places for a, b in side) - 2 * n * sum(a * b for a, b in first),
        adapters=2 * rank * (3 * in_and_out - n * sum(a for a, _ in first)),
        attention=12 * pairs * own * s.layers,
        head=4 * k * s.hidden * s.vocabulary,
    )


def work_of(bench: Bench, config: PretrainedConfig, way: str = OURS) -> Work:
    """What one step of a way to train must take; TRL's default does more, which is not counted."""
    size = bench.size
    predicted = size.n_actions * size.action
    readings = [(size.n_tokens, predicted)] if way in (OURS, ALONE) else [(n, size.action) for n in size.rows]
    if way == OURS and bench.one_script:
        rest = (size.n_tokens - size.script, predicted, size.script)
        return arithmetic(config, bench.lora_rank, [(size.script, 0), *[rest] * bench.n_dialogues])
    return arithmetic(config, bench.lora_rank, readings * bench.n_dialogues)


# --- memory --------------------------------------------------------------------------------------------


class Ledger:
    """The bytes that graphs keep for their backward passes, weights apart: now, and the most at one time."""

    def __init__(self, model: torch.nn.Module):
        self.weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.users, self.now, self.most = Counter(), 0, 0

    def count(self, storage: torch.UntypedStorage, change: int) -> None:
        """Count one more, or one less, who keeps a storage; what is kept twice takes its bytes once."""
        if (at := storage.data_ptr()) in self.weights:
            return
        before, self.users[at] = self.users[at], self.users[at] + change
        self.now += storage.nbytes() * (bool(self.users[at]) - bool(before))
        self.most = max(self.most, self.now)


class Held:
    """A tensor that a graph keeps; it leaves the ledger when the graph lets go of it."""

    def __init__(self, tensor: torch.Tensor, ledger: Ledger):
        self.tensor, self.ledger = tensor, ledger
        ledger.count(tensor.untyped_storage(), 1)

    def __del__(self):
        self.ledger.count(self.tensor.untyped_storage(), -1)


def backward_memory(contender: Contender) -> int:
    """Take a step; return the most bytes that it keeps at one time for its backward passes."""
    ledger = Ledger(contender.trainer.model)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: Held(t, ledger), lambda held: held.tensor):
        contender.step()
    return ledger.most
