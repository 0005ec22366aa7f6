"""What is watched of an agent: what it thinks of every transition, and means of that.

Source: AMAGO, appendix on what to watch while training.
"""

from collections.abc import Sequence

import jax
from flax import struct

from amago_jax.losses.actor_critic import masked_extremes, masked_mean
from amago_jax.models.normalization import PopArt, popart_sigma
from amago_jax.parallel import data_sum
from amago_jax.types import Array, Metrics


@struct.dataclass
class Analysis:
    """What there is to know about the transitions of a batch; leaves ``[B, L, G]`` and float32.

    Values are in real units (rewards times the reward multiplier), means over the ensemble.

    Attributes:
        targets: TD targets.
        q: Q(s, a) of the buffer's actions.
        v: Q(s, a ~ pi), the value of the state.
        advantages: as the filter reads them.
        filter_weights: f(A).
        spread: standard deviation of Q(s, a) over the ensemble.
        log_probs: log pi(a|s) of the buffer's actions.
        entropy: of the policy, in nats.
        mask: bool ``[B, L]``, which transitions are valid.
    """

    targets: Array
    q: Array
    v: Array
    advantages: Array
    filter_weights: Array
    spread: Array
    log_probs: Array
    entropy: Array
    mask: Array


def actor_metrics(
    log_probs: Array,
    entropy: Array,
    weights: Array,
    mask: Array,
    gammas: Sequence[float],
    axis_name: str | None,
) -> Metrics:
    """Return what the paper watches of the actor.

    Args:
        log_probs: float32 ``[B, L, G]``, of the buffer's actions.
        entropy: float32 ``[B, L, G]``, of the policy.
        weights: float32 ``[B, L, G]``, f(A).
        mask: bool ``[B, L]``, valid transitions.
        gammas: the G discounts; the last one acts.
        axis_name: see `masked_mean`.
    """
    accepted = [masked_mean(weights[..., g], mask, axis_name) for g in range(len(gammas))]
    means = {
        "actor/log_prob": masked_mean(log_probs[..., -1], mask, axis_name),
        "actor/entropy": masked_mean(entropy[..., -1], mask, axis_name),
        "actor/filter_accepted": accepted[-1],
    }
    per_gamma = {f"actor/filter_accepted/{g}": accepted[i] for i, g in enumerate(gammas)}
    return data_sum(jax.lax.stop_gradient({**means, **per_gamma}), axis_name)


def value_metrics(
    analysis: Analysis, popart: PopArt, gammas: Sequence[float], axis_name: str | None
) -> Metrics:
    """Return what it watches of values: of the acting discount, and per discount where that tells.

    Args:
        analysis: of a batch.
        popart: as it stands after the batch.
        gammas: the G discounts; the last one acts.
        axis_name: see `masked_mean`.
    """
    mask = analysis.mask

    def acting_mean(x: Array) -> Array:
        return masked_mean(x[..., -1], mask, axis_name)

    means = {
        "value/td_target": acting_mean(analysis.targets),
        "value/q": acting_mean(analysis.q),
        "value/v": acting_mean(analysis.v),
        "value/advantage": acting_mean(analysis.advantages),
        "value/ensemble_spread": acting_mean(analysis.spread),
    }
    sigma, mu = popart_sigma(popart), popart.moments.mean
    least, greatest = masked_extremes(analysis.targets[..., -1], mask, axis_name)
    metrics = data_sum(means, axis_name)
    metrics |= {"value/td_target_min": least, "value/td_target_max": greatest}
    metrics |= {f"value/popart_sigma/{g}": sigma[i] for i, g in enumerate(gammas)}
    metrics |= {f"value/popart_mean/{g}": mu[i] for i, g in enumerate(gammas)}
    return {**metrics, "value/popart_sigma": sigma[-1]}
