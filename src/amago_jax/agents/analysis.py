"""What is watched of an agent: what it thinks of every transition, and means of that.

Source: AMAGO, appendix on what to watch while training.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
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


def actor_columns(
    log_probs: Array, entropy: Array, weights: Array, gammas: Sequence[float]
) -> Metrics:
    """Return what the paper watches of the actor at every transition, ``[B, L]`` by name.

    Args:
        log_probs: float32 ``[B, L, G]``, of the buffer's actions.
        entropy: float32 ``[B, L, G]``, of the policy.
        weights: float32 ``[B, L, G]``, f(A).
        gammas: the G discounts; the last one acts.
    """
    per_gamma = {f"actor/filter_accepted/{g}": weights[..., i] for i, g in enumerate(gammas)}
    return {
        "actor/log_prob": log_probs[..., -1],
        "actor/entropy": entropy[..., -1],
        "actor/filter_accepted": weights[..., -1],
        **per_gamma,
    }


def value_columns(analysis: Analysis) -> Metrics:
    """Return what it watches of the acting discount's values at every transition, likewise."""
    watched = {
        "value/td_target": analysis.targets,
        "value/q": analysis.q,
        "value/v": analysis.v,
        "value/advantage": analysis.advantages,
        "value/ensemble_spread": analysis.spread,
    }
    return {name: x[..., -1] for name, x in watched.items()}


def column_means(columns: Metrics, mask: Array, axis_name: str | None) -> Metrics:
    """Average columns ``[B, L]`` over the valid transitions, all in one sum.

    Args:
        columns: by name, at least one.
        mask: bool ``[B, L]``, valid transitions.
        axis_name: see `masked_mean`.

    Returns:
        float32 ``[]`` by name, without gradients.
    """
    stacked = jax.lax.stop_gradient(jnp.stack(list(columns.values())))
    means = data_sum(masked_mean(stacked, mask[None], axis_name, axis=(1, 2)), axis_name)
    return dict(zip(columns, means, strict=True))


def value_metrics(
    analysis: Analysis, popart: PopArt, gammas: Sequence[float], axis_name: str | None
) -> Metrics:
    """Return what it watches of values besides means: extremes of targets, and PopArt.

    Args:
        analysis: of a batch.
        popart: as it stands after the batch.
        gammas: the G discounts; the last one acts.
        axis_name: see `masked_mean`.
    """
    sigma, mu = popart_sigma(popart), popart.moments.mean
    least, greatest = masked_extremes(analysis.targets[..., -1], analysis.mask, axis_name)
    metrics = {"value/td_target_min": least, "value/td_target_max": greatest}
    metrics |= {f"value/popart_sigma/{g}": sigma[i] for i, g in enumerate(gammas)}
    metrics |= {f"value/popart_mean/{g}": mu[i] for i, g in enumerate(gammas)}
    return {**metrics, "value/popart_sigma": sigma[-1]}
