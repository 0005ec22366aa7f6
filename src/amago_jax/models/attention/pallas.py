"""Fused causal attention on a GPU: JAX's Pallas kernels, written in Triton.

A program attends from one block of queries of one head, and its scores never leave the chip; the
backward pass makes them again. Segments are told apart inside the kernel.

Source: FlashAttention-2, Dao 2023, arXiv 2307.08691; `jax.experimental.pallas.ops.gpu.attention`.
"""

import dataclasses

import chex
import jax.numpy as jnp

from amago_jax.models.attention.padding import pad_axis, power_of_two
from amago_jax.models.attention.sight import Sight
from amago_jax.types import Array

# Triton's products take at least so many rows and columns.
LEAST = 16
# Timesteps in a block of long windows: with wider heads, the backward pass of more would not fit a
# multiprocessor's shared memory.
BLOCK, WIDE_HEADS_BLOCK = 64, 32


@dataclasses.dataclass(frozen=True)
class Pallas:
    """An `AttentionBackend` of an unbounded sight.

    Attributes:
        sight: bounds nothing, see `LIMITS`.
        interpret: run the kernels as plain JAX, on any platform, to test them.
    """

    sight: Sight
    interpret: bool = False

    def prepare(self, segment_ids: Array) -> Array:
        """Return segment ids, int32 ``[B, M]``, filled up to whole blocks."""
        length = segment_ids.shape[1]
        # What fills the last block comes after every timestep, so that none of them sees it.
        return pad_axis(segment_ids, 1, min(BLOCK, power_of_two(length, LEAST)))

    def attend(self, query: Array, key: Array, value: Array, prepared: Array) -> Array:
        """See `AttentionBackend`."""
        # Imported by whoever trains with it: it takes longer than many a program to compile.
        from jax.experimental.pallas.ops.gpu.attention import BlockSizes, mha

        chex.assert_equal_shape([query, key, value])
        length, width = query.shape[2:]
        filled, wide = prepared.shape[1], power_of_two(width, LEAST)
        block = min(filled, BLOCK if wide <= 128 else WIDE_HEADS_BLOCK)

        def laid_out(x: Array) -> Array:
            """Map ``[B, H, L, E]`` to ``[B, M, H, W]``, zeros behind."""
            x = pad_axis(pad_axis(x, 2, filled), 3, wide)
            return x.swapaxes(1, 2)

        attended = mha(
            laid_out(query),
            laid_out(key),
            laid_out(value),
            prepared,
            causal=True,
            block_sizes=BlockSizes(*[block] * 6),
            interpret=self.interpret,
        )
        return jnp.swapaxes(attended, 1, 2)[:, :, :length, :width]
