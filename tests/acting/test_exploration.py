"""Exploration schedules and noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax.acting.exploration import (
    BiLevel,
    Plain,
    Windowed,
    draw_exploration,
    explore,
)
from golden_files import assert_close, load


def test_bilevel_golden():
    golden = load("bilevel_epsilon")
    meta = golden.meta
    schedule = BiLevel(
        horizon=meta["rollout_horizon"],
        anneal_steps=meta["steps_anneal"],
        start=(meta["eps_start_start"], meta["eps_start_end"]),
        end=(meta["eps_end_start"], meta["eps_end_end"]),
    )
    found = schedule.epsilon(golden["global_step"][:, None], golden["local_step"][None])
    assert_close(found, golden["epsilon"], 1e-5)


def test_plain_falls_linearly_then_stays():
    steps = jnp.array([0, 50, 100, 1000])
    found = Plain(anneal_steps=100, start=(1.0, 0.2)).epsilon(steps, jnp.zeros(4, jnp.int32))
    np.testing.assert_allclose(found, [1.0, 0.6, 0.2, 0.2], rtol=1e-6)


def test_windowed_is_full_at_the_first_step_and_the_last_three():
    horizon = 8
    schedule = Windowed(horizon, anneal_steps=100, start=(1.0, 0.5))
    found = schedule.epsilon(jnp.asarray(50), jnp.arange(horizon))
    between = 0.5 / horizon
    np.testing.assert_allclose(found, [0.75, *[between] * 4, 0.75, 0.75, 0.75], rtol=1e-6)


@settings(deadline=None)
@given(
    steps=st.integers(0, 3000),
    time=st.integers(0, 200),
    horizon=st.integers(1, 100),
    kind=st.sampled_from(["bilevel", "plain", "windowed"]),
)
def test_epsilon_is_a_probability(steps, time, horizon, kind):
    schedule = {
        "bilevel": BiLevel(horizon, 1000),
        "plain": Plain(1000),
        "windowed": Windowed(horizon, 1000),
    }[kind]
    epsilon = schedule.epsilon(np.int32(steps), np.int32(time))
    assert 0.0 <= float(epsilon) <= 1.0


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_discrete_actions_are_replaced_with_probability_epsilon(epsilon):
    count, n = 4, 20_000
    draws = draw_exploration(jax.random.key(0), (n,), count, kind="discrete")
    found = explore(jnp.zeros(n, jnp.int32), jnp.full(n, epsilon), draws)
    # A random action is the old one in a quarter of the draws.
    expected = epsilon * (1 - 1 / count)
    assert abs(float((found != 0).mean()) - expected) < 4 * 0.5 / n**0.5
    assert found.dtype == jnp.int32
    assert set(np.unique(found)) <= set(range(count))


def test_continuous_actions_get_noise_of_scale_epsilon_within_bounds():
    n = 20_000
    actions = jnp.zeros((n, 2))
    draws = draw_exploration(jax.random.key(0), (n,), 2, kind="continuous")
    assert abs(float(explore(actions, jnp.full(n, 0.1), draws).std()) - 0.1) < 0.005
    assert float(jnp.abs(explore(actions, jnp.full(n, 5.0), draws)).max()) == 1.0
    np.testing.assert_array_equal(explore(actions + 0.5, jnp.zeros(n), draws), actions + 0.5)


@pytest.mark.parametrize(
    ("schedule", "settings"),
    [
        (BiLevel, {"horizon": 10, "anneal_steps": 0}),
        (BiLevel, {"horizon": 0}),
        (Plain, {"anneal_steps": -5}),
        (Windowed, {"horizon": 0}),
    ],
)
def test_numbers_of_steps_below_one_are_named(schedule, settings):
    name, value = list(settings.items())[-1]
    with pytest.raises(ValueError, match=f"{name}={value} must be a whole number of at least 1"):
        schedule(**settings)
