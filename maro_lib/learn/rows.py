"""A corpus as tensors: a row for each sequence, the log-probabilities of its action tokens, and what its loss needs.

Used by `trainer`; taught in notebook 05.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from maro_lib.learn.corpus import Corpus
from maro_lib.model.head import only_at, scoring


class TrainingRow(NamedTuple):
    """One sequence as tensors, and where its actions' tokens are predicted."""

    ids: torch.Tensor  # (1, n_tokens)
    keep: torch.Tensor  # (n_kept,) where the next token is one of an action's
    targets: torch.Tensor  # (n_kept,) that token
    owner: torch.Tensor  # (n_kept,) the action it belongs to, by its place in `actions`
    actions: torch.Tensor  # (n_actions,) rows of the corpus's actions
    n: int  # how many of them count: all, or none of a row that is read only because other processes read one more


def make_row(corpus: Corpus, row: int, device: torch.device, *, counts: bool = True) -> TrainingRow:
    """Lay out one sequence of a corpus."""
    ids, spans = corpus.ids[row].astype(np.int64), corpus.spans[corpus.places[row]]
    keep = np.concatenate([np.arange(start, end) for start, end in spans]) - 1
    owner = np.repeat(np.arange(len(spans)), spans[:, 1] - spans[:, 0])
    tensors = (ids[None], keep, ids[keep + 1], owner)
    ids, keep, targets, owner = (torch.from_numpy(x).to(device) for x in tensors)
    return TrainingRow(ids, keep, targets, owner, torch.from_numpy(corpus.places[row]), len(spans) if counts else 0)


def row_logps(
    model: torch.nn.Module, row: TrainingRow, head: torch.nn.Linear | None = None, mlp: torch.nn.Module | None = None
) -> torch.Tensor:
    """Return log pi of every action token of a row, (n_kept,); only those positions go through the head.

    With the `bare_head` of the model they come from there, and all logits are never held together; with its `last_mlp`
    only those positions go through that, too.
    """
    with contextlib.ExitStack() as upper_end:
        if head:
            upper_end.enter_context(scoring(head, row.targets))
        if mlp:
            upper_end.enter_context(only_at(mlp, row.keep))
        out = model(input_ids=row.ids, logits_to_keep=row.keep, use_cache=False).logits[0]
    if head:
        return out[:, 0]
    logits = out.to(torch.promote_types(out.dtype, torch.float32))
    return logits.gather(1, row.targets[:, None])[:, 0] - logits.logsumexp(-1)


def per_action(tokens: torch.Tensor, row: TrainingRow) -> torch.Tensor:
    """Sum what is per token over each action, (n_actions,)."""
    return tokens.new_zeros(len(row.actions)).index_add(0, row.owner, tokens)


class Material:
    """A corpus with what its loss needs: labels, weights, factions as codes, and log pi_ref of every action token."""

    def __init__(self, corpus: Corpus, kept_at: Path | None = None):
        self.corpus, self.kept_at = corpus, kept_at  # where its log-probs are
        self.desirable = torch.tensor(corpus.actions["desirable"].to_numpy(bool))
        self.weight = torch.tensor(corpus.actions["weight"].to_numpy(np.float64))
        self.faction = torch.tensor(pd.factorize(corpus.actions["faction"], sort=True)[0])
        self.reference: torch.Tensor | None = None  # (n_action_tokens,)

    def reference_of(self, row: TrainingRow) -> torch.Tensor:
        return self.reference[self.tokens_of(row)].to(row.ids.device)

    def tokens_of(self, row: TrainingRow) -> torch.Tensor:
        """The places of a row's action tokens among those of all actions."""
        return torch.from_numpy(self.corpus.token_places(row.actions.numpy()))
