"""Where resets are expensive, every episode that begins has a first state of its own."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces

from amago_jax import compose
from amago_jax.acting import init_rollout, rollout
from amago_jax.acting.first_states import LEAST_AT_ONCE, prepare, take
from amago_jax.envs.stream import make_stream_env
from amago_jax.runs.building import build
from tiny_runs import LEAST

HORIZON, ENVS, STEPS = 50, 24, 40


@struct.dataclass
class DrawState:
    number: jax.Array
    steps: jax.Array


class Draw:
    """An episode shows the number that its reset drew; it ends after a step, or a few."""

    def reset_env(self, key, params):
        number = jax.random.uniform(key)
        return jnp.stack([number, 0.0]), DrawState(number, jnp.zeros((), jnp.int32))

    def step_env(self, key, state, action, params):
        state = state.replace(steps=state.steps + 1)
        ends = jax.random.bernoulli(key, 0.5)
        return jnp.stack([state.number, 1.0]), state, 0.0, ends, {}

    def is_truncated(self, state, params):
        return jnp.zeros((), bool)

    def action_space(self, params):
        return spaces.Discrete(2)

    def observation_space(self, params):
        return spaces.Box(0.0, 1.0, (2,))


ENV = make_stream_env(
    "test/draw", Draw(), environment.EnvParams(), horizon=HORIZON, expensive_reset=True
)


@functools.partial(jax.jit, static_argnums=(0, 2))
def numbers_of(env, key, count):
    """The numbers that the first so many episodes of a rollout are to begin with."""
    states = jax.vmap(lambda n: env.reset(jax.random.fold_in(key, n)))(jnp.arange(count))
    return states.env_state.number


@functools.partial(jax.jit, static_argnums=1)
def take_all(key, steps, begins):
    """Take first states where ``begins [T, E]``: their numbers, and how many were drawn."""
    stream = jax.vmap(ENV.reset)(jax.random.split(jax.random.key(9), begins.shape[1]))

    def step(first, begins):
        first, states = take(ENV, first, begins)
        return first, states.env_state.number

    first, numbers = jax.lax.scan(step, prepare(ENV, key, stream, steps), begins)
    return numbers, first.drawn


def some(seed, rate=0.5, steps=STEPS):
    return jax.random.bernoulli(jax.random.key(seed), rate, (steps, ENVS))


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.5, 1.0])
def test_the_nth_episode_begins_with_the_nth_first_state(rate):
    key, begins = jax.random.key(1), some(2, rate)
    numbers, drawn = take_all(key, STEPS, begins)
    begun = int(begins.sum())
    expected = numbers_of(ENV, key, STEPS * ENVS)
    np.testing.assert_array_equal(numbers[begins], expected[:begun])
    # None are drawn before they are wanted, and few more than those.
    assert begun <= drawn < begun + LEAST_AT_ONCE


def test_seeds_side_by_side_take_what_each_would_alone():
    keys = jax.random.split(jax.random.key(3), 3)
    begins = jnp.stack([some(seed, rate) for seed, rate in enumerate([0.01, 0.3, 1.0])])
    together, drawn = jax.vmap(take_all, in_axes=(0, None, 0))(keys, STEPS, begins)
    for key, wanted, numbers, count in zip(keys, begins, together, drawn, strict=True):
        alone, _ = take_all(key, STEPS, wanted)
        np.testing.assert_array_equal(numbers[wanted], alone[wanted])
        assert wanted.sum() <= count


def test_where_resets_cost_nothing_none_are_prepared():
    cheap = dataclasses.replace(ENV, expensive_reset=False)
    stream = jax.vmap(cheap.reset)(jax.random.split(jax.random.key(0), 2))
    assert prepare(cheap, jax.random.key(0), stream, STEPS) is None


@pytest.mark.parametrize("expensive", [True, False])
@pytest.mark.parametrize("restarts", [True, False])
def test_rollouts_begin_as_many_unlike_episodes_as_there_are(expensive, restarts):
    trainer = build(compose([*LEAST, "devices=1"]))
    env = dataclasses.replace(ENV, expensive_reset=expensive)
    agent = trainer.agent

    @jax.jit
    def play(key):
        key, key_agent, key_start = jax.random.split(key, 3)
        state = init_rollout(agent, env, key_start, ENVS, restarts=restarts)
        agent_state = agent.init(key_agent, state.stream.timestep)
        seen = []
        for key_rollout in jax.random.split(key, 2):
            state, timesteps, _ = rollout(
                agent,
                env,
                trainer.schedule,
                agent_state,
                state,
                key_rollout,
                steps=STEPS,
                greedy=False,
                restarts=restarts,
            )
            seen.append(timesteps)
        return jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *seen)

    timesteps = jax.device_get(play(jax.random.key(0)))
    shown = timesteps.observation["observation"][..., 0]
    begun = timesteps.is_first
    assert begun.sum() > 8 * LEAST_AT_ONCE
    assert len(np.unique(shown[begun])) == begun.sum()
    # Within an episode, the number stays.
    same = shown[:, 1:] == shown[:, :-1]
    np.testing.assert_array_equal(same, ~begun[:, 1:])
