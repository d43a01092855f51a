"""Laws of the world without anything to learn."""

from maro_lib.learn.drift import coin_flips


def test_mean_r_never_rises_above_nothing():
    assert max(coin_flips(follow=True, anchor=0.0, n_steps=60)) <= 1e-12


def test_noise_alone_drives_the_policy_away_and_an_anchor_holds_it():
    ends = [[coin_flips(follow=follow, anchor=anchor, seed=seed)[-1] for seed in range(4)]
            for follow, anchor in ((False, 0.0), (True, 0.0), (True, 0.02))]  # fmt: skip
    clamped, followed, anchored = (sum(e) / len(e) for e in ends)
    assert max(clamped, followed) < 3 * anchored < 0


def test_same_seed_same_walk():
    assert coin_flips(follow=True, anchor=0.02, n_steps=20) == coin_flips(follow=True, anchor=0.02, n_steps=20)
