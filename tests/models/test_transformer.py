"""The Transformer's invariants: decoding equals the full pass; causality; settings."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax.models.layers import SigmaReparamLinear, reparametrized_kernels
from small_agents import small_transformer, variables_of

ROWS, LENGTH, FEATURES = 3, 12, 5


def episodes_to_times(starts):
    """Times since the latest start, from bool ``[B, L]``."""
    index = np.arange(starts.shape[1])
    latest = np.maximum.accumulate(np.where(starts, index, 0), axis=1)
    return (index - latest).astype(np.int32)


def build(context_length, position):
    module = small_transformer(context_length, position=position)
    ids = jnp.ones((ROWS, LENGTH), jnp.int32)
    variables = variables_of(module, jnp.zeros((ROWS, LENGTH, FEATURES)), ids, ids)
    full = jax.jit(lambda x, time, ids: module.apply(variables, x, time, ids))

    def decode(x, time, is_first):
        def step(memory, inputs):
            out, memory = module.apply(variables, *inputs, memory, method="decode")
            return memory, out

        inputs = jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), (x, time, is_first))
        _, out = jax.lax.scan(step, module.initial_memory(ROWS), inputs)
        return jnp.swapaxes(out, 0, 1)

    return module, variables, full, jax.jit(decode)


@pytest.fixture(scope="module", params=["fixed", "learnable", "rope"])
def setup(request):
    return build(LENGTH, request.param)


def inputs(seed, chance):
    rng = np.random.default_rng(seed)
    starts = rng.uniform(size=(ROWS, LENGTH)) < chance
    starts[:, 0] = True
    x = jax.device_put(rng.normal(size=(ROWS, LENGTH, FEATURES)).astype(np.float32))
    return x, episodes_to_times(starts), starts


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), chance=st.sampled_from([0.0, 0.1, 0.5]))
def test_decoding_equals_the_full_pass_at_every_step(setup, seed, chance):
    _, _, full, decode = setup
    x, time, starts = inputs(seed, chance)
    expected = full(x, time, np.cumsum(starts, axis=1).astype(np.int32))
    np.testing.assert_allclose(decode(x, time, starts), expected, atol=2e-5)


def test_it_decodes_alike_with_sigma_worked_out_beforehand(setup):
    module, variables, _, decode = setup
    statistics = jax.tree.map(lambda x: 0.5 * x + 0.1, variables["statistics"])
    scaled = {**variables, "statistics": statistics}
    acting, params = module.for_acting(scaled["params"], statistics)
    x, time, starts = inputs(0, 0.1)
    memory = module.initial_memory(ROWS)
    step = (x[:, 0], time[:, 0], starts[:, 0], memory)
    expected, _ = jax.jit(functools.partial(module.apply, method="decode"))(scaled, *step)
    found, _ = jax.jit(functools.partial(acting.apply, method="decode"))({"params": params}, *step)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not np.allclose(expected, decode(x, time, starts)[:, 0], atol=1e-3)


def test_past_the_window_the_oldest_entry_falls_out():
    context = 5
    module, _, _, decode = build(context, "fixed")
    x, time, starts = inputs(0, 0.0)
    out = decode(x, time, starts)
    # One block deep, what fell out cannot be felt; deeper, it lives on in cached values.
    changed = decode(x.at[:, 0].add(1.0), time, starts)
    reach = module.layers * (context - 1)
    assert not np.allclose(out[:, :context], changed[:, :context], atol=1e-4)
    np.testing.assert_allclose(out[:, reach + 1 :], changed[:, reach + 1 :], atol=1e-6)


def test_no_timestep_sees_the_future(setup):
    _, _, full, _ = setup
    x, time, starts = inputs(3, 0.1)
    ids = np.cumsum(starts, axis=1).astype(np.int32)
    changed = full(x.at[:, 7:].add(1.0), time, ids)
    np.testing.assert_array_equal(full(x, time, ids)[:, :7], changed[:, :7])


def test_power_iteration_finds_the_spectral_norm():
    layer = SigmaReparamLinear(9, 6)
    x = jnp.ones((1, 9))
    variables = layer.init(jax.random.key(0), x)
    kernel = jax.random.normal(jax.random.key(1), (9, 6))
    variables = {**variables, "params": {**variables["params"], "kernel": kernel}}
    iterate = jax.jit(functools.partial(layer.apply, training=True, mutable=["statistics"]))
    for _ in range(200):
        _, moved = iterate(variables, x)
        variables = {**variables, **moved}
    u, v = variables["statistics"]["u"], variables["statistics"]["v"]
    np.testing.assert_allclose(v @ kernel @ u, np.linalg.norm(kernel, 2), rtol=1e-5)
    no_bias = layer.apply(variables, jnp.zeros((1, 9)))
    scaled = layer.apply(variables, x) - no_bias
    np.testing.assert_allclose(scaled, x @ kernel / np.linalg.norm(kernel, 2), rtol=1e-4)


def test_linears_are_reparametrized_together_as_each_by_itself():
    class Three(nn.Module):
        """Two linears of one shape, with one of another between them."""

        def setup(self):
            self.linears = [SigmaReparamLinear(9, size) for size in (6, 5, 6)]

        def __call__(self, together, training):
            if together:
                return reparametrized_kernels(self.linears, training)
            return [linear.kernel(training) for linear in self.linears]

    def loss(params, statistics, together):
        variables = {"params": params, "statistics": statistics}
        kernels, moved = Three().apply(variables, together, True, mutable=["statistics"])
        return sum((jnp.sin(kernel) * (i + 1)).sum() for i, kernel in enumerate(kernels)), moved

    variables = jax.jit(Three().init, static_argnums=(1, 2))(jax.random.key(0), True, False)
    found, expected = (
        jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=2)(
            variables["params"], variables["statistics"], together
        )
        for together in (True, False)
    )
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-6)
    before, after = variables["statistics"], found[0][1]["statistics"]
    moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), before, after)
    assert min(jax.tree.leaves(moved)) > 0


def test_it_starts_as_the_leading_singular_vectors():
    layer = SigmaReparamLinear(9, 6)
    variables = layer.init(jax.random.key(0), jnp.ones((1, 9)))
    kernel = np.asarray(variables["params"]["kernel"])
    u, v = variables["statistics"]["u"], variables["statistics"]["v"]
    np.testing.assert_allclose(v @ kernel @ u, np.linalg.norm(kernel, 2), rtol=1e-5)


def test_impossible_settings_are_named():
    with pytest.raises(ValueError, match=r"heads=3 does not divide width=16"):
        small_transformer(8, heads=3)
    with pytest.raises(ValueError, match="position='learned'"):
        small_transformer(8, position="learned")
    with pytest.raises(ValueError, match="activation='swoosh'"):
        small_transformer(8, activation="swoosh")
    with pytest.raises(ValueError, match="even width per head"):
        small_transformer(8, width=6, heads=2, position="rope")
