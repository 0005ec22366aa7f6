"""Battleship against popgym's."""

import collections
import functools
import itertools

import jax
import numpy as np
import popgym.envs
import pytest
from popgym_play import assert_same, begin, play, replay
from scipy import stats

from amago_jax.envs.popgym.battleship import TASKS, Battleship

BOARDS = 2000
EPISODES = 60


@functools.cache
def boards(name):
    """An environment, what it shows first, and where its ships are."""
    env = TASKS[name]()
    return env, *begin(env, jax.random.split(jax.random.key(0), BOARDS))


def shots(rng, board, kind):
    """As many actions as there are squares."""
    ship, water = map(rng.permutation, (np.flatnonzero(board), np.flatnonzero(~board)))
    squares = board.size
    if kind == 0:  # at random
        return rng.integers(squares, size=squares)
    if kind == 1:  # every square once
        return rng.permutation(squares)
    if kind == 2:  # all hits
        return np.concatenate([ship, water])
    if kind == 3:  # the last hit with the last shot
        return np.concatenate([water, ship])
    # Every hit twice, among misses: the second time it is a miss.
    return rng.permutation(np.concatenate([ship, ship, water]))[:squares]


@pytest.mark.parametrize("name", TASKS)
def test_same_episodes(name):
    env, first, states = boards(name)
    rng = np.random.default_rng(0)
    states = jax.tree.map(lambda x: x[:EPISODES], states)
    actions = np.stack([shots(rng, board, e % 5) for e, board in enumerate(states.afloat)])
    keys = jax.random.split(jax.random.key(1), actions.shape)
    _, _, ours = play(env, states, keys, actions)

    theirs = getattr(popgym.envs, name)()
    assert env.num_actions == np.prod(theirs.action_space.nvec)
    assert env.horizon == theirs.max_episode_length
    ends = set()
    for episode in range(EPISODES):
        assert theirs.reset(seed=episode)[0] == 0
        np.testing.assert_array_equal(first[episode], [1, 0])
        theirs.board = states.afloat[episode].astype(np.int8)
        targets = np.stack(np.unravel_index(actions[episode], theirs.action_space.nvec), axis=-1)
        steps = replay(theirs, targets)
        assert_same(jax.tree.map(lambda x, e=episode: x[e], ours), steps)
        ends.add((bool(steps.terminated[-1]), bool(steps.truncated[-1])))
        if episode % 5 == 2:
            assert np.isclose(steps.reward.sum(), 1.0)
    assert ends == {(True, False), (False, True), (True, True)}


def likelihoods(size, ships):
    """How likely popgym is to place ships so, by trying all ends and directions."""
    boards = {frozenset(): 1.0}
    for ship in ships:
        longer = collections.defaultdict(float)
        for board, likelihood in boards.items():
            places = []
            for row, column, (down, across) in itertools.product(
                range(size), range(size), [(1, 0), (-1, 0), (0, 1), (0, -1)]
            ):
                place = {(row + i * down, column + i * across) for i in range(ship)}
                inside = all(0 <= i < size for square in place for i in square)
                if inside and not place & board:
                    places.append(board | place)
            for place in places:
                longer[place] += likelihood / len(places)
        boards = dict(longer)
    return boards


@pytest.mark.parametrize("whose", ["ours", "popgym's"])
def test_ships_are_placed_as_likely_as_they_should(whose):
    """Chi-squared, at the level 1e-3, over all boards of a small game."""
    size, ships, count = 3, [2, 3], 6000
    if whose == "ours":
        env = Battleship(size, ships)
        drawn = begin(env, jax.random.split(jax.random.key(2), count))[1].afloat
    else:
        theirs = popgym.envs.Battleship(size, ships)
        drawn = [(theirs.reset(seed=None if i else 0), theirs.board)[1] for i in range(count)]
    seen = collections.Counter(frozenset(map(tuple, np.argwhere(board))) for board in drawn)
    expected = likelihoods(size, ships)
    assert not set(seen) - set(expected)
    observed = np.array([seen[board] for board in expected])
    expected = count * np.array(list(expected.values()))
    assert expected.min() > 5
    assert stats.chisquare(observed, expected).pvalue > 1e-3


@pytest.mark.parametrize("name", TASKS)
def test_ships_lie_where_popgyms_do(name):
    """How often each square holds a ship, and ships are neighbours: within 5 standard errors."""
    ours = boards(name)[2].afloat
    theirs = getattr(popgym.envs, name)()
    rest = np.stack([(theirs.reset(seed=None if i else 0), theirs.board)[1] for i in range(BOARDS)])
    assert ours.dtype == bool
    np.testing.assert_array_equal(ours.sum((1, 2)), 12)

    def statistics(boards):
        pairs = (boards[:, 1:] & boards[:, :-1]).sum((1, 2))
        pairs += (boards[:, :, 1:] & boards[:, :, :-1]).sum((1, 2))
        return np.concatenate([boards.reshape(BOARDS, -1), pairs[:, None]], axis=1)

    ours, theirs = statistics(ours), statistics(rest.astype(bool))
    error = np.sqrt((ours.var(0) + theirs.var(0)) / BOARDS)
    assert (np.abs(ours.mean(0) - theirs.mean(0)) < 5 * error).all()
