"""Fused causal attention in half precision on a GPU: cuDNN's, through JAX's public function.

Scores never leave the chip. What a timestep sees reaches the kernel as one mask of all pairs of
timesteps that all heads and layers share: offsets of packed segments, which would do without, are
not in JAX's public interface.

Source: `jax.nn.dot_product_attention`.
"""

import dataclasses
from typing import Literal

import chex
import jax
import jax.numpy as jnp

from amago_jax.models.attention.dense import in_sight
from amago_jax.models.attention.padding import pad_axis
from amago_jax.models.attention.sight import Sight
from amago_jax.types import Array

# Rows of the mask, and heads, begin where 16 bytes begin.
ALIGNED = 8


@dataclasses.dataclass(frozen=True)
class CuDNN:
    """An `AttentionBackend` of half precision and without a cap.

    Attributes:
        sight: caps nothing, see `LIMITS`.
        implementation: "xla" computes the same in plain JAX, on any platform, to test it.
    """

    sight: Sight
    implementation: Literal["cudnn", "xla"] = "cudnn"

    def prepare(self, segment_ids: Array) -> Array:
        """Return bool ``[B, 1, M, M]``: what timestep i (axis 2) sees, filled up to M."""
        segment_ids = pad_axis(segment_ids, 1, ALIGNED)
        return in_sight(segment_ids, self.sight.window, self.sight.sink)[:, None]

    def attend(self, query: Array, key: Array, value: Array, prepared: Array) -> Array:
        """See `AttentionBackend`."""
        chex.assert_equal_shape([query, key, value])
        length, width = query.shape[2:]

        def laid_out(x: Array) -> Array:
            """Map ``[B, H, L, E]`` to ``[B, M, H, W]``, zeros behind."""
            return pad_axis(pad_axis(x, 2, ALIGNED), 3, ALIGNED).swapaxes(1, 2)

        attended = jax.nn.dot_product_attention(
            laid_out(query),
            laid_out(key),
            laid_out(value),
            mask=prepared,
            scale=1.0,
            is_causal=True,
            implementation=self.implementation,
        )
        return jnp.swapaxes(attended, 1, 2)[:, :, :length, :width]
