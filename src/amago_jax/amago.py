"""AMAGO's agent: values as numbers, regressed in PopArt's units.

Critics value every discrete action at once, so that expectations over the policy are exact, or
one continuous action at a time, sampled from it.

Source: AMAGO (Grigsby, Fan, Zhu; ICLR 2024), section 3 and appendix A.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from amago_jax.agent import DEFAULT_GAMMAS, Agent, AgentState, LossDraws, Values
from amago_jax.losses.actor_critic import critic_loss
from amago_jax.models.distributions import Discrete, Distribution
from amago_jax.models.heads import ActionCritics, Actor, DiscreteCritics
from amago_jax.models.normalization import (
    PopArt,
    denormalize_values,
    normalize_targets,
    normalize_values,
)
from amago_jax.types import Array, Params


@dataclasses.dataclass(frozen=True)
class AmagoAgent(Agent):
    """See `Agent` for all settings."""

    @property
    def exact_expectations(self) -> bool:
        """See `Agent`."""
        return self.discrete

    def _critic_inputs(self, states: Array) -> tuple[Array, ...]:
        if self.discrete:
            return (states,)
        return states, jnp.zeros((*states.shape[:-1], len(self.gammas), self.action_size))

    def _next_values(
        self, state: AgentState, states: Array, policy: Array, draws: LossDraws
    ) -> Array:
        critics = state.target_params["critics"]
        if isinstance(self.distribution, Discrete):
            all_values = self.critics.apply({"params": critics}, states)
            values = (all_values * self.distribution.probabilities(policy)).sum(-1)
        else:
            noise = jax.tree.map(lambda x: x[:, :, 1:], draws.target_noise)
            actions = self.distribution.sample_vector(policy, noise)
            values = self._value_samples(critics, states, actions)
        return denormalize_values(state.popart, values)

    def _values(
        self,
        params: Params,
        popart: PopArt,
        states: Array,
        policy: Array,
        actions: Array,
        draws: LossDraws,
    ) -> Values:
        critics, sampled = params["critics"], None
        if isinstance(self.distribution, Discrete):
            # One evaluation serves both, since it values every action.
            all_values = self.critics.apply({"params": critics}, states)
            outputs = (all_values * self.distribution.soft_one_hot(actions)[:, :, None]).sum(-1)
            probabilities = self.distribution.probabilities(policy)
            policy_outputs = (jax.lax.stop_gradient(all_values) * probabilities).sum(-1)
        else:
            shape = (*actions.shape[:2], len(self.gammas), self.action_size)
            per_gamma = jnp.broadcast_to(actions[:, :, None], shape)
            outputs = self.critics.apply({"params": critics}, states, per_gamma)
            noise = jax.tree.map(lambda x: x[:, :, :-1], draws.policy_noise)
            sampled = self.distribution.sample_vector(policy, noise)
            frozen, fixed = jax.lax.stop_gradient((critics, states))
            policy_outputs = self._value_samples(frozen, fixed, sampled)
        return Values(
            outputs=outputs,
            taken=denormalize_values(popart, outputs),
            policy=denormalize_values(popart, policy_outputs),
            policy_normalized=normalize_values(popart, policy_outputs),
            advantages=outputs.mean(0) - policy_outputs.mean(0),
            actions=sampled,
        )

    def _value_samples(self, critics: Params, states: Array, actions: Array) -> Array:
        """Mean raw value ``[C, B, L, G]`` of K sampled actions ``[K, B, L, G, A]``."""
        repeated = jnp.broadcast_to(states, (*actions.shape[:1], *states.shape))
        return self.critics.apply({"params": critics}, repeated, actions).mean(1)

    def _critic_loss(self, popart: PopArt, outputs: Array, targets: Array, mask: Array) -> Array:
        values, labels = normalize_values(popart, outputs), normalize_targets(popart, targets)
        return critic_loss(values, labels, mask, self.axis_name)


def build_amago_agent(
    *,
    distribution: Distribution,
    timestep_encoder: Any,
    trajectory_encoder: Any,
    actor: Any = None,
    gammas: tuple[float, ...] = DEFAULT_GAMMAS,
    multi_gamma: bool = True,
    critics: int = 4,
    hidden_size: int = 256,
    layers: int = 2,
    activation: str = "leaky_relu",
    **settings: Any,
) -> AmagoAgent:
    """Assemble AMAGO's agent from its encoders and settings.

    Args:
        distribution: see `Agent`.
        timestep_encoder: see `Agent`.
        trajectory_encoder: see `Agent`.
        actor: an actor head; None: an MLP of the sizes below.
        gammas: discounts; the last one acts.
        multi_gamma: learn them all; off: the last one alone.
        critics: C, the size of the ensemble.
        hidden_size: width of the hidden layers of the critics.
        layers: hidden layers of the critics.
        activation: name of the activation of the critics.
        **settings: further fields of `Agent`.

    Returns:
        The agent.
    """
    head: dict[str, Any] = {"hidden_size": hidden_size, "layers": layers, "activation": activation}
    gammas = tuple(float(gamma) for gamma in gammas)[0 if multi_gamma else -1 :]
    ensemble: Any = (
        DiscreteCritics(critics, len(gammas), distribution.actions, **head)
        if distribution.kind == "discrete"
        else ActionCritics(critics, gammas, **head)
    )
    return AmagoAgent(
        distribution=distribution,
        timestep_encoder=timestep_encoder,
        trajectory_encoder=trajectory_encoder,
        actor=actor or Actor(len(gammas), distribution.parameter_count, **head),
        critics=ensemble,
        gammas=gammas,
        **settings,
    )
