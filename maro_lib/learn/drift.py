"""A world in which there is nothing to learn: some moves, and labels that are coin flips.

What a loss does here is all its own doing. Mean r over what the reference plays is -KL(reference || policy): it can
only fall. Taught in notebook 05.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from maro_lib.learn.loss import anchor_loss, ema, fixed, maro_loss


def coin_flips(
    *, follow: bool, anchor: float, beta: float = 1.0, lr: float = 0.05, n_steps: int = 400, n_moves: int = 8,
    batch: int = 16, seeds: Sequence[int] = (0,),
) -> Tensor:  # fmt: skip
    """Train a policy over `n_moves` on labels that mean nothing; return mean r after each step, exactly: (seed, step).

    `follow` lets z0 be the running mean of r, else it is 0. Each seed has its own policy, moves, labels and z0; they
    share tensors, not numbers.
    """
    rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
    base = torch.stack([torch.randn(n_moves, generator=rng, dtype=torch.float64) for rng in rngs]).log_softmax(1)
    theta, z0, means = base.clone().requires_grad_(), torch.stack([fixed(0.0) for _ in seeds]), []
    optimiser = torch.optim.Adam([theta], lr=lr)
    weight = torch.ones(len(seeds) * batch)
    for _ in range(n_steps):
        drawn = [
            (torch.multinomial(p.exp(), batch, replacement=True, generator=rng), torch.rand(batch, generator=rng) < 0.5)
            for p, rng in zip(base, rngs, strict=True)
        ]
        moves, desirable = map(torch.stack, zip(*drawn, strict=True))  # (seed, action)
        logp, logp_ref = (x.gather(1, moves).flatten() for x in (theta.log_softmax(1), base))
        at = z0.repeat_interleave(batch)
        loss, parts = maro_loss(logp, logp_ref, desirable.flatten(), weight, beta=beta, z0=at)
        optimiser.zero_grad()
        (len(seeds) * (loss + anchor * anchor_loss(logp))).backward()  # the sum over seeds of their own means
        optimiser.step()
        if follow:
            z0 = torch.stack([ema(before, r) for before, r in zip(z0, parts.r.view(len(seeds), batch), strict=True)])
        means.append((base.exp() * (theta.detach().log_softmax(1) - base)).sum(1))
    return torch.stack(means, 1)
