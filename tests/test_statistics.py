import numpy as np
import pandas as pd
import pytest

from maro_lib import statistics
from maro_lib.statistics import Rate, bootstrap_mean, holm, mcnemar, paired_rates, t_mean, t_test, win_rate


def test_a_win_rate_reads_as_percent_with_interval_and_n():
    assert str(win_rate([1] * 220 + [0] * 380)) == "36.7 % [32.9, 40.6] (n = 600)"


def test_wilsons_interval_stays_inside_0_and_1():
    # 4 of 4: low = n / (n + z^2) = 4 / (4 + 3.8415) = 0.5101
    rate = win_rate(np.ones(4, dtype=bool))
    assert (rate.mean, rate.n) == (1.0, 4)
    assert rate.low == pytest.approx(0.5101, abs=1e-4)
    assert rate.high == pytest.approx(1.0)


@pytest.mark.parametrize("empty", [win_rate([]), bootstrap_mean([], 0), t_mean([])])
def test_nothing_counted_is_said_without_nan(empty):
    assert f"{empty}" == repr(empty) == "no data (n = 0)"


def test_only_zeros_and_ones_are_successes():
    with pytest.raises(ValueError, match=r"successes: -1 is neither 0 nor 1"):
        win_rate([1, -1])


def test_numbers_that_are_not_finite_are_counted_and_refused():
    with pytest.raises(ValueError, match=r"values: 2 of 3 are not finite"):
        bootstrap_mean([1.0, np.nan, np.inf], 0)


def test_bootstrap_of_a_mean_agrees_with_its_standard_error():
    values = np.tile([0.0, 2.0], 200)  # mean 1, sd 1, n 400: 1 +- 1.96 / 20
    mean = bootstrap_mean(values, 0, n_boot=4000)
    assert (mean.mean, mean.n) == (1.0, 400)
    assert (mean.low, mean.high) == pytest.approx((0.902, 1.098), abs=0.01)


def test_bootstrap_resamples_whole_games():
    # 16 games of 25 equal values each: sd 1 over 16, not over 400, values: 1 +- 1.96 / 4
    values, games = np.repeat(np.tile([0.0, 2.0], 8), 25), np.repeat([f"game {i}" for i in range(16)], 25)
    mean = bootstrap_mean(values, 0, games, n_boot=4000)
    assert mean.n == 16
    assert (mean.low, mean.high) == pytest.approx((0.51, 1.49), abs=0.07)


def test_games_of_unequal_length_keep_their_weight():
    # games: {1} and {0, 0, 0}; resamples: both of one kind 1 or 0, mixed 1/4
    mean = bootstrap_mean([1, 0, 0, 0], 3, ["a", "b", "b", "b"])
    assert (mean.mean, mean.low, mean.high, mean.n) == (0.25, 0.0, 1.0, 2)


def test_one_game_has_no_interval():
    assert str(bootstrap_mean([1, 2, 4.5], 0, ["g", "g", "g"])) == "2.50 no interval (n = 1)"


def test_same_seed_same_interval():
    values = np.arange(50.0) ** 2
    assert bootstrap_mean(values, 7) == bootstrap_mean(values, 7)
    assert bootstrap_mean(values, 7) != bootstrap_mean(values, 8)


def test_resampling_in_blocks_changes_nothing(monkeypatch):
    values = np.arange(50.0) ** 2
    at_once = bootstrap_mean(values, 7)
    monkeypatch.setattr(statistics, "_BLOCK", 350)  # 7 resamples at a time; 1000 is no multiple of 7
    assert bootstrap_mean(values, 7) == at_once


def test_groups_must_fit_the_values():
    with pytest.raises(ValueError, match="groups: 1 given for 2 values"):
        bootstrap_mean([1, 2], 0, ["a"])


@pytest.mark.parametrize(
    "groups", [["a", None, np.nan], pd.Series(["a", None, None]), np.array([1.0, np.nan, np.nan]), [1, pd.NA, None]]
)
def test_a_missing_group_is_named(groups):
    with pytest.raises(ValueError, match=r"groups: 2 of 3 are missing \(the first at place 1, from 0\)"):
        bootstrap_mean([1, 2, 3], 0, groups)


def test_a_rate_shows_thousands():
    assert str(Rate(0.5, 0.4, 0.6, 12000)) == "50.0 % [40.0, 60.0] (n = 12,000)"


@pytest.mark.parametrize(
    ("only_before", "only_after", "p"),
    [
        (0, 0, 1.0), (5, 5, 1.0),
        (0, 5, 2 / 32), (0, 6, 2 / 64),  # all one way: 2 x 0.5^n
        (2, 9, 2 * (1 + 11 + 55) / 2048),  # 2 x (C(11,0) + C(11,1) + C(11,2)) / 2^11
        (9, 2, 2 * (1 + 11 + 55) / 2048),
    ],
)  # fmt: skip
def test_mcnemar_counts_coin_flips(only_before, only_after, p):
    assert mcnemar(only_before, only_after) == pytest.approx(p, abs=1e-12)


@pytest.mark.parametrize(
    ("table", "difference", "low", "high"),
    [
        ((36, 2, 12, 0), 0.2, 0.0569, 0.3404),  # 76 % -> 96 % of 50: Newcombe 1998, table II, method 10
        ((36, 12, 2, 0), -0.2, -0.3404, -0.0569),  # the other way round
        ((0, 0, 0, 10), 0.0, -0.2775, 0.2775),  # phi 0; Wilson's upper end of 0 of 10: z^2 / (10 + z^2) = 0.2775
        # 22 of 40: Wilson [0.3983, 0.6929]; 29 of 40: [0.5717, 0.8389]; phi = (162 - 20) / 355.42 = 0.3995
        # low = 0.175 - sqrt(0.1534^2 - 2 phi 0.1534 0.1429 + 0.1429^2) = 0.175 - 0.1626
        # high = 0.175 + sqrt(0.1139^2 - 2 phi 0.1139 0.1517 + 0.1517^2) = 0.175 + 0.1489
        ((20, 2, 9, 9), 0.175, 0.0124, 0.3239),
    ],
)
def test_interval_of_a_paired_difference(table, difference, low, high):
    found = paired_rates(*table)
    assert (found.mean, found.low, found.high) == pytest.approx((difference, low, high), abs=5e-5)
    assert found.n == sum(table)


def test_points_are_shown_with_their_sign():
    assert str(paired_rates(36, 2, 12, 0)) == "+20.0 points [+5.7, +34.0] (n = 50)"
    assert str(paired_rates(0, 0, 0, 0)) == "no data (n = 0)"


def test_holm_multiplies_the_smallest_by_most():
    assert holm([0.02, 0.04, 0.30]) == pytest.approx([0.06, 0.08, 0.30])
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])  # 0.03 x 2, and 0.04 x 1 may not fall below
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_few_seeds_have_students_interval():
    found = t_mean([1, 2, 3])  # t(2) = 4.3027, standard error 0.5774
    assert (found.mean, found.n) == (2.0, 3)
    assert (found.low, found.high) == (pytest.approx(2 - 2.4841, abs=1e-3), pytest.approx(2 + 2.4841, abs=1e-3))
    two = t_mean([1, 3])  # t(1) = 12.7062, standard error 1
    assert (two.low, two.high) == (pytest.approx(2 - 12.7062, abs=1e-3), pytest.approx(2 + 12.7062, abs=1e-3))
    assert str(t_mean([5.0])) == "5.00 no interval (n = 1)"


def test_student_gives_a_few_seeds_a_p():
    # mean 2 / standard error 0.5774: t = 3.4641 at 2 degrees of freedom, p = 1 - t / sqrt(2 + t^2) = 1 - sqrt(12 / 14)
    assert t_test([1, 2, 3]) == t_test([-1, -2, -3]) == pytest.approx(1 - (12 / 14) ** 0.5)
    assert t_test([1, 3]) == pytest.approx(1 - 2 / np.pi * np.arctan(2))  # t = 2 at one degree of freedom: Cauchy's
    assert np.isnan(t_test([5.0]))


def test_the_order_of_rows_changes_no_interval():
    values = [k**2 for k in range(20)]
    groups = [f"g{7 * k % 20}" for k in range(20)]
    turned = bootstrap_mean(values[::-1], 0, groups=groups[::-1])
    assert bootstrap_mean(values, 0, groups=groups) == turned
