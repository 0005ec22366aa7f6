"""MultiarmedBandit against popgym's."""

import functools

import jax
import numpy as np
import popgym.envs
import pytest
from popgym_play import assert_same, begin, play, replay
from scipy import stats

from amago_jax.envs.popgym.multiarmed_bandit import TASKS

EPISODES = 8


class Draws:
    """A random generator that draws given bandits, and then given numbers."""

    def __init__(self, chances, numbers):
        self.chances, self.numbers = chances, iter(numbers)

    def random(self, size=None, dtype=None):
        if size is None:
            return next(self.numbers)
        assert (size, dtype) == (len(self.chances), self.chances.dtype)
        return self.chances


@functools.cache
def episodes(name):
    """An environment, what it showed first, states and actions, and steps, of whole episodes."""
    env = TASKS[name]()
    first, states = begin(env, jax.random.split(jax.random.key(0), EPISODES))
    rng = np.random.default_rng(0)
    actions = rng.integers(env.bandits, size=(EPISODES, env.horizon))
    actions[::2, 50:] = states.chances[::2].argmax(1)[:, None]  # the best, after a while
    keys = jax.random.split(jax.random.key(1), actions.shape)
    return env, first, keys, *play(env, states, keys, actions)


@pytest.mark.parametrize("name", TASKS)
def test_same_episodes(name):
    env, first, keys, states, actions, ours = episodes(name)
    numbers = np.asarray(jax.vmap(jax.vmap(jax.random.uniform))(keys))
    theirs = getattr(popgym.envs, name)()
    assert env.num_actions == theirs.action_space.n
    for episode in range(EPISODES):
        theirs.np_random = Draws(states.chances[episode, 0], numbers[episode])
        assert theirs.reset()[0] == 0
        np.testing.assert_array_equal(first[episode], [1, 0])
        steps = replay(theirs, actions[episode])
        assert len(steps.reward) == env.horizon
        assert steps.truncated[-1]
        assert_same(jax.tree.map(lambda x, e=episode: x[e], ours), steps)


@pytest.mark.parametrize("name", TASKS)
def test_bandits_pay_as_often_as_they_should(name):
    """Kolmogorov-Smirnov at the level 1e-3 for the chances; payments within 5 standard errors."""
    env, _, _, states, actions, ours = episodes(name)
    theirs = getattr(popgym.envs, name)()
    rest = [(theirs.reset(seed=None if i else 0), theirs.bandits)[1] for i in range(100)]
    for chances in (states.chances[:, 0], np.stack(rest)):
        assert chances.shape[1:] == (env.bandits,)
        assert stats.kstest(chances.ravel(), "uniform").pvalue > 1e-3
    chance = np.take_along_axis(states.chances, actions[..., None], -1)[..., 0]
    surprise = ours.observation[..., 1] - chance
    assert abs(surprise.sum()) < 5 * np.sqrt((chance * (1 - chance)).sum())
    # As well for rarely and for often paying bandits.
    spread = (surprise * (chance - 0.5)).sum()
    assert abs(spread) < 5 * np.sqrt((chance * (1 - chance) * (chance - 0.5) ** 2).sum())
