"""The GRU and the feed-forward encoder against the authors' numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amago_jax.models.feedforward import FeedForward
from amago_jax.models.gru import GRU
from golden_files import assert_close, load

DTYPES = pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])


def linear(weights, name):
    return {"dense": {"kernel": weights[f"{name}.weight"].T, "bias": weights[f"{name}.bias"]}}


def norm(weights, name):
    return {"norm": {"scale": weights[f"{name}.norm.weight"], "bias": weights[f"{name}.norm.bias"]}}


def gru(dtype):
    golden = load("gru")
    meta, weights = golden.meta, golden.under("weights")
    params = {"output": linear(weights, "out"), "output_norm": norm(weights, "out_norm")}
    for layer in range(meta["n_layers"]):
        params[f"cells_{layer}"] = {
            "input": {
                "kernel": weights[f"rnn.weight_ih_l{layer}"].T,
                "bias": weights[f"rnn.bias_ih_l{layer}"],
            },
            "hidden_kernel": weights[f"rnn.weight_hh_l{layer}"].T,
            "hidden_bias": weights[f"rnn.bias_hh_l{layer}"],
        }
    module = GRU(
        context_length=golden["seq"].shape[1],
        layers=meta["n_layers"],
        hidden_size=meta["d_hidden"],
        output_width=meta["d_output"],
        dtype=dtype,
    )
    return golden, module, check(module, golden, params)


def feedforward(dtype):
    golden = load("feedforward_traj")
    meta, weights = golden.meta, golden.under("weights")
    params = {
        "input": linear(weights, "traj_emb"),
        "output": linear(weights, "traj_last"),
        "output_norm": norm(weights, "out_norm"),
    }
    for layer in range(meta["n_layers"]):
        params[f"expand_{layer}"] = linear(weights, f"traj_blocks.{layer}.ff1")
        params[f"contract_{layer}"] = linear(weights, f"traj_blocks.{layer}.ff2")
    module = FeedForward(
        context_length=golden["seq"].shape[1],
        width=meta["d_model"],
        feedforward_width=meta["d_ff"],
        layers=meta["n_layers"],
        dtype=dtype,
    )
    return golden, module, check(module, golden, params)


def check(module, golden, params):
    """Every weight has its place and shape."""
    like = jax.eval_shape(module.init, jax.random.key(0), golden["seq"], *rows(golden))["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, like)
    return {"params": params}


def rows(golden):
    shape = golden["seq"].shape[:2]
    return np.broadcast_to(np.arange(shape[1]), shape), np.ones(shape, np.int32)


def decode(golden, module, variables):
    time, _ = rows(golden)

    def step(memory, inputs):
        out, memory = module.apply(variables, *inputs, memory, method="decode")
        return memory, out

    inputs = (golden["seq"], time, np.zeros(time.shape, bool))
    inputs = jax.tree.map(lambda x: jnp.swapaxes(jnp.asarray(x), 0, 1), inputs)
    start = module.initial_memory(len(time))
    memory, out = jax.jit(lambda i: jax.lax.scan(step, start, i))(inputs)
    return jnp.swapaxes(out, 0, 1), memory


@DTYPES
def test_gru(dtype, tolerance):
    golden, module, variables = gru(dtype)
    assert_close(module.apply(variables, golden["seq"], *rows(golden)), golden["out"], tolerance)


@DTYPES
def test_gru_decodes_to_the_same_hidden_states(dtype, tolerance):
    golden, module, variables = gru(dtype)
    out, memory = decode(golden, module, variables)
    assert_close(out, golden["out"], tolerance)
    assert_close(memory, golden["final_hidden"], tolerance)


@DTYPES
def test_feedforward(dtype, tolerance):
    golden, module, variables = feedforward(dtype)
    assert_close(module.apply(variables, golden["seq"], *rows(golden)), golden["out"], tolerance)
    assert_close(decode(golden, module, variables)[0], golden["out"], tolerance)
