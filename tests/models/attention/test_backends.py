"""Every backend of attention: values and gradients are those of the softmax by definition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax.models.attention import LIMITS, Sight, make_backend
from amago_jax.models.attention.blocks import Blocks
from amago_jax.models.attention.cudnn import CuDNN
from amago_jax.models.attention.dense import Dense
from amago_jax.models.attention.limits import Wanted, refusal
from amago_jax.models.attention.pallas import Pallas
from amago_jax.models.attention.splash import Splash

ROWS, HEADS, WIDTH = 2, 2, 3
BACKENDS = {
    "dense": Dense,
    "blocks": functools.partial(Blocks, block=4),
    "pallas": functools.partial(Pallas, interpret=True),
    "cudnn": functools.partial(CuDNN, implementation="xla"),
    "splash": functools.partial(Splash, interpret=True),
}
SIGHTS = {
    "all": Sight(),
    "window": Sight(window=6),
    "sink": Sight(window=2, sink=2),
    "cap": Sight(clip=0.7),
    "everything": Sight(window=3, sink=1, clip=0.7),
}


def serves(name, sight):
    limits = LIMITS[name]
    platform = (*limits.platforms, "cpu")[0]
    return refusal(name, Wanted(platform, "bfloat16", 19, WIDTH, sight)) is None


# Short of one block of every fused kernel; then more than one of each, and less than two.
CASES = {
    f"{name}, {seen}": (make, 19, sight)
    for name, make in BACKENDS.items()
    for seen, sight in SIGHTS.items()
    if serves(name, sight)
} | {
    "dense, rows in blocks": (Dense, 70, SIGHTS["everything"]),
    "dense, rows in one block": (functools.partial(Dense, row_blocks=1), 70, SIGHTS["window"]),
    "blocks, one": (functools.partial(Blocks, block=16), 7, Sight()),
    "blocks, filled": (functools.partial(Blocks, block=4), 12, Sight()),
    "blocks of one": (functools.partial(Blocks, block=1), 5, Sight()),
    "blocks, window of one": (BACKENDS["blocks"], 13, Sight(window=1)),
    "blocks, window of a block": (BACKENDS["blocks"], 13, Sight(window=5)),
    "pallas, blocks": (BACKENDS["pallas"], 70, Sight()),
    "splash, blocks": (BACKENDS["splash"], 140, Sight(window=130)),
}


def in_sight(ids, sight):
    """Say by definition what timestep i (axis 1) sees, bool ``[B, L, L]``."""
    place = jnp.arange(ids.shape[1])
    behind = (place[:, None] - place[None])[None]
    same = ids[:, :, None] == ids[:, None]
    if sight.window is None:
        return same & (behind >= 0)
    # Timesteps of the same segment before j.
    position = (same & (behind > 0)).sum(2)
    return same & (behind >= 0) & ((behind < sight.window) | (position < sight.sink)[:, None])


def both(backend, sight):
    """Return a function that gives outputs and gradients, of the backend and by definition."""

    def plain(query, key, value, ids):
        # In float32, whatever the inputs.
        query, key, value = (x.astype(jnp.float32) for x in (query, key, value))
        scores = (query[:, :, :, None] * key[:, :, None]).sum(-1)
        if sight.clip is not None:
            scores = sight.clip * jnp.tanh(scores / sight.clip)
        seen = in_sight(ids, sight)[:, None]
        weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1)
        return (weights[..., None] * value[:, :, None]).sum(3)

    def by_backend(query, key, value, ids):
        return backend.attend(query, key, value, backend.prepare(ids))

    def weighed(inputs, ids, weights, way):
        out = way(*inputs, ids)
        return (out * weights).sum(), out

    def gradients(*arguments):
        return [jax.grad(weighed, has_aux=True)(*arguments, way) for way in (by_backend, plain)]

    return jax.jit(gradients)


def packed(rng, length, chance):
    """Draw segment ids of episodes behind one another, the first row with padding at its end."""
    ids = 1 + np.cumsum(rng.uniform(size=(ROWS, length)) < chance, axis=1)
    ids[0, rng.integers(1, length + 1) :] = 0
    return ids.astype(np.int32)


@functools.cache
def compiled(name):
    make, length, sight = CASES[name]
    return length, both(make(sight), sight)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), chance=st.sampled_from([0.0, 0.1, 0.5]))
def test_values_and_gradients_are_those_of_the_definition(name, seed, chance):
    length, function = compiled(name)
    rng = np.random.default_rng(seed)
    shape = (ROWS, HEADS, length, WIDTH)
    # Scores far apart, so that a wrong running maximum would show.
    inputs = [rng.normal(size=shape).astype(np.float32) * scale for scale in (4, 4, 1)]
    weights = rng.normal(size=shape).astype(np.float32)
    (grads, found), (expected_grads, expected) = function(
        inputs, packed(rng, length, chance), weights
    )
    # float32 rounds scores of up to 200 by 1e-5, and so weights; gradients are sums of many.
    np.testing.assert_allclose(found, expected, atol=5e-5)
    for a, b in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(a, b, atol=5e-4)


@pytest.mark.parametrize("name", BACKENDS)
def test_in_bfloat16_only_products_are_rounded(name):
    rng = np.random.default_rng(0)
    shape = (ROWS, HEADS, 19, WIDTH)
    inputs = [jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for _ in range(3)]
    weights = rng.normal(size=shape).astype(np.float32)
    function = both(BACKENDS[name](Sight()), Sight())
    (grads, found), (expected_grads, expected) = function(inputs, packed(rng, 19, 0.1), weights)
    # bfloat16 keeps 8 bits: one part in 256 of numbers of about 1, twice rounded.
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), expected, atol=0.02)
    for a, b in zip(grads, expected_grads, strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(jnp.float32), b.astype(jnp.float32), atol=0.05)


@pytest.mark.parametrize("name", [name for name in LIMITS if name != "dense"])
def test_every_backend_is_made_by_its_name(name):
    sight = Sight()
    assert type(make_backend(name, sight, "gpu")) is type(BACKENDS[name](sight))


def test_dense_attention_takes_rows_at_once_where_launches_cost_most():
    assert make_backend("dense", Sight(), "cpu") == Dense(Sight())
    assert make_backend("dense", Sight(), "gpu") == Dense(Sight(), row_blocks=1)
