"""Attention where several query heads share keys and values, without copying these for every head.

Most models of today have fewer heads of keys than of queries (Qwen2.5-7B a seventh). Where a batch is masked,
transformers copies keys and values as often as that, at every layer and token. Here the queries of those heads stand
below one another, as if they were more tokens of one head, and the mask is repeated instead. Used by
`maro_lib.model.local`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from maro_lib.model.pieces import UNKNOWN

GROUPED = "maro_grouped"  # what transformers calls it


def _attend(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, *,
    scaling: float | None = None, **more: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """States are as transformers has them: (rows, heads, tokens, size)."""
    (rows, heads, n, size), n_kept = query.shape, key.shape[1]
    is_plain = (mask is None or mask.shape[1] == 1) and all(more.get(name) is None for name in UNKNOWN)
    if heads == n_kept or not is_plain:
        return sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, **more)
    if mask is None:  # rows of one length, each token sees what is before it
        mask = torch.ones(1, 1, n, key.shape[2], dtype=torch.bool, device=query.device).tril(key.shape[2] - n)
    stacked = query.reshape(rows, n_kept, heads // n_kept * n, size)
    mask = mask.repeat(1, 1, heads // n_kept, 1)
    out = F.scaled_dot_product_attention(stacked, key, value, attn_mask=mask, scale=scaling)
    return out.reshape(rows, heads, n, size).transpose(1, 2).contiguous(), None


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
