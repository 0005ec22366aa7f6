"""AMAGO's losses as free functions of arrays: critic regression and the two actor terms.

Source: AMAGO, section 3 and appendix A ("agent details").
"""

import math

import chex
import jax
import jax.numpy as jnp

from amago_jax.parallel import data_max, data_sum
from amago_jax.types import Array


def masked_mean(
    x: Array, mask: Array, axis_name: str | None = None, axis: tuple[int, ...] | None = None
) -> Array:
    """Mean of ``x`` where ``mask`` is on: the sum over (count + 1e-5).

    If a batch is split over the devices of a mesh axis, this is a device's share of the mean over
    all of it: shares, and gradients of shares, add up to the whole.

    Args:
        x: float32 of any shape.
        mask: bool, of its rank, broadcast to it.
        axis_name: mesh axis over whose devices x is split, if any.
        axis: axes of x to average over; None: all.

    Returns:
        float32 of the axes that are left.
    """
    chex.assert_type(mask, bool)
    # Select, not multiply: padding may hold infinities, and their gradients must vanish too.
    total = jnp.where(mask, x, 0.0).sum(axis)
    # Counted where the mask is narrow: a product is less work than a sum over what it repeats.
    axes = range(x.ndim) if axis is None else axis
    repeats = math.prod(x.shape[a] // mask.shape[a] for a in axes)
    count = repeats * mask.sum(axis, dtype=x.dtype)
    return total / (data_sum(count, axis_name) + 1e-5)


def masked_extremes(x: Array, mask: Array, axis_name: str | None = None) -> tuple[Array, Array]:
    """Least and greatest of ``x`` where ``mask``, of its shape, is on, over all devices."""
    both = jnp.where(mask[None], jnp.stack([-x, x]), -jnp.inf)
    least, greatest = data_max(both.max(range(1, both.ndim)), axis_name)
    return -least, greatest


def subset_values(values: Array, subset: Array, pessimistic: bool) -> Array:
    """Reduce target critics to one value: over a random subset, its minimum or its mean.

    Source: REDQ, arXiv 2101.05982.

    Args:
        values: float32 ``[C, B, L, G]``.
        subset: int32 ``[B, L, S, G]``, critics drawn with replacement.
        pessimistic: take the minimum over the subset, else its mean.

    Returns:
        float32 ``[B, L, G]``.
    """
    chex.assert_rank([values, subset], 4)
    chosen = jnp.take_along_axis(values.transpose(1, 2, 0, 3), subset, axis=2)
    return chosen.min(2) if pessimistic else chosen.mean(2)


def critic_loss(values: Array, targets: Array, mask: Array, axis_name: str | None = None) -> Array:
    """Mean squared error of every critic under every discount, in normalized units.

    Args:
        values: float32 ``[C, B, L, G]``, normalized Q(s, a).
        targets: float32 ``[B, L, G]``, normalized, constant.
        mask: bool ``[B, L]``, valid transitions.
        axis_name: see `masked_mean`.

    Returns:
        float32 ``[]``.
    """
    chex.assert_equal_shape_suffix([values, targets], 3)
    error = values - jax.lax.stop_gradient(targets)[None]
    return masked_mean(jnp.square(error), mask[None, :, :, None], axis_name)


def binned_critic_loss(cross_entropy: Array, mask: Array, axis_name: str | None = None) -> Array:
    """Mean cross-entropy of every critic under every discount.

    Source: AMAGO-2, section 4.

    Args:
        cross_entropy: float32 ``[C, B, L, G]``, of `ValueBins.cross_entropy`.
        mask: bool ``[B, L]``, valid transitions.
        axis_name: see `masked_mean`.

    Returns:
        float32 ``[]``.
    """
    chex.assert_rank(cross_entropy, 4)
    return masked_mean(cross_entropy, mask[None, :, :, None], axis_name)


def online_actor_loss(policy_values: Array, mask: Array, axis_name: str | None = None) -> Array:
    """Deterministic-policy-gradient term: minus the least critic's value of the policy's action.

    Args:
        policy_values: float32 ``[C, B, L, G]``, normalized Q(s, a ~ pi), differentiable through
            the action alone.
        mask: bool ``[B, L]``.
        axis_name: see `masked_mean`.

    Returns:
        float32 ``[]``.
    """
    # Not `min`, whose gradient compares every value with the least one: where a compiler works
    # the two out differently, none is equal, and the gradient becomes 0/0.
    # Nor an index, whose gradient is a scatter of its own.
    least = jax.lax.stop_gradient(policy_values).argmin(0)
    is_least = jax.nn.one_hot(least, len(policy_values), axis=0, dtype=bool)
    values = jnp.where(is_least, policy_values, 0.0).sum(0)
    return -masked_mean(values, mask[..., None], axis_name)


def offline_actor_loss(
    log_probs: Array, weights: Array, mask: Array, axis_name: str | None = None
) -> Array:
    """Filtered imitation of the buffer: -f(A) log pi(a|s).

    Args:
        log_probs: float32 ``[B, L, G]``.
        weights: float32 ``[B, L, G]``, f(A), constant.
        mask: bool ``[B, L]``.
        axis_name: see `masked_mean`.

    Returns:
        float32 ``[]``.
    """
    chex.assert_equal_shape([log_probs, weights])
    return -masked_mean(jax.lax.stop_gradient(weights) * log_probs, mask[..., None], axis_name)
