"""MazeRunner against NumPy: the same steps, and mazes of the same kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax.envs import make
from amago_jax.envs.goals import maze_runner
from amago_jax.envs.goals.maze_runner import generate_maze
from amago_jax.envs.goals.numpy_maze_runner import NumpyMazeRunner, grow_maze

SIDE, LIMIT = 9, 40
ENV = make("goals/maze_runner", side=SIDE, goals=2, limit=LIMIT, rewired=True)


@jax.jit
def play(key):
    """One episode's states under random actions, and the actions."""
    key_reset, key_actions, key_env = jax.random.split(key, 3)
    actions = jax.random.randint(key_actions, (LIMIT,), 0, 5)

    def step(state, action):
        after = ENV.transition(key_env, state, action)
        return after, after

    first = ENV.reset(key_reset)
    return first, jax.lax.scan(step, first, actions)[1], actions


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_steps_are_those_of_numpy(seed):
    first, after, actions = jax.tree.map(np.asarray, play(jax.random.key(seed)))
    twin = NumpyMazeRunner(None, SIDE, 2, LIMIT)
    state = first.env_state
    goals = [tuple(cell) for cell in state.instruction.goals.tolist()]
    observation = twin.place(
        state.walls, tuple(state.position.tolist()), goals, state.moves.tolist()
    )
    check(observation, first.timestep.observation)
    for t, action in enumerate(actions):
        observation, reward, done = twin.step(action)
        now = jax.tree.map(lambda x, t=t: x[t], after.timestep)
        check(observation, now.observation)
        assert reward == now.previous_reward
        assert done == now.is_last == now.terminated
        if done:
            break


def check(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        np.testing.assert_allclose(theirs[key], value, rtol=1e-6, err_msg=key)


def test_lines_of_several_words_are_counted_cell_by_cell():
    side = 67
    walls = np.random.default_rng(0).random((side, side)) < np.linspace(0.01, 0.9, side)[:, None]
    walls[:, [0, -1]] = True  # as in every maze
    rows = jax.jit(maze_runner._pack)(walls)
    assert rows.shape == (side, 3)
    count = jax.vmap(jax.vmap(maze_runner._free_cells, (None, 0)), (0, None))
    before, after = map(np.asarray, jax.jit(count)(rows, jnp.arange(side)))
    for line, cells in enumerate(walls):
        for place in range(1, side - 1):
            assert before[line, place] == list(cells[:place][::-1]).index(True)
            assert after[line, place] == list(cells[place + 1 :]).index(True)
    state = maze_runner.EnvState(np.asarray(rows), *[None] * 5)
    np.testing.assert_array_equal(state.walls, walls)


@pytest.mark.parametrize("side", [9, 11, 15])
def test_mazes_are_of_the_same_kind(side):
    """The share of walls at every cell over 2,000 mazes: five standard errors at most."""
    count = 2000
    keys = jax.random.split(jax.random.key(0), count)
    ours = np.asarray(jax.jit(jax.vmap(lambda key: generate_maze(key, side)))(keys))
    rng = np.random.default_rng(0)
    theirs = np.stack([grow_maze(rng, side) for _ in range(count // 8)])
    p, q = ours.mean(0), theirs.mean(0)
    error = np.sqrt((p * (1 - p) + 1e-4) * (1 / count + 8 / count))
    assert (np.abs(p - q) <= 5 * error).all()
    assert ours[:, [0, -1]].all()
    assert ours[:, :, [0, -1]].all()
    assert not ours[:, side - 2, side // 2].any()


def test_instructions_are_free_cells_in_random_number():
    env = make("goals/maze_runner", side=9, goals=3, least_goals=1, limit=LIMIT)
    states = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 500)).env_state
    goals, unused = np.asarray(states.instruction.goals), np.asarray(states.instruction.unused)
    assert np.bincount(unused).min() > 100
    for walls, cells, skipped in zip(np.asarray(states.walls), goals, unused, strict=True):
        assert (cells[:skipped] == -1).all()
        given = [tuple(cell) for cell in cells[skipped:].tolist()]
        assert len(set(given)) == 3 - skipped
        assert not any(walls[cell] for cell in given)
        assert (7, 4) not in given


def test_actions_are_rewired_per_episode():
    moves = np.asarray(jax.vmap(ENV.reset)(jax.random.split(jax.random.key(0), 50)).env_state.moves)
    assert (np.sort(moves) == np.arange(5)).all()
    assert len({tuple(row) for row in moves.tolist()}) > 20


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"side": 8}, "side=8 must be odd, from 7 to 201"),
        ({"goals": 0}, "goals=0 must be a whole number of at least 1"),
        ({"goals": 1, "least_goals": 2}, "least_goals=2 must be at most goals=1"),
        ({"side": 7, "goals": 14}, "goals=14 must be at most 13 for side=7"),
        ({"limit": 0}, "limit=0 must be a whole number of at least 1"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        make("goals/maze_runner", **wrong)
