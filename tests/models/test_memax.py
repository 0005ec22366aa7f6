"""Memories written elsewhere: memax's models, and one of nobody's.

What every trajectory encoder promises is tested of memax's LRU in test_trajectory_encoders.py.
"""

import dataclasses
import sys
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import amago_jax
from amago_jax.errors import ConfigError
from amago_jax.models.adapted import AdaptedMemory
from amago_jax.models.memax import Memax, Model
from tiny_runs import LEAST

ROWS, LENGTH, FEATURES = 2, 6, 3


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, LENGTH, FEATURES)).astype(np.float32)
    ids = np.array([[1, 1, 2, 2, 2, 0], [1, 2, 2, 2, 2, 2]], np.int32)
    return x, ids


@pytest.mark.parametrize("model", get_args(Model))
def test_every_model_is_built_and_keeps_its_memorys_shape(model):
    x, ids = inputs()
    module = Memax(context_length=LENGTH, model=model, layers=1, hidden_size=8, output_width=5)

    def both(key):
        encoded, variables = module.init_with_output(key, x, ids, ids)
        memory = module.initial_memory(ROWS)
        first = jnp.ones(ROWS, bool)
        after = module.apply(variables, x[:, 0], ids[:, 0], first, memory, method="decode")
        return variables["params"], encoded, memory, after

    # Three of them multiply arrays of unlike ranks.
    with jax.numpy_rank_promotion("allow"):
        params, encoded, memory, (decoded, after) = jax.eval_shape(both, jax.random.key(0))
    assert (encoded.shape, decoded.shape) == ((ROWS, LENGTH, 5), (ROWS, 5))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), memory) == jax.tree.map(
        lambda x: (x.shape, x.dtype), after
    )
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(params)} == {"float32"}


def test_a_run_with_it_learns_is_saved_and_acts(tmp_path):
    chosen = [
        "trajectory_encoder=memax",
        "trajectory_encoder.hidden_size=8",
        "trajectory_encoder.layers=1",
    ]
    small = [item for item in LEAST if not item.startswith("trajectory_encoder")]
    run = amago_jax.make_run([*small, *chosen, "epochs=1", "updates=2"], run_dir=tmp_path)
    before = jax.device_get(run.learner.agent.params["trajectory_encoder"])
    run.train()
    after = run.learner.agent.params["trajectory_encoder"]
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, jax.device_get(after))
    assert min(jax.tree.leaves(moved)) > 0
    policy = amago_jax.load_policy(tmp_path)
    loaded = policy.state.params["trajectory_encoder"]
    jax.tree.map(np.testing.assert_array_equal, loaded, after)
    assert {str(x.dtype) for x in jax.tree.leaves(policy.initial_memory(2))} >= {"complex64"}


def test_an_unknown_model_and_a_missing_memax_are_named(monkeypatch):
    with pytest.raises(ConfigError, match="model='LRU2' must be one of Attention"):
        amago_jax.make_run(["trajectory_encoder=memax", "trajectory_encoder.model=LRU2"])
    monkeypatch.setitem(sys.modules, "memax.equinox.train_utils", None)
    with pytest.raises(ConfigError, match=r"trajectory_encoder: .*amago_jax\[memax\]"):
        amago_jax.make_run(["trajectory_encoder=memax"])


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Sums:
    """A sum of what was seen, times weights; 10 more than was seen, for it begins there."""

    weights: jax.Array
    name: str = dataclasses.field(default="sums", metadata={"static": True})

    def initialize_carry(self):
        return jnp.full(self.weights.shape[1], 10.0)

    def __call__(self, carry, given):
        def step(total, now):
            x, start = now
            total = jnp.where(start, self.initialize_carry(), total) + x @ self.weights
            return total, total

        totals = jax.lax.scan(step, carry, given)[1]
        return totals, jnp.sin(totals)

    def latest_recurrent_state(self, carries):
        return carries[-1]


class Summing(AdaptedMemory):
    dtype_of_weights: str = "float32"

    def make_memory(self, inputs, key):
        weights = jax.random.normal(key, (inputs, 4))
        return Sums(weights.astype(self.dtype_of_weights))


def test_whatever_keeps_to_the_protocol_is_adapted():
    (x, ids), module = inputs(), Summing(normalization="none")
    variables = module.init(jax.random.key(0), x, ids, ids)
    (weights,) = variables["params"]["memory"].values()
    found = module.apply(variables, x, ids, ids)
    for row, time, begun in ((0, 1, 0), (0, 4, 2), (1, 0, 0), (1, 5, 1)):
        total = 10 + x[row, begun : time + 1].sum(0) @ weights
        np.testing.assert_allclose(found[row, time], jnp.sin(total), atol=1e-5)
    memory = module.initial_memory(ROWS)
    assert memory.shape == (ROWS, 4)
    first = jnp.ones(ROWS, bool)
    out, memory = module.apply(variables, x[:, 0], ids[:, 0], first, memory, method="decode")
    np.testing.assert_allclose(memory, 10 + x[:, 0] @ weights, atol=1e-5)
    np.testing.assert_allclose(out, jnp.sin(memory), atol=1e-6)


def test_arrays_that_could_not_be_trained_are_refused():
    x, ids = inputs()
    with pytest.raises(ValueError, match="weights is an array of complex64"):
        Summing(dtype_of_weights="complex64").init(jax.random.key(0), x, ids, ids)
