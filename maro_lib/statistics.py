"""Statistics: a number together with its 95 % interval and its n.

Rates carry Wilson's interval, means a percentile bootstrap over whole groups (games), because the characters
of one game share its outcome and are no independent samples. Two models on the same items are compared by the items
on which they differ (McNemar), and several tests at once by Holm's rule.

Used from notebook 02 on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import binom, binomtest, chi2, norm, t, ttest_1samp

from maro_lib.wording import signed

_BLOCK = 2_000_000  # resampled indices held at once: keeps memory flat however many games there are


@dataclass(frozen=True, repr=False)
class Mean:
    """A mean with its 95 % interval; `n` counts what was resampled (groups, when there are groups)."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if self.n == 0:
            return "no data (n = 0)"
        interval = "no interval" if np.isnan(self.low) else f"[{self._show(self.low)}, {self._show(self.high)}]"
        return f"{self._show(self.mean)}{self._unit} {interval} (n = {self.n:,})"

    __repr__ = __str__
    _unit = ""

    @staticmethod
    def _show(x: float) -> str:
        return f"{x:z.2f}"


class Rate(Mean):
    """A share of successes, shown in percent."""

    _unit = " %"

    @staticmethod
    def _show(x: float) -> str:
        return f"{100 * x:z.1f}"


class Points(Mean):
    """A difference of two shares, shown in percentage points."""

    _unit = " points"

    @staticmethod
    def _show(x: float) -> str:
        return signed(100 * x, 1)


def win_rate(successes) -> Rate:
    """Return the share of 1s among 0s and 1s, with Wilson's interval."""
    values = _numbers(successes, "successes")
    if not np.isin(values, (0, 1)).all():
        raise ValueError(f"successes: {values[~np.isin(values, (0, 1))][0]:g} is neither 0 nor 1")
    if not values.size:
        return Rate(np.nan, np.nan, np.nan, 0)
    interval = binomtest(int(values.sum()), values.size).proportion_ci(method="wilson")
    return Rate(float(values.mean()), float(interval.low), float(interval.high), values.size)


def bootstrap_mean(values, seed: int, groups=None, *, n_boot: int = 1000) -> Mean:
    """Return the mean of `values`; the interval resamples whole groups (each value alone when None)."""
    values = _numbers(values, "values")
    codes = np.arange(values.size) if groups is None else _codes(groups)
    if codes.size != values.size:
        raise ValueError(f"groups: {codes.size} given for {values.size} values")
    if not values.size:
        return Mean(np.nan, np.nan, np.nan, 0)
    sums, counts = np.bincount(codes, values), np.bincount(codes)
    low, high = _percentiles(sums, counts, np.random.default_rng(seed), n_boot)
    return Mean(float(values.mean()), low, high, counts.size)


def t_mean(values) -> Mean:
    """Return the mean of a few independent values, such as one per seed, with Student's interval."""
    values = _numbers(values, "values")
    if values.size < 2:
        return Mean(float(values.mean()) if values.size else np.nan, np.nan, np.nan, values.size)
    half = float(t.ppf(0.975, values.size - 1)) * values.std(ddof=1) / sqrt(values.size)
    return Mean(float(values.mean()), float(values.mean() - half), float(values.mean() + half), values.size)


def t_test(values) -> float:
    """Return the two-sided p of a mean of a few independent values, such as one per seed, by Student's test."""
    values = _numbers(values, "values")
    return float(ttest_1samp(values, 0.0).pvalue) if values.size > 1 else np.nan


def sign_flip(values, seed: int, groups=None, *, n_flips: int = 10_000) -> float:
    """Return the two-sided p of a mean by flipping the signs of whole groups: all ways, or `n_flips` drawn ones.

    Under the null a paired difference is as likely as its opposite.
    """
    values = _numbers(values, "values")
    sums = np.bincount(np.arange(values.size) if groups is None else _codes(groups), values)
    if not sums.any():
        return 1.0
    if 2**sums.size <= n_flips:
        signs = 1 - 2 * (np.arange(2**sums.size)[:, None] >> np.arange(sums.size) & 1)
        return float(np.mean(np.abs(signs @ sums) >= np.abs(sums.sum()) - 1e-12))
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(n_flips, sums.size))
    as_far = np.sum(np.abs(signs @ sums) >= np.abs(sums.sum()) - 1e-12)
    return float((1 + as_far) / (1 + n_flips))  # the observed one is one of the flips


def mcnemar(only_before: int, only_after: int) -> float:
    """Return the exact two-sided p of as uneven a split of the items that changed, if each way is equally likely."""
    n = only_before + only_after
    return float(binomtest(only_before, n, 0.5).pvalue) if n else 1.0


def detectable(n_changed: int, n: int, level: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest difference of two shares over `n` items that McNemar's test would have seen, mostly.

    Of m items that change, each becomes right with probability q; the test sees splits of at most k to m - k, k the
    largest with p < level. q is where that has the power P(X <= k) + P(X >= m - k) = 0.8, X ~ Bin(m, q), and the
    difference is (2 q - 1) m / n. No split of fewer than six has p < 0.05: then nothing could have been seen (nan).
    """
    k = max((k for k in range(n_changed // 2 + 1) if mcnemar(k, n_changed - k) < level), default=None)
    if k is None:
        return np.nan
    m = n_changed

    def seen(q: float) -> float:
        return binom.cdf(k, m, q) + binom.sf(m - k - 1, m, q)

    return (2 * brentq(lambda q: seen(q) - power, 0.5, 1.0) - 1) * m / n


def detectable_mean(values, level: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest mean that Student's test would have seen, mostly, over as many values as far apart as these.

    P(|T| > t_crit) = 0.8 with T = (Z + d sqrt(n) / sd) / S is solved for d: Z normal, S the spread of n values, the
    root of a chi squared over n - 1. One value shows nothing (nan).
    """
    values = _numbers(values, "values")
    return detectable_shift(values.std(ddof=1), values.size, level, power) if values.size > 1 else np.nan


def detectable_shift(sd: float, n: int, level: float = 0.05, power: float = 0.8) -> float:
    """Return the same for values that are expected to lie `sd` apart: what is known before anything is measured."""
    spreads = np.sqrt(chi2.ppf((np.arange(2000) + 0.5) / 2000, n - 1) / (n - 1))  # S, at even steps of its probability
    edges = t.ppf(1 - level / 2, n - 1) * spreads

    def seen(shift: float) -> float:
        return float(np.mean(norm.sf(edges - shift) + norm.cdf(-edges - shift)))

    return float(brentq(lambda shift: seen(shift) - power, 0.0, 100.0)) * sd / sqrt(n)


def paired_rates(both: int, only_before: int, only_after: int, neither: int) -> Points:
    """Return after - before of two shares over the same items, with Newcombe's interval.

    It joins the two shares' Wilson intervals (l, u) as the sides of a triangle, whose angle is their correlation phi:
    low = d - sqrt(a^2 - 2 phi a b + b^2), a = p_after - l_after, b = u_before - p_before (his method 10, 1998).
    McNemar's test is exact and this interval is not: near p = 0.05 one may see a difference where the other does not.
    """
    n = both + only_before + only_after + neither
    if not n:
        return Points(np.nan, np.nan, np.nan, 0)
    before, after = both + only_before, both + only_after
    (p0, l0, u0), (p1, l1, u1) = _wilson(before, n), _wilson(after, n)
    margins = prod((before, n - before, after, n - after))
    cross = both * neither - only_before * only_after
    phi = (max(cross - n / 2, 0) if cross > 0 else cross) / sqrt(margins) if margins else 0.0
    d = (only_after - only_before) / n
    return Points(d, d - _side(p1 - l1, u0 - p0, phi), d + _side(u1 - p1, p0 - l0, phi), n)


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values adjusted for being several: the smallest times their number, the next times one less, ...

    Rejecting where an adjusted p is below 0.05 keeps the chance of even one false finding below 5 %.
    """
    adjusted, worst = [0.0] * len(ps), 0.0
    for rank, k in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        worst = max(worst, min(1.0, (len(ps) - rank) * ps[k]))
        adjusted[k] = worst
    return adjusted


def _wilson(k: int, n: int) -> tuple[float, float, float]:
    interval = binomtest(k, n).proportion_ci(method="wilson")
    return k / n, float(interval.low), float(interval.high)


def _side(a: float, b: float, phi: float) -> float:
    return sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))


def _percentiles(sums, counts, rng: np.random.Generator, n_boot: int) -> tuple[float, float]:
    """Return the 2.5 and 97.5 percentiles of the mean over resampled groups; one group has no interval."""
    n = sums.size
    if n == 1:
        return np.nan, np.nan
    means = []
    for start in range(0, n_boot, size := max(1, _BLOCK // n)):
        drawn = rng.integers(n, size=(min(size, n_boot - start), n))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def _codes(groups) -> np.ndarray:
    """Number the groups; a value without a group can't be resampled."""
    codes = pd.factorize(pd.Series(groups), sort=True)[0]
    if n_missing := int((codes < 0).sum()):
        raise ValueError(
            f"groups: {n_missing} of {codes.size} are missing (the first at place {np.argmin(codes)}, from 0); "
            "give every value its group, or drop it first and say how many"
        )
    return codes


def _numbers(values, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=float).ravel()
    if n_bad := int((~np.isfinite(array)).sum()):
        raise ValueError(f"{name}: {n_bad} of {array.size} are not finite numbers; drop them first, and say how many")
    return array
