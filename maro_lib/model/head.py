"""The upper end: log-probabilities of chosen tokens, with as many logits at a time as fit a bound.

    log pi(y) = l_y - log sum_v exp l_v,     l = W h     (W the head's weights, h what the layers hand to it)
    d log pi(y) / d h = W_y - sum_v pi(v) W_v

The textbook keeps all logits until the backward pass: for a dialogue's 800 action tokens and 152,000 words 0.5 GB, and
copies of them. Here the head is frozen, so what a token's loss sends back is one number times the vector above, which
is known as soon as the logits are: both are computed together, some tokens at a time, and no logit is kept or computed
twice. The last layer's MLP, too, is computed only where a chosen token is predicted. Measured in notebook 09.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

LOGITS_AT_ONCE = 2**25  # logits: 128 MB of them in float32


class _TokenLogps(torch.autograd.Function):
    """log pi of targets behind what the layers hand over; differentiable in that alone."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, targets: torch.Tensor
    ) -> torch.Tensor:
        device, n = hidden.device.type, max(1, LOGITS_AT_ONCE // len(weight))
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        h, w, b = (x if x is None else x.to(dtype) for x in (hidden, weight, bias))
        pieces = zip(h.split(n), targets.split(n), strict=True)
        logps, slopes = zip(*[_score(x, w, b, y, ctx.needs_input_grad[0]) for x, y in pieces], strict=True)
        ctx.save_for_backward(*slopes)
        ctx.dtype = hidden.dtype
        return torch.cat(logps)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        slopes = torch.cat(ctx.saved_tensors)
        return (upstream[:, None] * slopes).to(ctx.dtype), None, None, None


def _score(
    h: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, y: torch.Tensor, with_slope: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """log pi of some targets, and d log pi / d h."""
    logits = F.linear(h, weight, bias)  # (at most n, vocabulary)
    logits = logits.to(torch.promote_types(h.dtype, torch.float32))
    total, y = logits.logsumexp(-1, keepdim=True), y[:, None]
    logp = logits.gather(1, y) - total
    if not with_slope:
        return logp[:, 0], None
    p = logits.sub_(total).exp_()  # in place: nobody else sees the logits
    p.scatter_add_(1, y, torch.full_like(total, -1.0))
    return logp[:, 0], -(p.to(h.dtype) @ weight)


@contextlib.contextmanager
def scoring(head: nn.Linear, targets: torch.Tensor) -> Iterator[None]:
    """Let a model return, instead of logits, the log-probabilities of targets, (1, n_targets, 1), while this lasts."""
    head.forward = lambda hidden: _TokenLogps.apply(hidden[0], head.weight, head.bias, targets)[None, :, None]
    try:
        yield
    finally:
        del head.forward


@contextlib.contextmanager
def only_at(mlp: nn.Module, places: torch.Tensor) -> Iterator[None]:
    """Let the last layer's MLP compute some places alone while this lasts: nobody looks at the others, which are 0."""
    whole = mlp.forward

    def some(hidden: torch.Tensor) -> torch.Tensor:
        out = whole(hidden[:, places])
        return out.new_zeros(*hidden.shape[:-1], out.shape[-1]).index_copy(1, places, out)

    mlp.forward = some
    try:
        yield
    finally:
        del mlp.forward


def last_mlp(model: nn.Module) -> nn.Module | None:
    """The last layer's MLP, if there is one by that name that computes each place by itself; else None."""
    layers = getattr(model.get_decoder(), "layers", None)
    mlp = getattr(layers[-1], "mlp", None) if layers else None
    return mlp if hasattr(mlp, "down_proj") else None  # a mixture of experts may balance them over all places


def bare_head(model: nn.Module) -> nn.Linear | None:
    """A model's head, if nothing in it learns and what it returns are the model's logits as they are; else None."""
    head, seen = model.get_output_embeddings(), []
    if type(head) is not nn.Linear or any(p.requires_grad for p in head.parameters()):
        return None
    watch = head.register_forward_hook(lambda _module, _given, logits: seen.append(logits))
    with torch.no_grad():
        logits = model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device), use_cache=False).logits
    watch.remove()
    return head if logits is seen[0] else None  # some families scale them, or cap them
