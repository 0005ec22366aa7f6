"""Episodes in our tasks, as streams, and the same ones in popgym's."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces.utils import flatten

from amago_jax.envs.stream import make_stream_env

EXTRA = 2  # Steps after the longest episode: the first begins the next one, and that goes on.


class Steps(NamedTuple):
    """What steps gave, leaves ``[T, ...]``, or ``[E, T, ...]``."""

    observation: Any
    reward: Any
    terminated: Any
    truncated: Any

    def __getitem__(self, where):
        return Steps(*(leaf[where] for leaf in self))


def make_stream(name, env):
    """Stream a task as it is streamed for learning."""
    return make_stream_env(
        name,
        env,
        env.default_params,
        horizon=env.horizon,
        terminate_on_truncation=True,
        expensive_reset=getattr(env, "expensive_reset", False),
    )


def random_keys(seed, *shape):
    """Raw keys ``[*shape, 2]``, drawn by NumPy: nothing is compiled for each shape."""
    return np.random.default_rng(seed).integers(2**32, size=(*shape, 2), dtype=np.uint32)


def begin(stream, keys):
    """Begin an episode for each of ``keys [E, 2]``; returns stream states."""
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(stream.reset))(keys))


@functools.partial(jax.jit, static_argnames=("stream", "policy"))
def _play(stream, first, keys, actions, policy):
    def play_one(first, keys, actions):
        def step(state, inputs):
            key, action = inputs
            action = policy(state.env_state, action)
            after = stream.step(key, state, action, first)
            ends = [
                jnp.asarray(ends(after.env_state, stream.params))
                for ends in (stream.env.is_terminated, stream.env.is_truncated)
            ]
            return after, (state.env_state, action, after.timestep, *ends)

        return jax.lax.scan(step, first, (keys, actions))[1]

    return jax.vmap(play_one)(first, keys, actions)


def as_given(state, action):
    return action


def play(stream, first, keys, actions, policy=as_given):
    """Play on; an episode that ends begins again as it began.

    Args:
        stream: the environment.
        first: stream states to begin in, leaves ``[E, ...]``.
        keys: ``[E, T, 2]``.
        actions: ``[E, T, ...]``.
        policy: makes the action taken of the state and the one given.

    Returns:
        The environment's states acted in, the actions taken, and the steps, leaves ``[E, T, ...]``.
    """
    played = jax.tree.map(np.asarray, _play(stream, first, keys, actions, policy))
    states, taken, seen, terminated, truncated = played
    observation = seen.observation["observation"]
    last = terminated | truncated
    np.testing.assert_array_equal(seen.is_last, last)
    np.testing.assert_array_equal(seen.terminated, last)
    np.testing.assert_array_equal(seen.is_first[:, 1:], last[:, :-1])
    begun = np.broadcast_to(first.timestep.observation["observation"][:, None], observation.shape)
    np.testing.assert_array_equal(observation[seen.is_first], begun[seen.is_first])
    assert seen.time.max() == stream.horizon
    assert observation.dtype == np.float32
    space = stream.env.observation_space(stream.params)
    assert observation.shape[2:] == space.shape
    assert (observation >= np.asarray(space.low)).all()
    assert (observation <= np.asarray(space.high)).all()
    return states, taken, Steps(observation, seen.previous_reward, terminated, truncated)


def replay(theirs, actions, before_step=lambda t: None):
    """Play in popgym's environment, already reset, until the episode ends or actions do."""
    steps = []
    for t, action in enumerate(actions):
        before_step(t)
        observation, reward, terminated, truncated, _ = theirs.step(action)
        observation = flatten(theirs.observation_space, observation)
        steps.append(Steps(observation, reward, terminated, truncated))
        if terminated or truncated:
            break
    return Steps(*map(np.array, zip(*steps, strict=True)))


def assert_same(ours, theirs, atol=0.0, reward_atol=0.0):
    """Compare as many steps as theirs has, exactly but for the tolerances."""
    ours = ours[: len(theirs.reward)]
    assert ours.observation.shape == theirs.observation.shape
    np.testing.assert_allclose(ours.observation, theirs.observation, rtol=0, atol=atol)
    rewards = theirs.reward.astype(np.float32)
    np.testing.assert_allclose(ours.reward, rewards, rtol=0, atol=reward_atol)
    np.testing.assert_array_equal(ours.terminated, theirs.terminated)
    np.testing.assert_array_equal(ours.truncated, theirs.truncated)
