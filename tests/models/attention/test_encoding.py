"""The Transformer's training pass goes through the backend that is chosen."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from amago_jax.models.attention import LONG
from small_agents import small_transformer, variables_of

FUSED = {"pallas": "gpu", "cudnn": "gpu", "splash": "tpu"}


def test_a_long_window_is_encoded_without_an_array_of_all_pairs():
    module = small_transformer(
        LONG, width=8, layers=1, dropout=0.2, window=300, sink=2, logit_clip=5.0
    )
    x = jax.random.normal(jax.random.key(0), (1, LONG, 3))
    time = jnp.arange(LONG)[None] % 400
    ids = 1 + jnp.arange(LONG)[None] // 400
    variables = variables_of(module, x[:, :2], ids[:, :2], ids[:, :2])

    def encode(x, attention):
        rngs = {"dropout": jax.random.key(2)}
        return module.clone(attention=attention).apply(
            variables, x, time, ids, training=True, mutable=["statistics"], rngs=rngs
        )

    ways = [functools.partial(encode, attention=name) for name in ("auto", "dense")]
    pairs = [f"{LONG},{LONG}" in str(jax.make_jaxpr(way)(x)) for way in ways]
    assert pairs == [False, True]
    found, expected = (jax.jit(way)(x) for way in ways)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("name", ["pallas", "splash"])
def test_fused_kernels_make_no_array_of_all_pairs(name):
    length = 300  # no size of anything else
    module = small_transformer(length, width=16, layers=1, platform=FUSED[name], attention=name)
    x, ids = jnp.zeros((1, length, 3)), jnp.ones((1, length), jnp.int32)
    two = (x[:, :2], ids[:, :2], ids[:, :2])
    variables = variables_of(module.clone(attention="dense"), *two)

    def loss(params):
        return module.apply({**variables, "params": params}, x, ids, ids).sum()

    program = jax.make_jaxpr(jax.grad(loss))(variables["params"])
    shapes = {var.aval.shape for part in equations(program.jaxpr) for var in part.outvars}
    assert "pallas_call" in {part.primitive.name for part in equations(program.jaxpr)}
    assert not [shape for shape in shapes if sum(size >= length for size in shape) > 1]


def equations(program):
    """Yield the equations of a program and of those it calls, but what happens in kernels."""
    for part in program.eqns:
        yield part
        if part.primitive.name != "pallas_call":
            for inner in jaxprs_in_params(part.params):
                yield from equations(inner)


def test_what_cannot_serve_is_said_where_a_window_is_encoded():
    module = small_transformer(8, attention="cudnn", platform="gpu")
    x, ids = jnp.zeros((1, 4, 3)), jnp.ones((1, 4), jnp.int32)
    with pytest.raises(ValueError, match="attention=cudnn does not take dtype=float32"):
        module.init(jax.random.key(0), x, ids, ids)
