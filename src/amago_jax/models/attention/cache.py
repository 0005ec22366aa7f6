"""The key/value cache of decoding: a ring of the last timesteps, and the sinks behind it.

While episodes are young, a step reads the part of the ring that some row has in sight, not all of
it: the next larger of a few sizes, so that what it costs follows what the episodes have filled.
"""

import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.models.attention.dense import MASKED, attend
from amago_jax.parallel import greatest_of_seeds
from amago_jax.types import Array

# The least part of a ring that is told apart: less costs hardly less.
LEAST_PART = 64


@struct.dataclass
class CacheStep:
    """Where one step of decoding writes in every layer's cache, and what it sees there.

    Attributes:
        cursor: int32 ``[]``, the ring's entry to write.
        sink: bool ``[B, S]``, the sink's entry to write, if any.
        bias: float32 ``[B, M+S]``, 0 for the entries in sight once this timestep is written.
        part: int32 ``[]``, which of `part_sizes` of the ring, ending with this timestep, holds all
            that any row sees of it.
    """

    cursor: Array
    sink: Array
    bias: Array
    part: Array


def part_sizes(window: int) -> tuple[int, ...]:
    """Return the sizes of the parts of a ring of ``window`` entries, ascending.

    They are a quarter, half of that, and so on, and all. A part is copied before it is read, so
    that half of a ring would cost as much as all of it, which is read where it lies.
    """
    parts = [-(-window // 4)]
    while parts[0] >= LEAST_PART:
        parts.insert(0, -(-parts[0] // 2))
    return (*parts[1:], window)


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
    sizes = part_sizes(window)
    filled = jnp.minimum(lengths.max(), window)
    # What goes on beyond the ring's end, at its start again, is no part: all of it is read.
    smallest = sum((filled > size).astype(jnp.int32) for size in sizes[:-1])
    part = jnp.where(filled > cursor + 1, len(sizes) - 1, smallest)
    return CacheStep(
        cursor=cursor,
        sink=index == lengths[:, None] - 1,
        bias=jnp.where(jnp.concatenate(seen, axis=1), 0.0, MASKED),
        part=part,
    )


def write_cache(cache: Array, new: Array, step: CacheStep) -> Array:
    """Write one timestep's keys or values.

    Args:
        cache: ``[B, H, M+S, E]``, float32 or bfloat16.
        new: ``[B, H, 1, E]``, of its dtype.
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


def attend_to_cache(
    query: Array, keys: Array, values: Array, step: CacheStep, clip: float | None = None
) -> Array:
    """Attend from one timestep to what the cache holds in sight.

    Args:
        query: ``[B, H, 1, E]``, divided by sqrt(E) beforehand.
        keys: ``[B, H, M+S, E]``, of its dtype, this timestep's written.
        values: likewise.
        step: from `cache_step`.
        clip: as in `attend`.

    Returns:
        ``[B, H, 1, E]`` in the same dtype.
    """
    window = keys.shape[2] - step.sink.shape[1]
    sizes = part_sizes(window)

    def attend_to(size: int) -> Array:
        def cut(x: Array, axis: int) -> Array:
            if size == window:
                return x
            start = jnp.clip(step.cursor + 1 - size, 0, window - size)
            part = jax.lax.dynamic_slice_in_dim(x, start, size, axis)
            sinks = jax.lax.slice_in_dim(x, window, x.shape[axis], axis=axis)
            return jnp.concatenate([part, sinks], axis)

        bias = cut(step.bias, 1)[:, None]
        return attend(query, cut(keys, 2), cut(values, 2), bias, clip)

    if len(sizes) == 1:
        return attend_to(window)
    return jax.lax.switch(
        greatest_of_seeds(step.part), [lambda size=size: attend_to(size) for size in sizes]
    )
