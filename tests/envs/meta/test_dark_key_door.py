"""Dark key-to-door against a plain-Python reference, its tasks, and what knowing them is worth."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax import envs
from amago_jax.envs.meta.dark_key_door import MOVES, DarkKeyDoor, EnvParams

STEPS, LARGEST = 30, 9
DOWN, LEFT, UP, RIGHT, STAY = range(5)


def reference(size, light, start, key, door, moves, actions):
    """Yield (observation, reward, door open) from the start of an attempt to its end."""
    x, y = start
    has_key = False

    def look():
        places = (x, y, has_key) + ((*door, *key) if light else ())
        return [value if index == 2 else value / size for index, value in enumerate(places)]

    yield look(), 0.0, False
    for action in actions:
        name = moves[action]
        if name == LEFT:
            x = max(x - 1, 0)
        elif name == RIGHT:
            x = min(x + 1, size - 1)
        elif name == DOWN:
            y = max(y - 1, 0)
        elif name == UP:
            y = min(y + 1, size - 1)
        if has_key and (x, y) == door:
            yield look(), 1.0, True
            return
        found = not has_key and (x, y) == key
        has_key = has_key or found
        yield look(), float(found), False


@functools.cache
def player(light):
    env = DarkKeyDoor(light)

    @jax.jit
    def play(key, params, actions):
        key_task, key_attempt = jax.random.split(key)
        task = env.draw_task(key_task, params)
        observation, state = env.begin_attempt(key_attempt, task, params)

        def step(state, action):
            seen, state, reward, over, _ = env.step_env(key, state, action, params)
            facts = (seen, reward, over, env.succeeded(state, params))
            return state, (*facts, env.is_truncated(state, params))

        return task, observation, jax.lax.scan(step, state, actions)[1]

    return play


@settings(max_examples=60, deadline=None)
@given(
    light=st.booleans(),
    shuffled=st.booleans(),
    # Small rooms, or the door is hardly ever reached.
    size=st.sampled_from([2, 2, 3, 3, LARGEST]),
    seed=st.integers(0, 2**31 - 1),
    actions=st.lists(st.integers(0, 4), min_size=STEPS, max_size=STEPS),
)
def test_agrees_with_reference(light, shuffled, size, seed, actions):
    params = EnvParams(size=size, shuffled_actions=shuffled)
    task, first, played = player(light)(jax.random.key(seed), params, jnp.array(actions))
    observations, rewards, over, succeeded, truncated = map(np.asarray, played)
    start, key, door = (tuple(np.asarray(p).tolist()) for p in (task.start, task.key, task.door))
    moves = np.asarray(task.moves).tolist()
    assert sorted(moves) == list(range(5))
    assert shuffled or moves == list(range(5))
    expected = reference(size, light, start, key, door, moves, actions)
    np.testing.assert_allclose(first, next(expected)[0], rtol=1e-6)
    for step, (observation, reward, opened) in enumerate(expected):
        np.testing.assert_allclose(observations[step], observation, rtol=1e-6)
        assert rewards[step] == reward
        assert over[step] == succeeded[step] == opened
    assert not truncated.any()


def test_places_are_uniform_and_shuffles_fair():
    count, size = 8192, 3
    params = EnvParams(size=size, shuffled_actions=True)
    keys = jax.random.split(jax.random.key(0), count)
    task = jax.device_get(jax.jit(jax.vmap(lambda k: DarkKeyDoor().draw_task(k, params)))(keys))
    # Pairs of places, so that dependence would show: 81 cells each, of about 101 draws.
    places = [place[:, 0] * size + place[:, 1] for place in (task.start, task.key, task.door)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert is_uniform(places[a] * size**2 + places[b], size**4)
    assert is_uniform(task.moves @ 5 ** np.arange(5), 120, np.unique)
    assert is_uniform(task.moves[:, 0] * 9 + places[0], 45)


def is_uniform(values, cells, names=None):
    """Chi-square, within five standard deviations of its mean."""
    names = np.arange(cells) if names is None else np.unique(values)
    counts = np.array([(values == name).sum() for name in names])
    expected = len(values) / cells
    chi = ((counts - expected) ** 2 / expected).sum() + expected * (cells - len(names))
    return abs(chi - (cells - 1)) < 5 * np.sqrt(2 * (cells - 1))


@functools.cache
def walked():
    """Walk to key and door, as the light room shows them: attempts of one meta-episode each."""
    size, budget = 4, 40
    env = envs.make("meta/dark_key_door", size=size, light=True, budget=budget, attempt_limit=12)
    moves = jnp.array(MOVES)

    @jax.jit
    @jax.vmap
    def play(key):
        def step(state, _):
            seen = state.timestep.observation["observation"]
            place, has_key = jnp.rint(seen[:2] * size), seen[2] > 0
            target = jnp.rint(jnp.where(has_key, seen[3:5], seen[5:7]) * size)
            distances = jnp.abs((place - target)[None] + moves).sum(1)
            return env.step(key, state, jnp.argmin(distances)), state.timestep

        state, timesteps = jax.lax.scan(step, env.reset(key), None, length=budget)
        return timesteps, state, env.episode_metrics(state)

    return env, play(jax.random.split(jax.random.key(1), 64))


def test_knowing_the_room_pays_two_per_attempt():
    env, (timesteps, last, metrics) = walked()
    task = jax.device_get(last.env_state.task)
    # Whoever stands on the key or the door must still make a step there.
    legs = [np.abs(a - b).sum(1) for a, b in ((task.start, task.key), (task.key, task.door))]
    steps = sum(np.maximum(leg, 1) for leg in legs)
    np.testing.assert_array_equal(metrics["attempts"], env.horizon // steps)
    np.testing.assert_array_equal(metrics["return/attempt_1"], 2.0)
    np.testing.assert_array_equal(metrics["success/attempts"], 1.0)
    rewards = np.asarray(timesteps.previous_reward).sum(1) + last.timestep.previous_reward
    on_the_way = env.horizon % steps >= np.maximum(legs[0], 1)
    np.testing.assert_array_equal(rewards, 2 * metrics["attempts"] + on_the_way)
    assert last.timestep.is_last.all()
    assert last.timestep.terminated.all()


def test_attempts_show_their_time():
    _, (timesteps, _, _) = walked()
    flags, times = np.moveaxis(np.asarray(timesteps.observation["attempt"]), -1, 0)
    since = np.zeros(len(flags))
    for step in range(flags.shape[1]):
        since = np.where(flags[:, step] == 1, 0, since + 1)
        np.testing.assert_allclose(times[:, step], since / 12, rtol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"size": 1}, "size=1"), ({"attempts": 3}, "attempts=3 and budget=500: give one of them")],
)
def test_impossible_rooms_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        envs.make("meta/dark_key_door", **wrong)


def test_the_default_is_the_papers():
    env = envs.make("meta/dark_key_door")
    assert (env.horizon, env.params.size, env.env.attempt_limit) == (500, 9, 50)
    assert env.observation_shapes["observation"].shape == (3,)
    light = envs.make("meta/dark_key_door", light=True)
    assert light.observation_shapes["observation"].shape == (7,)
