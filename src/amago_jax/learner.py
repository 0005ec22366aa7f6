"""One learning update: gradients, AdamW, target networks."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from amago_jax.agent import Agent, AgentState, LossDraws
from amago_jax.parallel import data_sum
from amago_jax.types import Array, Batch, Metrics, Params


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
    reset_interval: int | None = None,
) -> optax.GradientTransformation:
    """AdamW with global-norm clipping and linear warm-up.

    Update k (from 0) uses the rate ``learning_rate * min(k / warmup_updates, 1)``, so update 0
    moves nothing.

    Args:
        learning_rate: the rate after warm-up.
        weight_decay: decoupled decay, times the rate.
        warmup_updates: updates until the full rate.
        clip_norm: the global norm gradients are clipped to.
        reset_interval: updates between resets of Adam's clock, see `reset_clock`; None: never.

    Returns:
        The optax transformation.

    Raises:
        ValueError: if a setting is out of range.
    """
    if learning_rate <= 0 or clip_norm <= 0:
        raise ValueError(f"learning_rate={learning_rate} and clip_norm={clip_norm} must be above 0")
    if weight_decay < 0 or warmup_updates < 0:
        raise ValueError(
            f"weight_decay={weight_decay} and warmup_updates={warmup_updates} must be at least 0"
        )

    def schedule(count: Array) -> Array:
        return learning_rate * jnp.minimum(count / warmup_updates, 1.0)

    adam = optax.scale_by_adam()
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        adam if reset_interval is None else reset_clock(adam, reset_interval),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(schedule if warmup_updates else learning_rate),
    )


def reset_clock(adam: optax.GradientTransformation, interval: int) -> optax.GradientTransformation:
    """Set Adam's step count back to 0 every ``interval`` updates, keeping its moments.

    Off-policy targets keep moving, and the scale of gradients with them. Bias correction that
    starts anew bounds the updates that follow a sudden change.

    Source: Ellis et al. 2024, "Adam on Local Time", arXiv 2412.17113.

    Args:
        adam: `optax.scale_by_adam`.
        interval: updates between resets.

    Raises:
        ValueError: if the interval is not positive.
    """
    if interval < 1:
        raise ValueError(f"reset_interval={interval} must be at least 1")

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return adam.update(updates, state._replace(count=state.count % interval), params)

    return optax.GradientTransformation(adam.init, update)


def init_learner(optimizer: optax.GradientTransformation, agent: AgentState) -> LearnerState:
    """Return the state before the first update."""
    return LearnerState(
        agent=agent, optimizer=optimizer.init(agent.params), updates=jnp.zeros((), jnp.int32)
    )


def gradients(
    agent: Agent, state: AgentState, batch: Batch, draws: LossDraws
) -> tuple[Params, AgentState, Metrics]:
    """Differentiate the loss of one batch.

    Args:
        agent: the agent (static).
        state: its arrays.
        batch: windows of L+1 timesteps.
        draws: from `Agent.draw`.

    Returns:
        Gradients by module, summed over devices; the state with its statistics moved; metrics.
    """
    differentiate = jax.grad(agent.loss, has_aux=True)
    grads, (state, metrics) = differentiate(state.params, state, batch, draws)
    return data_sum(grads, agent.axis_name), state, metrics


def apply_gradients(
    agent: Agent,
    optimizer: optax.GradientTransformation,
    state: LearnerState,
    grads: Params,
    metrics: Metrics,
) -> tuple[LearnerState, Metrics]:
    """Take one optimizer step, then move the target networks toward the new weights.

    Args:
        agent: the agent (static).
        optimizer: from `make_optimizer` (static).
        state: the learner.
        grads: from `gradients`.
        metrics: to which norms of the gradients are added, before clipping.

    Returns:
        The learner after the step, and metrics (float32 ``[]`` each).
    """
    updates, optimizer_state = optimizer.update(grads, state.optimizer, state.agent.params)
    params = optax.apply_updates(state.agent.params, updates)
    agent_state = agent.update_targets(dataclasses.replace(state.agent, params=params))
    metrics = {**metrics, "gradient/norm": optax.tree.norm(grads)}
    if agent.detailed_metrics:
        metrics |= {f"gradient/{name}": optax.tree.norm(tree) for name, tree in grads.items()}
    return LearnerState(agent_state, optimizer_state, state.updates + 1), metrics


def update(
    agent: Agent,
    optimizer: optax.GradientTransformation,
    state: LearnerState,
    batch: Batch,
    draws: LossDraws,
) -> tuple[LearnerState, Metrics]:
    """Take one learning step on one batch.

    Args:
        agent: the agent (static).
        optimizer: from `make_optimizer` (static).
        state: the learner.
        batch: windows of L+1 timesteps.
        draws: from `Agent.draw`.

    Returns:
        The learner after the step, and metrics (float32 ``[]`` each).
    """
    grads, agent_state, metrics = gradients(agent, state.agent, batch, draws)
    state = dataclasses.replace(state, agent=agent_state)
    return apply_gradients(agent, optimizer, state, grads, metrics)
