"""A world in which there is nothing to learn: some moves, and labels that are coin flips.

What a loss does here is all its own doing. Mean r over what the reference plays is -KL(reference || policy): it can
only fall. Taught in notebook 05.
"""

from __future__ import annotations

import torch

from maro_lib.learn.loss import anchor_loss, ema, fixed, maro_loss


def coin_flips(
    *, follow: bool, anchor: float, beta: float = 1.0, lr: float = 0.05, n_steps: int = 400, n_moves: int = 8,
    batch: int = 16, seed: int = 0,
) -> list[float]:  # fmt: skip
    """Train a policy over `n_moves` on labels that mean nothing; return mean r after each step, exactly.

    `follow` lets z0 be the running mean of r, else it is 0.
    """
    rng = torch.Generator().manual_seed(seed)
    base = torch.randn(n_moves, generator=rng, dtype=torch.float64).log_softmax(0)
    theta, z0, means = base.clone().requires_grad_(), fixed(0.0), []
    optimiser = torch.optim.Adam([theta], lr=lr)
    for _ in range(n_steps):
        moves = torch.multinomial(base.exp(), batch, replacement=True, generator=rng)
        desirable = torch.rand(batch, generator=rng) < 0.5
        logp = theta.log_softmax(0)[moves]
        loss, parts = maro_loss(logp, base[moves], desirable, torch.ones(batch), beta=beta, z0=z0)
        optimiser.zero_grad()
        (loss + anchor * anchor_loss(logp)).backward()
        optimiser.step()
        z0 = ema(z0, parts.r) if follow else z0
        means.append(float((base.exp() * (theta.detach().log_softmax(0) - base)).sum()))
    return means
