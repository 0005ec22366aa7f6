"""Position embeddings of the Transformer: rotary and sinusoidal."""

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
    frequencies = jnp.exp(jnp.arange(0, width, 2) * (-jnp.log(10000.0) / width))
    angles = time[..., None] * align(frequencies, time[..., None])
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*time.shape, width)
