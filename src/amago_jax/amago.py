"""AMAGO's agent: values as numbers, regressed in PopArt's units.

Critics value every discrete action at once, so that expectations over the policy are exact, or
one continuous action at a time, sampled from it.

Source: AMAGO (Grigsby, Fan, Zhu; ICLR 2024), section 3 and appendix A.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from amago_jax.agent import (
    DEFAULT_GAMMAS,
    Agent,
    AgentState,
    LossDraws,
    Values,
    learned_gammas,
)
from amago_jax.losses.actor_critic import critic_loss
from amago_jax.models.distributions import Discrete, Distribution
from amago_jax.models.heads import ActionCritics, Actor, DiscreteCritics
from amago_jax.models.normalization import (
    PopArt,
    outputs_to_normalized,
    outputs_to_real,
    real_to_normalized,
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
            values = self._value_samples(critics, states, policy, noise)
        return outputs_to_real(state.popart, values)

    def _values(
        self,
        params: Params,
        popart: PopArt,
        states: Array,
        policy: Array,
        actions: Array,
        draws: LossDraws,
    ) -> Values:
        critics = params["critics"]
        if isinstance(self.distribution, Discrete):
            # One evaluation serves both, since it values every action.
            all_values = self.critics.apply({"params": critics}, states)
            taken = self.distribution.soft_one_hot(actions[:, :, None], policy)
            outputs = (all_values * taken).sum(-1)
            probabilities = self.distribution.probabilities(policy)
            policy_outputs = (jax.lax.stop_gradient(all_values) * probabilities).sum(-1)
        else:
            outputs = self._value_taken(critics, states, actions)
            noise = jax.tree.map(lambda x: x[:, :, :-1], draws.policy_noise)
            frozen, fixed = jax.lax.stop_gradient((critics, states))
            policy_outputs = self._value_samples(frozen, fixed, policy, noise)
        online = self.online_coeff > 0
        return Values(
            outputs=outputs,
            taken=outputs_to_real(popart, outputs),
            policy=outputs_to_real(popart, policy_outputs),
            policy_normalized=outputs_to_normalized(popart, policy_outputs) if online else None,
            advantages=outputs.mean(0) - policy_outputs.mean(0),
        )

    def _decode(self, outputs: Array) -> Array:
        return outputs

    def _critic_loss(self, popart: PopArt, outputs: Array, targets: Array, mask: Array) -> Array:
        values, labels = outputs_to_normalized(popart, outputs), real_to_normalized(popart, targets)
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
    rematerialize: bool = False,
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
        rematerialize: compute hidden layers of the critics anew in the backward pass.
        **settings: further fields of `Agent`.

    Returns:
        The agent.
    """
    head: dict[str, Any] = {"hidden_size": hidden_size, "layers": layers, "activation": activation}
    gammas = learned_gammas(gammas, multi_gamma)
    ensemble: Any = (
        DiscreteCritics(
            critics, len(gammas), distribution.actions, rematerialize=rematerialize, **head
        )
        if distribution.kind == "discrete"
        else ActionCritics(critics, gammas, rematerialize=rematerialize, **head)
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
