"""Meta-episodes against a plain-Python loop over attempts, and what the task does meanwhile."""

import functools
import itertools

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax import envs
from amago_jax.acting.recording import frames
from amago_jax.envs.meta.meta_episode import HeldReset, MetaEpisode, make_meta_env

LIMIT = 4  # steps of an attempt
STEPS = 12 * LIMIT


@struct.dataclass
class WalkState:
    task: jax.Array
    place: jax.Array
    time: jax.Array


class Walk:
    """Leave a road of hidden length to the right, or be lost to the left; begins at random."""

    name = "Walk"

    def draw_task(self, key, params):
        return jax.random.randint(key, (), 3, 6)

    def begin_attempt(self, key, task, params):
        # Python numbers, as many environments begin with.
        state = WalkState(task=task, place=jax.random.randint(key, (), 0, 3), time=0)
        return self.observe(state), state

    def step_env(self, key, state, action, params):
        slips = jax.random.bernoulli(key, 0.2)
        place = state.place + jnp.where(slips, 0, 2 * action - 1)
        state = WalkState(task=state.task, place=place, time=state.time + 1)
        reward = jnp.where(place >= state.task, params, -0.25 * action)
        # Some environments leave axes on them.
        return self.observe(state), state, reward[None], (place >= state.task)[None], {}

    def is_truncated(self, state, params):
        return state.place < 0

    def observe(self, state):
        return jnp.stack([state.place, state.task]).astype(jnp.int32)

    def action_space(self, params):
        return spaces.Discrete(2)

    def observation_space(self, params):
        return spaces.Box(-1, 6, (2,), jnp.int32)


class NamedWalk(Walk):
    """Observations by key, and success where one is lost."""

    def observe(self, state):
        return {"place": super().observe(state)}

    def succeeded(self, state, params):
        return self.is_truncated(state, params)


@functools.cache
def compiled(kind):
    """The functions of the walk, each compiled once."""
    env = kind()
    return {
        name: jax.jit(getattr(env, name)) for name in dir(Walk) if "_" in name and name[0] != "_"
    }


@functools.cache
def player(kind, attempts, budget, reset_step=False):
    env = MetaEpisode(kind(), attempts, budget, LIMIT, reset_step=reset_step)

    @jax.jit
    def play(key, keys, actions, goal_reward):
        def step(state, now):
            key, action = now
            observation, state, reward, done, _ = env.step_env(key, state, action, goal_reward)
            metrics = env.episode_metrics(state, goal_reward)
            return state, (observation, reward, done, state.task, metrics)

        observation, state = env.reset_env(key, goal_reward)
        # One step fixes the dtypes, as the stream does.
        like = jax.eval_shape(lambda s: env.step_env(key, s, 0, goal_reward)[1], state)
        state = jax.tree.map(lambda x, like: jnp.asarray(x, like.dtype), state, like)
        return observation, state.task, jax.lax.scan(step, state, (keys, actions))[1]

    return play


def reference(kind, attempts, budget, reset_step, key, keys, actions, goal_reward):
    """Yield (observation, attempt features, reward, terminated, finished attempts) per timestep."""
    call = compiled(kind)
    key_task, key_attempt = jax.random.split(key)
    task = call["draw_task"](key_task, goal_reward)
    steps = zip(keys, actions, strict=True)
    reward, time, finished = 0.0, 0, []
    while True:
        observation, state = call["begin_attempt"](key_attempt, task, goal_reward)
        progress = len(finished) / attempts if attempts else 0.0
        done = time == budget
        yield observation, [1.0, progress], reward, done, list(finished)
        if done:  # with the step that began the attempt
            return
        total, over = 0.0, False
        for attempt_time in itertools.count(1):
            key_step, key_attempt = jax.random.split(next(steps)[0])
            action = actions[time]
            observation, state, reward, terminated, _ = call["step_env"](
                key_step, state, action, goal_reward
            )
            reward, time = float(reward[0]), time + 1
            total += reward
            truncated = bool(call["is_truncated"](state, goal_reward))
            over = bool(terminated[0]) or truncated or attempt_time == LIMIT
            if over:
                success = truncated if kind is NamedWalk else total > 0
                finished.append((total, float(success)))
            done = len(finished) == attempts or time == budget
            if over and not done and not reset_step:
                break
            progress = len(finished) / attempts if attempts else attempt_time / LIMIT
            yield observation, [0.0, progress], reward, done, list(finished)
            if done:
                return
            if over:  # the next action does nothing
                key_step, key_attempt = jax.random.split(next(steps)[0])
                reward, time = 0.0, time + 1
                break


# Attempts, or a budget, in which more attempts may be made than have metrics of their own.
KINDS = [
    (Walk, (3, None, False)),
    (NamedWalk, (12, None, False)),
    (NamedWalk, (None, 9, False)),
    (Walk, (None, 30, False)),
    (NamedWalk, (None, 15, True)),
]


@settings(max_examples=25, deadline=None)
@given(
    kind_and_length=st.sampled_from(KINDS),
    seed=st.integers(0, 2**31 - 1),
    goal_reward=st.sampled_from([1.0, 0.5]),
    actions=st.lists(st.sampled_from([0, 1, 1]), min_size=STEPS, max_size=STEPS),
)
def test_agrees_with_a_loop_over_attempts(kind_and_length, seed, goal_reward, actions):
    kind, length = kind_and_length
    key, key_steps = jax.random.split(jax.random.key(seed))
    keys = jax.random.split(key_steps, STEPS)
    first, task, played = player(kind, *length)(key, keys, jnp.array(actions), goal_reward)
    observations, rewards, dones, tasks, metrics = jax.tree.map(np.asarray, played)
    name = "place" if kind is NamedWalk else "observation"
    expected = reference(kind, *length, key, keys, actions, goal_reward)
    finished: list[tuple[float, float]] = []
    for time, timestep in enumerate(expected):
        observation, features, reward, done, finished = timestep
        now = first if time == 0 else jax.tree.map(lambda x, t=time: x[t - 1], observations)
        assert set(now) == {name, "attempt"}
        shown = observation if kind is Walk else observation[name]
        np.testing.assert_array_equal(now[name], shown)
        np.testing.assert_allclose(now["attempt"], features, rtol=1e-6)
        if time > 0:
            assert rewards[time - 1] == np.float32(reward)
            assert dones[time - 1] == done
    # The whole meta-episode was told, and its task did not change.
    assert done
    assert time <= (length[1] or length[0] * LIMIT)
    np.testing.assert_array_equal(tasks[:time], task)
    check_metrics({name: values[time - 1] for name, values in metrics.items()}, length, finished)


def check_metrics(metrics, length, finished):
    shown = length[0] or length[1] // LIMIT
    by_attempt = finished[:shown]
    expected = {
        "attempts": len(finished),
        "succeeded": sum(success for _, success in finished),
        "success/attempts": np.mean([success for _, success in finished] or [np.nan]),
    }
    for number, (total, success) in enumerate(by_attempt, start=1):
        expected |= {f"return/attempt_{number}": total, f"success/attempt_{number}": success}
    assert set(metrics) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-6, err_msg=name)


def test_steps_are_spent_on_resets_of_a_budget_alone():
    with pytest.raises(ValueError, match="reset_step=true needs a budget"):
        MetaEpisode(Walk(), 3, None, LIMIT, reset_step=True)


def test_only_so_many_attempts_have_metrics_of_their_own():
    for length in ((1000, None), (None, 1000 * LIMIT)):
        env = MetaEpisode(Walk(), *length, LIMIT)
        state = env.reset_env(jax.random.key(0), 1.0)[1]
        shown = [name for name in env.episode_metrics(state, 1.0) if "attempt_" in name]
        assert len(shown) == 2 * 100


def test_tasks_vary_and_streams_end_with_the_last_attempt():
    env = make_meta_env("walks", NamedWalk(), 1.0, attempts=3, attempt_limit=LIMIT)
    assert env.horizon == 3 * LIMIT

    @jax.jit
    @jax.vmap
    def play(key):
        def step(state, key):
            action = jax.random.randint(key, (), 0, 2)
            return env.step(key, state, action), (state.timestep, state.env_state.task)

        return jax.lax.scan(step, env.reset(key), jax.random.split(key, 40))[1]

    timesteps, tasks = jax.tree.map(np.asarray, play(jax.random.split(jax.random.key(0), 64)))
    assert set(tasks[:, 0]) == {3, 4, 5}
    flags = timesteps.observation["attempt"][..., 0]
    attempts = 3 * timesteps.observation["attempt"][..., 1]
    np.testing.assert_array_equal(timesteps.terminated, timesteps.is_last)
    np.testing.assert_allclose(attempts[timesteps.is_last], 3.0, rtol=1e-6)
    assert (flags[timesteps.is_first] == 1).all()
    assert (flags[timesteps.is_last] == 0).all()
    changed = tasks[:, 1:] != tasks[:, :-1]
    assert changed.any()
    assert timesteps.is_first[:, 1:][changed].all()
    # Every start of an attempt counts one up from where the attempt before began.
    starts = np.rint(attempts[flags == 1])
    whole = timesteps.is_first[flags == 1]
    np.testing.assert_array_equal(starts[whole], 0)
    np.testing.assert_array_equal(starts[1:][~whole[1:]], starts[:-1][~whole[1:]] + 1)


def test_a_limit_of_ours_truncates_instead():
    task = make_meta_env("walks", Walk(), 1.0, attempts=2, attempt_limit=LIMIT)
    limit = make_meta_env("walks", Walk(), 1.0, attempts=2, attempt_limit=LIMIT, terminates=False)

    @functools.partial(jax.jit, static_argnums=0)
    def play(env, key):
        def step(state, key):
            return env.step(key, state, jnp.int32(1)), state.timestep

        return jax.lax.scan(step, env.reset(key), jax.random.split(key, 40))[1]

    ends, truncates = play(task, jax.random.key(0)), play(limit, jax.random.key(0))
    np.testing.assert_array_equal(ends.is_last, truncates.is_last)
    # Some end before the horizon, by their last attempt.
    assert (ends.is_last & (ends.time < task.horizon)).any()
    np.testing.assert_array_equal(ends.terminated, ends.is_last)
    assert not truncates.terminated.any()


def test_held_resets_begin_every_attempt_alike():
    inner, params = gymnax.make("FourRooms-misc")
    params = params.replace(resample_goal_pos=True, resample_init_pos=True)
    env = make_meta_env("rooms", HeldReset(inner), params, budget=21, attempt_limit=5)

    @jax.jit
    @jax.vmap
    def play(key):
        def step(state, key):
            action = jax.random.randint(key, (), 0, 4)
            return env.step(key, state, action), state.timestep.observation

        return jax.lax.scan(step, env.reset(key), jax.random.split(key, 21))[1]

    keys = jax.random.split(jax.random.key(0), 16)
    observations = jax.tree.map(np.asarray, play(keys))
    firsts = observations["observation"][:, 0]
    for first, seen, flags in zip(
        firsts, observations["observation"], observations["attempt"][..., 0] == 1, strict=True
    ):
        assert flags.sum() >= 4
        assert (seen[flags] == first).all()
        assert (seen[~flags][:, :2] != first[:2]).any()
    assert len({tuple(first) for first in firsts}) > 8
    expected = jax.jit(inner.reset_env)(jax.random.split(keys[0])[0], params)[0]
    np.testing.assert_array_equal(firsts[0], expected)


def test_any_gymnax_environment_by_id():
    env = envs.make("meta/gymnax", name="MemoryChain-bsuite", params={"memory_length": 3})
    assert env.env.attempts == 5
    assert env.horizon == 5 * env.params.max_steps_in_episode
    assert env.params.memory_length == 3
    assert env.expensive_reset
    short = envs.make("meta/gymnax", attempts=None, budget=70, attempt_limit=9)
    assert (short.horizon, short.env.attempt_limit) == (70, 9)
    assert set(short.observation_shapes) == {"observation", "attempt"}
    assert set(short.env.observation_space(short.params).spaces) == {"observation", "attempt"}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"attempts": 2, "budget": 3}, "attempts=2 and budget=3: give one of them"),
        ({"attempts": None}, "attempts=None and budget=None: give one of them"),
        ({"attempts": 0}, "attempts=0 must be a whole number of at least 1"),
        ({"attempts": None, "budget": 1.5}, "budget=1.5 must be a whole number"),
        ({"attempt_limit": 0}, "attempt_limit=0 must be a whole number"),
        ({"name": "Chain"}, "gymnax has no environment 'Chain'"),
    ],
)
def test_impossible_meta_episodes_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        envs.make("meta/gymnax", **wrong)


def test_what_can_be_drawn_is_drawn():
    env = envs.make("meta/dark_key_door", size=3)
    state = jax.device_get(jax.jit(env.reset)(jax.random.key(0)).env_state)
    np.testing.assert_array_equal(
        env.env.draw(state, env.params), env.env.env.draw(state.inner, env.params)
    )
    assert env.env.describe(state, env.params) == "attempt 1, step 0"
    walks = make_meta_env("walks", Walk(), 1.0, attempts=3, attempt_limit=LIMIT)
    with pytest.raises(ValueError, match="walks cannot be drawn"):
        next(frames(walks, []))
