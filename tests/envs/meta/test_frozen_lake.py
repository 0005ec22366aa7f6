"""Meta-FrozenLake against gymnasium's FrozenLake and plain Python, and its lakes."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv, is_valid
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax import envs
from amago_jax.envs.meta.frozen_lake import (
    MOVES,
    SWAPPED,
    EnvParams,
    EnvState,
    FrozenLake,
    Task,
    draw_holes,
)

SIZE, STEPS = 4, 24
STAY, DOWN, UP, RIGHT, LEFT = range(5)
GYMNASIUM = {LEFT: 0, DOWN: 1, RIGHT: 2, UP: 3}


@functools.cache
def lakes(size, count):
    keys = jax.random.split(jax.random.key(size), count)
    return np.asarray(jax.jit(jax.vmap(lambda key: draw_holes(key, size)))(keys))


def as_gymnasium(holes):
    rows = [["H" if hole else "F" for hole in row] for row in holes]
    rows[0][0], rows[-1][-1] = "S", "G"
    return ["".join(row) for row in rows]


@functools.cache
def player(hard, recover, slippery=False):
    env = FrozenLake(SIZE, hard, recover, slippery)

    @jax.jit
    def play(key, actions):
        key_task, key_attempt, key_steps = jax.random.split(key, 3)
        params = EnvParams()
        task = env.draw_task(key_task, params)
        _, state = env.begin_attempt(key_attempt, task, params)

        def step(state, now):
            key, action = now
            seen, state, reward, over, _ = env.step_env(key, state, action, params)
            facts = (seen, state, reward, over)
            return state, (*facts, env.succeeded(state, params), env.is_truncated(state, params))

        keys = jax.random.split(key_steps, len(actions))
        return task, state, jax.lax.scan(step, state, (keys, actions))[1]

    return play


ACTIONS = st.lists(st.sampled_from([STAY, DOWN, DOWN, RIGHT, RIGHT, UP, LEFT]), min_size=STEPS)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), actions=ACTIONS.map(lambda a: a[:STEPS]))
def test_agrees_with_gymnasium(seed, actions):
    task, _, played = player(False, False)(jax.random.key(seed), jnp.array(actions))
    seen, states, rewards, over, succeeded, truncated = jax.device_get(played)
    np.testing.assert_array_equal(task.moves, range(5))
    lake = FrozenLakeEnv(desc=as_gymnasium(np.asarray(task.holes)), is_slippery=False)
    cell, _ = lake.reset()
    for step, action in enumerate(actions):
        reward = terminated = 0
        if action != STAY:  # gymnasium has no such action
            cell, reward, terminated, _, _ = lake.step(GYMNASIUM[action])
        row, column = divmod(cell, SIZE)
        np.testing.assert_array_equal(states.position[step], [row, column])
        np.testing.assert_allclose(seen[step], [row / SIZE, column / SIZE], rtol=1e-6)
        np.testing.assert_array_equal(states.holes[step], task.holes)
        assert (rewards[step], over[step], succeeded[step]) == (reward, terminated, reward)
        if terminated:
            break
    assert not truncated.any()


def reference(hard, recover, moves, holes, place, action, broken):
    """Step in plain Python; where the ice broke is given. Returns place, reward, over, success."""
    down, right = {STAY: (0, 0), DOWN: (1, 0), UP: (-1, 0), RIGHT: (0, 1), LEFT: (0, -1)}[
        moves[action]
    ]
    target = min(max(place[0] + down, 0), SIZE - 1), min(max(place[1] + right, 0), SIZE - 1)
    if broken:
        assert hard
        assert target != place
    if target in holes | ({place} if broken else set()):
        return (place, -0.1, False, False) if recover else (target, 0.0, True, False)
    at_goal = target == (SIZE - 1, SIZE - 1)
    return target, float(at_goal), at_goal, at_goal


@settings(max_examples=60, deadline=None)
@given(
    hard=st.booleans(),
    recover=st.booleans(),
    seed=st.integers(0, 2**31 - 1),
    actions=ACTIONS.map(lambda a: a[:STEPS]),
)
def test_agrees_with_reference(hard, recover, seed, actions):
    task, first, played = player(hard, recover)(jax.random.key(seed), jnp.array(actions))
    seen, states, rewards, over, succeeded, _ = jax.device_get(played)
    moves = np.asarray(task.moves).tolist()
    assert moves in ([list(range(5)), list(SWAPPED)] if hard else [list(range(5))])
    np.testing.assert_array_equal(first.position, [0, 0])
    place, holes = (0, 0), set(map(tuple, np.argwhere(task.holes).tolist()))
    for step, action in enumerate(actions):
        now = set(map(tuple, np.argwhere(states.holes[step]).tolist()))
        broken = now - holes
        # Only the ice behind breaks.
        assert holes <= now
        assert broken <= {place}
        place, reward, ended, success = reference(
            hard, recover, moves, holes, place, action, bool(broken)
        )
        holes = now
        assert tuple(states.position[step]) == place
        assert rewards[step] == np.float32(reward)
        assert (over[step], succeeded[step]) == (ended, success)
        shift = np.abs(np.rint(seen[step] * SIZE) - place)
        assert (shift <= (1 if hard else 0)).all()
        if ended:
            break


def test_slipping_is_distributed_as_gymnasiums():
    holes = lakes(SIZE, 1)[0]
    table = FrozenLakeEnv(desc=as_gymnasium(holes), is_slippery=True).P
    env, count = FrozenLake(SIZE, slippery=True), 2048

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None, None))
    def land(key, cell, action):
        task = Task(holes=jnp.array(holes), moves=jnp.arange(5))
        position = jnp.stack([cell // SIZE, cell % SIZE])
        state = EnvState(
            task=task, holes=task.holes, position=position, at_goal=jnp.zeros((), bool)
        )
        _, state, reward, over, _ = env.step_env(key, state, action, EnvParams())
        return state.position @ jnp.array([SIZE, 1]), reward, over

    keys = jax.random.split(jax.random.key(0), count)
    for cell in range(SIZE**2 - 1):
        if holes[divmod(cell, SIZE)]:
            continue  # where no attempt goes on
        for action in (DOWN, UP, RIGHT, LEFT):
            landed = [np.asarray(x) for x in land(keys, cell, action)]
            expected = np.zeros(SIZE**2)
            for probability, after, reward, terminated in table[cell][GYMNASIUM[action]]:
                expected[after] += probability
                there = landed[0] == after
                assert (landed[1][there] == reward).all()
                assert (landed[2][there] == terminated).all()
            shares = np.bincount(landed[0], minlength=SIZE**2) / count
            error = np.sqrt(expected * (1 - expected) / count)
            assert (np.abs(shares - expected) <= 5 * error + 1e-6).all(), (cell, action)
        assert (np.asarray(land(keys[:8], cell, STAY)[0]) == cell).all()


def test_hard_lakes_swap_break_and_blur_as_often_as_they_should():
    env, count, params = FrozenLake(3, hard=True), 8192, EnvParams()

    @jax.jit
    @jax.vmap
    def act(key):
        task = Task(holes=jnp.zeros((3, 3), bool), moves=env.draw_task(key, params).moves)
        seen, state = env.begin_attempt(key, task, params)
        _, stayed, *_ = env.step_env(key, state, STAY, params)
        _, moved, *_ = env.step_env(key, state, DOWN, params)
        middle = jnp.ones(2, jnp.int32)
        seen_in_the_middle = env.observe(key, state.replace(position=middle), params)
        whole_again = env.begin_attempt(key, task, params)[1].holes.any()
        return task.moves, stayed.holes, moved, seen, seen_in_the_middle, whole_again

    keys = jax.random.split(jax.random.key(0), count)
    moves, stayed, moved, seen, in_the_middle, broken_again = jax.device_get(act(keys))

    def happens(events, probability):
        error = np.sqrt(probability * (1 - probability) / count)
        return abs(events.mean() - probability) < 5 * error

    swapped = (moves == SWAPPED).all(1)
    assert happens(swapped, 0.5)
    assert (moves[~swapped] == range(5)).all()
    np.testing.assert_array_equal(moved.position[swapped], [[0, 1]] * swapped.sum())
    np.testing.assert_array_equal(moved.position[~swapped], [[1, 0]] * (~swapped).sum())
    assert not stayed.any()
    assert not broken_again.any()
    assert happens(moved.holes[:, 0, 0], 1 / 3)
    assert not moved.holes[:, 1:].any()
    # A fourth of the time a shift by -1, 0 or 1 along both axes, kept within the lake.
    assert happens((seen != 0).any(1), 0.25 * (1 - 4 / 9))
    cells = np.rint(in_the_middle * 3).astype(int) @ [3, 1]
    for cell in range(9):
        assert happens(cells == cell, 0.25 / 9 + (0.75 if cell == 4 else 0))


@pytest.mark.parametrize("size", [2, 8])
def test_every_lake_can_be_crossed(size):
    assert all(is_valid([list(row) for row in as_gymnasium(h)], size) for h in lakes(size, 512))


def test_lakes_are_gymnasiums_in_distribution():
    """All 128 lakes of side 3: those that can be crossed, each as likely as its cells are."""
    likelihoods = {}
    for cells in itertools.product([False, True], repeat=7):
        holes = np.array([False, *cells, False]).reshape(3, 3)
        if is_valid([list(row) for row in as_gymnasium(holes)], 3):
            likelihoods[holes.tobytes()] = 0.8 ** (7 - sum(cells)) * 0.2 ** sum(cells)
    drawn = [holes.tobytes() for holes in lakes(3, 16384)]
    assert set(drawn) <= set(likelihoods)
    expected = np.array(list(likelihoods.values())) / sum(likelihoods.values()) * len(drawn)
    counts = np.array([drawn.count(lake) for lake in likelihoods])
    assert expected.min() > 5
    freedom = len(expected) - 1
    chi = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi - freedom) < 5 * np.sqrt(2 * freedom)


def test_settings_reach_the_lake():
    env = envs.make("meta/frozen_lake")
    assert (env.horizon, env.env.attempt_limit, env.expensive_reset) == (250, 25, True)
    hard = envs.make("meta/frozen_lake", hard=True, recover=True, slippery=True, attempts=15)
    assert (hard.horizon, hard.env.attempt_limit) == (750, 50)
    assert all((hard.env.env.hard, hard.env.env.recover, hard.env.env.slippery))
    assert len(MOVES) == env.action_space.size
    with pytest.raises(ValueError, match="size=1 must be a whole number from 2 to 1000"):
        envs.make("meta/frozen_lake", size=1)
