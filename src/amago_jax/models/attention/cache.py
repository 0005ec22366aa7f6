"""The key/value cache of decoding: a ring of the last timesteps, and the sinks behind it."""

import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.models.attention.dense import MASKED
from amago_jax.types import Array


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
    age = (cursor - jnp.arange(window)[None]) % window
    index = jnp.arange(sink)[None]
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
