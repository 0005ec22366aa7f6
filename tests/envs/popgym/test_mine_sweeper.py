"""MineSweeper against popgym's."""

import functools

import jax
import numpy as np
import popgym.envs
import pytest
from gymnasium.spaces.utils import flatten

from amago_jax.envs.popgym.mine_sweeper import TASKS
from popgym_play import EXTRA, assert_same, begin, make_stream, play, random_keys, replay

BOARDS = 2000
EPISODES = 60


@functools.cache
def boards(name):
    """A task, and many first states."""
    stream = make_stream(name, TASKS[name]())
    return stream, begin(stream, random_keys(0, BOARDS))


class Mines:
    """A random generator that draws given mines."""

    def __init__(self, mines):
        self.mines = np.flatnonzero(mines)

    def choice(self, squares, size, replace):
        assert size == len(self.mines)
        assert not replace
        return squares[self.mines]


def squares(rng, mines, kind):
    """As many actions as there are squares without a mine, and some more."""
    mined, free = map(rng.permutation, (np.flatnonzero(mines), np.flatnonzero(~mines)))
    if kind == 0:  # at random
        actions = rng.integers(mines.size, size=free.size)
    elif kind == 1:  # without a mistake
        actions = free
    elif kind == 2:  # some free ones again and again, until the time is up
        actions = rng.choice(free[:-1], free.size)
    elif kind == 3:  # a mine at last
        actions = np.append(free[:-1], mined[0])
    else:  # a mine among free ones
        actions = rng.permutation(np.append(free[:-1], mined[0]))
    return np.append(actions, [0] * EXTRA)


@pytest.mark.parametrize("name", TASKS)
def test_same_episodes(name):
    stream, first = boards(name)
    first = jax.tree.map(lambda x: x[:EPISODES], first)
    rng = np.random.default_rng(0)
    mines = first.env_state.mines
    actions = np.stack([squares(rng, board, e % 5) for e, board in enumerate(mines)])
    _, _, ours = play(stream, first, random_keys(1, *actions.shape), actions)

    theirs = getattr(popgym.envs, name)()
    assert stream.action_space.count == np.prod(theirs.action_space.nvec)
    ends = set()
    for episode in range(EPISODES):
        theirs.np_random = Mines(mines[episode])
        seen = flatten(theirs.observation_space, theirs.reset()[0])
        np.testing.assert_array_equal(first.timestep.observation["observation"][episode], seen)
        opened = np.stack(np.unravel_index(actions[episode], theirs.action_space.nvec), axis=-1)
        steps = replay(theirs, opened)
        assert_same(ours[episode], steps)
        ends.add((bool(steps.terminated[-1]), bool(steps.truncated[-1]), len(steps.reward)))
        if episode % 5 == 1:
            assert np.isclose(steps.reward.sum(), 1.0)
    # A win or a mine at the last step is no truncation.
    assert (True, False, stream.horizon) in ends
    assert (False, True, stream.horizon) in ends
    assert len(ends) > 2


@pytest.mark.parametrize("whose", ["ours", "popgym's"])
@pytest.mark.parametrize("name", TASKS)
def test_mines_are_anywhere(name, whose):
    """Chances of each square, and of each two, to hold mines: within 5 standard errors."""
    stream, first = boards(name)
    mines = first.env_state.mines.reshape(BOARDS, -1)
    if whose == "popgym's":
        theirs = getattr(popgym.envs, name)()
        grids = [
            (theirs.reset(seed=None if i else 0), theirs.hidden_grid)[1] for i in range(BOARDS)
        ]
        mines = np.stack(grids).reshape(BOARDS, -1) == 1
    m, n = stream.env.mines, stream.action_space.count
    np.testing.assert_array_equal(mines.sum(1), m)
    together = mines.T.astype(float) @ mines / BOARDS
    expected = np.where(np.eye(n, dtype=bool), m / n, m * (m - 1) / (n * (n - 1)))
    error = np.sqrt(expected * (1 - expected) / BOARDS)
    assert (np.abs(together - expected) < 5 * error).all()
