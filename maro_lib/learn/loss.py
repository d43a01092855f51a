"""The MARO loss: each action is judged by itself, against a frozen reference and a reference point.

    r    = log pi_theta(o | h) - log pi_ref(o | h)                   summed over the action's tokens
    v(o) = lambda_+ sigmoid(beta (r - z0))  if desirable,  lambda_- sigmoid(beta (z0 - r))  if not
    L    = mean over actions of  w (lambda_y - v(o))                 w = |credit| x balance x camp weight

No gradient flows through z0 or the reference. The paper says that z0 is adaptive, but not how: the functions below are
the ways to set it. With z0 = 0 this is TRL's `apo_zero_unpaired`, with its own estimate TRL's `kto`. Rivals, for
comparison: imitation of winners, DPO on pairs, a policy gradient. Taught in notebook 05.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Parts(NamedTuple):
    """What the loss was made of, per action; nothing here carries a gradient."""

    r: Tensor  # (n_actions,)
    loss: Tensor  # (n_actions,)  w (lambda_y - v)
    slope: Tensor  # (n_actions,)  4 s (1 - s): 1 where r = z0, 0 where the sigmoid is saturated and teaches nothing


def maro_loss(
    logp: Tensor, logp_ref: Tensor, desirable: Tensor, weight: Tensor, *,
    beta: float, z0: float | Tensor, lam_pos: float = 1.0, lam_neg: float = 1.0,
) -> tuple[Tensor, Parts]:  # fmt: skip
    """Return the mean loss of some actions, and its parts; z0 is one number, or one for each action."""
    if not (beta > 0 and lam_pos >= 0 and lam_neg >= 0):
        raise ValueError(f"beta {beta}, lam_pos {lam_pos}, lam_neg {lam_neg}: beta > 0 and lambdas >= 0 are needed")
    desirable = desirable.bool()
    z0 = torch.as_tensor(z0, dtype=logp.dtype, device=logp.device).detach()
    _check(logp, logp_ref, desirable, weight, z0)
    r = logp - logp_ref.detach()  # (n_actions,)  r_theta
    y = torch.where(desirable, 1.0, -1.0).to(r)
    lam = torch.where(desirable, lam_pos, lam_neg).to(r)  # (n_actions,)  lambda_y
    s = torch.sigmoid(beta * y * (r - z0))
    loss = weight * (lam - lam * s)  # (n_actions,)  w (lambda_y - v)
    return loss.mean(), Parts(r.detach(), loss.detach(), (4 * s * (1 - s)).detach())


def sft_loss(logp: Tensor, desirable: Tensor, weight: Tensor, *, lam_pos: float = 1.0) -> Tensor:
    """Return the mean over all actions of -w log pi_theta of the desirable ones: imitation of winners, a baseline."""
    return -(lam_pos * weight * desirable * logp).mean()


def dpo_loss(logp: Tensor, logp_ref: Tensor, r_other: Tensor, desirable: Tensor, *, beta: float) -> Tensor:
    """Return the mean over pairs of -log sigmoid(beta (r of the desirable half - r of the other)); `r_other`: of the
    other half of each action's pair, as a number, so that the halves may be read in different forwards.
    """
    y = torch.where(desirable.bool(), 1.0, -1.0).to(logp)
    told = torch.nn.functional.softplus(-beta * y * (logp - logp_ref.detach() - r_other.detach()))
    return told.mean() + (told - told.detach()).mean()  # a pair's loss is told twice, its gradient half by each


def policy_gradient_loss(logp: Tensor, desirable: Tensor, weight: Tensor) -> Tensor:
    """Return the mean over actions of -A log pi_theta; A is the signed weight, an advantage: REINFORCE on new games."""
    return -(torch.where(desirable.bool(), weight, -weight) * logp).mean()


def anchor_loss(logp: Tensor) -> Tensor:
    """Return the mean of -log pi_theta of actions of both classes: the price of making what was played unlikely.

    Not in the paper: lowering a probability is unbounded, and with nothing against it both classes are lowered.
    """
    return -logp.mean()


# --- the reference point z0 ------------------------------------------------------------------------


def fixed(value: float = 0.0) -> Tensor:
    """z0 is a number; 0 compares with the reference itself."""
    return torch.tensor(float(value), dtype=torch.float64)


def batch(r: Tensor) -> Tensor:
    """z0 is the mean of r over the step's actions."""
    return r.detach().double().mean()


def clamped(r: Tensor) -> Tensor:
    """z0 is the same, but never below 0."""
    return batch(r).clamp(min=0.0)


def ema(before: Tensor | float, r: Tensor, decay: float = 0.9) -> Tensor:
    """z0 is a running mean of r over the steps: `before` is where it stood."""
    return decay * torch.as_tensor(before).double().to(r.device) + (1 - decay) * batch(r)


def per_faction(r: Tensor, faction: Tensor) -> Tensor:
    """z0 is the mean of r over the own faction's actions: one number per faction code; index them with `faction`."""
    r = r.detach().double()
    n = int(faction.max()) + 1
    sums, counts = torch.zeros(2, n, dtype=r.dtype, device=r.device)
    sums.index_add_(0, faction, r)
    counts.index_add_(0, faction, torch.ones_like(r))
    return sums / counts.clamp(min=1)


def mismatched(r_other: Tensor) -> Tensor:
    """z0 is KTO's estimate: the mean r of actions put behind views that they do not belong to, never below 0."""
    return clamped(r_other)


def _check(logp: Tensor, logp_ref: Tensor, desirable: Tensor, weight: Tensor, z0: Tensor) -> None:
    n = logp.shape
    if logp.ndim != 1 or not n[0]:
        raise ValueError(f"logp: {tuple(n)} given; one number for each of at least one action is needed")
    for name, x in (("logp_ref", logp_ref), ("desirable", desirable), ("weight", weight)):
        if x.shape != n:
            raise ValueError(f"{name}: {tuple(x.shape)} given for {n[0]} actions")
    if z0.ndim and z0.shape != n:
        raise ValueError(f"z0: {tuple(z0.shape)} given for {n[0]} actions; one number, or one for each, is needed")
    for name, x in (("logp", logp), ("logp_ref", logp_ref), ("weight", weight), ("z0", z0)):
        if not (finite := torch.isfinite(x)).all():
            raise ValueError(f"{name}: {int((~finite).sum())} of {x.numel()} are not finite numbers")
    if (weight < 0).any():
        raise ValueError("weight: some are negative; the class stands in `desirable`, a weight is >= 0")
