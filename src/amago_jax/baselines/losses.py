"""What PPO computes: advantages over whole windows, and its losses, as functions of arrays."""

import chex
import jax
import jax.numpy as jnp

from amago_jax.losses.actor_critic import masked_mean
from amago_jax.types import Array


def generalized_advantages(
    rewards: Array,
    values: Array,
    terminated: Array,
    is_last: Array,
    valid: Array,
    *,
    gamma: float,
    gae_lambda: float,
) -> Array:
    """Estimate advantages by exponentially weighted sums of TD errors.

    A termination is worth 0; a truncation, or the end of the window, what its value says.

    Source: Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage
    Estimation", arXiv 1506.02438.

    Args:
        rewards: float32 ``[B, T]``, earned by each transition.
        values: float32 ``[B, T+1]``, of the timesteps before and after.
        terminated: bool ``[B, T]``, of the timestep after each transition.
        is_last: bool ``[B, T]``, of the timestep after each transition.
        valid: bool ``[B, T]``, false where one episode ends and the next begins.
        gamma: discount.
        gae_lambda: weight of later TD errors, from 0, one step, to 1, the whole return.

    Returns:
        float32 ``[B, T]``, 0 where not valid.
    """
    chex.assert_equal_shape([rewards, terminated, is_last, valid, values[:, 1:]])
    after = jnp.where(terminated, 0.0, values[:, 1:])
    errors = jnp.where(valid, rewards + gamma * after - values[:, :-1], 0.0)
    weights = jnp.where(valid & ~is_last, gamma * gae_lambda, 0.0)

    def step(later: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        error, weight = now
        advantage = error + weight * later
        return advantage, advantage

    start = jnp.zeros_like(errors[:, 0])
    _, advantages = jax.lax.scan(step, start, (errors.T, weights.T), reverse=True)
    return advantages.T


def normalized(advantages: Array, valid: Array) -> Array:
    """Return advantages ``[B, T]`` with mean 0 and deviation 1 over those that are valid."""
    mean = masked_mean(advantages, valid)
    variance = masked_mean((advantages - mean) ** 2, valid)
    return (advantages - mean) / (jnp.sqrt(variance) + 1e-8)


def clipped_policy_loss(ratios: Array, advantages: Array, valid: Array, clip: float) -> Array:
    """Return PPO's clipped surrogate ``[]``, to be made small.

    Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms", arXiv 1707.06347,
    equation 7.

    Args:
        ratios: float32 ``[B, T]``, probabilities of the actions over those they were taken with.
        advantages: float32 ``[B, T]``.
        valid: bool ``[B, T]``.
        clip: how far from 1 a ratio may gain by.
    """
    held = jnp.clip(ratios, 1.0 - clip, 1.0 + clip)
    return -masked_mean(jnp.minimum(ratios * advantages, held * advantages), valid)


def value_loss(
    values: Array, before: Array, targets: Array, valid: Array, clip: float | None
) -> Array:
    """Return half the mean squared error ``[]`` of values.

    Args:
        values: float32 ``[B, T]``.
        before: float32 ``[B, T]``, what they were when the window was collected.
        targets: float32 ``[B, T]``.
        valid: bool ``[B, T]``.
        clip: how far from ``before`` a value may gain by; None: however far.
    """
    errors = (values - targets) ** 2
    if clip is not None:
        held = before + jnp.clip(values - before, -clip, clip)
        errors = jnp.maximum(errors, (held - targets) ** 2)
    return 0.5 * masked_mean(errors, valid)
