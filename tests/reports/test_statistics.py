"""Statistics over seeds against SciPy, closed forms and all resamples there are."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from amago_jax.reports.statistics import (
    Bootstrap,
    final_value,
    first_at,
    interquartile_mean,
    probability_of_improvement,
)

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20)
WITH_TIES = st.lists(st.integers(0, 4), min_size=1, max_size=8)


@given(VALUES)
def test_the_interquartile_mean_is_scipys_trimmed_mean(values):
    expected = stats.trim_mean(values, 0.25)
    np.testing.assert_allclose(interquartile_mean(np.array(values)), expected, atol=1e-9)


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end():
    assert interquartile_mean(np.array([100.0, 2.0, 3.0, -50.0])) == 2.5
    assert interquartile_mean(np.array([0.0, 1.0, 5.0])) == 2.0  # of three none is left out
    both = np.array([[0.0, 1.0], [4.0, 5.0], [2.0, 3.0], [9.0, 9.0]])
    np.testing.assert_array_equal(interquartile_mean(both, axis=0), [3.0, 4.0])


@given(WITH_TIES, WITH_TIES)
def test_the_probability_of_improvement_is_mann_and_whitneys_u(x, y):
    probability = probability_of_improvement(np.array(x), np.array(y))
    u = stats.mannwhitneyu(x, y, method="asymptotic").statistic if len({*x, *y}) > 1 else None
    np.testing.assert_allclose(probability, 0.5 if u is None else u / (len(x) * len(y)))
    back = probability_of_improvement(np.array(y), np.array(x))
    np.testing.assert_allclose(probability + back, 1.0)


def quantiles(values, confidence):
    """Quantiles of values that are all as likely, where none lies on a jump."""
    ordered = np.sort(values)
    tail = (1 - confidence) / 2
    assert not float(tail * len(ordered)).is_integer()
    return ordered[int(tail * len(ordered))], ordered[int((1 - tail) * len(ordered))]


@pytest.mark.parametrize("statistic", [np.mean, np.median, interquartile_mean])
@pytest.mark.parametrize("confidence", [0.95, 0.7])
def test_intervals_are_quantiles_of_all_resamples(statistic, confidence):
    seeds = [0.0, 1.0, 5.0, 7.0]
    every = [statistic(np.array(drawn)) for drawn in itertools.product(seeds, repeat=4)]
    estimate = Bootstrap(confidence, 20_000).estimate(statistic, seeds)
    assert estimate.value == statistic(np.array(seeds))
    np.testing.assert_allclose((estimate.low, estimate.high), quantiles(every, confidence))


def test_seeds_of_two_settings_are_resampled_apart():
    x, y = [0.0, 2.0, 4.0], [1.0, 3.0]
    every = [
        probability_of_improvement(np.array(a), np.array(b))
        for a in itertools.product(x, repeat=3)
        for b in itertools.product(y, repeat=2)
    ]
    estimate = Bootstrap(0.7, 20_000).estimate(probability_of_improvement, x, y)
    assert estimate.value == 0.5
    np.testing.assert_allclose((estimate.low, estimate.high), quantiles(every, 0.7))


def test_of_many_seeds_the_interval_of_the_mean_is_the_normal_one():
    seeds = np.random.default_rng(0).normal(3.0, 2.0, 400)
    estimate = Bootstrap().estimate(np.mean, seeds)
    half = 1.96 * seeds.std(ddof=1) / math.sqrt(400)
    assert estimate.low == pytest.approx(seeds.mean() - half, abs=0.1 * half)
    assert estimate.high == pytest.approx(seeds.mean() + half, abs=0.1 * half)
    assert estimate == Bootstrap().estimate(np.mean, seeds)  # the same every time


def test_one_seed_has_no_interval_and_equal_seeds_have_a_narrow_one():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = Bootstrap().estimate(np.mean, [3.0])
        assert (one.value, one.low, one.high) == (3.0, None, None)
        assert Bootstrap().estimate(probability_of_improvement, [1.0, 2.0], [3.0]).low is None
        for statistic in (np.mean, np.median, interquartile_mean):
            equal = Bootstrap().estimate(statistic, [1.0, 1.0, 1.0])
            assert (equal.value, equal.low, equal.high) == (1.0, 1.0, 1.0)


def test_a_band_is_the_interval_of_the_mean_at_every_point():
    seeds = np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 0.0], [5.0, 1.0, 4.0]])
    low, high = Bootstrap(0.6, 20_000).band(seeds)
    for at in range(3):
        every = [np.mean(drawn) for drawn in itertools.product(seeds[:, at], repeat=3)]
        np.testing.assert_allclose((low[at], high[at]), quantiles(every, 0.6))


def test_final_values_and_times_to_a_score():
    assert final_value([0.0, 1.0, 2.0, 6.0]) == 3.0
    assert final_value([0.0, 1.0, 2.0, 6.0], last=1) == 6.0
    assert final_value([4.0]) == 4.0
    assert math.isnan(final_value([]))
    xs, ys = np.array([10.0, 20.0, 30.0]), np.array([0.0, 0.5, 0.2])
    assert first_at(xs, ys, 0.5) == 20.0
    assert first_at(xs, ys, 0.6) == math.inf
    assert first_at(xs[:0], ys[:0], 0.0) == math.inf
