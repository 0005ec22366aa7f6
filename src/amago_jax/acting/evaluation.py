"""Evaluation: one whole episode in each of E fresh environments, without exploration."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.acting.restarts import is_finite
from amago_jax.agents import AgentState
from amago_jax.agents.networks import Networks
from amago_jax.envs import StreamEnv, StreamState
from amago_jax.parallel import greatest_of_seeds
from amago_jax.types import Array, Metrics

Played = tuple[Array, Array, Metrics]  # what `evaluate` returns


@struct.dataclass
class _Progress:
    stream: StreamState
    memory: Any
    key: Array
    returns: Array
    lengths: Array
    done: Array
    metrics: dict[str, Array]
    failed: Array | None  # where an episode was ended by a fault; None where faults end none


def evaluate(
    agent: Networks,
    env: StreamEnv,
    agent_state: AgentState,
    key: Array,
    *,
    episodes: int,
    greedy: bool,
    restarts: bool = False,
) -> Played:
    """Play one episode in each of ``episodes`` environments, side by side.

    Args:
        agent: the agent (static).
        env: the environment (static).
        agent_state: the agent's arrays.
        key: a random key.
        episodes: E (static).
        greedy: take the likeliest actions, else sample (static).
        restarts: an episode whose observation or reward is not finite ends, and its return is NaN
            (static).

    Returns:
        Returns, float32 ``[E]``, lengths in transitions, int32 ``[E]``, and what the environment
        says of the episodes, float32 ``[E]`` by name.
    """
    agent, agent_state = agent.for_acting(agent_state)
    key_reset, key_steps = jax.random.split(key)
    stream = jax.vmap(env.reset)(jax.random.split(key_reset, episodes))
    failed = ~is_finite(stream.timestep) if restarts else None
    start = _Progress(
        stream=stream,
        memory=agent.initial_memory(episodes),
        key=key_steps,
        returns=jnp.zeros(episodes),
        lengths=jnp.zeros(episodes, jnp.int32),
        done=jnp.zeros(episodes, bool) if failed is None else failed,
        metrics=jax.vmap(env.episode_metrics)(stream),
        failed=failed,
    )

    def step(progress: _Progress) -> _Progress:
        return _step(agent, env, agent_state, progress, greedy)

    def unfinished(progress: _Progress) -> Array:
        return greatest_of_seeds(~progress.done.all())

    # Every episode ends within the horizon, and the loop as soon as all have.
    end = jax.lax.while_loop(unfinished, step, start)
    returns = end.returns
    if end.failed is not None:
        returns = jnp.where(end.failed, jnp.nan, returns)
    return returns, end.lengths, end.metrics


def evaluation_metrics(played: Played, restarts: bool = False) -> Metrics:
    """Summarize what was played.

    Args:
        played: from `evaluate`, leaves ``[..., E]``.
        restarts: leave out, and count, the episodes that a fault ended.

    Returns:
        float32 ``[]`` by name.
    """
    returns, lengths, described = played
    reductions: tuple[Callable[..., Array], ...] = (jnp.mean, jnp.std, jnp.min, jnp.max)
    metrics: Metrics = {}
    if restarts:
        reductions = (jnp.nanmean, jnp.nanstd, jnp.nanmin, jnp.nanmax)
        failed = jnp.isnan(returns)
        lengths, described = jax.tree.map(
            lambda x: jnp.where(failed, jnp.nan, x), (lengths, described)
        )
        metrics["evaluation/restarts"] = failed.sum()
    mean, std, least, greatest = reductions
    return metrics | {
        **{f"evaluation/{name}": jnp.nanmean(x) for name, x in described.items()},
        "evaluation/return": mean(returns),
        "evaluation/return_std": std(returns),
        "evaluation/return_min": least(returns),
        "evaluation/return_max": greatest(returns),
        "evaluation/episode_length": mean(lengths),
    }


def _step(
    agent: Networks, env: StreamEnv, agent_state: AgentState, progress: _Progress, greedy: bool
) -> _Progress:
    """Act once in every environment; what an episode is told by stays as it was at its end."""
    key, key_action, key_env = jax.random.split(progress.key, 3)
    timestep, done = progress.stream.timestep, progress.done
    action, memory = agent.act(agent_state, timestep, progress.memory, key_action, greedy=greedy)
    keys = jax.random.split(key_env, len(done))
    stream = jax.vmap(env.transition)(keys, progress.stream, action)
    metrics = jax.vmap(env.episode_metrics)(stream)
    ends, failed = stream.timestep.is_last, progress.failed
    if failed is not None:
        fails = ~done & ~is_finite(stream.timestep)
        ends, failed = ends | fails, failed | fails
    return _Progress(
        stream=stream,
        memory=memory,
        key=key,
        returns=progress.returns + jnp.where(done, 0.0, stream.timestep.previous_reward),
        lengths=progress.lengths + ~done,
        done=done | ends,
        metrics=jax.tree.map(
            lambda before, now: jnp.where(done, before, now), progress.metrics, metrics
        ),
        failed=failed,
    )
