"""Means over seeds follow the same seeds from the first point to the last."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax.reports.curves import Curve, make_line, mean_curve, on_common_grid, thinned
from amago_jax.reports.statistics import Bootstrap


def curve(xs, ys, ended=False):
    return Curve(np.array(xs, float), np.array(ys, float), ended)


def test_common_grid_is_the_stretch_all_seeds_reached():
    first, second = curve([0, 10], [0, 10]), curve([2, 4, 20], [1, 3, 19])
    grid, values = on_common_grid([first, second])
    assert (grid[0], grid[-1]) == (2.0, 10.0)
    np.testing.assert_allclose(values, [grid, grid - 1])
    empty, nothing = on_common_grid([curve([0, 1], [0, 0]), curve([2, 3], [0, 0])])
    assert (empty.shape, nothing.shape) == ((0,), (2, 0))


def test_a_seed_that_stopped_early_counts_on():
    lucky = curve([0, 10], [0, 1], ended=True)
    slow = curve([0, 10, 40], [0, 0, 0], ended=True)
    mean = mean_curve([lucky, slow])
    assert mean.xs[-1] == 40.0
    np.testing.assert_allclose(mean.mean[mean.xs >= 10], 0.5)
    assert mean.held == ((10.0, 1.0),)


def test_a_seed_that_has_not_ended_ends_the_mean():
    killed = curve([0, 10], [0, 1])
    mean = mean_curve([killed, curve([0, 40], [0, 0], ended=True)])
    assert mean.xs[-1] == 10.0
    assert mean.held == ()
    stopped = curve([0, 5], [0, 1], ended=True)
    np.testing.assert_allclose(mean_curve([killed, stopped]).mean[-1], 1.0)


def test_complete_seeds_are_averaged_and_all_are_there():
    done, going = curve([0, 40], [1, 1], ended=True), curve([0, 10], [0, 0])
    nothing = curve([], [])
    line = make_line("setting", [done, going, done, nothing])
    assert line is not None
    np.testing.assert_array_equal(line.mean.mean, 1.0)
    assert (len(line.seeds), line.words) == (3, "setting (2 of 3 seeds)")
    line = make_line("setting", [going, going])
    assert line is not None
    assert (line.mean.xs[-1], line.words) == (10.0, "setting (2 seeds)")
    assert make_line("setting", [nothing]) is None


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.lists(st.floats(-9, 9), min_size=1, max_size=5), st.booleans()),
        min_size=2,
        max_size=4,
    )
)
def test_every_point_of_the_mean_holds_every_seed(seeds):
    """By brute force, at the grid's points: a value where a seed is, its last one afterwards."""
    curves = [curve(np.arange(len(ys)) + 1, ys, ended) for ys, ended in seeds]
    mean = mean_curve(curves, Bootstrap(resamples=100))
    running = [len(ys) for ys, ended in seeds if not ended]
    assert mean.xs[-1] == (min(running) if running else max(len(ys) for ys, _ in seeds))
    for x, value in zip(mean.xs, mean.mean, strict=True):
        there = []
        for ys, _ in seeds:
            left = min(int(x), len(ys)) - 1
            right = min(left + 1, len(ys) - 1)
            there.append(ys[left] + (ys[right] - ys[left]) * (x - int(x)))
        np.testing.assert_allclose(value, np.mean(there), atol=1e-9)
    assert mean.low is not None
    assert mean.high is not None
    assert np.all(mean.low <= mean.mean + 1e-9)
    assert np.all(mean.mean <= mean.high + 1e-9)


@given(
    st.lists(st.floats(-9, 9) | st.sampled_from([np.nan, np.inf]), max_size=60),
    st.sampled_from([4, 8, 20]),
)
def test_a_thinned_line_keeps_its_ends_and_extremes(ys, most):
    ys = np.array(ys, float)
    kept = thinned(ys, most)
    assert (np.diff(kept) > 0).all()
    assert len(kept) <= most
    if len(ys) <= most:
        assert len(kept) == len(ys)
        return
    assert (kept[0], kept[-1]) == (0, len(ys) - 1)
    # Of each stretch of the line, too, whatever lies between two that are kept is within them.
    size = -(-len(ys) // (most // 4))
    for start in range(0, len(ys), size):
        whole, left = ys[start : start + size], ys[kept[(kept >= start) & (kept < start + size)]]
        if np.isfinite(whole).any():
            whole, left = whole[np.isfinite(whole)], left[np.isfinite(left)]
            assert (left.min(), left.max()) == (whole.min(), whole.max())
