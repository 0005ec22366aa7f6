"""First states where a reset costs far more than a step: drawn some at a time, as they are wanted.

All environments of a rollout step together, so that a reset within the step would be paid by all of
them at every step. Instead, a few first states are kept ready, and more are drawn when more
episodes begin than are left. Each serves one episode: number n of those that begin in a rollout
begins as ``env.reset(jax.random.fold_in(key, n))``, however many are drawn at once.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.envs import StreamEnv, StreamState
from amago_jax.parallel import greatest_of_seeds
from amago_jax.types import Array

# First states that are drawn at once at least, unless not as many episodes can begin: for an
# accelerator, some are hardly more work than one.
LEAST_AT_ONCE = 64
DRAWING = "first_states"  # what the loop that draws is called in a compiled program


@struct.dataclass
class FirstStates:
    """What the next episodes of a rollout begin with.

    Attributes:
        key: a random key, the rollout's.
        states: a ring of P first states, leaves ``[P, ...]``, number n in place n % P.
        drawn: int32 ``[]``, how many were drawn.
        taken: int32 ``[]``, how many of them episodes have begun with.
        at_once: how many are drawn at once (static).
    """

    key: Array
    states: StreamState
    drawn: Array
    taken: Array
    at_once: int = struct.field(pytree_node=False)


def prepare(env: StreamEnv, key: Array, stream: StreamState, steps: int) -> FirstStates | None:
    """Make room for the first states of a rollout; none is drawn yet.

    Args:
        env: the environment.
        key: a random key.
        stream: where E environments stand, leaves ``[E, ...]``.
        steps: T, of the rollout.

    Returns:
        The room; None if a reset costs next to nothing, and can be done in the step.
    """
    if not env.expensive_reset:
        return None
    envs = stream.timestep.is_last.shape[0]
    # As many as begin if episodes are as long as they can be; at once no more than in one step.
    at_once = max(LEAST_AT_ONCE, min(envs, -(-envs * steps // (env.horizon + 1))))
    # One timestep at least lies between two first ones.
    at_once = min(at_once, envs * -(-steps // 2))
    # Some may be left when all environments begin an episode: those, and what is drawn then.
    room = envs + at_once - 1
    none = jnp.zeros((), jnp.int32)
    states = jax.tree.map(lambda x: x[jnp.arange(room) % envs], stream)
    return FirstStates(key, states, drawn=none, taken=none, at_once=at_once)


def take(env: StreamEnv, first: FirstStates, begins: Array) -> tuple[FirstStates, StreamState]:
    """Take a first state for each environment that begins an episode, and draw what is missing.

    Args:
        env: the environment.
        first: what is ready.
        begins: bool ``[E]``, where an episode begins.

    Returns:
        What is ready after, and states ``[E, ...]``: where no episode begins, any.
    """
    wanted = first.taken + begins.sum(dtype=jnp.int32)

    def are_missing(ready: FirstStates) -> Array:
        return greatest_of_seeds(ready.drawn < wanted)

    with jax.named_scope(DRAWING):
        ready = jax.lax.while_loop(are_missing, lambda ready: _draw_more(env, ready), first)
    places = (first.taken + jnp.cumsum(begins, dtype=jnp.int32) - 1) % _room(first)
    states = jax.tree.map(lambda x: x[places], ready.states)
    return dataclasses.replace(ready, taken=wanted), states


def _draw_more(env: StreamEnv, first: FirstStates) -> FirstStates:
    """Draw the next ones, if there is room: they may be missing for another seed alone."""
    room, numbers = _room(first), first.drawn + jnp.arange(first.at_once)
    fits = first.drawn + first.at_once <= first.taken + room
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(first.key, numbers)
    drawn = jax.vmap(env.reset)(keys)
    places = jnp.where(fits, numbers % room, room)
    states = jax.tree.map(lambda ring, x: ring.at[places].set(x, mode="drop"), first.states, drawn)
    after = first.drawn + jnp.where(fits, first.at_once, 0)
    return dataclasses.replace(first, states=states, drawn=after)


def _room(first: FirstStates) -> int:
    return first.states.timestep.time.shape[0]
