"""What playing and training a model will take, as arithmetic on its configuration: bytes of memory, seconds per reply.

    weights   linear ones in the precision asked for, embeddings and norms in the one that is computed in
    kept      keys and values of views that were read already (`cache_gb`)
    batch     keys and values of the views that are answered together, copied in part when rows leave
    reading   activations while a batch's new tokens pass one layer, and the logits that follow
    margin    the runtime itself, and what memory management wastes

    adapters  a step of training: LoRA matrices, their gradients and two moments, in float32
    kept      what each token of the dialogue keeps for the backward pass
    logits    those of a few action tokens at a time

Nothing here looks at a device, a disk or a network: `maro_lib.run.doctor` does. Compared with a profiler these are
bounds from above within a factor, enough to say before a long run whether it will fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from maro_lib.wording import GB

if TYPE_CHECKING:
    from transformers import PretrainedConfig

MARGIN = GB
COPIED = 1.5  # of a batch: while rows leave it, the rest is copied beside it
BUFFER = 1.25  # of a kept view: buffers grow by half, so a quarter is empty on average
NF4 = 1 / 2 + 1 / 64 + 4 / (64 * 256)  # bytes: 4 bits, one 8-bit scale per 64 weights, one float32 per 256 scales
SLOWEST_STEP = 0.03  # seconds: what launching the kernels of one token takes, however small the batch


class Weights(NamedTuple):
    """How many weights a model has: those of linear layers, which 4 bits can hold, and the others."""

    linear: int
    other: int  # embeddings, the head, norms, biases


class Shape(NamedTuple):
    """What of a model's configuration decides the memory beside the weights."""

    layers: int
    hidden: int
    intermediate: int
    kv_heads: int
    head_size: int
    vocabulary: int
    window: int
    heads: int


class Memory(NamedTuple):
    """Bytes that playing takes, by what they hold."""

    weights: float
    kept: float
    batch: float
    reading: float
    margin: float = MARGIN

    @property
    def total(self) -> float:
        return sum(self)


class Training(NamedTuple):
    """Bytes that a step of training takes, by what they hold."""

    weights: float
    adapters: float
    kept: float
    logits: float
    margin: float = MARGIN

    @property
    def total(self) -> float:
        return sum(self)


class Speed(NamedTuple):
    """What a device does in a second."""

    flops: float
    bytes: float


def count_weights(config: PretrainedConfig) -> Weights:
    """Count a model's weights without making them."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    head = model.get_output_embeddings()  # bitsandbytes leaves it as it is
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
    return Weights(linear, sum(p.numel() for p in model.parameters()) - linear)


def shape(config: PretrainedConfig) -> Shape:
    """Read a configuration; what some families leave out has the usual meaning."""
    text = config.get_text_config()
    heads, hidden = text.num_attention_heads, text.hidden_size
    return Shape(
        layers=text.num_hidden_layers,
        hidden=hidden,
        intermediate=getattr(text, "intermediate_size", None) or 4 * hidden,
        kv_heads=getattr(text, "num_key_value_heads", None) or heads,
        head_size=getattr(text, "head_dim", None) or hidden // heads,
        vocabulary=text.vocab_size,
        window=text.max_position_embeddings,
        heads=heads,
    )


def weight_bytes(weights: Weights, precision: str, compute: int) -> float:
    """Bytes of all weights; `compute` is what one number takes when it is computed with (2, 4 or 8)."""
    return weights.linear * (NF4 if precision == "nf4" else compute) + weights.other * compute


def kv_bytes(shape: Shape, compute: int) -> int:
    """Bytes of one token's keys and values."""
    return 2 * shape.layers * shape.kv_heads * shape.head_size * compute


def view_bytes(shape: Shape, n_tokens: int, compute: int) -> float:
    """Bytes of one view that is kept between turns."""
    return n_tokens * kv_bytes(shape, compute) * BUFFER


def batch_bytes(shape: Shape, n_tokens: int, compute: int) -> float:
    """Bytes of a batch's keys and values; `n_tokens` are those of all its rows."""
    return n_tokens * kv_bytes(shape, compute) * COPIED


def reading_bytes(shape: Shape, n_tokens: int, rows: int, compute: int) -> float:
    """Bytes of activations: one layer's for every new token, then the logits of each row's last token.

    At their most, a layer's activations are three of the inner size (gate, up, their product) and about eight of the
    outer one (residual, its norm, both in float32 meanwhile, queries, repeated keys and values). Drawing a token keeps
    logits and log-probs in float32, their exponentials and sums in float64.
    """
    layer = n_tokens * (3 * shape.intermediate + 8 * shape.hidden) * compute
    return layer + rows * shape.vocabulary * (4 + 4 + 8 + 8)


@dataclass(frozen=True)
class Plan:
    """How a model would play: its sizes, those of a view in tokens, and how many views there are at a time."""

    weights: Weights
    shape: Shape
    precision: str
    compute: int  # bytes of a number that is computed with
    window: int
    first: int  # tokens of a view's beginning
    typical: int  # of a whole one
    at_most: int  # of the longest possible one
    n_views: int  # of all games under way
    rows: int  # that may be answered together
    batch_tokens: int  # and how many tokens they may have

    @property
    def usual(self) -> int:
        """Tokens of a whole view; one that outgrows the window is continued from a summary."""
        return min(self.typical, self.window)

    def holds(self, cache_gb: float) -> int:
        """How many whole views are kept."""
        return int(cache_gb * GB / view_bytes(self.shape, self.usual, self.compute))

    def _repeated(self, n_tokens: int) -> float:
        """Bytes of one layer's keys and values, copied to all heads that share them while a turn is read.

        PyTorch's fast kernels want that where rows are masked; a token that is sampled is read without.
        """
        return 2 * n_tokens * self.shape.heads * self.shape.head_size * self.compute

    def memory(self, cache_gb: float) -> Memory:
        """Estimate the most that playing takes; views that are not kept are read again, whole."""
        longest = min(self.at_most, self.window)
        new = self.first if self.holds(cache_gb) >= self.n_views else longest
        in_batch, read = (min(self.batch_tokens, self.rows * n) for n in (longest, new))
        return Memory(
            weights=weight_bytes(self.weights, self.precision, self.compute),
            kept=min(cache_gb * GB, self.n_views * view_bytes(self.shape, longest, self.compute)),
            batch=batch_bytes(self.shape, in_batch, self.compute),
            reading=max(reading_bytes(self.shape, read, self.rows, self.compute), self._repeated(in_batch)),
        )


def kept_per_token(shape: Shape, rank: int, compute: int, *, checkpointing: bool = False) -> float:
    """Bytes that a step keeps for its backward pass, per token; a number that is computed with takes `compute`.

    Of each layer: what the norms were given, in float32; what q, k, v, then o, then gate and up were given; queries,
    keys and values; gate before and after its sigmoid, up, and their product; small change. Checkpointing keeps what
    each layer was given, and at any time one layer's own with its gradients.
    """
    s = shape
    numbers = 4 * s.intermediate + 3 * s.hidden + (s.heads + 2 * s.kv_heads) * s.head_size + 7 * rank
    layer = compute * numbers + 4 * (2 * s.hidden + s.heads + 2)
    return s.layers * compute * s.hidden + 2 * layer if checkpointing else s.layers * layer


def training_memory(
    weights: Weights, shape: Shape, n_tokens: int, *, precision: str, compute: int, rank: int = 16,
    checkpointing: bool = False,
) -> Training:  # fmt: skip
    """Estimate a step over a dialogue of so many tokens; dialogues are read one at a time, so the longest counts."""
    from maro_lib.model.head import LOGITS_AT_ONCE

    s = shape
    # in + out of a layer's matrices
    ends = 7 * s.hidden + 2 * (s.heads + s.kv_heads) * s.head_size + 3 * s.intermediate
    return Training(
        weights=weight_bytes(weights, precision, compute),
        adapters=s.layers * rank * ends * (4 + 4 + 8),
        kept=n_tokens * kept_per_token(s, rank, compute, checkpointing=checkpointing),
        logits=LOGITS_AT_ONCE * (4 + 4 + compute),
    )


def longest_dialogue(weights: Weights, shape: Shape, n_bytes: float, **how: object) -> int:
    """Tokens of the longest dialogue whose step should fit; `how` is what `training_memory` is told."""
    empty, one = (training_memory(weights, shape, n, **how) for n in (0, 1))
    return max(0, int((n_bytes - empty.total) / (one.kept - empty.kept)))


def reply_seconds(
    weights: Weights, precision: str, compute: int, *, n_read: float, n_written: float, rows: float, speed: Speed
) -> float:
    """Seconds for one reply: reading what is new, then all weights once per token, shared by the rows of a batch."""
    reading = 2 * sum(weights) * n_read / speed.flops
    # 4-bit weights are read, written as numbers that can be computed with, and read again, for every batch
    passed = weight_bytes(weights, precision, compute) + (2 * compute * weights.linear if precision == "nf4" else 0)
    return reading + n_written * max(passed / speed.bytes, SLOWEST_STEP if sum(weights) > 10**8 else 0) / rows
