"""Episodes in our tasks, and the same ones in popgym's."""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
from gymnasium.spaces.utils import flatten


class Steps(NamedTuple):
    """What steps gave, leaves ``[T, ...]``, or ``[E, T, ...]``."""

    observation: Any
    reward: Any
    terminated: Any
    truncated: Any


def begin(env, keys):
    """Reset once for each of ``keys [E]``; returns observations and states."""
    reset = jax.jit(jax.vmap(lambda key: env.reset_env(key, env.default_params)))
    return jax.tree.map(np.asarray, reset(keys))


@functools.partial(jax.jit, static_argnames=("env", "policy"))
def _play(env, states, keys, actions, policy):
    params = env.default_params

    def step(state, inputs):
        key, action = inputs
        action = policy(state, action)
        seen, after, reward, terminated, _ = env.step_env(key, state, action, params)
        steps = Steps(seen, reward, terminated, env.is_truncated(after, params))
        return after, (state, action, steps)

    return jax.vmap(lambda *one: jax.lax.scan(step, one[0], one[1:])[1])(states, keys, actions)


def as_given(state, action):
    return action


def play(env, states, keys, actions, policy=as_given):
    """Play on, whether or not episodes end.

    Args:
        env: the environment.
        states: to begin in, leaves ``[E, ...]``.
        keys: ``[E, T]``.
        actions: ``[E, T, ...]``.
        policy: makes the action taken of the state and the one given.

    Returns:
        The states acted in, the actions taken, and the steps, leaves ``[E, T, ...]``.
    """
    return jax.tree.map(np.asarray, _play(env, states, keys, actions, policy))


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


def assert_same(ours, theirs, atol=0.0):
    """Compare up to where theirs ends; ours are cut there."""
    length = len(theirs.reward)
    observation, reward, terminated, truncated = (leaf[:length] for leaf in ours)
    assert observation.dtype == np.float32
    assert observation.shape == theirs.observation.shape
    np.testing.assert_allclose(observation, theirs.observation, rtol=0, atol=atol)
    np.testing.assert_allclose(reward, theirs.reward.astype(np.float32), rtol=0, atol=atol)
    np.testing.assert_array_equal(terminated, theirs.terminated)
    np.testing.assert_array_equal(truncated, theirs.truncated)
