"""One learning update: gradients, AdamW, target networks."""

import dataclasses
from typing import Annotated, Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import struct

from amago_jax.agents import Agent, AgentState, LossDraws
from amago_jax.kinds import Real
from amago_jax.parallel import data_sum
from amago_jax.settings import Count, NotNegative, Positive, Size, check_fields, checked
from amago_jax.tunable import tunable
from amago_jax.types import Array, Batch, Metrics, Params

Norm = Annotated[float, Real(above=0, finite=False)]  # an infinite one clips nothing


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


class Optimizer(Protocol):
    """What learning needs of an optimizer: any `optax.GradientTransformation` has it.

    One that treats every number alike, whatever array it is in, may say so by an attribute
    ``elementwise`` that is true: it is then given few long vectors, see
    `amago_jax.learning.vectors`.
    """

    def init(self, params: Params) -> optax.OptState:
        """Return the state before the first update."""
        ...

    def update(
        self, updates: Params, state: optax.OptState, params: Params
    ) -> tuple[Params, optax.OptState]:
        """Return what to add to ``params``, given their gradients, and the state after."""
        ...


@tunable("learning_rate", "weight_decay", "warmup_updates", "clip_norm")
@dataclasses.dataclass(frozen=True)
class AdamW:
    """AdamW with global-norm clipping and linear warm-up.

    Update k (from 0) uses the rate ``learning_rate * min(k / warmup_updates, 1)``, so update 0
    moves nothing.

    Raises:
        ValueError: if a setting is out of range.

    Attributes:
        learning_rate: the rate after warm-up.
        weight_decay: decoupled decay, times the rate.
        warmup_updates: updates until the full rate; None: none.
        clip_norm: the global norm gradients are clipped to.
        reset_interval: updates between resets of Adam's clock, see `reset_clock`; None: never.
    """

    learning_rate: Positive = 1e-4
    weight_decay: NotNegative = 1e-3
    warmup_updates: Size | None = 500
    clip_norm: Norm = 1.0
    reset_interval: Size | None = None

    elementwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)

    def init(self, params: Params) -> optax.OptState:
        """See `Optimizer`."""
        return self._chain().init(params)

    def update(
        self, updates: Params, state: optax.OptState, params: Params
    ) -> tuple[Params, optax.OptState]:
        """See `Optimizer`."""
        return self._chain().update(updates, state, params)

    def _chain(self) -> optax.GradientTransformation:
        rate, warmup = self.learning_rate, self.warmup_updates
        adam = optax.scale_by_adam()
        return optax.chain(
            optax.clip_by_global_norm(self.clip_norm),
            adam if self.reset_interval is None else reset_clock(adam, self.reset_interval),
            optax.add_decayed_weights(self.weight_decay),
            optax.scale_by_learning_rate(rate if warmup is None else _warm_up(rate, warmup)),
        )


def _warm_up(rate: float, updates: int) -> optax.Schedule:
    return lambda count: rate * jnp.minimum(count / updates, 1.0)


@checked
def make_optimizer(
    learning_rate: Positive = 1e-4,
    weight_decay: NotNegative = 1e-3,
    warmup_updates: Count = 500,
    clip_norm: Norm = 1.0,
    reset_interval: Size | None = None,
) -> AdamW:
    """Return `AdamW`, whose attributes these are; ``warmup_updates`` of 0 is none.

    Raises:
        ValueError: if a setting is out of range.
    """
    return AdamW(learning_rate, weight_decay, warmup_updates or None, clip_norm, reset_interval)


def reset_clock(adam: optax.GradientTransformation, interval: int) -> optax.GradientTransformation:
    """Set Adam's step count back to 0 every ``interval`` updates, keeping its moments.

    Off-policy targets keep moving, and the scale of gradients with them. Bias correction that
    starts anew bounds the updates that follow a sudden change.

    Source: Ellis et al. 2024, "Adam on Local Time", arXiv 2412.17113.

    Args:
        adam: `optax.scale_by_adam`.
        interval: updates between resets.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return adam.update(updates, state._replace(count=state.count % interval), params)

    return optax.GradientTransformation(adam.init, update)


def init_learner(optimizer: Optimizer, agent: AgentState) -> LearnerState:
    """Return the state before the first update."""
    return LearnerState(
        agent=agent, optimizer=optimizer.init(agent.params), updates=jnp.zeros((), jnp.int32)
    )


def gradients(
    agent: Agent, state: AgentState, batch: Batch, draws: LossDraws
) -> tuple[Params, AgentState, Metrics]:
    """Differentiate the loss of one batch.

    Args:
        agent: the agent.
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
    optimizer: Optimizer,
    state: LearnerState,
    grads: Params,
    metrics: Metrics,
) -> tuple[LearnerState, Metrics]:
    """Take one optimizer step, then move the target networks toward the new weights.

    Args:
        agent: the agent.
        optimizer: from `make_optimizer`.
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
    optimizer: Optimizer,
    state: LearnerState,
    batch: Batch,
    draws: LossDraws,
) -> tuple[LearnerState, Metrics]:
    """Take one learning step on one batch.

    Args:
        agent: the agent.
        optimizer: from `make_optimizer`.
        state: the learner.
        batch: windows of L+1 timesteps.
        draws: from `Agent.draw`.

    Returns:
        The learner after the step, and metrics (float32 ``[]`` each).
    """
    grads, agent_state, metrics = gradients(agent, state.agent, batch, draws)
    state = dataclasses.replace(state, agent=agent_state)
    return apply_gradients(agent, optimizer, state, grads, metrics)
