"""One learning update: gradient, AdamW, target networks."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from flax import struct

from amago_jax.agent import Agent, AgentState, LossDraws
from amago_jax.parallel import data_sum
from amago_jax.types import Array, Batch, Metrics


@struct.dataclass
class LearnerState:
    """What learning changes.

    Attributes:
        agent: the agent's arrays.
        optimizer: optax state.
        updates: int32 ``[]``, updates so far.
    """

    agent: AgentState
    optimizer: optax.OptState
    updates: Array


def make_optimizer(
    learning_rate: float = 1e-4,
    weight_decay: float = 1e-3,
    warmup_updates: int = 500,
    clip_norm: float = 1.0,
) -> optax.GradientTransformation:
    """AdamW with global-norm clipping and linear warm-up.

    Update k (from 0) uses the rate ``learning_rate * min(k / warmup_updates, 1)``, so update 0
    moves nothing.

    Args:
        learning_rate: the rate after warm-up.
        weight_decay: decoupled decay, times the rate.
        warmup_updates: updates until the full rate.
        clip_norm: the global norm gradients are clipped to.

    Returns:
        The optax transformation.
    """

    def schedule(count: Array) -> Array:
        return learning_rate * jnp.minimum(count / max(warmup_updates, 1), 1.0)

    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.adamw(schedule if warmup_updates else learning_rate, weight_decay=weight_decay),
    )


def init_learner(optimizer: optax.GradientTransformation, agent: AgentState) -> LearnerState:
    """Return the state before the first update."""
    return LearnerState(
        agent=agent, optimizer=optimizer.init(agent.params), updates=jnp.zeros((), jnp.int32)
    )


def update(
    agent: Agent,
    optimizer: optax.GradientTransformation,
    state: LearnerState,
    batch: Batch,
    draws: LossDraws,
) -> tuple[LearnerState, Metrics]:
    """Take one learning step.

    Args:
        agent: the agent (static).
        optimizer: from `make_optimizer` (static).
        state: the learner.
        batch: windows of L+1 timesteps.
        draws: from `Agent.draw`.

    Returns:
        The learner after the step, and metrics (float32 ``[]`` each).
    """
    gradient = jax.grad(agent.loss, has_aux=True)
    grads, (agent_state, metrics) = gradient(state.agent.params, state.agent, batch, draws)
    grads = data_sum(grads, agent.axis_name)
    updates, optimizer_state = optimizer.update(grads, state.optimizer, state.agent.params)
    params = optax.apply_updates(state.agent.params, updates)
    agent_state = agent.update_targets(dataclasses.replace(agent_state, params=params))
    metrics = {**metrics, "gradient/norm": optax.tree.norm(grads)}
    return LearnerState(agent_state, optimizer_state, state.updates + 1), metrics
