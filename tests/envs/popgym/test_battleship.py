"""Battleship against popgym's."""

import collections
import functools
import itertools

import jax
import numpy as np
import popgym.envs
import pytest
from gymnasium.spaces.utils import flatten
from scipy import stats

from amago_jax.envs.popgym.battleship import TASKS, Battleship
from popgym_play import EXTRA, assert_same, begin, make_stream, play, random_keys, replay

BOARDS = 2000
EPISODES = 60


@functools.cache
def boards(name):
    """A task, and many first states."""
    stream = make_stream(name, TASKS[name]())
    return stream, begin(stream, random_keys(0, BOARDS))


def shots(rng, board, kind):
    """As many actions as there are squares, and some more."""
    ship, water = map(rng.permutation, (np.flatnonzero(board), np.flatnonzero(~board)))
    if kind == 0:  # at random
        actions = rng.integers(board.size, size=board.size)
    elif kind == 1:  # every square once
        actions = rng.permutation(board.size)
    elif kind == 2:  # all hits
        actions = np.concatenate([ship, water])
    elif kind == 3:  # the last hit with the last shot
        actions = np.concatenate([water, ship])
    else:  # every hit twice, among misses: the second time it is a miss
        actions = rng.permutation(np.concatenate([ship, ship, water]))[: board.size]
    return np.append(actions, [0] * EXTRA)


@pytest.mark.parametrize("name", TASKS)
def test_same_episodes(name):
    stream, first = boards(name)
    first = jax.tree.map(lambda x: x[:EPISODES], first)
    rng = np.random.default_rng(0)
    fleets = first.env_state.afloat
    actions = np.stack([shots(rng, board, e % 5) for e, board in enumerate(fleets)])
    _, _, ours = play(stream, first, random_keys(1, *actions.shape), actions)

    theirs = getattr(popgym.envs, name)()
    assert stream.action_space.count == np.prod(theirs.action_space.nvec)
    ends = set()
    for episode in range(EPISODES):
        seen = flatten(theirs.observation_space, theirs.reset(seed=episode)[0])
        np.testing.assert_array_equal(first.timestep.observation["observation"][episode], seen)
        theirs.board = fleets[episode].astype(np.int8)
        targets = np.stack(np.unravel_index(actions[episode], theirs.action_space.nvec), axis=-1)
        steps = replay(theirs, targets)
        assert_same(ours[episode], steps)
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
    size, ships, count = 3, [2, 3], 5000
    if whose == "ours":
        stream = make_stream("small", Battleship(size, ships))
        drawn = begin(stream, random_keys(2, count)).env_state.afloat
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
    ours = boards(name)[1].env_state.afloat
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
