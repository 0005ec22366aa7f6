"""Wind against plain NumPy, its winds, and the best that can be done."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax import envs


@functools.cache
def played(kind):
    """Play meta-episodes of two attempts, at random, or with the wind known."""
    env = envs.make("meta/wind", attempts=2)

    @jax.jit
    @jax.vmap
    def play(key):
        def step(state, key):
            inner = state.env_state.inner
            ahead = jnp.array([0.0, 1.0]) - inner.position - inner.wind
            at_random = jax.random.uniform(key, (2,), minval=-1.5, maxval=1.5)
            action = at_random if kind == "random" else jnp.clip(ahead * 10, -1, 1)
            after = env.transition(key, state, action)
            return after, (inner.wind, action, after.timestep)

        keys = jax.random.split(key, env.horizon)
        state, seen = jax.lax.scan(step, env.reset(key), keys)
        return *seen, env.episode_metrics(state)

    return jax.device_get(play(jax.random.split(jax.random.key(0), 512)))


@settings(max_examples=30, deadline=None)
@given(kind=st.sampled_from(["random", "known"]), episode=st.integers(0, 511))
def test_agrees_with_reference(kind, episode):
    winds, actions, timesteps, metrics = jax.tree.map(lambda x: x[episode], played(kind))
    # The wind is the same throughout.
    np.testing.assert_array_equal(winds, np.broadcast_to(winds[0], (150, 2)))
    for attempt in (1, 2):
        place, total = np.zeros(2), 0.0
        for step in range(75 * (attempt - 1), 75 * attempt):
            place = place + np.clip(actions[step], -1, 1) * 0.1 + winds[0]
            distance = np.hypot(place[0], place[1] - 1.0)
            reward = timesteps.previous_reward[step]
            # Rounding decides on the circle itself.
            assert reward == (distance <= 0.03) or abs(distance - 0.03) < 1e-4
            total += reward
            assert timesteps.is_last[step] == (step == 149)
            assert not timesteps.terminated[step]
            shown = np.zeros(2) if step == 74 else place  # the next attempt begins
            np.testing.assert_allclose(timesteps.observation["observation"][step], shown, atol=1e-4)
        assert metrics[f"return/attempt_{attempt}"] == total
        assert metrics[f"success/attempt_{attempt}"] == (total > 0)


def test_winds_are_uniform():
    winds = played("random")[0][:, 0] / 0.08
    assert (np.abs(winds) <= 1).all()
    for moment, expected in ((1, 0.0), (2, 1 / 3), (3, 0.0), (4, 1 / 5)):
        error = np.sqrt((1 / (2 * moment + 1) - expected**2) / len(winds))
        assert (np.abs((winds**moment).mean(0) - expected) < 5 * error).all()
    assert abs((winds[:, 0] * winds[:, 1]).mean()) < 5 / 3 / np.sqrt(len(winds))


def test_who_knows_the_wind_reaches_the_goal_and_stays():
    winds, _, timesteps, metrics = played("known")
    # Along the hard axis, until within the radius: so many steps, unless rounding decides.
    steps = 0.97 / (0.1 + winds[:, 0, 1])
    clear = np.abs(steps - np.rint(steps)) > 1e-3
    for attempt in (1, 2):
        earned = metrics[f"return/attempt_{attempt}"]
        np.testing.assert_array_equal(earned[clear], 76 - np.ceil(steps[clear]))
        np.testing.assert_array_equal(metrics[f"success/attempt_{attempt}"], 1.0)
    np.testing.assert_array_equal(timesteps.observation["attempt"][:, 74], [[1.0, 0.5]] * 512)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"strongest_wind": 0.1}, "strongest_wind=0.1 must be a number from 0 to below 0.1"),
        ({"goal_radius": 0}, "goal_radius=0 must be a number above 0"),
    ],
)
def test_impossible_winds_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        envs.make("meta/wind", **wrong)
