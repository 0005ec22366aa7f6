"""Position embeddings of the Transformer: rotary and sinusoidal."""

import jax
import jax.numpy as jnp

from amago_jax.axes import align
from amago_jax.types import Array


def rotate(x: Array, time: Array) -> Array:
    """Rotary position embedding, half-split convention.

    Source: Su et al. 2021, arXiv 2104.09864.

    Args:
        x: ``[B, H, L, E]``, E even.
        time: int32 ``[B, L]``.

    Returns:
        x rotated by its time, same shape and dtype.
    """
    half = x.shape[-1] // 2
    frequencies = 10000.0 ** (-jnp.arange(half) / half)
    angles = time[:, None, :, None] * frequencies[None, None, None]
    first, second = x[..., :half], x[..., half:]
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    rotated = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(rotated, axis=-1, dtype=x.dtype)


def sinusoid(time: Array, width: int) -> Array:
    """Fixed position embedding: sine on even columns, cosine on odd, base 10000.

    Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.5.

    Args:
        time: int32 ``[...]``.
        width: D, even.

    Returns:
        float32 ``[..., D]``.
    """
    return jax.lax.platform_dependent(
        time,
        # A processor would rather not work out twice as many sines and cosines.
        cpu=lambda time: _interleaved_sinusoid(time, width),
        default=lambda time: _selected_sinusoid(time, width),
    )


def _interleaved_sinusoid(time: Array, width: int) -> Array:
    angles = _angles(time, jnp.arange(0, width, 2), width)
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*time.shape, width)


def _selected_sinusoid(time: Array, width: int) -> Array:
    """Return the same column by column, which XLA joins with what reads it into one kernel."""
    column = jnp.arange(width)
    angles = _angles(time, column - column % 2, width)
    return jnp.where(align(column % 2 == 0, angles), jnp.sin(angles), jnp.cos(angles))


def _angles(time: Array, column: Array, width: int) -> Array:
    frequencies = jnp.exp(column * (-jnp.log(10000.0) / width))
    return time[..., None] * align(frequencies, time[..., None])
