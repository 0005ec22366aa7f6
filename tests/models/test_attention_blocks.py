"""Attention in blocks: the numbers of attention with a bias, in memory linear in the length."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax.models.attention import attend, causal_bias
from amago_jax.models.attention.blocks import LONG, Sight, long_causal_attend
from small_agents import small_transformer

ROWS, HEADS, WIDTH = 2, 2, 3
# Lengths that blocks divide and lengths they do not, windows within, at and beyond a block.
CASES = {
    "one block": {"length": 7, "block": 16},
    "blocks": {"length": 12, "block": 4},
    "a block too short": {"length": 13, "block": 4},
    "blocks of one": {"length": 5, "block": 1},
    "window of one": {"length": 13, "block": 4, "window": 1},
    "window of a block": {"length": 13, "block": 4, "window": 5},
    "window over blocks": {"length": 19, "block": 4, "window": 6},
    "sink": {"length": 13, "block": 4, "window": 2, "sink": 2},
    "clip": {"length": 13, "block": 4, "clip": 0.7},
    "all": {"length": 14, "block": 5, "window": 3, "sink": 1, "clip": 0.7},
}


def with_bias(query, key, value, ids, *, window=None, sink=0, clip=None):
    return attend(query, key, value, causal_bias(ids, window, sink), clip)


@functools.cache
def compiled(name):
    """Values and gradients of both ways, compiled once per case."""
    chosen = dict(CASES[name])
    length, block = chosen.pop("length"), chosen.pop("block")
    ways = [
        functools.partial(with_bias, **chosen),
        functools.partial(long_causal_attend, **chosen, block=block),
    ]

    def weighed(inputs, ids, weights, way):
        out = way(*inputs, ids)
        return (out * weights).sum(), out

    def both(*arguments):
        return [jax.grad(weighed, has_aux=True)(*arguments, way) for way in ways]

    return length, jax.jit(both)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), chance=st.sampled_from([0.0, 0.1, 0.5]))
def test_values_and_gradients_are_those_of_attention_with_a_bias(name, seed, chance):
    length, both = compiled(name)
    rng = np.random.default_rng(seed)
    shape = (ROWS, HEADS, length, WIDTH)
    # Scores far apart, so that a wrong running maximum would show.
    inputs = [rng.normal(size=shape).astype(np.float32) * scale for scale in (4, 4, 1)]
    weights = rng.normal(size=shape).astype(np.float32)
    ids = 1 + np.cumsum(rng.uniform(size=(ROWS, length)) < chance, axis=1)
    ids[0, rng.integers(1, length + 1) :] = 0
    (expected_grads, expected), (grads, found) = both(inputs, ids.astype(np.int32), weights)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for a, b in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@given(window=st.none() | st.integers(1, 30), size=st.integers(1, 6), blocks=st.integers(1, 6))
def test_blocks_are_visited_if_anything_in_them_is_in_sight(window, size, blocks):
    place = np.arange(blocks * size)
    behind = place[:, None] - place
    seen = (behind >= 0) & (behind < (window or len(place)))
    expected = seen.reshape(blocks, size, blocks, size).any(axis=(1, 3))
    pairs = Sight(window, sink=0, clip=None).pairs(blocks, size)
    assert sorted(map(tuple, np.asarray(pairs))) == sorted(zip(*np.nonzero(expected), strict=True))


@pytest.mark.parametrize("chosen", [{}, {"window": 300, "sink": 2, "logit_clip": 5.0}])
def test_a_long_window_is_encoded_as_with_a_bias(chosen, monkeypatch):
    module = small_transformer(LONG, width=8, layers=1, dropout=0.2, **chosen)
    x = jax.random.normal(jax.random.key(0), (1, LONG, 3))
    time = jnp.arange(LONG)[None] % 400
    ids = 1 + jnp.arange(LONG)[None] // 400
    variables = jax.jit(module.init)(jax.random.key(1), x[:, :2], ids[:, :2], ids[:, :2])

    def encode(x):
        rngs = {"dropout": jax.random.key(2)}
        return module.apply(
            variables, x, time, ids, training=True, mutable=["statistics"], rngs=rngs
        )

    def encode_with_bias(x):
        with monkeypatch.context() as patch:
            patch.setattr("amago_jax.models.transformer.LONG", LONG + 1)
            return encode(x)

    assert f"{LONG},{LONG}" not in str(jax.make_jaxpr(encode)(x))
    assert f"{LONG},{LONG}" in str(jax.make_jaxpr(encode_with_bias)(x))
    found, expected = jax.jit(encode)(x), jax.jit(encode_with_bias)(x)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_memory_grows_with_the_length_not_its_square():
    def temporary(length):
        def loss(inputs):
            ids = jnp.ones((1, length), jnp.int32)
            return long_causal_attend(*inputs, ids, block=64).sum()

        inputs = [jax.ShapeDtypeStruct((1, 1, length, 4), jnp.float32)] * 3
        compiled = jax.jit(jax.grad(loss)).lower(inputs).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(8192) < 5 * temporary(2048)
