"""MineSweeper against popgym's."""

import functools

import jax
import numpy as np
import popgym.envs
import pytest
from popgym_play import assert_same, begin, play, replay

from amago_jax.envs.popgym.mine_sweeper import TASKS

BOARDS = 2000
EPISODES = 60


@functools.cache
def boards(name):
    """An environment, what it shows first, and where its mines are."""
    env = TASKS[name]()
    return env, *begin(env, jax.random.split(jax.random.key(0), BOARDS))


class Mines:
    """A random generator that draws given mines."""

    def __init__(self, mines):
        self.mines = np.flatnonzero(mines)

    def choice(self, squares, size, replace):
        assert size == len(self.mines)
        assert not replace
        return squares[self.mines]


def squares(rng, mines, kind):
    """As many actions as there are squares without a mine."""
    mined, free = map(rng.permutation, (np.flatnonzero(mines), np.flatnonzero(~mines)))
    if kind == 0:  # at random
        return rng.integers(mines.size, size=free.size)
    if kind == 1:  # without a mistake
        return free
    if kind == 2:  # some free ones again and again, until the time is up
        return rng.choice(free[:-1], free.size)
    if kind == 3:  # a mine at last
        return np.append(free[:-1], mined[0])
    # A mine among free ones.
    return rng.permutation(np.append(free[:-1], mined[0]))


@pytest.mark.parametrize("name", TASKS)
def test_same_episodes(name):
    env, first, states = boards(name)
    rng = np.random.default_rng(0)
    states = jax.tree.map(lambda x: x[:EPISODES], states)
    actions = np.stack([squares(rng, mines, e % 5) for e, mines in enumerate(states.mines)])
    keys = jax.random.split(jax.random.key(1), actions.shape)
    _, _, ours = play(env, states, keys, actions)

    theirs = getattr(popgym.envs, name)()
    assert env.num_actions == np.prod(theirs.action_space.nvec)
    assert env.horizon == theirs.max_episode_length
    ends = set()
    for episode in range(EPISODES):
        theirs.np_random = Mines(states.mines[episode])
        assert theirs.reset()[0] == 0
        np.testing.assert_array_equal(first[episode], np.eye(theirs.observation_space.n)[0])
        opened = np.stack(np.unravel_index(actions[episode], theirs.action_space.nvec), axis=-1)
        steps = replay(theirs, opened)
        assert_same(jax.tree.map(lambda x, e=episode: x[e], ours), steps)
        ends.add((bool(steps.terminated[-1]), bool(steps.truncated[-1]), len(steps.reward)))
        if episode % 5 == 1:
            assert np.isclose(steps.reward.sum(), 1.0)
    # A win or a mine at the last step is no truncation.
    assert (True, False, env.horizon) in ends
    assert (False, True, env.horizon) in ends
    assert len(ends) > 2


@pytest.mark.parametrize("whose", ["ours", "popgym's"])
@pytest.mark.parametrize("name", TASKS)
def test_mines_are_anywhere(name, whose):
    """Of two squares each, and of each one: within 5 standard errors."""
    env, _, states = boards(name)
    mines = states.mines.reshape(BOARDS, -1)
    if whose == "popgym's":
        theirs = getattr(popgym.envs, name)()
        grids = [(theirs.reset(seed=None if i else 0), theirs.hidden_grid)[1] for i in range(BOARDS)]
        mines = np.stack(grids).reshape(BOARDS, -1) == 1
    m, n = env.mines, env.num_actions
    np.testing.assert_array_equal(mines.sum(1), m)
    together = mines.T.astype(float) @ mines / BOARDS
    expected = np.where(np.eye(n, dtype=bool), m / n, m * (m - 1) / (n * (n - 1)))
    error = np.sqrt(expected * (1 - expected) / BOARDS)
    assert (np.abs(together - expected) < 5 * error).all()
