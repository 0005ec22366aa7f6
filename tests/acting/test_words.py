"""What was packed in words is unpacked to the bit, and only what is small is packed."""

import jax
import jax.numpy as jnp
import numpy as np

from amago_jax.acting.words import WIDEST, pack, unpack

ROWS = 3


def small(step):
    return {
        "flags": jnp.array([True, False, True]) ^ (step % 2 == 1),
        "numbers": jnp.array([[0.0, -0.0], [jnp.nan, jnp.inf], [1e-45, -1.0]]) * step,
        "counts": jnp.array([-1, 0, 2**31 - 1]) - step,
        "bits": jnp.full((ROWS, 2, 2), 2**32 - 1, jnp.uint32),
    }


def large(step):
    return {
        "image": jnp.full((ROWS, 2, 2), step, jnp.uint8),
        "cache": jnp.full((ROWS, WIDEST + 1), step, jnp.float32),
        "cursor": jnp.int32(0) + step,
        "keys": jax.random.split(jax.random.key(0), ROWS),
    }


def bits(tree):
    return [
        np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
        for x in jax.tree.leaves(tree)
    ]


def test_steps_packed_in_a_loop_are_those_unpacked():
    def tree(step):
        return {"large": large(step), "small": small(step)}

    def count(step, _):
        return step + 1, (tree(step), pack(tree(step), ROWS))

    _, (expected, packed) = jax.lax.scan(count, 0, length=4)
    found = unpack(packed)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(bits(found), bits(expected), strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


def test_only_what_is_small_is_packed():
    packed = pack({"large": large(0), "small": small(0)}, ROWS)
    assert packed.words.shape == (ROWS, 1 + 2 + 1 + 4)
    assert len(jax.tree.leaves(packed.rest)) == len(large(0))
    # Nothing to pack is no reason to fail.
    nothing = pack(large(1), ROWS)
    assert nothing.words.shape == (ROWS, 0)
    assert jax.tree.structure(unpack(nothing)) == jax.tree.structure(large(1))
