"""MultiarmedBandit against popgym's."""

import functools

import jax
import numpy as np
import popgym.envs
import pytest
from gymnasium.spaces.utils import flatten
from scipy import stats

from amago_jax.envs.popgym.multiarmed_bandit import TASKS
from popgym_play import EXTRA, assert_same, begin, make_stream, play, random_keys, replay

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
    """Play whole episodes; returns the task, first states, keys, actions and steps."""
    stream = make_stream(name, TASKS[name]())
    first = begin(stream, random_keys(0, EPISODES))
    rng = np.random.default_rng(0)
    bandits = stream.action_space.count
    actions = rng.integers(bandits, size=(EPISODES, stream.horizon + EXTRA))
    best = first.env_state.chances.argmax(1)
    actions[::2, 50:] = best[::2, None]  # after a while
    keys = random_keys(1, *actions.shape)
    return stream, first, keys, actions, play(stream, first, keys, actions)[2]


@pytest.mark.parametrize("name", TASKS)
def test_same_episodes(name):
    stream, first, keys, actions, ours = episodes(name)
    numbers = np.asarray(jax.jit(jax.vmap(jax.vmap(jax.random.uniform)))(keys))
    theirs = getattr(popgym.envs, name)()
    assert stream.action_space.count == theirs.action_space.n
    for episode in range(EPISODES):
        theirs.np_random = Draws(first.env_state.chances[episode], numbers[episode])
        seen = flatten(theirs.observation_space, theirs.reset()[0])
        np.testing.assert_array_equal(first.timestep.observation["observation"][episode], seen)
        steps = replay(theirs, actions[episode])
        assert len(steps.reward) == stream.horizon
        assert_same(ours[episode], steps)


@pytest.mark.parametrize("name", TASKS)
def test_bandits_pay_as_often_as_they_should(name):
    """Kolmogorov-Smirnov at the level 1e-3 for the chances; payments within 5 standard errors."""
    stream, first, _, actions, ours = episodes(name)
    theirs = getattr(popgym.envs, name)()
    rest = [(theirs.reset(seed=None if i else 0), theirs.bandits)[1] for i in range(100)]
    ours_chances = first.env_state.chances
    for chances in (ours_chances, np.stack(rest)):
        assert chances.shape[1:] == (stream.action_space.count,)
        assert stats.kstest(chances.ravel(), "uniform").pvalue > 1e-3
    chance = np.take_along_axis(ours_chances, actions[:, : stream.horizon], 1)
    surprise = ours.observation[:, : stream.horizon, 1] - chance
    assert abs(surprise.sum()) < 5 * np.sqrt((chance * (1 - chance)).sum())
    # As well for rarely and for often paying bandits.
    spread = (surprise * (chance - 0.5)).sum()
    assert abs(spread) < 5 * np.sqrt((chance * (1 - chance) * (chance - 0.5) ** 2).sum())
