"""Attention where several query heads share keys and values, without copying these for every head.

Most models of today have fewer heads of keys than of queries (Qwen2.5-7B a seventh). Where a batch is masked,
transformers copies keys and values as often as that, at every layer and token. Here the queries of those heads stand
below one another, as if they were more tokens of one head, and the mask is repeated instead. So do the queries of rows
that have a beginning in common: it is read once for all of them. Used by `maro_lib.model.local`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from maro_lib.model.pieces import UNKNOWN

GROUPED = "maro_grouped"  # what transformers calls it


@dataclass(frozen=True)
class Common:
    """Keys and values before all others of some rows: (layers, 2, heads, tokens, size)."""

    buffer: torch.Tensor
    rows: list[int]


def _attend(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, *,
    scaling: float | None = None, common: Sequence[Common] = (), **more: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """States are as transformers has them: (rows, heads, tokens, size)."""
    (rows, heads, n, size), n_kept = query.shape, key.shape[1]
    is_plain = (mask is None or mask.shape[1] == 1) and all(more.get(name) is None for name in UNKNOWN)
    if not common and (heads == n_kept or not is_plain):
        return sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, **more)
    if mask is None:
        mask = torch.ones(1, 1, n, key.shape[2], dtype=torch.bool, device=query.device).tril(key.shape[2] - n)
    stacked = query.reshape(rows, n_kept, heads // n_kept * n, size)
    mask = mask.repeat(1, 1, heads // n_kept, 1)
    if common:
        out = _attend_to_both(
            stacked, key, value, mask, scaling, [(c.rows, *c.buffer[module.layer_idx]) for c in common]
        )
    else:
        out = F.scaled_dot_product_attention(stacked, key, value, attn_mask=mask, scale=scaling)
    return out.reshape(rows, heads, n, size).transpose(1, 2).contiguous(), None


def _attend_to_both(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scaling: float | None,
    common: Sequence[tuple[list[int], torch.Tensor, torch.Tensor]],
) -> torch.Tensor:  # fmt: skip
    """Attend to each row's own, and with all rows at once to what they have in common; then weigh the two.

    Softmax over both is a mean of the softmax over each, weighted by the sums that they were divided by.
    """
    out, sums = _with_sums(
        query, key, value, scaling, torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, -torch.inf)
    )
    for rows, keys, values in common:
        asked = query[rows].transpose(0, 1).flatten(1, 2)[None]
        found, totals = (x[0].unflatten(1, (len(rows), -1)).transpose(0, 1)
                         for x in _with_sums(asked, keys[None], values[None], scaling))  # fmt: skip
        share = (totals - sums[rows]).sigmoid()[..., None]
        out[rows] = out[rows].lerp(found, share.to(out.dtype))
    return out


def _with_sums(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """What comes out, and the logarithm of what the weights were divided by; a processor's kernel tells both."""
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, attn_mask=mask, scale=scaling)


AttentionInterface.register(GROUPED, _attend)
AttentionMaskInterface.register(GROUPED, sdpa_mask)


@contextlib.contextmanager
def grouped(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Let a model that attends by torch's own function do so without copies, while this lasts."""
    before = model.config._attn_implementation
    if before != "sdpa":
        yield model
        return
    model.set_attn_implementation(GROUPED)
    try:
        yield model
    finally:
        model.set_attn_implementation(before)
