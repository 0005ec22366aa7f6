"""T-Maze against a plain-Python reference, and its best and chance returns."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax import envs
from amago_jax.envs.memory.tmaze import DOWN, LEFT, RIGHT, UP, EnvParams, TMaze

LONGEST = 9  # corridor
STEPS = LONGEST + 3
VARIANTS = ["tmaze/passive", "tmaze/active"]


def reference(active, corridor_length, penalty, goal, actions):
    """Yield (observation, reward, terminated) after every step, drawing the maze as a grid."""
    start = 1 if active else 0
    junction = start + corridor_length
    floor = {(x, 0) for x in range(junction + 1)} | {(junction, 1), (junction, -1)}
    position, oracle_is_new = (start, 0), True
    limit = corridor_length + (3 if active else 1)

    def look():
        nonlocal oracle_is_new
        if position[0] == junction:
            return [1, position[1]]
        if position[0] == 0 and oracle_is_new:
            oracle_is_new = False
            return [0, goal]
        return [0, 0]

    yield look(), 0.0, False
    for step, action in enumerate(actions[:limit], start=1):
        move = {RIGHT: (1, 0), UP: (0, 1), LEFT: (-1, 0), DOWN: (0, -1)}[action]
        target = (position[0] + move[0], position[1] + move[1])
        position = target if target in floor else position
        if step == limit:
            reward = float(position[1] == goal)
        elif action == RIGHT or (active and step == 1):
            reward = 0.0
        else:
            reward = penalty
        yield look(), reward, step == limit


@functools.cache
def player(active):
    """Compile once for all corridor lengths: they are arguments."""
    env = TMaze(active)

    @jax.jit
    def play(key, params, actions):
        observation, state = env.reset_env(key, params)

        def step(state, action):
            seen, state, reward, terminated, _ = env.step_env(key, state, action, params)
            return state, (seen, reward, terminated, env.is_truncated(state, params))

        return observation, state.goal, jax.lax.scan(step, state, actions)[1]

    return play


@settings(max_examples=60, deadline=None)
@given(
    active=st.booleans(),
    corridor_length=st.integers(1, LONGEST),
    penalty=st.floats(-1, 0, width=32),
    seed=st.integers(0, 2**31 - 1),
    # Mostly to the right, or the junction is hardly ever reached.
    actions=st.lists(
        st.sampled_from([RIGHT, RIGHT, RIGHT, UP, LEFT, DOWN]), min_size=STEPS, max_size=STEPS
    ),
)
def test_agrees_with_reference(active, corridor_length, penalty, seed, actions):
    params = EnvParams(corridor_length=corridor_length, penalty=penalty)
    first, goal, played = player(active)(jax.random.key(seed), params, jnp.array(actions))
    observations, rewards, terminated, truncated = map(np.asarray, played)
    assert int(goal) in (-1, 1)
    expected = reference(active, corridor_length, penalty, int(goal), actions)
    np.testing.assert_array_equal(first, next(expected)[0])
    for step, (observation, reward, last) in enumerate(expected):
        np.testing.assert_array_equal(observations[step], observation)
        assert rewards[step] == np.float32(reward)
        assert terminated[step] == last
    assert step + 1 == corridor_length + (3 if active else 1)
    assert not truncated.any()


def test_each_episode_draws_one_of_the_corridors():
    count, lengths = 512, (2, 5)
    env = envs.make("tmaze/passive", corridor_lengths=lengths)
    assert env.horizon == 6

    @jax.jit
    @jax.vmap
    def play(key):
        def step(state, _):
            # To the right until the junction shows, and there up.
            action = jnp.where(state.timestep.observation["observation"][0] == 1, UP, RIGHT)
            state = env.step(key, state, action)
            return state, state.timestep

        state = env.reset(key)
        return state.timestep, jax.lax.scan(step, state, length=env.horizon)[1]

    first, timesteps = jax.device_get(play(jax.random.split(jax.random.key(0), count)))
    steps = 1 + timesteps.is_last.argmax(1)
    assert set(steps) == {3, 6}
    long, up = steps == 6, first.observation["observation"][:, 1] == 1
    for share in (long, up, long == up):  # drawn evenly, and apart from the arm that pays
        assert abs(share.mean() - 0.5) < 2.5 / np.sqrt(count)
    reward = timesteps.previous_reward[np.arange(count), steps - 1]
    np.testing.assert_array_equal(reward, up)  # and a fine of none before
    assert (timesteps.previous_reward.sum(1)[~long] >= 0).all()


def test_the_corridor_that_was_drawn_is_the_one_in_the_picture():
    env = envs.make("tmaze/passive", corridor_lengths=(40,))
    state = jax.device_get(jax.jit(env.reset)(jax.random.key(0))).env_state
    for x in (0, 40):
        image = env.env.draw(state.replace(x=np.int32(x)), env.params)
        assert image.shape == (3, 41, 3)
        assert (image[1, x] == 60).all()


@functools.cache
def episode(env_id, corridor_length):
    """Play whole episodes of one environment from given actions ``[E, T]``."""
    env = envs.make(env_id, corridor_length=corridor_length)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, 0))
    def play(key, actions):
        def step(state, action):
            state = env.step(key, state, action)
            return state, state.timestep

        state = env.reset(key)
        _, timesteps = jax.lax.scan(step, state, actions)
        return state.timestep, timesteps

    return env, play


@pytest.mark.parametrize("env_id", VARIANTS)
def test_remembering_returns_one_and_guessing_half(env_id):
    count, corridor_length = 256, 5
    env, play = episode(env_id, corridor_length)
    assert env.horizon == corridor_length + (3 if env_id == "tmaze/active" else 1)
    keys = jax.random.split(jax.random.key(0), count)
    walk = np.full((count, env.horizon), RIGHT)
    if env_id == "tmaze/active":
        walk[:, 0] = LEFT

    first, timesteps = play(keys, walk)
    oracle = timesteps.observation["observation"][:, 0] if walk[0, 0] == LEFT else None
    goal = np.asarray(first.observation["observation"] if oracle is None else oracle)[:, 1]
    assert set(goal) == {-1.0, 1.0}
    assert abs(goal.mean()) < 5 / np.sqrt(count)

    returns = {}
    for arm, action in ((1, UP), (-1, DOWN)):
        walk[:, -1] = action
        _, timesteps = play(keys, walk)
        returns[arm] = np.asarray(timesteps.previous_reward.sum(1))
        assert timesteps.is_last[:, -1].all()
        assert timesteps.terminated[:, -1].all()
        assert not timesteps.is_last[:, :-1].any()
    np.testing.assert_array_equal(np.where(goal == 1, returns[1], returns[-1]), 1.0)
    # Whatever the goal, one arm pays 1 and the other 0: an independent fair guess earns 0.5.
    np.testing.assert_array_equal(returns[1] + returns[-1], 1.0)


@pytest.mark.parametrize("env_id", VARIANTS)
def test_no_actions_beat_one_nor_half_unseen(env_id):
    """Try every sequence of actions in a short maze, for both goals."""
    env, play = episode(env_id, 2)
    sequences = np.array(list(itertools.product(range(4), repeat=env.horizon)))
    goal_of = {int(TMaze().reset_env(jax.random.key(s), EnvParams())[1].goal): s for s in range(8)}
    returns = np.stack(
        [
            play(jnp.broadcast_to(jax.random.key(goal_of[goal]), (len(sequences),)), sequences)[
                1
            ].previous_reward.sum(1)
            for goal in (-1, 1)
        ]
    )
    np.testing.assert_array_equal(returns.max(1), 1.0)
    assert returns.mean(0).max() == 0.5


def test_default_penalty_is_one_over_the_corridor():
    assert envs.make("tmaze/passive", corridor_length=20).params.penalty == -1 / 20
    assert envs.make("tmaze/active", penalty=-0.5).params.penalty == -0.5


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"corridor_length": 0}, "corridor_length=0"), ({"penalty": 0.1}, "penalty=0.1")],
)
def test_impossible_mazes_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        envs.make("tmaze/active", **wrong)
