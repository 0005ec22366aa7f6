"""Normalizations of layers: the authors' numbers, and that all of a network follows the setting."""

import functools
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amago_jax.models.convolutions import GridworldEncoder
from amago_jax.models.feedforward import FeedForward
from amago_jax.models.gru import GRU
from amago_jax.models.heads import ResidualActor
from amago_jax.models.mamba import Mamba
from amago_jax.models.normalization import Norm, Normalization
from amago_jax.models.timestep_encoders import FeedForwardTimestepEncoder
from amago_jax.models.transformer import Transformer
from golden_files import assert_close, load

ALL = get_args(Normalization)
LEAVES = {"scale": "weight", "bias": "bias", "rms_scale": "scale"}


@pytest.mark.parametrize("normalization", [name for name in ALL if name != "none"])
def test_values_and_gradients_are_the_authors(normalization):
    golden, norm = load("normalizations"), Norm(normalization)
    x, weight = jnp.asarray(golden["x"]), jnp.asarray(golden["loss_weight"])
    like = jax.eval_shape(norm.init, jax.random.key(0), x)

    def of(kind):
        found = golden.under(f"{normalization}/{kind}")
        named = jax.tree_util.tree_map_with_path(
            lambda path, _: found.pop(f"norm.{LEAVES[path[-1].key]}"), like
        )
        assert not found
        return named

    @jax.jit
    def run(variables, x):
        out, pull = jax.vjp(norm.apply, variables, x)
        return out, *pull(weight)

    out, grads, grad_x = run(of("weights"), x)
    assert_close(out, golden[f"{normalization}/out"], 1e-5)
    assert_close(grad_x, golden[f"{normalization}/grad_x"], 1e-5)
    jax.tree.map(lambda found, wanted: assert_close(found, wanted, 1e-5), grads, of("grads"))


@pytest.mark.parametrize("normalization", ALL)
def test_padding_of_zeros_and_half_precision_give_numbers(normalization):
    norm = Norm(normalization)
    x = jnp.zeros((2, 16), jnp.bfloat16).at[1].set(jnp.arange(16))
    variables = norm.init(jax.random.key(0), x)

    def total(x):
        out = norm.apply(variables, x)
        assert out.dtype == jnp.bfloat16
        return (out * jnp.arange(16, dtype=out.dtype)[None]).sum()

    assert np.isfinite(np.asarray(jax.jit(jax.grad(total))(x), np.float32)).all()


X, FIRST = jnp.zeros((1, 2, 3)), jnp.zeros((1, 2), jnp.int32)
IMAGE = {"image": jnp.zeros((1, 2, 4, 4, 1))}
# A module, what it is called with, and how many norms it has.
PARTS = {
    "transformer": (Transformer(2, 8, 2, 16, 1), (X, FIRST, FIRST), 5),
    "transformer_plain": (
        Transformer(2, 8, 2, 16, 1, normformer_norms=False),
        (X, FIRST, FIRST),
        3,
    ),
    "gru": (GRU(2, 1, 4, 8), (X, FIRST, FIRST), 1),
    "mamba": (Mamba(2, 8, 1, 2), (X, FIRST, FIRST), 2),
    "feedforward": (FeedForward(2, 8, 4, 1), (X, FIRST, FIRST), 1),
    "residual_actor": (ResidualActor(1, 2, 8, 1), (X,), 3),
    "encoder": (FeedForwardTimestepEncoder(4, 1, 8), ({"a": X}, X, X[..., 0] > 0), 1),
    "gridworld": (GridworldEncoder(output_size=8), (IMAGE, X, X[..., 0] > 0), 1),
}


@pytest.mark.parametrize("part", PARTS)
def test_every_norm_of_a_part_follows_the_setting(part):
    module, inputs, norms = PARTS[part]

    def leaves(normalization):
        other = module.clone(normalization=normalization)
        params = jax.eval_shape(other.init, jax.random.key(0), *inputs)["params"]
        return {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params)}

    layer, rms, none = leaves("layer"), leaves("rmsnorm"), leaves("none")
    assert layer == leaves(module.normalization)
    assert none < layer
    assert {path for path in layer - none if "'norm'" not in path} == set()
    assert len(layer - none) == 2 * norms
    assert len(rms - none) == norms
    assert all(path.endswith("['rms_scale']") for path in rms - none)


@pytest.mark.parametrize("part", PARTS)
def test_simnorm_wants_widths_of_whole_groups(part):
    module, *_ = PARTS[part]
    (name,) = {"width", "output_width", "output_size"} & {*module.__dataclass_fields__}
    with pytest.raises(ValueError, match=rf"simnorm'.*{name}=12: set {name}=16"):
        module.clone(normalization="simnorm", **{name: 12})


def test_an_unknown_normalization_is_named():
    with pytest.raises(ValueError, match=r"normalization.*batch"):
        GRU(2, normalization="batch")
    with pytest.raises(ValueError, match="normalization='batch' is not one of"):
        Norm("batch").init(jax.random.key(0), X)


def test_a_cached_step_decodes_as_a_window_encodes():
    memory = Transformer(3, 8, 2, 8, 1, sigma_reparam=False, normalization="simnorm")
    x = jax.random.normal(jax.random.key(1), (1, 3, 4))
    time, segments = jnp.arange(3)[None], jnp.ones((1, 3), jnp.int32)
    variables = jax.jit(memory.init)(jax.random.key(0), x, time, segments)
    whole = jax.jit(memory.apply)(variables, x, time, segments)
    cache, steps = memory.initial_memory(1), []
    decode = jax.jit(functools.partial(memory.apply, method="decode"))
    for t in range(3):
        out, cache = decode(variables, x[:, t], time[:, t], time[:, t] == 0, cache)
        steps.append(out)
    np.testing.assert_allclose(jnp.stack(steps, 1), whole, atol=1e-6)
    np.testing.assert_allclose(whole.sum(-1), 1.0, rtol=1e-5)  # of one group


def test_auto_scale_widens_an_encoder_to_its_input():
    def kernels(auto_scale, size):
        encoder = FeedForwardTimestepEncoder(4, 1, 6, auto_scale=auto_scale)
        inputs = ({"a": jnp.zeros((1, size)), "b": jnp.zeros((1, 2, 2))}, X[0, :1], X[0, :1, 0] > 0)
        params = jax.eval_shape(encoder.init, jax.random.key(0), *inputs)["params"]["mlp"]
        return [params[name]["dense"]["kernel"].shape for name in ("hidden_0", "output")]

    assert kernels(False, 5) == [(12, 4), (4, 6)]
    assert kernels(True, 5) == [(12, 12), (12, 12)]
    assert kernels(True, 0) == [(7, 7), (7, 7)]  # what sees less keeps its widths, where larger
