"""Reading a part of the cache gives what reading all of it gives, and is no larger than need be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax.models.attention import attend, cache
from amago_jax.models.attention.cache import attend_to_cache, cache_step, part_sizes

RING = 22


@pytest.fixture(scope="module", autouse=True)
def small_parts():
    """Parts of 3, 6 and 22 entries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "LEAST_PART", 3)
        yield


@jax.jit
def both_ways(cursor, lengths, key, sinks):
    step = cache_step(cursor, lengths, window=RING, sink=sinks.shape[0])
    shape = (len(lengths), 2, RING + sinks.shape[0], 3)
    keys, values = jax.random.normal(key, (2, *shape))
    query = jax.random.normal(key, (*shape[:2], 1, 3))
    whole = attend(query, keys, values, step.bias[:, None])
    return attend_to_cache(query, keys, values, step), whole, step.part


@settings(max_examples=60, deadline=None)
@given(
    cursor=st.integers(0, RING - 1),
    lengths=st.lists(st.integers(1, RING + 3), min_size=3, max_size=3),
    sinks=st.sampled_from([0, 2]),
)
def test_a_part_is_as_good_as_all(cursor, lengths, sinks):
    part, whole, index = both_ways(
        jnp.int32(cursor), jnp.asarray(lengths), jax.random.key(cursor), jnp.zeros(sinks)
    )
    np.testing.assert_allclose(part, whole, atol=1e-6)
    needed = min(max(lengths), RING)
    sizes = part_sizes(RING)
    if needed > cursor + 1:
        assert sizes[index] == RING
    else:
        assert sizes[index] == min(size for size in sizes if size >= needed)


@pytest.mark.parametrize(
    ("window", "sizes"),
    [(1, (1,)), (8, (8,)), (9, (3, 9)), (22, (3, 6, 22)), (64, (4, 8, 16, 64))],
)
def test_parts_are_a_quarter_and_halves_of_it(window, sizes):
    assert part_sizes(window) == sizes
