"""AMAGO's agent: values as numbers, regressed in PopArt's units.

Critics value every discrete action at once, so that expectations over the policy are exact, or
one continuous action at a time, sampled from it.

Source: AMAGO (Grigsby, Fan, Zhu; ICLR 2024), section 3 and appendix A.
"""

import dataclasses
from typing import Any

import jax

from amago_jax.agents.agent import NUMBERS, Agent
from amago_jax.agents.building import assemble
from amago_jax.agents.state import AgentState, LossDraws
from amago_jax.losses.actor_critic import critic_loss
from amago_jax.models.distributions import Discrete, Distribution
from amago_jax.models.heads import ActionCritics, DiscreteCritics
from amago_jax.models.normalization import (
    PopArt,
    outputs_to_normalized,
    outputs_to_real,
    real_to_normalized,
)
from amago_jax.settings import forwards
from amago_jax.tunable import tunable
from amago_jax.types import Array, Params


@tunable(*NUMBERS)
@dataclasses.dataclass(frozen=True)
class AmagoAgent(Agent):
    """See `Agent` for all settings."""

    @property
    def exact_expectations(self) -> bool:
        """See `Agent`."""
        return self.discrete

    def critic_inputs(self, states: Array) -> tuple[Array, ...]:
        """See `Networks`."""
        return (states,) if self.discrete else super().critic_inputs(states)

    def _next_values(
        self, state: AgentState, states: Array, policy: Array, draws: LossDraws
    ) -> Array:
        if not isinstance(self.distribution, Discrete):
            return super()._next_values(state, states, policy, draws)
        all_values = self.critics.apply({"params": state.target_params["critics"]}, states)
        probabilities = self.distribution.probabilities(policy)
        values = (all_values * probabilities[None]).sum(-1)
        return outputs_to_real(state.popart, values)

    def _evaluate(
        self, critics: Params, states: Array, policy: Array, actions: Array, draws: LossDraws
    ) -> tuple[Array, Array]:
        if not isinstance(self.distribution, Discrete):
            return super()._evaluate(critics, states, policy, actions, draws)
        # One evaluation serves both, since it values every action.
        all_values = self.critics.apply({"params": critics}, states)
        taken = self.distribution.soft_one_hot(actions[:, :, None], policy)
        probabilities = self.distribution.probabilities(policy)
        policy_values = (jax.lax.stop_gradient(all_values) * probabilities[None]).sum(-1)
        return (all_values * taken[None]).sum(-1), policy_values

    def _decode(self, outputs: Array) -> Array:
        return outputs

    def _to_real(self, popart: PopArt, values: Array) -> Array:
        return outputs_to_real(popart, values)

    def _to_normalized(self, popart: PopArt, values: Array) -> Array:
        return outputs_to_normalized(popart, values)

    def _critic_loss(self, popart: PopArt, outputs: Array, targets: Array, mask: Array) -> Array:
        values, labels = outputs_to_normalized(popart, outputs), real_to_normalized(popart, targets)
        return critic_loss(values, labels, mask, self.axis_name)


@forwards(assemble, AmagoAgent, but=("make_agent", "make_critics"))
def build_amago_agent(*, distribution: Distribution, **settings: Any) -> AmagoAgent:
    """Assemble AMAGO's agent.

    Args:
        distribution: see `Agent`.
        **settings: further arguments of `assemble`.
    """

    def make_critics(critics: int, gammas: tuple[float, ...], **sizes: Any) -> Any:
        if distribution.kind == "discrete":
            return DiscreteCritics(critics, len(gammas), distribution.actions, **sizes)
        return ActionCritics(critics, gammas, **sizes)

    return assemble(AmagoAgent, make_critics, distribution=distribution, **settings)
