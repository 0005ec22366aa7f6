"""Cart-poles, half seen, against popgym's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import popgym.envs
import pytest
from scipy import stats

from amago_jax.envs.popgym.cart_pole import TASKS
from popgym_play import EXTRA, assert_same, begin, make_stream, play, random_keys, replay

STARTS = 1000
EPISODES = 12
BALANCE = -1  # instead of an action
TOLERANCE = 1e-5  # of one step in single precision


class Draws:
    """A random generator that draws a given state, and then given noise."""

    def __init__(self, state, noise):
        self.state, self.noise = state, iter(noise)

    def uniform(self, low, high, size):
        assert (low, high, size) == (-0.05, 0.05, (4,))
        return self.state

    def normal(self, mean, deviation):
        return mean + deviation * next(self.noise)


def as_arrays(state):
    """As gymnasium has it, in double precision: [x, x_dot, theta, theta_dot]."""
    state = (state.x, state.x_dot, state.theta, state.theta_dot)
    return np.stack(state, axis=-1).astype(np.float64)


def balance(state, action):
    leaning = 0.1 * state.x + 0.25 * state.x_dot + state.theta + 0.5 * state.theta_dot
    return jnp.where(action == BALANCE, (leaning > 0).astype(int), action)


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
    actions = rng.integers(2, size=shape)
    actions[1::4] = rng.integers(2, size=(EPISODES // 4, 1))  # off to one side
    actions[2::4] = BALANCE
    actions[3::4] = np.where(rng.random(shape) < 0.3, actions, BALANCE)[3::4]
    keys = random_keys(1, *shape)
    states, actions, ours = play(stream, first, keys, actions, balance)
    states = as_arrays(states)
    noise = [()] * EPISODES
    if stream.env.noise > 0:
        noise = np.asarray(draw_noise(first_keys[:EPISODES], keys))

    theirs = getattr(popgym.envs, name)()
    for episode in range(EPISODES):

        def renew(t, at=states[episode]):
            theirs.state = at[t]

        # Single precision alone makes long episodes part: as a pole is unstable, those are
        # compared one step at a time, from the same state each.
        unstable = episode % 4 > 1
        theirs.np_random = Draws(states[episode, 0], noise[episode])
        seen, _ = theirs.reset()
        ours_seen = first.timestep.observation["observation"][episode]
        np.testing.assert_allclose(ours_seen, seen, rtol=0, atol=1e-6)
        steps = replay(theirs, actions[episode], *([renew] if unstable else []))
        assert_same(ours[episode], steps, TOLERANCE if unstable else 10 * TOLERANCE)
        if episode % 4 == 2:
            assert len(steps.reward) == stream.horizon
            assert np.isclose(steps.reward.sum(), 1.0)
        else:
            assert steps.terminated[-1] or unstable
    if stream.env.noise > 0.1:
        assert (ours.observation[..., 1] == np.float32(24 * np.pi / 180)).any()  # clipped


@pytest.mark.parametrize("name", TASKS)
def test_same_starts(name):
    """Kolmogorov-Smirnov at the level 1e-3: states, and with popgym's, what is seen of them."""
    _, _, first = begun(name)
    for number in as_arrays(first.env_state).T:
        assert stats.kstest(number, "uniform", (-0.05, 0.1)).pvalue > 1e-3
    theirs = getattr(popgym.envs, name)()
    rest = np.stack([theirs.reset(seed=None if i else 0)[0] for i in range(STARTS)])
    for ours, seen in zip(first.timestep.observation["observation"].T, rest.T, strict=True):
        assert stats.ks_2samp(ours, seen).pvalue > 1e-3
