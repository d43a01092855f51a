"""A corpus as tensors: dialogues in packs, the log-probabilities of their action tokens, and what their loss needs.

Used by `trainer`; taught in notebook 05.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from maro_lib.learn.corpus import Corpus
from maro_lib.model.head import only_at, scoring
from maro_lib.model.pieces import LEAST, Tree, lay_out, n_common


class Pack(NamedTuple):
    """Dialogues that are read in one forward, as tensors, and where their actions' tokens are predicted."""

    ids: torch.Tensor  # (1, n_tokens) what several begin with stands there once
    positions: torch.Tensor  # (1, n_tokens) of each token in its dialogue
    pieces: Tree
    keep: torch.Tensor  # (n_kept,) where the next token is one of an action's
    unique: torch.Tensor  # the same, each place once: dialogues that go on differently may part there
    targets: torch.Tensor  # (n_kept,) that token
    owner: torch.Tensor  # (n_kept,) the action it belongs to, by its place in `actions`
    actions: torch.Tensor  # (n_actions,) rows of the corpus's actions
    n: int  # how many of them count: all, or none of a pack that is read only because other processes read one more


def in_packs(sequences: Sequence[np.ndarray], rows: Sequence[int], at_once: int, idle: int = 0) -> list[list[int]]:
    """Put dialogues together, in the order of a dictionary, so that those with the same beginning are neighbours.

    A pack has at most `at_once` tokens, or one dialogue; one that shares nothing is added only up to `idle` tokens.
    """
    packs, n = [], 0
    order = sorted((int(k) for k in rows), key=lambda k: sequences[k].astype(">i4").tobytes())
    for before, row in pairwise([None, *order]):
        shared = 0 if before is None else n_common(sequences[before], sequences[row])
        new = len(sequences[row]) - shared
        if not packs or n + new > (at_once if shared >= LEAST else idle):
            packs.append([])
            n, new = 0, len(sequences[row])
        packs[-1].append(row)
        n += new
    return packs


def make_pack(corpus: Corpus, rows: Sequence[int], device: torch.device, *, counts: bool = True) -> Pack:
    """Lay out some sequences of a corpus, which come in the order of a dictionary."""
    layout = lay_out([corpus.ids[k] for k in rows])
    actions = np.concatenate([corpus.places[k] for k in rows])
    spans, lengths = corpus.spans[actions], np.diff(corpus.spans[actions])[:, 0]
    of_row = np.repeat(np.arange(len(rows)), [len(corpus.places[k]) for k in rows])
    tokens = [np.arange(start, end) for start, end in spans]
    keep = np.concatenate([layout.places[k][t - 1] for k, t in zip(of_row, tokens, strict=True)])
    targets = np.concatenate([corpus.ids[rows[k]][t] for k, t in zip(of_row, tokens, strict=True)]).astype(np.int64)
    owner = np.repeat(np.arange(len(spans)), lengths)
    arrays = (layout.ids.astype(np.int64)[None], layout.positions[None], keep, np.unique(keep), targets, owner)
    ids, positions, keep, unique, targets, owner = (torch.from_numpy(x).to(device) for x in arrays)
    n = len(actions) if counts else 0
    return Pack(ids, positions, layout.pieces, keep, unique, targets, owner, torch.from_numpy(actions), n)


def pack_logps(
    model: torch.nn.Module, pack: Pack, head: torch.nn.Linear | None = None, mlp: torch.nn.Module | None = None
) -> torch.Tensor:
    """Return log pi of every action token of a pack, (n_kept,); only those positions go through the head.

    With the `bare_head` of the model they come from there, and all logits are never held together; with its `last_mlp`
    only those positions go through that, too. A pack of several pieces needs a model that is `in_pieces`.
    """
    cut = {"position_ids": pack.positions, "pieces": pack.pieces} if len(pack.pieces.lengths) > 1 else {}
    with contextlib.ExitStack() as upper_end:
        if head:
            upper_end.enter_context(scoring(head, pack.targets))
        if mlp:
            upper_end.enter_context(only_at(mlp, pack.unique))
        out = model(input_ids=pack.ids, logits_to_keep=pack.keep, use_cache=False, **cut).logits[0]
    if head:
        return out[:, 0]
    logits = out.to(torch.promote_types(out.dtype, torch.float32))
    return logits.gather(1, pack.targets[:, None])[:, 0] - logits.logsumexp(-1)


def per_action(tokens: torch.Tensor, pack: Pack) -> torch.Tensor:
    """Sum what is per token over each action, (n_actions,)."""
    return tokens.new_zeros(len(pack.actions)).index_add(0, pack.owner, tokens)


class Material:
    """A corpus with what its loss needs: labels, weights, factions as codes, and log pi_ref of every action token."""

    def __init__(self, corpus: Corpus, kept_at: Path | None = None):
        self.corpus, self.kept_at = corpus, kept_at  # where its log-probs are
        self.desirable = torch.tensor(corpus.actions["desirable"].to_numpy(bool))
        self.weight = torch.tensor(corpus.actions["weight"].to_numpy(np.float64))
        codes, self.factions = pd.factorize(corpus.actions["faction"])
        self.faction = torch.tensor(codes)
        self.reference: torch.Tensor | None = None  # (n_action_tokens,)

    def reference_of(self, pack: Pack) -> torch.Tensor:
        return self.reference[self.tokens_of(pack)].to(pack.ids.device)

    def each(self, actions: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Put values of some actions in the places of theirs among all actions, 0 elsewhere: (n_actions,)."""
        return values.new_zeros(len(self.weight)).index_put((actions,), values)

    def tokens_of(self, pack: Pack) -> torch.Tensor:
        """The places of a pack's action tokens among those of all actions."""
        return torch.from_numpy(self.corpus.token_places(pack.actions.numpy()))
