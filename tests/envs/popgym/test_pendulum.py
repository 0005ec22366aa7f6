"""Pendulums without their velocity, against popgym's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import popgym.envs
import pytest
from scipy import stats

from amago_jax.envs.popgym.pendulum import TASKS
from popgym_play import EXTRA, assert_same, begin, make_stream, play, random_keys, replay

STARTS = 1000
EPISODES = 12
SPIN, SWING_UP = 9.0, -9.0  # instead of a torque
TOLERANCE = 1e-5  # of one step in single precision


class Draws:
    """A random generator that draws a given state, and then given noise."""

    def __init__(self, state, noise):
        self.state, self.noise = state, iter(noise)

    def uniform(self, low, high):
        np.testing.assert_array_equal([low, high], [[-np.pi, -1], [np.pi, 1]])
        return self.state

    def normal(self, mean, deviation):
        return mean + deviation * next(self.noise)


def as_arrays(state):
    """As gymnasium has it, in double precision: [theta, theta_dot]."""
    return np.stack([state.theta, state.theta_dot], axis=-1).astype(np.float64)


def act(state, action):
    theta, speed = (state.theta + jnp.pi) % (2 * jnp.pi) - jnp.pi, state.theta_dot
    energy = speed**2 / 2 + 15 * (jnp.cos(theta) - 1)
    hold = jnp.where(jnp.abs(theta) < 0.4, -15 * theta - 4 * speed, -energy * speed)
    spin = 2 * jnp.sign(speed)
    torque = jnp.where(action == SPIN, spin, jnp.where(action == SWING_UP, hold, action))
    return jnp.clip(torque / 2, -1, 1)


@jax.jit
def draw_noise(first_keys, keys):
    """The noise that observations are made with: ``[E, T+1, 2]``."""
    first_keys = jax.vmap(lambda key: jax.random.split(key)[1])(first_keys)
    keys = jnp.concatenate([first_keys[:, None], keys], axis=1)
    return jax.vmap(jax.vmap(lambda key: jax.random.normal(key, (2,))))(keys)


@functools.cache
def begun(name):
    """A task, the keys of many episodes, and their first states."""
    stream = make_stream(name, TASKS[name]())
    keys = random_keys(0, STARTS)
    return stream, keys, begin(stream, keys)


@pytest.mark.parametrize("name", TASKS)
def test_same_episodes(name):
    stream, first_keys, first = begun(name)
    first = jax.tree.map(lambda x: x[:EPISODES], first)
    rng = np.random.default_rng(0)
    shape = (EPISODES, stream.horizon + EXTRA)
    actions = rng.uniform(-2, 2, (*shape, 1)).astype(np.float32)
    actions[2::4] = SPIN
    actions[3::4] = SWING_UP
    keys = random_keys(1, *shape)
    states, actions, ours = play(stream, first, keys, actions, act)
    states = as_arrays(states)
    noise = [()] * EPISODES
    if stream.env.noise > 0:
        noise = np.asarray(draw_noise(first_keys[:EPISODES], keys))

    theirs = getattr(popgym.envs, name)()
    for episode in range(EPISODES):

        def renew(t, at=states[episode]):
            theirs.state = at[t]

        theirs.np_random = Draws(states[episode, 0], noise[episode])
        seen, _ = theirs.reset()
        ours_seen = first.timestep.observation["observation"][episode]
        np.testing.assert_allclose(ours_seen, seen, rtol=0, atol=1e-6)
        freely = episode % 4 == 0
        steps = replay(theirs, 2 * actions[episode], *([] if freely else [renew]))
        assert len(steps.reward) == stream.horizon
        tolerance = 100 * TOLERANCE if freely else TOLERANCE
        assert_same(ours[episode], steps, tolerance, tolerance / stream.horizon)
    assert np.abs(states[2::4, :, 1]).max() == 8.0  # the fastest
    assert (np.cos(states[3::4, stream.horizon - 1, 0]) > 0.99).any()  # upright
    if stream.env.noise > 0:
        assert (np.abs(ours.observation) == 1.0).any()  # clipped


@pytest.mark.parametrize("name", TASKS)
def test_same_starts(name):
    """Kolmogorov-Smirnov at the level 1e-3: states, and with popgym's, what is seen of them."""
    _, _, first = begun(name)
    for number, high in zip(as_arrays(first.env_state).T, (np.pi, 1.0), strict=True):
        assert stats.kstest(number, "uniform", (-high, 2 * high)).pvalue > 1e-3
    theirs = getattr(popgym.envs, name)()
    rest = np.stack([theirs.reset(seed=None if i else 0)[0] for i in range(STARTS)])
    for ours, seen in zip(first.timestep.observation["observation"].T, rest.T, strict=True):
        assert stats.ks_2samp(ours, seen).pvalue > 1e-3
