"""What all timestep encoders promise, and the tables of the token encoder."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax.errors import ConfigError
from amago_jax.models.convolutions import GridworldEncoder, ImpalaEncoder, NatureEncoder
from amago_jax.models.timestep_encoders import Embedding, FeedForwardTimestepEncoder, TokenEncoder
from amago_jax.runs.building import build
from amago_jax.runs.config import compose
from small_agents import variables_of
from tiny_runs import TINY

ACTIONS, WORDS = 2, 5
PLAIN = {"hidden_size": 8, "layers": 1, "output_size": 6}
SMALL = {"output_size": 6, "image_features": 8, "rl2_features": 3}
ENCODERS = {
    "feedforward": (FeedForwardTimestepEncoder, PLAIN),
    "tokens": (TokenEncoder, {**PLAIN, "vocabulary": {"words": WORDS}, "embedding_size": 3}),
    "gridworld": (GridworldEncoder, {**SMALL, "channels": (2, 3, 4)}),
    "nature": (
        NatureEncoder,
        {**SMALL, "channels": (3, 4), "kernels": (3, 2), "strides": (2, 1)},
    ),
    "impala": (ImpalaEncoder, {**SMALL, "channels": (4,)}),
}
KINDS = pytest.mark.parametrize("kind", ENCODERS)


def inputs(seed, leading):
    """One observation of every sort, the meta-RL input and a mask."""
    rng = np.random.default_rng(seed)
    observation = {
        "image": rng.integers(0, 256, (*leading, 6, 5, 2)).astype(np.uint8),
        "vector": np.asarray(rng.normal(size=(*leading, 3)), np.float32),
        "words": rng.integers(0, WORDS, (*leading, 4)).astype(np.int32),
    }
    rl2 = np.asarray(rng.normal(size=(*leading, 1 + ACTIONS)), np.float32)
    return jax.device_put((observation, rl2, np.ones(leading, bool)))


def build_encoder(kind, **options):
    encoder, defaults = ENCODERS[kind]
    return encoder(**defaults, **options)


@functools.cache
def initialized(kind):
    module = build_encoder(kind)
    return module, variables_of(module, *inputs(0, (2,)))


@KINDS
def test_any_leading_axes(kind):
    module, variables = initialized(kind)
    for leading in ((), (3,), (2, 4), (2, 1, 3)):
        out = jax.eval_shape(module.apply, variables, *inputs(1, leading))
        assert out.shape == (*leading, 6)
        assert out.dtype == jnp.float32


@KINDS
def test_in_bfloat16_it_encodes_much_the_same(kind):
    module, variables = initialized(kind)
    apply = jax.jit(lambda module, args: module.apply(variables, *args), static_argnums=0)
    exact, narrow = (apply(m, inputs(1, (2, 4))) for m in (module, module.clone(dtype="bfloat16")))
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow.astype(jnp.float32), exact, atol=0.06)


@KINDS
def test_gradients_are_finite_and_reach_every_weight(kind):
    module, variables = initialized(kind)

    @jax.jit
    @jax.grad
    def gradient(params):
        out, _ = module.apply(
            {**variables, "params": params}, *inputs(1, (2, 4)), training=True, mutable="statistics"
        )
        return jnp.square(out * jnp.arange(1.0, 7.0)[(None,) * (out.ndim - 1)]).sum()

    for leaf in jax.tree.leaves(jax.device_get(gradient(variables["params"]))):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0


@pytest.fixture(scope="module", params=ENCODERS)
def compiled(request):
    module, variables = initialized(request.param)
    return jax.jit(lambda args: module.apply(variables, *args))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_timestep_is_encoded_without_regard_to_its_neighbours(compiled, seed):
    arguments = inputs(seed, (2, 3))
    windows = compiled(arguments)
    for t in range(3):
        alone = compiled(jax.tree.map(lambda x, t=t: np.asarray(x)[:, t], arguments))
        np.testing.assert_allclose(alone, windows[:, t], atol=1e-5)


def dependence(module, variables):
    """The largest gradient of the output by what it is taken of."""
    observation, rl2, mask = inputs(2, (3,))

    def output(vector, rl2):
        out = module.apply(variables, {**observation, "vector": vector}, rl2, mask)
        return jnp.square(out * jnp.arange(1.0, 7.0)[(None,) * (out.ndim - 1)]).sum()

    vector, rl2 = jax.jit(jax.grad(output, argnums=(0, 1)))(observation["vector"], rl2)
    vector, rl2 = jax.device_get((vector, rl2))
    found = {"vector": vector, "reward": rl2[:, :1], "action": rl2[:, 1:]}
    return {name for name, gradient in found.items() if np.abs(gradient).max() > 0}


@KINDS
def test_what_is_hidden_is_not_felt(kind):
    module, variables = initialized(kind)
    assert dependence(module, variables) == {"vector", "reward", "action"}
    assert dependence(module.clone(hide_rewards=True), variables) == {"vector", "action"}
    assert dependence(module.clone(hide_rl2=True), variables) == {"vector"}


@KINDS
def test_only_the_chosen_observations_are_needed(kind):
    module = build_encoder(kind, observation_keys=["words", "image"])
    observation, *rest = inputs(3, (2,))
    variables = variables_of(module, observation, *rest)
    shown = {key: observation[key] for key in ("image", "words")}
    apply = jax.jit(module.apply)
    np.testing.assert_array_equal(
        apply(variables, observation, *rest), apply(variables, shown, *rest)
    )


@KINDS
def test_unknown_observation_keys_are_refused(kind):
    with pytest.raises(ValueError, match=r"'map'.*\['image', 'vector', 'words'\]"):
        variables_of(build_encoder(kind, observation_keys=("image", "map")), *inputs(0, (2,)))
    for keys in ((), "image"):
        with pytest.raises(ValueError, match="observation_keys="):
            build_encoder(kind, observation_keys=keys)


# Tokens.


def test_a_lookup_is_a_product_with_one_hot_vectors():
    module = Embedding(WORDS, 3)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, WORDS, (4, 2, 3)), jnp.uint8)
    table = variables_of(module, tokens)["params"]["table"]
    weights = jax.random.normal(jax.random.key(1), (*tokens.shape, 3))

    found, pull = jax.vjp(lambda table: module.apply({"params": {"table": table}}, tokens), table)
    expected, pull_product = jax.vjp(lambda table: jax.nn.one_hot(tokens, WORDS) @ table, table)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(pull(weights)[0], pull_product(weights)[0], atol=1e-5)


def test_tokens_out_of_range_are_clamped():
    module = Embedding(WORDS, 3)
    tokens = jnp.asarray([-7, -1, 0, WORDS - 1, WORDS, 1000])
    variables = variables_of(module, tokens)
    out = module.apply(variables, tokens)
    table = variables["params"]["table"]
    np.testing.assert_array_equal(out[:3], jnp.stack([table[0]] * 3))
    np.testing.assert_array_equal(out[3:], jnp.stack([table[-1]] * 3))


def test_bytes_reach_every_row_of_a_larger_vocabulary():
    tokens = jnp.asarray([0, 255], jnp.uint8)
    module = Embedding(300, 1)
    variables = variables_of(module, tokens)
    np.testing.assert_array_equal(
        module.apply(variables, tokens), variables["params"]["table"][jnp.asarray([0, 255])]
    )


@pytest.fixture(scope="module")
def compiled_tokens():
    module, variables = initialized("tokens")
    return jax.jit(module.apply), variables


@settings(max_examples=15, deadline=None)
@given(permutation=st.permutations(range(WORDS)), seed=st.integers(0, 1000))
def test_the_numbers_of_tokens_mean_nothing(compiled_tokens, permutation, seed):
    apply, variables = compiled_tokens
    arguments = observation, rl2, mask = inputs(seed, (2, 3))
    new_number = jnp.asarray(permutation)
    params = variables["params"]
    table = params["embedding_words"]["table"]
    renumbered = {"table": table.at[new_number].set(table)}
    moved = {**variables, "params": {**params, "embedding_words": renumbered}}
    renamed = {**observation, "words": new_number[observation["words"]]}
    np.testing.assert_array_equal(apply(variables, *arguments), apply(moved, renamed, rl2, mask))


def test_every_integer_observation_has_a_table_of_its_own():
    module = TokenEncoder(**PLAIN, vocabulary=7, embedding_size=3)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs(0, (2,)))["params"]
    tables = {k: v["table"].shape for k, v in shapes.items() if k.startswith("embedding")}
    assert tables == {"embedding_image": (7, 3), "embedding_words": (7, 3)}
    # 60 symbols and 4 words of 3 numbers each; a vector of 3; the meta-RL input.
    assert shapes["mlp"]["hidden_0"]["dense"]["kernel"].shape == (64 * 3 + 3 + 3, 8)


def test_only_what_is_no_token_is_normalized():
    variables = initialized("tokens")[1]
    # The image has no vocabulary here: 60 pixels, then the vector and the meta-RL input.
    moments = variables["statistics"]["input_normalization"]["moments"]
    assert moments.mean.shape == (60 + 3 + 1 + ACTIONS,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": 0}, "vocabulary=0"),
        ({"vocabulary": {"words": 2.5}}, r"vocabulary\['words'\]=2.5"),
        ({"embedding_size": -1}, "embedding_size=-1"),
        ({"vocabulary": {"wrods": 5}}, r"'wrods'.*\['image', 'words'\]"),
        ({"vocabulary": {"vector": 5}}, r"'vector'.*\['image', 'words'\]"),
        ({"observation_keys": ("vector",)}, r"integer observation.*\{'vector': 'float32'\}"),
    ],
)
def test_bad_token_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TokenEncoder(**PLAIN, **options).init(jax.random.key(0), *inputs(0, (2,)))


# Configuration.

OVERRIDES = [override for override in TINY if not override.startswith(("env.", "timestep_"))]


@pytest.mark.parametrize("name", ["feedforward", "gridworld", "impala"])
def test_choices_of_the_group_build(name):
    options = ["env=gymnax/Breakout-MinAtar", f"timestep_encoder={name}"]
    options += ["timestep_encoder.observation_keys=[observation]", "context_length=8"]
    trainer = build(compose([*OVERRIDES, *options]))
    encoder = trainer.agent.timestep_encoder
    assert isinstance(encoder, ENCODERS[name][0])
    assert encoder.observation_keys == ("observation",)
    assert hash(encoder) == hash(encoder.clone())


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["timestep_encoder=nature"], "images of 10x10 are too small .* at least 36x36"),
        (["timestep_encoder=tokens"], "needs an integer observation, but .*float32"),
        (["timestep_encoder.observation_keys=[map]"], r"'map', but .* \['observation'\]"),
        (
            ["timestep_encoder=tokens", "timestep_encoder.vocabulary={map:9,text:40}"],
            "vocabulary names 'map', but",
        ),
        (["timestep_encoder=tokens", "timestep_encoder.vocabulary={map:0}"], r"\['map'\]=0"),
    ],
)
def test_what_does_not_fit_the_observations_is_named(overrides, sentence):
    options = ["env=gymnax/Breakout-MinAtar", "context_length=8", *overrides]
    with pytest.raises(ConfigError, match=sentence):
        build(compose([*OVERRIDES, *options]))
