"""Attention in blocks: what is visited, and memory linear in the length."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from amago_jax.models.attention import Sight
from amago_jax.models.attention.blocks import Blocks, block_pairs


@given(window=st.none() | st.integers(1, 30), size=st.integers(1, 6), blocks=st.integers(1, 6))
def test_blocks_are_visited_if_anything_in_them_is_in_sight(window, size, blocks):
    place = np.arange(blocks * size)
    behind = place[:, None] - place
    seen = (behind >= 0) & (behind < (window or len(place)))
    expected = seen.reshape(blocks, size, blocks, size).any(axis=(1, 3))
    pairs = block_pairs(Sight(window), blocks, size)
    assert sorted(map(tuple, np.asarray(pairs))) == sorted(zip(*np.nonzero(expected), strict=True))


def test_memory_grows_with_the_length_not_its_square():
    def temporary(length):
        def loss(inputs):
            ids = jnp.ones((1, length), jnp.int32)
            backend = Blocks(Sight(), block=64)
            return backend.attend(*inputs, backend.prepare(ids)).sum()

        inputs = [jax.ShapeDtypeStruct((1, 1, length, 4), jnp.float32)] * 3
        compiled = jax.jit(jax.grad(loss)).lower(inputs).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(8192) < 5 * temporary(2048)
