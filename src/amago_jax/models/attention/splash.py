"""Fused causal attention on a TPU: JAX's Splash attention.

Blocks of keys that causality and the window hide from a block of queries are not visited, and
scores never leave the chip. Segments are told apart inside the kernel.

Source: `jax.experimental.pallas.ops.tpu.splash_attention`.
"""

import dataclasses
from typing import Any

import chex
import jax
from flax import struct

from amago_jax.models.attention.padding import pad_axis
from amago_jax.models.attention.sight import Sight
from amago_jax.types import Array

# Timesteps in a block, the best first; a TPU's lanes are the least.
BLOCKS = (512, 256, 128)
# A larger block may fill a window up by so much of its length.
FILL = 1 / 8


@struct.dataclass
class Prepared:
    """What layers share.

    Attributes:
        kernel: a function of one head's query, key and value ``[1, M, E]`` and its segments.
        segment_ids: int32 ``[B, M]``, filled up to whole blocks.
    """

    kernel: Any
    segment_ids: Array


@dataclasses.dataclass(frozen=True)
class Splash:
    """An `AttentionBackend` without sinks.

    Attributes:
        sight: has no sinks, see `LIMITS`.
        interpret: run the kernels as plain JAX, on any platform, to test them.
    """

    sight: Sight
    interpret: bool = False

    def prepare(self, segment_ids: Array) -> Prepared:
        """See `AttentionBackend`."""
        # Imported by whoever trains with it: it takes longer than many a program to compile.
        from jax.experimental.pallas.ops.tpu import splash_attention as splash

        block = block_size(segment_ids.shape[1])
        # What fills the last block comes after every timestep, so that none of them sees it.
        segment_ids = pad_axis(segment_ids, 1, block)
        shape, window = (segment_ids.shape[1],) * 2, self.sight.window
        mask: Any = splash.CausalMask(shape)
        if window is not None:
            mask = splash.LocalMask(shape, window_size=(window - 1, 0), offset=0)
        kernel = splash.make_splash_mha_single_device(
            splash.MultiHeadMask([mask]),
            block_sizes=splash.BlockSizes(
                block_q=block,
                block_kv=block,
                block_q_dkv=block,
                block_kv_dkv=block,
                block_q_dq=block,
                block_kv_dq=block,
            ),
            attn_logits_soft_cap=self.sight.clip,
            interpret=self.interpret,
        )
        return Prepared(kernel, segment_ids)

    def attend(self, query: Array, key: Array, value: Array, prepared: Prepared) -> Array:
        """See `AttentionBackend`."""
        from jax.experimental.pallas.ops.tpu import splash_attention as splash

        chex.assert_equal_shape([query, key, value])
        length, filled = query.shape[2], prepared.segment_ids.shape[1]

        def one_head(query: Array, key: Array, value: Array, ids: Array) -> Array:
            query, key, value = (x[None] for x in (query, key, value))
            return prepared.kernel(query, key, value, segment_ids=splash.SegmentIds(ids, ids))[0]

        heads = jax.vmap(one_head, in_axes=(0, 0, 0, None))
        query, key, value = (pad_axis(x, 2, filled) for x in (query, key, value))
        return jax.vmap(heads)(query, key, value, prepared.segment_ids)[:, :, :length]


def block_size(length: int) -> int:
    """Return the timesteps in a block for windows of ``length``."""
    fitting = [size for size in BLOCKS if -length % size <= FILL * length]
    return (*fitting, BLOCKS[-1])[0]
