"""Causal attention: over packed windows in training, over a key/value cache when acting."""

import itertools

import chex
import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.models.segments import segment_positions
from amago_jax.types import Array

# Finite, so that a sum with it stays a number.
MASKED = -1e30


@struct.dataclass
class CacheStep:
    """Where one step of decoding writes in every layer's cache, and what it sees there.

    Attributes:
        cursor: int32 ``[]``, the ring's entry to write.
        sink: bool ``[B, S]``, the sink's entry to write, if any.
        bias: float32 ``[B, M+S]``, 0 for the entries in sight once this timestep is written.
    """

    cursor: Array
    sink: Array
    bias: Array


def causal_bias(segment_ids: Array, window: int | None = None, sink: int = 0) -> Array:
    """Return float32 ``[B, L, L]``: 0 where timestep i (axis 1) may attend to j (axis 2).

    Built once for all layers and heads, and added rather than selected with: XLA on a CPU fuses
    an addition with the products around it, not a selection.

    Args:
        segment_ids: int32 ``[B, L]``, see `Batch`.
        window: if given, i sees only the last so many timesteps, itself included.
        sink: the segment's first so many timesteps stay in sight of all that follow.
    """
    length = segment_ids.shape[-1]
    same_segment = segment_ids[:, :, None] == segment_ids[:, None, :]
    allowed = same_segment & jnp.tril(jnp.ones((length, length), bool))
    if window is not None:
        recent = jnp.triu(jnp.ones((length, length), bool), 1 - window)
        allowed &= recent | (segment_positions(segment_ids) < sink)[:, None, :]
    return jax.lax.optimization_barrier(jnp.where(allowed, 0.0, MASKED))


def attend(query: Array, key: Array, value: Array, bias: Array, clip: float | None = None) -> Array:
    """Dot-product attention; the query comes scaled.

    Args:
        query: float32 ``[B, H, L, E]``, divided by sqrt(E) beforehand.
        key: float32 ``[B, H, M, E]``.
        value: float32 ``[B, H, M, E]``.
        bias: float32 ``[B, L, M]``, added to the scores of every head.
        clip: if given, scores go through clip * tanh(score / clip) first.

    Returns:
        float32 ``[B, H, L, E]``.
    """
    chex.assert_rank([query, key, value, bias], [4, 4, 4, 3])
    scores = jnp.einsum("bhle,bhme->bhlm", query, key)
    if clip is not None:
        scores = clip * jnp.tanh(scores / clip)
    scores = scores + bias[:, None]
    # Softmax with the division moved behind the product, where it touches E numbers, not M.
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    return jnp.einsum("bhlm,bhme->bhle", weights, value) / weights.sum(-1, keepdims=True)


def causal_attend(
    query: Array,
    key: Array,
    value: Array,
    bias: Array,
    window: int | None = None,
    clip: float | None = None,
) -> Array:
    """`attend` for a causal bias ``[B, L, L]``, skipping most of what the bias would mask.

    Rows are taken in a few blocks, each against the keys from its first row's window up to its own
    end. Short sequences gain nothing from it.

    Args:
        query: as in `attend`; key, value and bias too, with M = L.
        key: see there.
        value: see there.
        bias: from `causal_bias`.
        window: if given, the bias masks all but the last so many timesteps, sinks too.
        clip: as in `attend`.
    """
    length = query.shape[2]
    blocks = 1 if length < 64 else 3 if length < 256 else 4
    edges = [round(length * block / blocks) for block in range(blocks + 1)]
    attended = []
    for start, end in itertools.pairwise(edges):
        rows, keys = (
            slice(start, end),
            slice(0 if window is None else max(0, start + 1 - window), end),
        )
        attended.append(
            attend(query[:, :, rows], key[:, :, keys], value[:, :, keys], bias[:, rows, keys], clip)
        )
    return jnp.concatenate(attended, axis=2)


def cache_step(cursor: Array, lengths: Array, *, window: int, sink: int) -> CacheStep:
    """Say where a step of decoding writes and what it sees, the same in every layer.

    A cache is a ring of the last M timesteps, then the S sinks. A sink is in sight from the step on
    at which the ring no longer holds it, so that nothing is seen twice.

    Args:
        cursor: int32 ``[]``, the ring's entry to write.
        lengths: int32 ``[B]``, timesteps since the row's episode began, this one included; any
            count from M+S on will do.
        window: M.
        sink: S.
    """
    age = (cursor - jnp.arange(window)) % window
    index = jnp.arange(sink)
    seen = [age < lengths[:, None], index < lengths[:, None] - window]
    return CacheStep(
        cursor=cursor,
        sink=index == lengths[:, None] - 1,
        bias=jnp.where(jnp.concatenate(seen, axis=1), 0.0, MASKED),
    )


def write_cache(cache: Array, new: Array, step: CacheStep) -> Array:
    """Write one timestep's keys or values.

    Args:
        cache: float32 ``[B, H, M+S, E]``.
        new: float32 ``[B, H, 1, E]``.
        step: from `cache_step`.

    Returns:
        The cache after.
    """
    cache = jax.lax.dynamic_update_slice_in_dim(cache, new, step.cursor, axis=2)
    sinks = step.sink.shape[1]
    if sinks == 0:
        return cache
    start = cache.shape[2] - sinks
    sink = jnp.where(step.sink[:, None, :, None], new, cache[:, :, start:])
    return jax.lax.dynamic_update_slice_in_dim(cache, sink, start, axis=2)


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
