"""Evaluation: one whole episode in each of E fresh environments, without exploration."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.agents import Agent, AgentState
from amago_jax.envs import StreamEnv, StreamState
from amago_jax.parallel import greatest_of_seeds
from amago_jax.types import Array


@struct.dataclass
class _Progress:
    stream: StreamState
    memory: Any
    key: Array
    returns: Array
    lengths: Array
    done: Array
    metrics: dict[str, Array]


def evaluate(
    agent: Agent,
    env: StreamEnv,
    agent_state: AgentState,
    key: Array,
    *,
    episodes: int,
    greedy: bool,
) -> tuple[Array, Array, dict[str, Array]]:
    """Play one episode in each of ``episodes`` environments, side by side.

    Args:
        agent: the agent (static).
        env: the environment (static).
        agent_state: the agent's arrays.
        key: a random key.
        episodes: E (static).
        greedy: take the likeliest actions, else sample (static).

    Returns:
        Returns, float32 ``[E]``, lengths in transitions, int32 ``[E]``, and what the environment
        says of the episodes, float32 ``[E]`` by name.
    """
    agent, agent_state = agent.for_acting(agent_state)
    key_reset, key_steps = jax.random.split(key)
    stream = jax.vmap(env.reset)(jax.random.split(key_reset, episodes))
    start = _Progress(
        stream=stream,
        memory=agent.initial_memory(episodes),
        key=key_steps,
        returns=jnp.zeros(episodes),
        lengths=jnp.zeros(episodes, jnp.int32),
        done=jnp.zeros(episodes, bool),
        metrics=jax.vmap(env.episode_metrics)(stream),
    )

    def step(progress: _Progress) -> _Progress:
        return _step(agent, env, agent_state, progress, greedy)

    def unfinished(progress: _Progress) -> Array:
        return greatest_of_seeds(~progress.done.all())

    # Every episode ends within the horizon, and the loop as soon as all have.
    end = jax.lax.while_loop(unfinished, step, start)
    return end.returns, end.lengths, end.metrics


def _step(
    agent: Agent, env: StreamEnv, agent_state: AgentState, progress: _Progress, greedy: bool
) -> _Progress:
    """Act once in every environment; what an episode is told by stays as it was at its end."""
    key, key_action, key_env = jax.random.split(progress.key, 3)
    timestep, done = progress.stream.timestep, progress.done
    action, memory = agent.act(agent_state, timestep, progress.memory, key_action, greedy=greedy)
    keys = jax.random.split(key_env, len(done))
    stream = jax.vmap(env.transition)(keys, progress.stream, action)
    metrics = jax.vmap(env.episode_metrics)(stream)
    return _Progress(
        stream=stream,
        memory=memory,
        key=key,
        returns=progress.returns + jnp.where(done, 0.0, stream.timestep.previous_reward),
        lengths=progress.lengths + ~done,
        done=done | stream.timestep.is_last,
        metrics=jax.tree.map(
            lambda before, now: jnp.where(done, before, now), progress.metrics, metrics
        ),
    )
