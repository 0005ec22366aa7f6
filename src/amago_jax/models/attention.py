"""Causal attention: over packed windows in training, over a key/value cache when acting."""

import jax
import jax.numpy as jnp

from amago_jax.types import Array

# Finite, so that a row without any allowed key gives finite numbers that no mask lets through.
MASKED = -1e30


def causal_mask(segment_ids: Array) -> Array:
    """Return bool ``[B, L, L]``: may timestep i (axis 1) attend to timestep j (axis 2).

    Args:
        segment_ids: int32 ``[B, L]``, see `Batch`.
    """
    length = segment_ids.shape[-1]
    same_segment = segment_ids[:, :, None] == segment_ids[:, None, :]
    return same_segment & jnp.tril(jnp.ones((length, length), bool))


def attend(query: Array, key: Array, value: Array, mask: Array) -> Array:
    """Scaled dot-product attention.

    Args:
        query: float32 ``[B, H, L, E]``.
        key: float32 ``[B, H, M, E]``.
        value: float32 ``[B, H, M, E]``.
        mask: bool, broadcast to ``[B, H, L, M]``; where a query may attend.

    Returns:
        float32 ``[B, H, L, E]``.
    """
    scores = jnp.einsum("bhle,bhme->bhlm", query, key) * query.shape[-1] ** -0.5
    weights = jax.nn.softmax(jnp.where(mask, scores, MASKED), axis=-1)
    return jnp.einsum("bhlm,bhme->bhle", weights, value)


def rotate(x: Array, time: Array) -> Array:
    """Rotary position embedding, half-split convention.

    Source: Su et al. 2021, arXiv 2104.09864.

    Args:
        x: float32 ``[B, H, L, E]``, E even.
        time: int32 ``[B, L]``.

    Returns:
        x rotated by its time, same shape.
    """
    half = x.shape[-1] // 2
    frequencies = 10000.0 ** (-jnp.arange(half) / half)
    angles = time[:, None, :, None] * frequencies
    first, second = x[..., :half], x[..., half:]
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


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
    angles = time[..., None] * frequencies
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*time.shape, width)
