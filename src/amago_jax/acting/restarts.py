"""Worlds that blow up: the episode ends before the fault, and another one begins.

What a transition to a NaN or an infinity was worth nobody knows. As a termination it would be
worth 0, a punishment where rewards are positive and a way out where they are negative; as a
truncation it would bootstrap from an observation that never was. So it is left out of the stream,
and nothing is learned of it: the timestep before it becomes the episode's last, truncated as by a
time limit, whose value stands for what would have followed.

The environment's own state is not looked at: some keep a NaN or an infinity there on purpose. One
that matters is seen in the next observation or reward.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from amago_jax.envs import StreamState
from amago_jax.types import Array, Timestep


def is_finite(timestep: Timestep) -> Array:
    """Return where observation and reward are finite, bool ``[E]``, given leaves ``[E, ...]``."""
    leaves = jax.tree.leaves((timestep.observation, timestep.previous_reward))
    floats = [x for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)]
    finite = [jnp.isfinite(x).reshape(x.shape[0], -1).all(-1) for x in floats]
    return jnp.stack(finite).all(0)


def begin(first: StreamState, observation: dict[str, Array]) -> StreamState:
    """Return first states, leaves ``[E, ...]``, without those that are not finite.

    In place of such a one stands an episode of a single timestep, and so without transitions; the
    step after it resets again.

    Args:
        first: states at an episode's first timestep.
        observation: finite ones, leaves ``[E, ...]``, to be shown in that timestep.
    """
    empty = dataclasses.replace(
        first.timestep,
        observation=observation,
        is_last=jnp.ones_like(first.timestep.is_last),
    )
    return dataclasses.replace(
        first, timestep=choose(is_finite(first.timestep), first.timestep, empty)
    )


def restart(
    before: StreamState, after: StreamState, first: StreamState
) -> tuple[StreamState, Timestep, Array]:
    """Begin another episode in the environments whose step was not finite.

    Args:
        before: states before the step, leaves ``[E, ...]``, all finite.
        after: those after it.
        first: first states of other episodes.

    Returns:
        The states after; the timesteps before, which are the last where the step failed; and
        where an episode ended there as episodes do, bool ``[E]``.
    """
    timestep = before.timestep
    fresh = begin(first, timestep.observation)
    finite = is_finite(after.timestep)
    seen = dataclasses.replace(timestep, is_last=timestep.is_last | ~finite)
    ended = timestep.is_last & ~timestep.is_first
    return choose(finite, after, fresh), seen, ended


def choose(condition: Array, tree: Any, other: Any) -> Any:
    """Take rows ``[E, ...]`` of a tree where bool ``[E]`` holds, else those of another."""
    return jax.tree.map(lambda x, y: jax.vmap(jnp.where)(condition, x, y), tree, other)
