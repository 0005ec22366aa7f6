"""What is drawn together is what would be drawn alone, bit for bit, by fewer programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amago_jax.draws import draw_together
from amago_jax.models.layers import uniform_fan_in
from small_agents import small_agent
from streams import random_episode


def one_by_one(key, scale):
    """Draw as initial weights are: keys of keys, of several shapes and distributions."""
    key_first, key_second = jax.random.split(key)
    first = {f"{i}": jax.random.fold_in(key_first, i) for i in range(4)}
    second = jax.random.fold_in(jax.random.fold_in(key_second, 3), 4)
    lengths = jnp.linalg.norm(jax.random.normal(second, (3, 5)), axis=-1)
    return {
        "uniform": uniform_fan_in(7)(first["0"], (7, 3)),
        "number": jax.random.uniform(first["1"], minval=-scale),
        "truncated": jax.random.truncated_normal(first["2"], -2.0, 2.0, (2, 3, 2)),
        "none": jax.random.normal(first["3"], (0, 3)),
        "of one drawn": jax.random.bernoulli(first["3"], jax.nn.sigmoid(lengths)),
        "short": jax.random.bits(key_second, (5,), jnp.uint16),
        "whole": jax.random.randint(second, (4,), 0, 1000),
        "looped": jax.lax.map(lambda key: jax.random.normal(key, (2,)), jax.random.split(key, 3)),
        "keys": jax.random.key_data(second),
        "unused key": key,
    }


def assert_bits_equal(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert x.dtype == y.dtype
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("batched", [False, True])
def test_bits_are_those_of_one_by_one(batched):
    key = jax.random.key(3)
    drawn = one_by_one, draw_together(one_by_one)
    if batched:
        key = jax.random.split(key, 2)
        drawn = tuple(jax.vmap(draw, in_axes=(0, None)) for draw in drawn)
    wanted, found = (jax.jit(draw)(key, 2.0) for draw in drawn)
    assert_bits_equal(found, wanted)


def test_an_agents_weights_are_those_of_one_by_one():
    agent = small_agent(context_length=8)
    episode = random_episode(np.random.default_rng(0), 2)
    example = jax.tree.map(jax.device_put, episode)  # its steps as a batch
    inits = agent.init, draw_together(agent.init)
    wanted, found = (jax.jit(init)(jax.random.key(0), example) for init in inits)
    assert_bits_equal(found, wanted)


def test_another_generator_is_left_alone():
    key = jax.random.key(3, impl="rbg")

    def draw(key):
        return jax.random.normal(jax.random.fold_in(key, 1), (4,))

    assert_bits_equal(jax.jit(draw_together(draw))(key), jax.jit(draw)(key))


def test_the_older_layout_of_bits_is_left_alone():
    with jax.threefry_partitionable(False):
        key = jax.random.key(3)
        wanted, found = (jax.jit(f)(key, 2.0) for f in (one_by_one, draw_together(one_by_one)))
    assert_bits_equal(found, wanted)


def test_many_numbers_are_drawn_by_themselves(monkeypatch):
    monkeypatch.setattr("amago_jax.draws.MANY", 9)
    key = jax.random.key(3)
    program = str(jax.make_jaxpr(draw_together(one_by_one))(key, 2.0))
    assert "random_bits" in program
    assert "threefry2x32" in program
    found = jax.jit(draw_together(one_by_one))(key, 2.0)
    assert_bits_equal(found, jax.jit(one_by_one)(key, 2.0))


def test_there_are_two_draws_for_any_number_of_weights():
    def weights(key):
        return [jax.random.normal(jax.random.fold_in(key, i), (i + 1, 3)) for i in range(9)]

    program = str(jax.make_jaxpr(draw_together(weights))(jax.random.key(0)))
    assert program.count("random_bits") == 0
    assert program.count("random_fold_in") == 1
    assert program.count("threefry2x32") == 1
