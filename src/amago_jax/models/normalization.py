"""Normalizations: of a layer's outputs, of inputs by running statistics, and PopArt of values."""

import dataclasses
from collections.abc import Callable
from typing import Literal, get_args

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from amago_jax.axes import align
from amago_jax.models.precision import at_least_float32
from amago_jax.parallel import data_parts
from amago_jax.types import Array

# Numbers beyond count as this, so that sums of their squares stay finite in float32. Where one was
# seen, sigma is beyond every bound below, whatever it is exactly.
LARGEST = 1e15
LEAST_VARIANCE, LARGEST_VARIANCE = 1e-4, 1e8  # of PopArt's sigma, as the authors have them
EPSILON = 1e-5  # beside variances and means of squares of a layer's outputs
SIMNORM_GROUP = 8

Normalization = Literal[
    "layer", "rmsnorm", "unitball", "unitball-detach", "hypersphere", "simnorm", "none"
]


@struct.dataclass
class RunningMoments:
    """Exponential moving averages of mean and variance, with the bias of their start corrected.

    The variance is kept as such: the mean of x² less the squared mean, which is the same number,
    has no digits left in float32 where the mean is a few thousand deviations. Nor would such a
    mean, in float32, feel the small steps it takes in the long run: what each addition cuts off is
    kept for the next one.

    Source: Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance"; Kahan
    1965, "Further remarks on reducing truncation errors".

    Attributes:
        mean: float32 ``[F]``, mu.
        remainder: float32 ``[F]``, what rounding cut off mu: their sum is the mean.
            It is 0 where it would be less than a millionth of the deviation.
        variance: float32 ``[F]``, nu - mu², where nu is the moving average of x².
        steps: float32 ``[]``, t: 1 plus the number of updates so far.
    """

    mean: Array
    remainder: Array
    variance: Array
    steps: Array

    @property
    def mean_of_squares(self) -> Array:
        """Float32 ``[F]``, nu, as the authors keep it."""
        return self.variance + jnp.square(self.mean)

    def distance(self, x: Array) -> Array:
        """Return ``x [..., F]`` less the mean."""
        return (x - align(self.mean, x)) - align(self.remainder, x)


def init_moments(features: int, variance: float = 1.0) -> RunningMoments:
    """Return moments before any data."""
    return RunningMoments(
        mean=jnp.zeros(features),
        remainder=jnp.zeros(features),
        variance=jnp.full(features, variance, jnp.float32),
        steps=jnp.ones(()),
    )


def update_moments(
    moments: RunningMoments, x: Array, mask: Array, beta: float, axis_name: str | None = None
) -> RunningMoments:
    """Move the moments toward the masked mean and variance of x.

    The step is beta_t = beta / (1 - (1 - beta)^t), near 1/t at first and beta in the long run.
    Where nothing is valid, the moments stay. With m and v the batch's mean and variance,

        mu <- mu + beta_t (m - mu)
        variance <- (1 - beta_t) variance + beta_t v + beta_t (1 - beta_t) (m - mu)²

    Args:
        moments: moments over F features.
        x: float32 ``[..., F]``; beyond ±1e15 it counts as that.
        mask: bool, broadcast to x, where x counts.
        beta: the step in the long run.
        axis_name: mesh axis over whose devices x is split, if any.

    Returns:
        The moved moments.
    """
    chex.assert_type(mask, bool)
    count, shift, variance = _batch_moments(moments, x, mask, axis_name)
    steps = moments.steps + 1.0
    beta_t = jnp.where(count > 0, beta / (1.0 - (1.0 - beta) ** steps), 0.0)
    spread = variance - moments.variance + (1.0 - beta_t) * jnp.square(shift)
    variance = moments.variance + beta_t * spread
    step = beta_t * shift + moments.remainder
    mean = moments.mean + step
    remainder = step - (mean - moments.mean)
    return RunningMoments(
        mean=mean,
        # Where float32 is enough, moments are no other than without remainders.
        remainder=jnp.where(jnp.square(remainder) > 1e-12 * variance, remainder, 0.0),
        variance=variance,
        steps=jnp.where(count.any(), steps, moments.steps),
    )


def _batch_moments(
    moments: RunningMoments, x: Array, mask: Array, axis_name: str | None
) -> tuple[Array, Array, Array]:
    """Return the count ``[F]`` of what is valid, its mean less the running one, and its variance.

    Devices tell one another their own, and each merges all: in sums over devices, the squares would
    have to be of something that all of them know, such as the running mean, however far it is.
    """
    mask = jnp.broadcast_to(mask, x.shape)
    axes = tuple(range(x.ndim - 1))
    count = mask.sum(axes, dtype=x.dtype)
    # Padding may hold anything, even infinities: select, do not multiply.
    x = jnp.where(mask, jnp.clip(x, -LARGEST, LARGEST), 0.0)
    # Near the mean, but for the rounding of a sum; how near, its deviations tell.
    center = x.sum(axes) / jnp.maximum(count, 1.0)
    deviation = jnp.where(mask, x - align(center, x), 0.0)
    left = deviation.sum(axes)
    correction = left / jnp.maximum(count, 1.0)
    shift = moments.distance(center) + correction
    squares = jnp.maximum(jnp.square(deviation).sum(axes) - left * correction, 0.0)
    if axis_name is not None:
        counts, shifts, parts = data_parts(jnp.stack([count, shift, squares]), axis_name)
        count = counts.sum(0)
        shift = (counts * shifts).sum(0) / jnp.maximum(count, 1.0)
        squares = (parts + counts * jnp.square(shifts - shift[None])).sum(0)
    return count, shift, squares / jnp.maximum(count, 1.0)


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
        sigma = jnp.clip(jnp.sqrt(moments.variance + 1e-5), 1e-3, 1e6)
        sigma, centered = align(sigma, x), moments.distance(x)
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


def init_popart(gammas: int, variance: float = 100.0) -> PopArt:
    """Return PopArt for G discounts before any target was seen.

    With ``variance=1`` it is the identity for as long as nothing updates it.
    """
    return PopArt(
        moments=init_moments(gammas, variance),
        scale=jnp.ones(gammas),
        shift=jnp.zeros(gammas),
    )


def popart_sigma(state: PopArt) -> Array:
    """Return the standard deviation of the targets, float32 ``[G]``."""
    return jnp.sqrt(jnp.clip(state.moments.variance, LEAST_VARIANCE, LARGEST_VARIANCE))


def is_saturated(state: PopArt) -> Array:
    """Whether targets vary by more than sigma can say, so that values are not scaled to 1 by far.

    Returns:
        bool ``[G]``.
    """
    return state.moments.variance > 1.01 * LARGEST_VARIANCE


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
    fallen = moments.distance(state.moments.mean) + state.moments.remainder
    shift = (old_sigma * state.shift + fallen) / new_sigma
    return PopArt(moments=moments, scale=state.scale * old_sigma / new_sigma, shift=shift)


def real_to_normalized(state: PopArt, targets: Array) -> Array:
    """Map targets ``[..., G]`` from real to normalized units: (y - mu) / sigma."""
    return state.moments.distance(targets) / align(popart_sigma(state), targets)


def outputs_to_normalized(state: PopArt, values: Array) -> Array:
    """Map raw critic outputs ``[..., G]`` to normalized units: w q + b."""
    return align(state.scale, values) * values + align(state.shift, values)


def outputs_to_real(state: PopArt, values: Array) -> Array:
    """Map raw critic outputs ``[..., G]`` to real units: sigma (w q + b) + mu."""
    mean, remainder = (align(x, values) for x in (state.moments.mean, state.moments.remainder))
    sigma = align(popart_sigma(state), values)
    return (sigma * outputs_to_normalized(state, values) + remainder) + mean


def _length(x: Array) -> Array:
    """Return |x| of ``x [..., D]`` as ``[..., 1]``; its gradient at zeros is 0, not NaN."""
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def unitball(x: Array) -> Array:
    """Divide ``x [..., D]`` by its length, x / (|x| + 1e-5)."""
    return x / (_length(x) + 1e-5)


def unitball_detach(x: Array) -> Array:
    """`unitball`, without a gradient through the length."""
    return x / (jax.lax.stop_gradient(_length(x)) + 1e-5)


def hypersphere(x: Array) -> Array:
    """Scale ``x [..., D]`` to length sqrt(D), sqrt(D) x / max(|x|, 1e-12).

    Source: Lee et al. 2025, arXiv 2502.15280.
    """
    return x.shape[-1] ** 0.5 * x / jnp.maximum(_length(x), 1e-12)


def rms_normalized(x: Array) -> Array:
    """Divide ``x [..., D]`` by the root of its mean square, with `EPSILON` beside that."""
    square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(square + EPSILON)


def simnorm(x: Array) -> Array:
    """Take the softmax within each `SIMNORM_GROUP` neighbours of ``x [..., D]``.

    Source: Hansen, Su and Wang 2024, arXiv 2310.16828, section 3.1.

    Raises:
        ValueError: if D does not divide into the groups.
    """
    check_normalization("simnorm", width=x.shape[-1])
    groups = x.reshape(*x.shape[:-1], -1, SIMNORM_GROUP)
    return jax.nn.softmax(groups, axis=-1).reshape(x.shape)


# Those that learn nothing, by name.
_FIXED: dict[str, Callable[[Array], Array]] = {
    "unitball": unitball,
    "unitball-detach": unitball_detach,
    "hypersphere": hypersphere,
    "simnorm": simnorm,
}


class Norm(nn.Module):
    """Normalization of the last axis, wherever a network has one.

    Source: AMAGO's implementation, version 3.4, whose choices these are; layer normalization: Ba et
    al. 2016, arXiv 1607.06450; rmsnorm: Zhang and Sennrich 2019, arXiv 1910.07467.

    Attributes:
        normalization: "layer", with a learned scale and bias; "rmsnorm", divided by the root of the
            mean of squares, with a learned scale; "none", nothing; or one of the functions
            `unitball`, "unitball-detach", `hypersphere` and `simnorm`, which learn nothing.

    Raises:
        ValueError: if there is no such normalization, or the width does not suit it.
    """

    normalization: str = "layer"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Normalize ``[..., D]``; all is worked out in float32 at least, whatever the dtype of x.

        The answer is of the dtype of x.
        """
        if self.normalization == "none":
            return x
        if self.normalization == "layer":
            norm = nn.LayerNorm(
                epsilon=EPSILON, use_fast_variance=False, dtype=x.dtype, name="norm"
            )
            return norm(x)
        wide = at_least_float32(x)
        if self.normalization == "rmsnorm":
            # No leaf is called as one of a layer norm is: an agent with the other is told apart.
            scale = self.param("rms_scale", nn.initializers.ones, (x.shape[-1],))
            y = rms_normalized(wide)
            return (y * align(scale, y)).astype(x.dtype)
        check_normalization(self.normalization)
        return _FIXED[self.normalization](wide).astype(x.dtype)


def check_normalization(normalization: str, **widths: int) -> None:
    """Check that there is such a normalization, and that it suits the widths it is to stand at.

    Args:
        normalization: see `Norm`.
        **widths: by the name of the setting that gives them.

    Raises:
        ValueError: if it does not.
    """
    if normalization not in get_args(Normalization):
        raise ValueError(
            f"normalization={normalization!r} is not one of {list(get_args(Normalization))}"
        )
    for name, width in widths.items():
        if normalization == "simnorm" and width % SIMNORM_GROUP:
            raise ValueError(
                f"normalization='simnorm' needs groups of {SIMNORM_GROUP}, which do not divide "
                f"{name}={width}: set {name}={-(-width // SIMNORM_GROUP) * SIMNORM_GROUP}, or "
                "another normalization"
            )
