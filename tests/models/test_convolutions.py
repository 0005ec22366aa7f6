"""Image encoders against NumPy, their sizes, and the augmentation."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax import make_run
from amago_jax.agents.amago import build_amago_agent
from amago_jax.models.convolutions import (
    GridworldEncoder,
    ImpalaEncoder,
    NatureEncoder,
    draw_shifts,
    shift_images,
)
from amago_jax.models.distributions import Discrete
from small_agents import small_transformer, start, variables_of
from streams import pack, random_episode
from tiny_runs import LEAST

SMALL: dict[str, Any] = {"output_size": 6, "image_features": 8, "rl2_features": 3}
TOKENS: dict[str, Any] = {"vocabulary": {"words": 5}, "embedding_size": 3}
GRIDWORLD = GridworldEncoder(**SMALL, channels=(2, 3, 4))


def inputs(seed, leading, height=5, width=4, channels=2, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*leading, height, width, channels)).astype(dtype)
    rl2 = 10 * rng.normal(size=(*leading, 3)).astype(np.float32)
    return jax.device_put(({"image": image}, rl2, np.ones(leading, bool)))


def shapes(module, *args):
    return jax.eval_shape(module.init, jax.random.key(0), *args)["params"]


# Sizes.


def after(size, kernels, strides):
    for kernel, stride in zip(kernels, strides, strict=True):
        size = (size - kernel) // stride + 1
    return size


@settings(max_examples=15, deadline=None)
@given(height=st.integers(36, 90), width=st.integers(36, 90))
def test_the_nature_encoders_sizes(height, width):
    module = NatureEncoder()
    kernel = shapes(module, *inputs(0, (1,), height, width))["image"]["dense"]["kernel"]
    sizes = [after(n, (8, 4, 3), (4, 2, 1)) for n in (height, width)]
    assert kernel.shape == (sizes[0] * sizes[1] * 64, 256)


def test_known_sizes():
    def features(module, size):
        return shapes(module, *inputs(0, (1,), size, size))["image"]["dense"]["kernel"].shape[0]

    assert features(NatureEncoder(), 84) == 7 * 7 * 64
    assert features(GridworldEncoder(), 7) == 4 * 4 * 48
    assert features(ImpalaEncoder(), 84) == 11 * 11 * 32
    assert features(ImpalaEncoder(), 1) == 32


@pytest.mark.parametrize(
    ("module", "least"),
    [
        (NatureEncoder(), 36),
        (GridworldEncoder(), 4),
        (NatureEncoder(channels=(2, 2), kernels=(3, 2), strides=(3, 2)), 6),
    ],
)
def test_too_small_images_are_refused_and_the_least_works(module, least):
    shapes(module, *inputs(0, (1,), least, least))
    message = rf"{least + 1}x{least - 1} are too small for .*at least {least}x{least}"
    with pytest.raises(ValueError, match=message):
        shapes(module, *inputs(0, (1,), least + 1, least - 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NatureEncoder(augmented_share=1.5), "augmented_share=1.5"),
        (lambda: NatureEncoder(augmentation_pad=-1), "augmentation_pad=-1"),
        (lambda: NatureEncoder(channels=(4, 4)), r"channels=\[4, 4\], kernels=\[8, 4, 3\]"),
        (lambda: NatureEncoder(strides=(4, 2, 0)), r"strides=\[4, 2, 0\]"),
        (lambda: GridworldEncoder(channels=(), kernels=(), strides=()), r"channels=\[\]"),
        (lambda: ImpalaEncoder(channels=(4, 6)), r"channels=\[4, 6\] .* groups=4"),
        (lambda: ImpalaEncoder(groups=0), r"groups=0"),
        (lambda: ImpalaEncoder(vocabulary={"words": 0}), r"vocabulary\['words'\]=0"),
        (lambda: ImpalaEncoder(embedding_size=0), "embedding_size=0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Numbers.


def dense(params, x):
    return x @ params["dense"]["kernel"] + params["dense"]["bias"]


def leaky(x):
    return np.where(x > 0, x, 0.01 * x)


def convolve(params, x, mode):
    """One image ``[H, W, C]`` by scipy, a pair of channels at a time."""
    kernel, bias = params["conv"]["kernel"], params["conv"]["bias"]
    return np.stack(
        [
            bias[out]
            + sum(
                scipy.signal.correlate2d(x[..., i], kernel[..., i, out], mode=mode)
                for i in range(x.shape[-1])
            )
            for out in range(len(bias))
        ],
        axis=-1,
    )


def pool(x):
    """The largest of 3x3, every second pixel; an even side is padded behind it alone."""
    padded = np.pad(x, [(n % 2, 1) for n in x.shape[:2]] + [(0, 0)], constant_values=-np.inf)
    rows, columns = [range(-(-n // 2)) for n in x.shape[:2]]
    return np.stack(
        [
            np.stack([padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((0, 1)) for j in columns])
            for i in rows
        ]
    )


def group_norm(params, x, groups):
    grouped = x.reshape(*x.shape[:2], groups, -1)
    mean, variance = (f(grouped, axis=(0, 1, 3), keepdims=True) for f in (np.mean, np.var))
    normal = ((grouped - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
    return normal * params["scale"] + params["bias"]


def gridworld_maps(params, x):
    for index in range(3):
        x = leaky(convolve(params[f"conv_{index}"], x, "valid"))
    return x


def impala_maps(params, x, blocks, groups):
    for index in range(blocks):
        x = pool(convolve(params[f"conv_{index}"], x, "same"))
        for place in range(2):
            block, y = params[f"block_{index}_{place}"], x
            for i in range(2):
                y = leaky(group_norm(block[f"norm_{i}"], y, groups))
                y = convolve(block[f"conv_{i}"], y, "same")
            x = x + y
    return leaky(x)


def merged(params, maps, rest, words):
    symlog = np.sign(rest) * np.log1p(np.abs(rest))
    vectors = params["embedding_words"]["table"][words].ravel()
    parts = [dense(params["image"], maps.ravel()), dense(params["rl2"], symlog), vectors]
    out = dense(params["merge"], leaky(np.concatenate(parts)))
    norm = params["output_norm"]["norm"]
    return (out - out.mean()) / np.sqrt(out.var() + 1e-5) * norm["scale"] + norm["bias"]


def perturbed(tree, seed=5):
    """Weights that are nowhere 0 or 1, as the norms' begin."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    moved = [x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, moved)


@pytest.mark.parametrize(
    ("module", "maps"),
    [
        (GridworldEncoder(**SMALL, **TOKENS, channels=(2, 3, 4)), gridworld_maps),
        (
            ImpalaEncoder(**SMALL, **TOKENS, channels=(4, 6), groups=2),
            lambda params, x: impala_maps(params, x, 2, 2),
        ),
    ],
    ids=["gridworld", "impala"],
)
def test_brute_force(module, maps):
    observation, rl2, mask = inputs(1, (2, 2), 5, 6)
    rng = np.random.default_rng(2)
    observation["vector"] = jnp.asarray(rng.normal(size=(2, 2, 1)))
    observation["words"] = jnp.asarray(rng.integers(0, 5, (2, 2, 4)))
    variables = perturbed(variables_of(module, observation, rl2, mask))
    found = jax.jit(module.apply)(variables, observation, rl2, mask)
    params = jax.tree.map(np.asarray, variables["params"])
    for place in np.ndindex(2, 2):
        pixels = np.asarray(observation["image"])[place] / 128.0 - 1.0
        rest = np.concatenate([observation["vector"][place], rl2[place]])
        words = np.asarray(observation["words"])[place]
        expected = merged(params, maps(params, pixels), rest, words)
        np.testing.assert_allclose(found[place], expected, atol=2e-4)


def test_bytes_are_scaled_and_other_numbers_are_not():
    observation, rl2, mask = inputs(1, (2,))
    variables = variables_of(GRIDWORLD, observation, rl2, mask)
    image = observation["image"]

    @jax.jit
    def encode(image):
        return GRIDWORLD.apply(variables, {"image": image}, rl2, mask)

    scaled = image.astype(jnp.float32) / 128 - 1
    np.testing.assert_allclose(encode(image), encode(scaled), atol=1e-6)
    flags = image > 128
    np.testing.assert_array_equal(encode(flags), encode(flags.astype(jnp.float32)))


@pytest.mark.parametrize("key", ["vector", "colour"])
def test_a_vocabulary_of_what_holds_no_tokens_is_refused(key):
    observation, rl2, mask = inputs(1, (2,))
    observation |= {"vector": jnp.zeros((2, 1)), "words": jnp.zeros((2, 1), jnp.int32)}
    module = GridworldEncoder(**SMALL, vocabulary={key: 5})
    with pytest.raises(ValueError, match=rf"'{key}', .* are \['words'\]"):
        shapes(module, observation, rl2, mask)


def test_images_of_one_size_are_seen_together():
    observation, rl2, mask = inputs(1, (2,), channels=4)
    variables = variables_of(GRIDWORLD, observation, rl2, mask)
    left, right = observation["image"][..., :1], observation["image"][..., 1:]
    np.testing.assert_allclose(
        jax.jit(GRIDWORLD.apply)(variables, {"a": left, "b": right}, rl2, mask),
        jax.jit(GRIDWORLD.apply)(variables, observation, rl2, mask),
        atol=1e-6,
    )
    with pytest.raises(ValueError, match=r"'a': \(5, 4\), 'b': \(4, 4\)"):
        shapes(GRIDWORLD, {"a": left, "b": right[:, 1:]}, rl2, mask)


def test_an_image_is_needed():
    _, rl2, mask = inputs(0, (2,))
    with pytest.raises(ValueError, match=r"no observation is an image .*'vector': \(3,\)"):
        shapes(GRIDWORLD, {"vector": jnp.zeros((2, 3))}, rl2, mask)


# Augmentation.


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), pad=st.integers(0, 6))
def test_a_shift_is_a_crop_of_the_edge_padded_image(seed, pad):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (3, 2, 5, 4, 2))
    shifts = rng.integers(-pad, pad + 1, (3, 2))
    padded = np.pad(images, [(0, 0), (0, 0), (pad, pad), (pad, pad), (0, 0)], mode="edge")
    expected = [
        padded[row, :, pad + y : pad + y + 5, pad + x : pad + x + 4]
        for row, (y, x) in enumerate(shifts)
    ]
    np.testing.assert_array_equal(shift_images(jnp.asarray(images), shifts), np.stack(expected))


def test_shifts_are_uniform_on_their_share():
    rows, pad, share = 20_000, 2, 0.75
    shifts = np.asarray(draw_shifts(jax.random.key(0), rows, share=share, pad=pad))
    expected = np.full((5, 5), share / 25)
    expected[pad, pad] += 1 - share
    found = np.zeros((5, 5))
    np.add.at(found, (shifts[:, 0] + pad, shifts[:, 1] + pad), 1 / rows)
    # Four standard deviations of a binomial share.
    assert np.all(np.abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / rows))
    assert not np.any(draw_shifts(jax.random.key(0), 50, share=0.0, pad=pad))


def augmented(share):
    module = GRIDWORLD.clone(augmented_share=share, augmentation_pad=2)
    arguments = inputs(3, (8, 3))
    variables = variables_of(module, *arguments)

    @jax.jit
    def train(key, observation):
        rngs = {"augmentation": key}
        return module.apply(variables, observation, *arguments[1:], training=True, rngs=rngs)

    return train, jax.jit(module.apply)(variables, *arguments), arguments[0]


def test_augmentation_is_of_whole_windows_in_training_only():
    train, plain, observation = augmented(1.0)
    keys = jax.random.split(jax.random.key(1), 2)
    np.testing.assert_array_equal(train(keys[0], observation), train(keys[0], observation))
    assert not np.allclose(train(keys[0], observation), train(keys[1], observation))
    assert not np.allclose(train(keys[0], observation), plain)
    # Where all timesteps of a window look alike, they still do when it has moved.
    still = {"image": np.repeat(observation["image"][:, :1], 3, axis=1)}
    _, rl2, mask = inputs(3, (8, 3))
    module = GRIDWORLD.clone(augmented_share=1.0, hide_rl2=True)
    variables = variables_of(module, still, rl2, mask)
    apply = jax.jit(functools.partial(module.apply, training=True))
    out = np.asarray(apply(variables, still, rl2, mask, rngs={"augmentation": keys[0]}))
    np.testing.assert_allclose(out, np.repeat(out[:, :1], 3, axis=1), atol=1e-6)
    assert len(np.unique(np.round(out[:, 0], 4), axis=0)) == 8


def test_without_a_share_no_key_is_needed():
    arguments = inputs(3, (2, 3))
    variables = variables_of(GRIDWORLD, *arguments)
    training, evaluation = (
        jax.jit(functools.partial(GRIDWORLD.apply, training=training))(variables, *arguments)
        for training in (True, False)
    )
    np.testing.assert_array_equal(training, evaluation)


def test_the_agent_augments_what_it_learns_from_and_nothing_else():
    agent = build_amago_agent(
        distribution=Discrete(3),
        timestep_encoder=GRIDWORLD.clone(augmented_share=1.0),
        trajectory_encoder=small_transformer(8),
        gammas=(0.9,),
        hidden_size=8,
        layers=1,
    )
    rng = np.random.default_rng(0)
    batch = pack([[random_episode(rng, 6)] for _ in range(4)], 8)
    observation, _, _ = inputs(0, (4, 8))
    batch = batch.replace(timesteps=batch.timesteps.replace(observation=observation))
    example = jax.tree.map(lambda x: x[:, 0], batch.timesteps)
    state = start(agent, example)
    encode = jax.jit(lambda key: agent.encode(state.params, state.statistics, batch, key)[0])
    keys = jax.random.split(jax.random.key(1), 2)
    np.testing.assert_array_equal(encode(keys[0]), encode(keys[0]))
    assert not np.allclose(encode(keys[0]), encode(keys[1]))
    np.testing.assert_array_equal(encode(None), encode(None))


# A run.


def test_an_agent_that_sees_images_trains(tmp_path):
    tiny = [item for item in LEAST if not item.startswith(("env.", "timestep_"))]
    run = make_run(
        [
            *tiny,
            "env=gymnax/Breakout-MinAtar",
            "timestep_encoder=gridworld",
            "timestep_encoder.channels=[2,3,4]",
            "timestep_encoder.augmented_share=0.75",
            "context_length=8",
            "epochs=3",
            "evaluation.every=3",  # which is a program of its own, and not waited for
            "optimizer.warmup_updates=0",
        ],
        run_dir=tmp_path,
    )
    before = jax.tree.map(np.asarray, run.policy.state.params["timestep_encoder"])
    rows = list(itertools.islice(run.epochs(), 2))
    assert len(rows) == 2
    assert all(np.isfinite(row["loss/total"]) for row in rows)
    after_two = run.policy.state.params["timestep_encoder"]
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after_two), strict=True):
        assert not np.allclose(a, b, atol=1e-7)
