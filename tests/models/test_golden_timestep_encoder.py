"""The feed-forward timestep encoder against the authors' numbers."""

import jax
import jax.numpy as jnp
import pytest

from amago_jax.interop.torch_names import load_state
from amago_jax.models.timestep_encoders import FeedForwardTimestepEncoder
from golden_files import assert_close, assert_trees_close, load


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_feed_forward_encoder_and_its_running_statistics(dtype, tolerance):
    golden = load("ff_tstep_encoder")
    meta = golden.meta
    module = FeedForwardTimestepEncoder(
        meta["d_hidden"], meta["n_layers"], meta["d_output"], dtype=dtype
    )
    calls = len(golden["out_train"])
    batches = [
        ({"b_vec": golden["b_vec"][i], "a_grid": golden["a_grid"][i]}, golden["rl2s"][i])
        for i in range(calls)
    ]
    mask = jnp.ones(golden["rl2s"].shape[1:3], bool)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *batches[0], mask)
    like = {name: {"timestep_encoder": tree} for name, tree in shapes.items()}

    def converted(kind, like):
        weights = {f"tstep_encoder.{k}": v for k, v in golden.under(kind).items()}
        loaded = load_state(like, weights, heads=1)
        return {name: part["timestep_encoder"] for name, part in loaded.items()}

    variables = converted("weights", like)
    for call, (observation, rl2) in enumerate(batches):
        out, moved = module.apply(
            variables, observation, rl2, mask, training=True, mutable=["statistics"]
        )
        variables = {**variables, **moved}
        assert out.dtype == dtype
        assert_close(out, golden["out_train"][call], tolerance, f"call {call}")
    after = converted("after", {"statistics": like["statistics"]})
    # Inputs are normalized as float32 whatever follows.
    assert_trees_close(variables["statistics"], after["statistics"], 1e-5)
    assert_close(module.apply(variables, *batches[0], mask), golden["out_eval"], tolerance)
