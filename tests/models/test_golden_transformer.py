"""The Transformer against the authors' numbers: full pass, gradients, cached decoding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amago_jax.interop.torch_names import load_state
from amago_jax.models.transformer import Transformer
from golden_files import assert_close, assert_trees_close, load

FILES = ["transformer_fixed", "transformer_learnable", "transformer_rope"]
# bfloat16 rounds to one part in 256, a few times per layer.
DTYPES = pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 3e-2)])
TABLE = "tformer.position_embedding.embeddings.weight"


def build(name, dtype):
    golden = load(name)
    meta = golden.meta
    weights = {f"traj_encoder.{k}": v for k, v in golden.under("weights").items()}
    module = Transformer(
        context_length=meta["max_seq_len"],
        width=meta["d_model"],
        heads=meta["n_heads"],
        feedforward_width=meta["d_ff"],
        layers=meta["n_layers"],
        dropout=0.0,
        activation="leaky_relu",
        position=meta["pos_emb"],
        max_time=len(golden["weights/" + TABLE]) if "weights/" + TABLE in golden.arrays else 1,
        dtype=dtype,
    )
    ids = jnp.ones(golden["seq"].shape[:2], jnp.int32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), golden["seq"], ids, ids)
    like = {name: {"trajectory_encoder": tree} for name, tree in shapes.items()}
    variables = unwrap(load_state(like, weights, meta["n_heads"]))
    return golden, module, variables, ids


def unwrap(tree):
    return {name: part["trajectory_encoder"] for name, part in tree.items()}


@DTYPES
@pytest.mark.parametrize("name", FILES)
def test_evaluation_pass(name, dtype, tolerance):
    golden, module, variables, ids = build(name, dtype)
    out = module.apply(variables, golden["seq"], golden["time_idxs"][..., 0], ids)
    assert out.dtype == dtype
    assert_close(out, golden["out_eval"], tolerance, name)


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance", "of_gradients"),
    [*((name, "float32", 1e-5, 1e-4) for name in FILES), (FILES[-1], "bfloat16", 3e-2, 3e-2)],
)
def test_training_pass_and_gradients(name, dtype, tolerance, of_gradients):
    golden, module, variables, ids = build(name, dtype)
    heads = golden.meta["n_heads"]

    def loss(params):
        out, _ = module.apply(
            {**variables, "params": params},
            golden["seq"],
            golden["time_idxs"][..., 0],
            ids,
            training=True,
            mutable=["statistics"],
        )
        return jnp.sum(out * golden["loss_weight"]), out

    grads, out = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    assert_close(out, golden["out_train"], tolerance, name)
    weights = {f"traj_encoder.{k}": v for k, v in golden.under("grads").items()}
    like = {"params": {"trajectory_encoder": grads}}
    assert_trees_close(grads, unwrap(load_state(like, weights, heads))["params"], of_gradients)


@DTYPES
@pytest.mark.parametrize("name", FILES)
def test_decoding_past_the_cache_and_a_reset(name, dtype, tolerance):
    golden, module, variables, _ = build(name, dtype)
    times, sequence = golden["decode_time_idxs"], golden["decode_seq"]
    is_first = np.zeros(times.shape, bool)
    is_first[golden["reset_row"], golden["reset_at"]] = True

    def step(memory, inputs):
        out, memory = module.apply(variables, *inputs, memory, method="decode")
        return memory, out

    memory = module.apply(variables, len(times), method="initial_memory")
    inputs = (jnp.moveaxis(jnp.asarray(x), 1, 0) for x in (sequence, times, is_first))
    _, outs = jax.jit(lambda m, i: jax.lax.scan(step, m, i))(memory, tuple(inputs))
    assert_close(jnp.moveaxis(outs, 0, 1), golden["decode_out"], tolerance, name)
