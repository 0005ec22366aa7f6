"""Codes are told apart: one-hot or looked up, and what an encoder does with them is said."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax.models.convolutions import GridworldEncoder
from amago_jax.models.timestep_encoders import FeedForwardTimestepEncoder, TokenEncoder, one_hot

CODES = {"grid": 7, "goal": 4}
PLAIN = {"hidden_size": 4, "layers": 1, "output_size": 3, "normalize_inputs": False}
GRID = {"image_features": 4, "rl2_features": 2, "channels": (2, 2, 2), "output_size": 3}
SHAPES = {
    "grid": jax.ShapeDtypeStruct((5, 5, 2), jnp.uint8),
    "goal": jax.ShapeDtypeStruct((3,), jnp.int32),
    "steps": jax.ShapeDtypeStruct((), jnp.int32),
    "position": jax.ShapeDtypeStruct((2,), jnp.float32),
}
NUMBERS = dict.fromkeys(("grid", "goal", "steps"), "as numbers")
TOLD = {**NUMBERS, "grid": "one-hot, 7 codes", "goal": "one-hot, 4 codes"}
LOOKED_UP = "looked up, of 9"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-3, 9), min_size=1, max_size=6), st.integers(1, 7))
def test_a_code_has_its_place_and_what_is_none_has_no_place(codes, count):
    found = np.asarray(one_hot(jnp.array(codes), count)).reshape(len(codes), count)
    expected = [[float(code == place) for place in range(count)] for code in codes]
    np.testing.assert_array_equal(found, expected)


# An encoder, its settings, and how it reads whole numbers.
@pytest.mark.parametrize(
    ("encoder", "options", "words"),
    [
        (FeedForwardTimestepEncoder, {}, TOLD),
        (FeedForwardTimestepEncoder, {"one_hot": False}, NUMBERS),
        (
            FeedForwardTimestepEncoder,
            {"observation_keys": ("goal", "position")},
            {"goal": "one-hot, 4 codes"},
        ),
        (TokenEncoder, {"vocabulary": 9}, dict.fromkeys(NUMBERS, LOOKED_UP)),
        (TokenEncoder, {"vocabulary": {"goal": 9}}, {**TOLD, "goal": LOOKED_UP}),
        (GridworldEncoder, {}, TOLD),
        (GridworldEncoder, {"vocabulary": {"goal": 9}}, {**TOLD, "goal": LOOKED_UP}),
        (GridworldEncoder, {"one_hot": False}, {**NUMBERS, "grid": "as pixels"}),
    ],
)
def test_what_is_said_is_what_is_computed(encoder, options, words):
    sizes = GRID if encoder is GridworldEncoder else PLAIN
    module = encoder(**{**sizes, "one_hot": True, "codes": CODES, **options})
    assert module.describe(SHAPES) == words
    observation = jax.tree.map(lambda x: jnp.zeros((1, *x.shape), x.dtype), SHAPES)
    args = (observation, jnp.zeros((1, 2)), jnp.ones(1, bool))
    params = jax.eval_shape(module.init, jax.random.key(0), *args)["params"]
    leaves = jax.tree_util.tree_leaves_with_path(params)
    shapes = {jax.tree_util.keystr(path): x.shape for path, x in leaves}
    tables = {key for key in SHAPES if f"['embedding_{key}']['table']" in shapes}
    assert tables == {key for key, how in words.items() if how == LOOKED_UP}

    def width(key):
        numbers = SHAPES[key].size
        return numbers * (32 if key in tables else CODES[key] if key in told else 1)

    told = {key for key, how in words.items() if how.startswith("one-hot")}
    if encoder is GridworldEncoder:
        assert shapes["['conv_0']['conv']['kernel']"][2] == 2 * (7 if "grid" in told else 1)
    else:
        inputs = 2 + sum(width(key) for key in module.observation_keys or SHAPES)
        first = next(shape for path, shape in shapes.items() if "mlp" in path and len(shape) == 2)
        assert inputs in first


def test_which_code_it_is_can_be_told():
    module = FeedForwardTimestepEncoder(**PLAIN, one_hot=True, codes={"goal": 4})
    args = (jnp.zeros((5, 2)), jnp.ones(5, bool))
    goals = {"goal": jnp.array([[0], [1], [2], [3], [-1]])}
    variables = module.init(jax.random.key(0), goals, *args)
    encoded = np.asarray(module.apply(variables, goals, *args))
    assert len(np.unique(encoded.round(4), axis=0)) == 5
