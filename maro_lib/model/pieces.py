"""Attention over several dialogues in one sequence, where a beginning that some of them share stands once.

    script | what Ada heard and said in game 1 | ... in game 2 | another script | ...

Such a sequence is cut into pieces. A token sees those before it in its own piece and all of the pieces which that one
continues, nothing else, and has the position that it has in its dialogue: what comes out, and every gradient, is that
of the dialogues one by one. The textbook masks one square of all tokens by all tokens; here each piece has a rectangle
of its own, so that no attention is computed in vain. Used by `maro_lib.learn.rows`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby, pairwise
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

ATTENTION = "maro_pieces"  # what transformers calls it
STRIP_TOKENS = 256  # tokens that look back by one mask: a mask costs what it hides
LEAST = 16  # tokens that must be shared to become a piece of their own
UNKNOWN = ("sliding_window", "softcap", "s_aux", "position_bias")  # what some families attend by


@dataclass(frozen=True)
class Tree:
    """Where a sequence is cut, and which pieces each one continues, from the first on."""

    lengths: tuple[int, ...]
    behind: tuple[tuple[int, ...], ...]

    @cached_property
    def seen(self) -> list[list[int]]:
        """The pieces that the tokens of each piece may look at: at those behind, and at itself."""
        return [[*behind, k] for k, behind in enumerate(self.behind)]

    @cached_property
    def n_seen(self) -> list[int]:
        return [sum(self.lengths[j] for j in seen) for seen in self.seen]

    @cached_property
    def strips(self) -> list[list[torch.Tensor]]:
        """Of a piece that continues others, who sees whom, strip by strip: (1, 1, tokens, tokens seen by the last)."""
        return [_strips(n, m) if m > n else [] for n, m in zip(self.lengths, self.n_seen, strict=True)]

    def bounds(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the pieces, and what they see, begin and end."""
        ends = [[0, *accumulate(lengths)] for lengths in (self.lengths, self.n_seen)]
        return tuple(torch.tensor(x, dtype=torch.int32, device=device) for x in ends)


@dataclass(frozen=True)
class Layout:
    """Sequences as pieces of one."""

    ids: np.ndarray  # (n_tokens,)
    positions: np.ndarray  # (n_tokens,) of each token in its own sequence
    places: list[np.ndarray]  # where the tokens of each sequence are
    pieces: Tree


def n_common(a: np.ndarray, b: np.ndarray) -> int:
    """How many tokens two sequences begin with together."""
    n = min(len(a), len(b))
    return int(np.argmin(np.append(a[:n] == b[:n], False)))


def lay_out(sequences: Sequence[np.ndarray]) -> Layout:
    """Put sequences into one, each shared beginning once; they come in the order of a dictionary."""
    spans, behind, places = [], [], [np.empty(0, np.int64)] * len(sequences)

    def place(among: list[int], start: int, chain: tuple[int, ...]) -> None:
        """Lay out those that share their first tokens; the first `start` of these are in the pieces of a chain."""
        first, last = sequences[among[0]], sequences[among[-1]]
        shared = n_common(first, last)
        are_equal = shared == len(last)
        if shared > start and (are_equal or shared - start >= LEAST):
            behind.append(chain)
            spans.append((first, start, shared))
            start, chain = shared, (*chain, len(spans) - 1)
        if not are_equal:
            for _, group in groupby(among, key=lambda k: sequences[k][shared : shared + 1].tolist()):
                place([*group], start, chain)
            return
        for k in among:
            places[k] = chain

    place([*range(len(sequences))], 0, ())
    lengths = tuple(end - start for _, start, end in spans)
    own = np.split(np.arange(sum(lengths)), np.cumsum(lengths)[:-1])
    return Layout(
        ids=np.concatenate([ids[start:end] for ids, start, end in spans]),
        positions=np.concatenate([np.arange(start, end) for _, start, end in spans]),
        places=[np.concatenate([own[k] for k in chain]) for chain in places],
        pieces=Tree(lengths, tuple(behind)),
    )


# --- attention -----------------------------------------------------------------------------------------


def _attend(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, _mask: None, *,
    pieces: Tree | None = None, scaling: float | None = None, **more: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Attend piece by piece, else to all before; states are as transformers has them: (1, heads, n_tokens, size)."""
    if any(more.get(name) is not None for name in UNKNOWN):
        raise NotImplementedError(f"attention by {', '.join(UNKNOWN)}")
    if pieces is None:
        return sdpa_attention_forward(module, query, key, value, None, scaling=scaling)
    query, key = query.to(value.dtype), key.to(value.dtype)  # positions turn them in float32 where autocast is on
    if value.is_cuda and value.dtype.itemsize == 2:  # what its kernel takes
        return _attend_at_once(query, key, value, pieces, scaling), None
    queries, keys, values = (x.split(pieces.lengths, dim=2) for x in (query, key, value))
    out = []
    for q, seen, strips in zip(queries, pieces.seen, pieces.strips, strict=True):
        k, v = (x[seen[0]] if len(seen) == 1 else torch.cat([x[j] for j in seen], dim=2) for x in (keys, values))
        for some, mask in zip(q.split(STRIP_TOKENS, dim=2), strips, strict=True) if strips else [(q, None)]:
            n = k.shape[2] if mask is None else mask.shape[3]
            mask = None if mask is None else mask.to(q.device)
            out.append(sdpa_attention_forward(module, some, k[:, :, :n], v[:, :, :n], mask, scaling=scaling)[0])
    return torch.cat(out, dim=1), None


def _strips(n: int, m: int) -> list[torch.Tensor]:
    """The lower right part of a square's lower half, n rows of m, without most of what is not seen."""
    ends = [*range(STRIP_TOKENS, n, STRIP_TOKENS), n]
    sides = [(end - start, m - n + end) for start, end in pairwise([0, *ends])]
    return [torch.ones(1, 1, rows, seen, dtype=torch.bool).tril(seen - rows) for rows, seen in sides]


def _attend_at_once(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, pieces: Tree, scaling: float | None
) -> torch.Tensor:
    """The same in one kernel, which takes sequences of unequal lengths; the last key is the last query's."""
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    order = [j for seen in pieces.seen for j in seen]
    if len(order) > len(pieces.lengths):
        k, v = (torch.cat([parts[j] for j in order]) for parts in (x.split(pieces.lengths) for x in (k, v)))
    longest = max(pieces.lengths), max(pieces.n_seen)
    bounds = pieces.bounds(query.device)
    return varlen_attn(q, k, v, *bounds, *longest, scale=scaling, window_size=(-1, 0), enable_gqa=True)[None]


AttentionInterface.register(ATTENTION, _attend)


@contextlib.contextmanager
def in_pieces(model: torch.nn.Module) -> Iterator[None]:
    """Let a model attend by `pieces`, which each forward is then to be given, while this lasts."""
    before = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def reads_pieces(model: torch.nn.Module) -> bool:
    """Whether a model reads dialogues in pieces as it reads them one by one: it is tried, families being many."""
    if {*(getattr(model.config.get_text_config(), "layer_types", None) or ())} - {"full_attention"}:
        return False  # a window is wider than what is tried
    sequences = [np.arange(1, LEAST + 9), np.append(np.arange(1, LEAST + 2), np.arange(20, 30))]
    layout = lay_out(sequences)
    ends = [places[-1] for places in layout.places]
    ids, positions = (torch.from_numpy(x)[None].to(model.device) for x in (layout.ids, layout.positions))
    with torch.no_grad():
        alone = [model(input_ids=torch.from_numpy(s)[None].to(model.device), use_cache=False) for s in sequences]
        alone = torch.stack([out.logits[0, -1] for out in alone])
        try:
            with in_pieces(model):
                out = model(input_ids=ids, position_ids=positions, pieces=layout.pieces, use_cache=False)
        except (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
            return False
    return bool((out.logits[0, ends] - alone).norm() <= torch.finfo(alone.dtype).eps ** 0.5 * alone.norm())
