"""Running statistics: input normalization of the timestep encoder, and PopArt for the values."""

import dataclasses

import chex
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from amago_jax.axes import align
from amago_jax.parallel import data_sum
from amago_jax.types import Array


@struct.dataclass
class RunningMoments:
    """Exponential moving averages of x and x², with the bias of their start corrected.

    Attributes:
        mean: float32 ``[F]``, mu.
        mean_of_squares: float32 ``[F]``, nu.
        steps: float32 ``[]``, t: 1 plus the number of updates so far.
    """

    mean: Array
    mean_of_squares: Array
    steps: Array


def init_moments(features: int, mean_of_squares: float = 1.0) -> RunningMoments:
    """Return moments before any data."""
    return RunningMoments(
        mean=jnp.zeros(features),
        mean_of_squares=jnp.full(features, mean_of_squares, jnp.float32),
        steps=jnp.ones(()),
    )


def update_moments(
    moments: RunningMoments, x: Array, mask: Array, beta: float, axis_name: str | None = None
) -> RunningMoments:
    """Move the moments toward the masked means of x and x².

    The step is beta_t = beta / (1 - (1 - beta)^t), near 1/t at first and beta in the long run.
    Where nothing is valid, the moments stay.

    Args:
        moments: moments over F features.
        x: float32 ``[..., F]``.
        mask: bool, broadcast to x, where x counts.
        beta: the step in the long run.
        axis_name: mesh axis over whose devices x is split, if any.

    Returns:
        The moved moments.
    """
    chex.assert_type(mask, bool)
    mask = jnp.broadcast_to(mask, x.shape)
    axes = tuple(range(x.ndim - 1))
    # Padding may hold anything, even infinities: select, do not multiply.
    x = jnp.where(mask, x, 0.0)
    sums = (mask.sum(axes, dtype=x.dtype), x.sum(axes), jnp.square(x).sum(axes))
    count, total, total_of_squares = data_sum(sums, axis_name)
    steps = moments.steps + 1.0
    beta_t = jnp.where(count > 0, beta / (1.0 - (1.0 - beta) ** steps), 0.0)
    scale = 1.0 / jnp.maximum(count, 1.0)
    mean, mean_of_squares = total * scale, total_of_squares * scale
    return RunningMoments(
        mean=moments.mean + beta_t * (mean - moments.mean),
        mean_of_squares=moments.mean_of_squares
        + beta_t * (mean_of_squares - moments.mean_of_squares),
        steps=jnp.where(count.any(), steps, moments.steps),
    )


class InputNormalization(nn.Module):
    """Standardize features by running statistics; frozen outside of training.

    Source: AMAGO, appendix on implementation ("input normalization").

    Attributes:
        beta: step of the moving averages in the long run.
        axis_name: mesh axis over whose devices batches are split, if any.
    """

    beta: float = 1e-4
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, mask: Array, training: bool) -> Array:
        """Normalize ``x [..., F]``; in training the statistics move first, over ``mask [...]``."""
        variable = self.variable("statistics", "moments", init_moments, x.shape[-1])
        moments: RunningMoments = variable.value
        if training and not self.is_initializing():
            moments = update_moments(moments, x, mask[..., None], self.beta, self.axis_name)
            if self.is_mutable_collection("statistics"):
                variable.value = moments
        variance = moments.mean_of_squares - jnp.square(moments.mean)
        sigma = jnp.clip(jnp.sqrt(jnp.maximum(variance + 1e-5, 0.0)), 1e-3, 1e6)
        sigma, centered = align(sigma, x), x - align(moments.mean, x)
        # A feature that hardly varies is centred but not blown up.
        return jnp.where(sigma > 0.01, jnp.clip(centered / sigma, -1e4, 1e4), centered)


@struct.dataclass
class PopArt:
    """Adaptive normalization of values that preserves the critics' outputs.

    Statistics of the TD targets per discount; as they move, w and b move against them, so that
    ``denormalize(q)`` stays the same function. All leaves are float32 ``[G]``, none is trained.

    Source: van Hasselt et al. 2016, arXiv 1602.07714; AMAGO, section 3.

    Attributes:
        moments: running moments of the targets, per discount.
        scale: w.
        shift: b.
    """

    moments: RunningMoments
    scale: Array
    shift: Array


def init_popart(gammas: int, mean_of_squares: float = 100.0) -> PopArt:
    """Return PopArt for G discounts before any target was seen.

    With ``mean_of_squares=1`` it is the identity for as long as nothing updates it.
    """
    return PopArt(
        moments=init_moments(gammas, mean_of_squares),
        scale=jnp.ones(gammas),
        shift=jnp.zeros(gammas),
    )


def popart_sigma(state: PopArt) -> Array:
    """Return the standard deviation of the targets, float32 ``[G]``."""
    variance = state.moments.mean_of_squares - jnp.square(state.moments.mean)
    return jnp.clip(jnp.sqrt(jnp.clip(variance, 1e-4, 1e8)), 1e-4, 1e6)


def update_popart(
    state: PopArt,
    targets: Array,
    mask: Array,
    beta: float = 5e-4,
    axis_name: str | None = None,
) -> PopArt:
    """Move the statistics toward the targets and correct w and b for it.

    Args:
        state: PopArt over G discounts.
        targets: float32 ``[..., G]``, in real units.
        mask: bool, broadcast to the targets, where a target counts.
        beta: the step in the long run.
        axis_name: mesh axis over whose devices targets are split, if any.

    Returns:
        The moved state; `outputs_to_real` of any q is unchanged.
    """
    moments = update_moments(state.moments, targets, mask, beta, axis_name)
    moved = dataclasses.replace(state, moments=moments)
    old_sigma, new_sigma = popart_sigma(state), popart_sigma(moved)
    shift = (old_sigma * state.shift + state.moments.mean - moments.mean) / new_sigma
    return PopArt(moments=moments, scale=state.scale * old_sigma / new_sigma, shift=shift)


def real_to_normalized(state: PopArt, targets: Array) -> Array:
    """Map targets ``[..., G]`` from real to normalized units: (y - mu) / sigma."""
    mean, sigma = align(state.moments.mean, targets), align(popart_sigma(state), targets)
    return (targets - mean) / sigma


def outputs_to_normalized(state: PopArt, values: Array) -> Array:
    """Map raw critic outputs ``[..., G]`` to normalized units: w q + b."""
    return align(state.scale, values) * values + align(state.shift, values)


def outputs_to_real(state: PopArt, values: Array) -> Array:
    """Map raw critic outputs ``[..., G]`` to real units: sigma (w q + b) + mu."""
    mean, sigma = align(state.moments.mean, values), align(popart_sigma(state), values)
    return sigma * outputs_to_normalized(state, values) + mean
