"""AMAGO-2's agent: values as bins, learned by classification, for tasks of unlike rewards.

Neither the critic loss (a cross-entropy) nor the actor loss (filtered imitation alone, by
default) grows with the scale of returns. Critics read one action at a time, discrete ones as
one-hot vectors, so expectations over the policy are sampled.

Source: AMAGO-2 (Grigsby et al. 2024, arXiv 2411.11188), section 4 and appendix A.
"""

import dataclasses
from typing import Any, Literal

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
from amago_jax.losses.actor_critic import binned_critic_loss
from amago_jax.models.distributions import Discrete, Distribution
from amago_jax.models.heads import ActionCritics, Actor
from amago_jax.models.normalization import PopArt, real_to_normalized
from amago_jax.models.value_bins import ValueBins
from amago_jax.types import Array, Params


@dataclasses.dataclass(frozen=True)
class MultiTaskAgent(Agent):
    """See `Agent` for all other settings.

    Attributes:
        value_bins: what the critics' outputs mean.
    """

    online_coeff: float = 0.0
    offline_coeff: float = 1.0
    action_samples: int = 3
    value_bins: ValueBins = dataclasses.field(default_factory=ValueBins)

    @property
    def exact_expectations(self) -> bool:
        """See `Agent`."""
        return False

    def _critic_inputs(self, states: Array) -> tuple[Array, ...]:
        return states, jnp.zeros((*states.shape[:-1], len(self.gammas), self.action_size))

    def _next_values(
        self, state: AgentState, states: Array, policy: Array, draws: LossDraws
    ) -> Array:
        noise = jax.tree.map(lambda x: x[:, :, 1:], draws.target_noise)
        return self._value_samples(state.target_params["critics"], states, policy, noise)

    def _values(
        self,
        params: Params,
        popart: PopArt,
        states: Array,
        policy: Array,
        actions: Array,
        draws: LossDraws,
    ) -> Values:
        if isinstance(self.distribution, Discrete):
            actions = self.distribution.soft_one_hot(actions[:, :, None], policy)
        logits = self._value_taken(params["critics"], states, actions)
        taken = self._decode(logits)
        noise = jax.tree.map(lambda x: x[:, :, :-1], draws.policy_noise)
        frozen, fixed = jax.lax.stop_gradient((params["critics"], states))
        policy_values = self._value_samples(frozen, fixed, policy, noise)
        online = self.online_coeff > 0
        return Values(
            outputs=logits,
            taken=taken,
            policy=policy_values,
            policy_normalized=real_to_normalized(popart, policy_values) if online else None,
            advantages=taken.mean(0) - policy_values.mean(0),
        )

    def _decode(self, outputs: Array) -> Array:
        return self.value_bins.decode(outputs)

    def _critic_loss(self, popart: PopArt, outputs: Array, targets: Array, mask: Array) -> Array:
        cross_entropy = self.value_bins.cross_entropy(outputs, targets)
        return binned_critic_loss(cross_entropy, mask, self.axis_name)


def build_multitask_agent(
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
    min_return: float = -100_000.0,
    max_return: float = 100_000.0,
    bins: int = 128,
    use_symlog: bool = True,
    labels: Literal["two_hot", "hl_gauss"] = "two_hot",
    gauss_width: float = 0.75,
    **settings: Any,
) -> MultiTaskAgent:
    """Assemble AMAGO-2's agent; arguments as of `amago_jax.amago.build_amago_agent`.

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
        min_return: this and all below are fields of `ValueBins`.
        max_return: see `ValueBins`.
        bins: see `ValueBins`.
        use_symlog: see `ValueBins`.
        labels: see `ValueBins`.
        gauss_width: see `ValueBins`.
        **settings: further fields of `MultiTaskAgent`.

    Returns:
        The agent.
    """
    head: dict[str, Any] = {"hidden_size": hidden_size, "layers": layers, "activation": activation}
    gammas = learned_gammas(gammas, multi_gamma)
    value_bins = ValueBins(min_return, max_return, bins, use_symlog, labels, gauss_width)
    return MultiTaskAgent(
        distribution=distribution,
        timestep_encoder=timestep_encoder,
        trajectory_encoder=trajectory_encoder,
        actor=actor or Actor(len(gammas), distribution.parameter_count, **head),
        critics=ActionCritics(critics, gammas, outputs=bins, rematerialize=rematerialize, **head),
        gammas=gammas,
        value_bins=value_bins,
        **settings,
    )
