"""What every stream of timesteps promises, whichever environment it comes from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax import envs
from amago_jax.envs.stream import make_stream_env

ENVS, STEPS = 4, 420  # two whole episodes of Pendulum
SEEDS = st.integers(0, 2**31 - 1)
STREAMS = {
    "passive": lambda: envs.make("tmaze/passive", corridor_length=4),
    "active": lambda: envs.make("tmaze/active", corridor_length=4),
    "cartpole": lambda: envs.make("gymnax/CartPole-v1"),
    "pendulum": lambda: envs.make("gymnax/Pendulum-v1"),
    "memory chain": lambda: envs.make("gymnax/MemoryChain-bsuite"),
}


def random_actions(env, key, shape):
    space = env.action_space
    if isinstance(space, envs.DiscreteActions):
        return jax.random.randint(key, shape, 0, space.size)
    return jax.random.uniform(key, (*shape, space.size), minval=-1.0)


def make_player(env):
    """Jit, vmap and scan a stream under random actions."""

    @functools.partial(jax.jit, static_argnums=0)
    def play(env, key):
        key_reset, key_steps, key_actions = jax.random.split(key, 3)
        actions = random_actions(env, key_actions, (STEPS, ENVS))

        def step(state, inputs):
            key, action = inputs
            after = jax.vmap(env.step)(jax.random.split(key, ENVS), state, action)
            return after, state.timestep

        start = jax.vmap(env.reset)(jax.random.split(key_reset, ENVS))
        inputs = (jax.random.split(key_steps, STEPS), actions)
        return actions, jax.lax.scan(step, start, inputs)[1]

    return functools.partial(play, env), play


@functools.cache
def player(name):
    env = STREAMS[name]()
    return env, *make_player(env)


def stream(name, seed):
    """Return the environment, actions and timesteps as NumPy arrays ``[T, E, ...]``."""
    env, play, jitted = player(name)
    actions, timesteps = play(jax.random.key(seed))
    assert jitted._cache_size() == 1
    return env, *jax.tree.map(np.asarray, (actions, timesteps))


@pytest.mark.parametrize("name", STREAMS)
@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_stream_invariants(name, seed):
    env, actions, ts = stream(name, seed)
    discrete = isinstance(env.action_space, envs.DiscreteActions)

    assert ts.is_first[0].all()
    np.testing.assert_array_equal(ts.is_first[1:], ts.is_last[:-1])
    np.testing.assert_array_equal(ts.time[1:], np.where(ts.is_first[1:], 0, ts.time[:-1] + 1))
    assert (ts.time <= env.horizon).all()
    assert ts.is_last[ts.time == env.horizon].all()
    assert not (ts.terminated & ~ts.is_last).any()
    assert ts.is_last.any()

    none = -1 if discrete else 0.0
    first = ts.is_first[1:] if discrete else ts.is_first[1:, :, None]
    np.testing.assert_array_equal(ts.previous_action[1:], np.where(first, none, actions[:-1]))
    assert (ts.previous_action[0] == none).all()
    assert (ts.previous_reward[ts.is_first] == 0).all()

    assert ts.previous_action.dtype == (np.int32 if discrete else np.float32)
    assert ts.previous_reward.dtype == np.float32
    assert ts.time.dtype == np.int32
    assert ts.is_first.dtype == ts.is_last.dtype == ts.terminated.dtype == bool
    for key, like in env.observation_shapes.items():
        assert ts.observation[key].shape == (STEPS, ENVS, *like.shape)
        assert ts.observation[key].dtype == like.dtype


@settings(max_examples=4, deadline=None)
@given(seed=SEEDS)
def test_cartpole_stream_is_its_transitions_and_each_final_observation_once(seed):
    env, _, ts = stream("cartpole", seed)
    x, speed, angle, spin = np.moveaxis(ts.observation["observation"], -1, 0)
    fallen = (abs(x) > env.params.x_threshold) | (abs(angle) > env.params.theta_threshold_radians)
    np.testing.assert_array_equal(ts.terminated, fallen)
    np.testing.assert_array_equal(ts.is_last, fallen | (ts.time == 500))
    assert (abs(ts.observation["observation"][ts.is_first]) <= 0.05).all()
    # One Euler step of positions is the velocity, in every transition and across no boundary.
    inside = ~ts.is_first[1:]
    for position, velocity in ((x, speed), (angle, spin)):
        moved = position[:-1] + 0.02 * velocity[:-1]
        np.testing.assert_allclose(position[1:][inside], moved[inside], atol=1e-6)


@settings(max_examples=4, deadline=None)
@given(seed=SEEDS)
def test_pendulum_is_truncated_and_its_actions_rescaled(seed):
    _, actions, ts = stream("pendulum", seed)
    np.testing.assert_array_equal(ts.is_last, ts.time == 200)
    assert not ts.terminated.any()
    cos, sin, spin = np.moveaxis(ts.observation["observation"][:-1], -1, 0)
    torque = 2.0 * actions[:-1, :, 0]
    reward = -(np.arctan2(sin, cos) ** 2 + 0.1 * spin**2 + 0.001 * torque**2)
    inside = ~ts.is_first[1:]
    np.testing.assert_allclose(ts.previous_reward[1:][inside], reward[inside], rtol=1e-3, atol=1e-3)


@settings(max_examples=4, deadline=None)
@given(seed=SEEDS)
def test_memory_chain_terminates_at_its_tight_horizon(seed):
    env, _, ts = stream("memory chain", seed)
    assert env.horizon == env.params.memory_length + 1
    np.testing.assert_array_equal(ts.terminated, ts.time == env.horizon)
    np.testing.assert_array_equal(abs(ts.previous_reward), ts.terminated)


@struct.dataclass
class OddState:
    time: int
    key: jax.Array
    doubled: float


class Odd(environment.Environment):
    """Legal, but careless of types: what it takes to be streamed all the same."""

    low = np.array([[0.0], [-3.0]])
    high = np.array([[1.0], [5.0]])
    shape = (2, 1)

    def reset_env(self, key, params):
        return {"sum": 0, "flag": False}, OddState(time=0, key=key, doubled=0)

    def step_env(self, key, state, action, params):
        state = OddState(time=state.time + 1, key=key, doubled=state.doubled + 0.5)
        seen = {"sum": action.sum(), "flag": True}
        return seen, state, action.sum(0) > 0, jnp.zeros((1,), bool), {}

    def action_space(self, params):
        return spaces.Box(self.low, self.high, self.shape)


def walk(env, action, steps):
    state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 1))
    carried, timesteps = jax.lax.scan(
        lambda state, key: (jax.vmap(env.step)(key[None], state, action[None]), state.timestep),
        state,
        jax.random.split(jax.random.key(1), steps),
    )
    assert jax.tree.map(jnp.shape, carried) == jax.tree.map(jnp.shape, state)
    return jax.tree.map(lambda x: x[:, 0], timesteps)


def test_careless_types_are_made_one():
    env = make_stream_env("odd", Odd(), environment.EnvParams(max_steps_in_episode=3))
    assert env.action_space == envs.ContinuousActions(2)
    shapes = {name: (leaf.shape, leaf.dtype) for name, leaf in env.observation_shapes.items()}
    assert shapes == {"sum": ((), jnp.float32), "flag": ((), jnp.bool_)}
    ts = walk(env, jnp.array([0.5, -0.5]), steps=6)
    # [0.5, -0.5] is 0.75 in [0, 1] and -1 in [-3, 5].
    np.testing.assert_allclose(ts.observation["sum"], [0, -0.25, -0.25, -0.25, 0, -0.25])
    np.testing.assert_allclose(ts.previous_action[1], [0.5, -0.5])
    np.testing.assert_array_equal(ts.previous_reward, np.zeros(6, np.float32))
    np.testing.assert_array_equal(ts.is_last, [False, False, False, True, False, False])
    assert not ts.terminated.any()
    higher = walk(env, jnp.array([0.5, 0.5]), steps=2)
    np.testing.assert_array_equal(higher.previous_reward, np.array([0, 1], np.float32))


def test_shorter_horizon_truncates_and_truncation_can_terminate():
    params = environment.EnvParams(max_steps_in_episode=100)
    env = make_stream_env("odd", Odd(), params, horizon=2, terminate_on_truncation=True)
    ts = walk(env, jnp.zeros(2), steps=6)
    np.testing.assert_array_equal(ts.time, [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(ts.is_last, ts.time == 2)
    np.testing.assert_array_equal(ts.terminated, ts.is_last)


def test_actions_of_the_wrong_shape_are_refused():
    env = envs.make("tmaze/passive")
    state = env.reset(jax.random.key(0))
    with pytest.raises(AssertionError, match="shape"):
        env.step(jax.random.key(1), state, jnp.zeros((1,), jnp.int32))


class Unbounded(Odd):
    high = np.full((2, 1), np.inf)


class Pair(Odd):
    def action_space(self, params):
        return spaces.Tuple([spaces.Discrete(2), spaces.Discrete(3)])


class Growing(Odd):
    def reset_env(self, key, params):
        observation, state = super().reset_env(key, params)
        return observation, state.replace(doubled=jnp.zeros(3))

    def step_env(self, key, state, action, params):
        observation, state, *rest = super().step_env(key, state, action, params)
        return observation, state.replace(doubled=jnp.zeros(2)), *rest


class Renaming(Odd):
    def reset_env(self, key, params):
        return {"sum": 0}, super().reset_env(key, params)[1]


class Nested(Odd):
    def reset_env(self, key, params):
        return {"sum": {"deep": 0}}, super().reset_env(key, params)[1]


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        (Unbounded(), r"odd: actions must be bounded.*Box\("),
        (Pair(), r"odd: actions must be a Discrete .*Box .*Tuple"),
        (Growing(), r"odd: state.doubled has shape \(3,\) after a reset but \(2,\) after a step"),
        (Renaming(), r"odd: \(observation, state\) is .* after a reset but .*flag"),
        (Nested(), "odd: an observation must be"),
    ],
)
def test_what_cannot_be_streamed_is_named(env, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_stream_env("odd", env, environment.EnvParams())


@pytest.mark.parametrize("horizon", [0, -1, 2.0, True])
def test_horizon_must_be_a_positive_whole_number(horizon):
    with pytest.raises(ValueError, match="odd: horizon="):
        make_stream_env("odd", Odd(), environment.EnvParams(), horizon=horizon)


def test_horizon_must_come_from_somewhere():
    with pytest.raises(ValueError, match=r"odd: .* give horizon="):
        make_stream_env("odd", Odd(), params=None)
