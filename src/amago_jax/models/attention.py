"""Causal attention: over packed windows in training, over a key/value cache when acting."""

import itertools

import chex
import jax
import jax.numpy as jnp

from amago_jax.types import Array

# Finite, so that a sum with it stays a number.
MASKED = -1e30


def causal_bias(segment_ids: Array) -> Array:
    """Return float32 ``[B, L, L]``: 0 where timestep i (axis 1) may attend to j (axis 2).

    Built once for all layers and heads, and added rather than selected with: XLA on a CPU fuses
    an addition with the products around it, not a selection.

    Args:
        segment_ids: int32 ``[B, L]``, see `Batch`.
    """
    length = segment_ids.shape[-1]
    same_segment = segment_ids[:, :, None] == segment_ids[:, None, :]
    allowed = same_segment & jnp.tril(jnp.ones((length, length), bool))
    return jax.lax.optimization_barrier(jnp.where(allowed, 0.0, MASKED))


def attend(query: Array, key: Array, value: Array, bias: Array) -> Array:
    """Dot-product attention; the query comes scaled.

    Args:
        query: float32 ``[B, H, L, E]``, divided by sqrt(E) beforehand.
        key: float32 ``[B, H, M, E]``.
        value: float32 ``[B, H, M, E]``.
        bias: float32 ``[B, L, M]``, added to the scores of every head.

    Returns:
        float32 ``[B, H, L, E]``.
    """
    chex.assert_rank([query, key, value, bias], [4, 4, 4, 3])
    scores = jnp.einsum("bhle,bhme->bhlm", query, key) + bias[:, None]
    # Softmax with the division moved behind the product, where it touches E numbers, not M.
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    return jnp.einsum("bhlm,bhme->bhle", weights, value) / weights.sum(-1, keepdims=True)


def causal_attend(query: Array, key: Array, value: Array, bias: Array) -> Array:
    """`attend` for a causal bias ``[B, L, L]``, skipping most of what the bias would mask.

    Rows are taken in a few blocks, each against the keys up to its own end. Short windows gain
    nothing from it.
    """
    length = query.shape[2]
    blocks = 1 if length < 64 else 3 if length < 256 else 4
    edges = [round(length * block / blocks) for block in range(blocks + 1)]
    attended = [
        attend(query[:, :, start:end], key[:, :, :end], value[:, :, :end], bias[:, start:end, :end])
        for start, end in itertools.pairwise(edges)
    ]
    return jnp.concatenate(attended, axis=2)


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
