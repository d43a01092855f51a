"""Laws of the world without anything to learn."""

import pytest
import torch

from maro_lib.learn.drift import coin_flips


def test_mean_r_never_rises_above_nothing():
    assert coin_flips(follow=True, anchor=0.0, n_steps=60).max() <= 1e-12


def test_noise_alone_drives_the_policy_away_and_an_anchor_holds_it():
    kinds = ((False, 0.0), (True, 0.0), (True, 0.02))
    clamped, followed, anchored = (
        coin_flips(follow=follow, anchor=anchor, seeds=range(4))[:, -1].mean() for follow, anchor in kinds
    )
    assert max(clamped, followed) < 3 * anchored < 0


def test_a_seed_walks_its_own_way_whoever_walks_beside_it():
    both, other = (coin_flips(follow=True, anchor=0.02, n_steps=20, seeds=seeds) for seeds in ((0, 1), (1,)))
    torch.testing.assert_close(both[1:], other, rtol=1e-5, atol=1e-6)
    assert (both[0] - both[1]).abs().min() > 1e-6
    assert torch.equal(both, coin_flips(follow=True, anchor=0.02, n_steps=20, seeds=(0, 1)))


def test_three_steps_by_hand():
    """Adam on the mean of 1 - sigmoid(y (r - z0)), with z0 one step behind, and on the anchor's."""
    rng = torch.Generator().manual_seed(0)
    base = torch.randn(8, generator=rng, dtype=torch.float64).log_softmax(0)
    theta, m, v, z0, means = base, 0, 0, 0, []
    for t in (1, 2, 3):
        moves = torch.multinomial(base.exp(), 16, replacement=True, generator=rng)
        y = torch.where(torch.rand(16, generator=rng) < 0.5, 1, -1)
        r = (theta.log_softmax(0) - base)[moves]
        s = torch.sigmoid(y * (r - z0))
        slope = -(y * s * (1 - s) + 0.02) / 16  # of the loss, over each move's log-probability
        gradient = torch.zeros_like(base).index_add(0, moves, slope) - slope.sum() * theta.softmax(0)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        theta = theta - 0.05 * m / (1 - 0.9**t) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
        z0 = 0.9 * z0 + 0.1 * r.mean()
        means.append(float((base.exp() * (theta.log_softmax(0) - base)).sum()))
    assert coin_flips(follow=True, anchor=0.02, n_steps=3)[0].tolist() == pytest.approx(means)
