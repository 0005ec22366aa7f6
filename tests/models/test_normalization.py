"""Running statistics hold for large numbers, whatever is masked and however it is split."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax.models.normalization import (
    InputNormalization,
    RunningMoments,
    init_moments,
    init_popart,
    outputs_to_real,
    popart_sigma,
    real_to_normalized,
    update_moments,
    update_popart,
)

BETA, ROWS, FEATURES = 5e-4, 64, 2
MEANS = st.floats(-1e5, 1e5)
SEEDS = st.integers(0, 2**31 - 1)
MASK = np.ones((ROWS, 1), bool)


@jax.jit
def follow(moments, batches):
    """Move moments over batches ``[N, ROWS, FEATURES]``."""
    return jax.lax.scan(lambda m, x: (update_moments(m, x, MASK, BETA), None), moments, batches)[0]


def in_float64(mean, squares, steps, batches):
    """Mean and variance as the authors' averages of x and x² have them, were they exact."""
    for x in batches.astype(np.float64):
        steps += 1
        beta = BETA / (1 - (1 - BETA) ** steps)
        mean = mean + beta * (x.mean(0) - mean)
        squares = squares + beta * (np.square(x).mean(0) - squares)
    return mean, squares - np.square(mean)


def draw(seed, mean, count=100):
    rng = np.random.default_rng(seed)
    return (mean + rng.normal(size=(count, ROWS, FEATURES))).astype(np.float32)


def settled(mean, variance=1.0, steps=1e5):
    """Moments of long ago."""
    whole = [jnp.full(FEATURES, x, jnp.float32) for x in (mean, 0.0, variance)]
    return RunningMoments(*whole, jnp.asarray(steps))


@settings(max_examples=15, deadline=None)
@given(mean=MEANS, seed=SEEDS)
def test_moments_are_the_authors_in_float64(mean, seed):
    batches = draw(seed, mean)
    found = follow(init_moments(FEATURES), batches)
    wanted_mean, wanted = in_float64(np.zeros(FEATURES), np.ones(FEATURES), 1.0, batches)
    np.testing.assert_allclose(found.variance, wanted, rtol=3e-3)
    error = np.abs(np.asarray(found.mean, np.float64) - wanted_mean)
    assert (error < 1e-3 * np.sqrt(wanted) + 1e-7 * np.abs(wanted_mean)).all()


@settings(max_examples=15, deadline=None)
@given(mean=MEANS, off=st.floats(-2, 2), seed=SEEDS)
def test_a_deviation_of_one_stays_one_around_a_large_mean(mean, off, seed):
    batches = draw(seed, mean)
    start = settled(mean + off)
    found = follow(start, batches)
    first = np.asarray(start.mean, np.float64)
    wanted_mean, wanted = in_float64(first, 1 + np.square(first), 1e5, batches)
    np.testing.assert_allclose(found.variance, wanted, rtol=1e-3)
    kept = np.asarray(found.mean, np.float64) + np.asarray(found.remainder)
    # Rounded once to each batch's float32 numbers, and never more.
    np.testing.assert_allclose(kept, wanted_mean, rtol=0, atol=1e-4)


def test_a_large_mean_feels_the_smallest_steps():
    """Each is a hundredth of what float32 can tell apart there."""
    batches = np.full((2000, ROWS, FEATURES), 1e5 + 0.5, np.float32)
    found = follow(settled(1e5), batches)
    moved = np.asarray(found.mean - 1e5) + np.asarray(found.remainder)
    np.testing.assert_allclose(moved, 0.5 * (1 - (1 - BETA) ** 2000), rtol=1e-3)


@settings(max_examples=15, deadline=None)
@given(value=st.floats(-1e5, 1e5, width=32))
def test_what_is_constant_has_no_variance(value):
    batches = np.full((1, ROWS, FEATURES), value, np.float32)
    assert not follow(settled(value, variance=0.0), batches).variance.any()
    once = follow(init_moments(FEATURES), batches)
    shift, beta = float(np.float32(value)), BETA / (1 - (1 - BETA) ** 2)
    wanted = 1 - beta + beta * (1 - beta) * shift**2
    np.testing.assert_allclose(once.variance, wanted, rtol=1e-3)


@functools.partial(jax.jit, static_argnums=0)
def on_devices(count, moments, x, mask):
    """Moments after a batch whose rows are split over so many devices, as each has them."""
    parts = [a.reshape(count, -1, *a.shape[1:]) for a in (x, mask)]
    update = functools.partial(update_moments, beta=BETA, axis_name="data")
    return jax.vmap(update, (None, 0, 0), axis_name="data")(moments, *parts)


@settings(max_examples=15, deadline=None)
@given(mean=MEANS, seed=SEEDS, devices=st.sampled_from([2, 4]), share=st.sampled_from([0.02, 0.5]))
def test_devices_that_share_a_batch_have_what_one_has(mean, seed, devices, share):
    x = draw(seed, mean, 1)[0]
    mask = np.random.default_rng(seed).random((ROWS, 1)) < share  # of a device, perhaps nothing
    x = np.where(mask, x, np.inf)
    for start in (settled(mean), init_moments(FEATURES)):
        found = on_devices(devices, start, x, mask)
        one = update_moments(start, x, mask, BETA)
        for shared, alone in zip(jax.tree.leaves(found), jax.tree.leaves(one), strict=True):
            np.testing.assert_array_equal(shared, np.broadcast_to(shared[:1], shared.shape))
            if shared.ndim == 1 or mask.any():
                np.testing.assert_allclose(shared[0], alone, rtol=1e-5, atol=1e-2)
        np.testing.assert_allclose(found.variance[0], one.variance, rtol=1e-4)


def test_nothing_valid_moves_nothing():
    x = jnp.full((ROWS, FEATURES), jnp.nan)
    start = settled(3.0)
    jax.tree.map(np.testing.assert_array_equal, update_moments(start, x, ~MASK, BETA), start)


@pytest.mark.parametrize("largest", [1e20, 3e38])
def test_huge_inputs_are_clipped_and_stay_finite(largest):
    x = jnp.asarray(draw(0, 0.0, 1)[0]).at[0, 0].set(largest).at[1, 0].set(-largest)
    module = InputNormalization()
    variables = module.init(jax.random.key(0), x, MASK[:, 0], training=False)
    out, moved = module.apply(variables, x, MASK[:, 0], training=True, mutable="statistics")
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 1e4
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(moved))
    np.testing.assert_allclose(out[:, 1].std(), 1, rtol=0.3)  # the other feature feels nothing


@settings(max_examples=15, deadline=None)
@given(mean=MEANS, seed=SEEDS)
def test_popart_scales_large_targets_and_preserves_outputs(mean, seed):
    targets, outputs = draw(seed, mean, 1)[0], draw(seed + 1, 0.0, 1)[0]
    state = init_popart(FEATURES).replace(moments=settled(mean))
    moved = update_popart(state, targets, MASK)
    np.testing.assert_allclose(popart_sigma(moved), 1, atol=1e-3)
    np.testing.assert_allclose(
        outputs_to_real(moved, outputs), outputs_to_real(state, outputs), rtol=2e-7, atol=1e-3
    )
    normalized = np.asarray(real_to_normalized(moved, targets))
    np.testing.assert_allclose(normalized.mean(), targets.mean(dtype=np.float64) - mean, atol=0.02)
    np.testing.assert_allclose(normalized.std(), targets.std(dtype=np.float64), rtol=1e-2)
