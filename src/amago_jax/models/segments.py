"""Segments of packed windows: where they begin, and what is padding."""

import jax
import jax.numpy as jnp

from amago_jax.types import Array


def segment_positions(segment_ids: Array) -> Array:
    """Return int32 ``[B, L]``: timesteps since the segment began in this window, 0 at its start.

    Args:
        segment_ids: int32 ``[B, L]``, see `Batch`.
    """
    index = jnp.arange(segment_ids.shape[1], dtype=jnp.int32)[None]
    changes = segment_ids[:, 1:] != segment_ids[:, :-1]
    starts = jnp.pad(changes, ((0, 0), (1, 0)), constant_values=True)
    return index - jax.lax.cummax(jnp.where(starts, index, 0), axis=1)


def blank_padding(x: Array, segment_ids: Array) -> Array:
    """Set padding to zero in ``x [B, L, E]``.

    A recurrence drops what is before a segment's start by a product with zero, which a NaN or an
    infinity would survive; and the gradient of a selection passes them on too.

    Args:
        x: float32 ``[B, L, E]``.
        segment_ids: int32 ``[B, L]``, see `Batch`.
    """
    return jnp.where((segment_ids > 0)[..., None], x, 0.0)
