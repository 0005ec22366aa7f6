"""AMAGO-2's agent: values as bins, learned by classification, for tasks of unlike rewards.

Neither the critic loss (a cross-entropy) nor the actor loss (filtered imitation alone, by
default) grows with the scale of returns. Critics read one action at a time, discrete ones as
one-hot vectors, so expectations over the policy are sampled.

Source: AMAGO-2 (Grigsby et al. 2024, arXiv 2411.11188), section 4 and appendix A.
"""

import dataclasses
import functools
from typing import Any

from amago_jax.agents.agent import NUMBERS, Agent
from amago_jax.agents.building import assemble
from amago_jax.losses.actor_critic import binned_critic_loss
from amago_jax.models.heads import ActionCritics
from amago_jax.models.normalization import PopArt, real_to_normalized
from amago_jax.models.value_bins import Bins, Labels, ValueBins
from amago_jax.settings import NotNegative, Positive, Size, checked, forwards
from amago_jax.tunable import tunable
from amago_jax.types import Array


@tunable(*NUMBERS)
@dataclasses.dataclass(frozen=True)
class MultiTaskAgent(Agent):
    """See `Agent` for all other settings.

    Attributes:
        value_bins: what the critics' outputs mean.
    """

    online_coeff: NotNegative = 0.0
    offline_coeff: NotNegative = 1.0
    action_samples: Size = 3
    value_bins: ValueBins = dataclasses.field(default_factory=ValueBins)

    def _decode(self, outputs: Array) -> Array:
        return self.value_bins.decode(outputs)

    def _to_real(self, popart: PopArt, values: Array) -> Array:
        return values

    def _to_normalized(self, popart: PopArt, values: Array) -> Array:
        return real_to_normalized(popart, values)

    def _critic_loss(self, popart: PopArt, outputs: Array, targets: Array, mask: Array) -> Array:
        cross_entropy = self.value_bins.cross_entropy(outputs, targets)
        return binned_critic_loss(cross_entropy, mask, self.axis_name)


@checked
@forwards(assemble, MultiTaskAgent, but=("make_agent", "make_critics", "value_bins"))
def build_multitask_agent(
    *,
    min_return: float = -100_000.0,
    max_return: float = 100_000.0,
    bins: Bins = 128,
    use_symlog: bool = True,
    labels: Labels = "two_hot",
    gauss_width: Positive = 0.75,
    **settings: Any,
) -> MultiTaskAgent:
    """Assemble AMAGO-2's agent.

    Args:
        min_return: see `ValueBins`.
        max_return: see `ValueBins`.
        bins: see `ValueBins`.
        use_symlog: see `ValueBins`.
        labels: see `ValueBins`.
        gauss_width: see `ValueBins`.
        **settings: further arguments of `assemble`.
    """
    value_bins = ValueBins(min_return, max_return, bins, use_symlog, labels, gauss_width)
    make_agent = functools.partial(MultiTaskAgent, value_bins=value_bins)
    return assemble(make_agent, functools.partial(ActionCritics, outputs=bins), **settings)
