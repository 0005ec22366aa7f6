"""What every trajectory encoder promises: packing, decoding, causality, finite gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax.models.feedforward import FeedForward, Identity
from amago_jax.models.gru import GRU
from amago_jax.models.mamba import Mamba
from amago_jax.models.memax import Memax
from amago_jax.models.transformer import Transformer
from small_agents import small_transformer, variables_of

ROWS, LENGTH, FEATURES = 3, 14, 5
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "transformer": {},
    "window": {"window": 4, "position": "rope"},
    "window_of_one": {"window": 1},
    "sink": {"window": 3, "sink": 2},
    "sink_wider_than_window": {"window": 2, "sink": 4},
    "clip": {"window": 4, "sink": 1, "logit_clip": 0.5},
}
RECURRENT = {
    "gru": GRU(LENGTH, layers=2, hidden_size=8, output_width=6),
    "mamba": Mamba(LENGTH, width=8, layers=2, state_size=3),
    "mamba_norms": Mamba(LENGTH, width=8, layers=1, state_size=3, inner_norms=True),
    "memax": Memax(context_length=LENGTH, model="LRU", hidden_size=8, output_width=6),
}
MEMORYLESS = {
    "feedforward": FeedForward(LENGTH, width=8, feedforward_width=12, layers=2),
    "identity": Identity(LENGTH),
}
ENCODERS = {
    **{name: small_transformer(LENGTH, **chosen) for name, chosen in TRANSFORMERS.items()},
    **RECURRENT,
    **MEMORYLESS,
}


class Compiled:
    """An encoder with weights; its passes are compiled once."""

    def __init__(self, name, module):
        self.name, self.module = name, module
        x, ids = np.zeros((ROWS, LENGTH, FEATURES), np.float32), np.ones((ROWS, LENGTH), np.int32)
        variables = variables_of(module, x, ids, ids)
        # Off their starting point, where scales of one and biases of zero hide mistakes.
        noise = np.random.default_rng(0)
        self.variables = jax.device_put(
            jax.tree.map(
                lambda w: np.asarray(w) + np.float32(0.1 * noise.normal(size=w.shape)),
                variables,
            )
        )
        self._full = jax.jit(lambda *inputs: module.apply(self.variables, *inputs))
        self._decoding = jax.jit(self._decode)
        self.gradients = jax.jit(jax.grad(self._loss, argnums=(0, 1)))

    def full(self, *inputs):
        return np.asarray(self._full(*inputs))

    def decode(self, *inputs):
        return np.asarray(self._decoding(*inputs))

    def _decode(self, x, time, is_first):
        def step(memory, inputs):
            out, memory = self.module.apply(self.variables, *inputs, memory, method="decode")
            return memory, out

        inputs = jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), (x, time, is_first))
        _, out = jax.lax.scan(step, self.module.initial_memory(len(x)), inputs)
        return jnp.swapaxes(out, 0, 1)

    def _loss(self, params, x, time, ids, weights):
        out = self.module.apply({**self.variables, "params": params}, x, time, ids)
        return jnp.sum(jnp.where((ids > 0)[..., None], jnp.sin(out), 0.0) * weights[..., None])


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request):
    return Compiled(request.param, ENCODERS[request.param])


def times_since(starts):
    """Steps since the latest start, from bool ``[B, L]``."""
    index = np.arange(starts.shape[1])
    latest = np.maximum.accumulate(np.where(starts, index, 0), axis=1)
    return (index - latest).astype(np.int32)


def episodes(seed, chance):
    """Random inputs, times, starts and segment ids, of episodes that follow one another."""
    rng = np.random.default_rng(seed)
    starts = rng.uniform(size=(ROWS, LENGTH)) < chance
    starts[:, 0] = True
    x = rng.normal(size=(ROWS, LENGTH, FEATURES)).astype(np.float32)
    return x, times_since(starts), starts, np.cumsum(starts, axis=1).astype(np.int32)


examples = settings(max_examples=10, deadline=None)
seeds = st.integers(0, 10_000)
chances = st.sampled_from([0.0, 0.1, 0.4])


@examples
@given(seed=seeds, chance=chances)
def test_decoding_equals_the_full_pass_at_every_step(encoder, seed, chance):
    x, time, starts, ids = episodes(seed, chance)
    expected = encoder.full(x, time, ids)
    np.testing.assert_allclose(encoder.decode(x, time, starts), expected, atol=3e-5)


@pytest.mark.parametrize(
    "encoder",
    ["transformer", "sink", "gru", "mamba", "mamba_norms", "memax", "feedforward", "identity"],
    indirect=True,
)
def test_in_bfloat16_it_encodes_and_decodes_much_the_same(encoder):
    x, time, starts, ids = episodes(0, 0.1)
    exact = encoder.full(x, time, ids)
    narrow = Compiled(encoder.name, encoder.module.clone(dtype="bfloat16"))
    for found in (narrow.full(x, time, ids), narrow.decode(x, time, starts)):
        assert found.dtype == jnp.bfloat16
        # Weights off their starting point make a few numbers that cancel.
        error = np.abs(found.astype(jnp.float32) - exact)
        assert error.mean() < 0.02
        assert error.max() < 0.15
    assert {x.dtype for x in jax.tree.leaves(narrow.variables)} <= {jnp.dtype("float32")}


def test_caches_are_of_the_encoders_dtype_and_sums_over_the_past_of_float32():
    memories = {name: ENCODERS[name].clone(dtype="bfloat16").initial_memory(2) for name in ENCODERS}
    assert {x.dtype for x in memories["sink"].keys} == {jnp.dtype("bfloat16")}
    assert {x.dtype for x in memories["sink"].values} == {jnp.dtype("bfloat16")}
    assert {x.dtype for x in memories["mamba"].recent} == {jnp.dtype("bfloat16")}
    assert {x.dtype for x in memories["mamba"].states} == {jnp.dtype("float32")}
    assert memories["gru"].dtype == jnp.float32


@examples
@given(seed=seeds, row=st.integers(0, ROWS - 1))
def test_a_packed_episode_is_encoded_as_if_alone(encoder, seed, row):
    x, time, _, ids = episodes(seed, 0.2)
    packed = encoder.full(x, time, ids)[row]
    for segment in np.unique(ids[row]):
        (place,) = np.nonzero(ids[row] == segment)
        n = len(place)
        alone, alone_time, alone_ids = np.zeros_like(x), np.zeros_like(time), np.zeros_like(ids)
        alone[0, :n], alone_time[0, :n], alone_ids[0, :n] = x[row, place], time[row, place], 1
        out = encoder.full(alone, alone_time, alone_ids)[0, :n]
        np.testing.assert_allclose(out, packed[place], atol=3e-5)


@examples
@given(seed=seeds, begin=st.integers(0, 5), end=st.integers(8, LENGTH))
def test_padding_disturbs_nothing(encoder, seed, begin, end):
    x, time, _, ids = episodes(seed, 0.2)
    padding = np.ones(LENGTH, bool)
    padding[begin:end] = False
    ids = np.where(padding, 0, ids)
    expected = encoder.full(np.where(padding[:, None], 0.0, x), time, ids)[:, begin:end]
    # Attention multiplies what is out of sight by zero, so that padding must be finite there.
    attention = isinstance(encoder.module, Transformer)
    for fill in (4.0, -1e6) if attention else (4.0, -1e6, np.nan, np.inf):
        out = encoder.full(np.where(padding[:, None], np.float32(fill), x), time, ids)
        np.testing.assert_array_equal(out[:, begin:end], expected)


@examples
@given(seed=seeds, at=st.integers(1, LENGTH - 1))
def test_no_timestep_sees_the_future(encoder, seed, at):
    x, time, _, ids = episodes(seed, 0.1)
    changed = x.copy()
    changed[:, at:] += 1.0
    before, after = encoder.full(x, time, ids), encoder.full(changed, time, ids)
    np.testing.assert_allclose(after[:, :at], before[:, :at], atol=1e-6)
    assert not np.allclose(after[:, at], before[:, at], atol=1e-3)


@examples
@given(seed=seeds, at=st.integers(0, LENGTH - 2))
def test_memory_is_what_the_name_says(encoder, seed, at):
    x, time, _, ids = episodes(seed, 0.0)
    changed = x.copy()
    changed[:, at] += 1.0
    felt = np.abs(encoder.full(x, time, ids) - encoder.full(changed, time, ids)).max((0, 2)) > 1e-6
    expected = np.arange(LENGTH) >= at
    if encoder.name in (*MEMORYLESS, "window_of_one"):
        expected = np.arange(LENGTH) == at
    elif isinstance(encoder.module, Transformer) and at >= encoder.module.sink:
        # Through the layers it may be felt further than one window, which is not for certain.
        reach = encoder.module.layers * (encoder.module.reach - 1)
        expected &= np.arange(LENGTH) <= at + reach
    np.testing.assert_array_equal(felt, expected)


@examples
@given(seed=seeds, end=st.integers(5, LENGTH))
def test_gradients_are_finite_and_none_comes_from_padding(encoder, seed, end):
    x, time, _, ids = episodes(seed, 0.2)
    padding = np.arange(LENGTH) >= end
    ids, x = np.where(padding, 0, ids), np.where(padding[:, None], np.float32(1e3), x)
    weights = np.random.default_rng(seed).normal(size=ids.shape).astype(np.float32)
    params, inputs = jax.device_get(
        encoder.gradients(encoder.variables.get("params", {}), x, time, ids, weights)
    )
    for leaf in jax.tree.leaves((params, inputs)):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0
    np.testing.assert_array_equal(inputs[:, end:], 0.0)


def test_it_acts_alike_with_work_done_beforehand(encoder):
    x, time, starts, _ = episodes(0, 0.0)
    variables, memory = encoder.variables, encoder.module.initial_memory(ROWS)
    acting, params = encoder.module.for_acting(
        variables.get("params", {}), variables.get("statistics", {})
    )
    inputs = (x[:, 0], time[:, 0], starts[:, 0], memory)
    decode = jax.jit(lambda *inputs: acting.apply({"params": params}, *inputs, method="decode"))
    out, after = decode(*inputs)
    np.testing.assert_allclose(out, encoder.decode(x, time, starts)[:, 0], atol=1e-5)
    # A scan carries it: shapes and types stay.
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, memory)


@examples
@given(seed=seeds, chance=chances)
def test_past_the_context_length_decoding_is_a_window_as_long(seed, chance):
    context = 5
    cached, windowed = compiled_once(context), compiled_once(LENGTH, window=context)
    x, time, starts, ids = episodes(seed, chance)
    expected = windowed.full(x, time, ids)
    np.testing.assert_allclose(cached.decode(x, time, starts), expected, atol=3e-5)
    if chance == 0.0:
        assert not np.allclose(cached.full(x, time, ids)[:, -1], expected[:, -1], atol=1e-4)


def test_a_window_longer_than_the_context_counts_as_the_context():
    x, time, _, ids = episodes(0, 0.0)
    longer, as_long = compiled_once(5, window=9), compiled_once(LENGTH, window=5)
    np.testing.assert_array_equal(longer.full(x, time, ids), as_long.full(x, time, ids))
    assert longer.module.initial_memory(1).keys[0].shape[2] == 5


def test_the_cache_is_no_longer_than_window_and_sink():
    module = small_transformer(100, window=6, sink=2)
    assert module.initial_memory(3).keys[0].shape == (3, 2, 8, 8)


def test_long_windows_skip_only_what_is_out_of_sight():
    # Long enough that attention goes by blocks.
    length, row = 96, jnp.arange(96)[None]
    x = jax.random.normal(jax.random.key(0), (1, length, FEATURES))
    ids = 1 + row // 70
    module = small_transformer(length, window=20)
    variables = variables_of(module, x, row, ids)
    is_first = row % 70 == 0

    def step(memory, inputs):
        out, memory = module.apply(variables, *inputs, memory, method="decode")
        return memory, out

    inputs = jax.tree.map(lambda a: a.swapaxes(0, 1), (x, row, is_first))
    _, expected = jax.jit(lambda i: jax.lax.scan(step, module.initial_memory(1), i))(inputs)
    out = jax.jit(module.apply)(variables, x, row, ids)
    np.testing.assert_allclose(out[0], expected[:, 0], atol=3e-5)


def test_a_wide_clip_leaves_scores_alone_and_a_narrow_one_does_not():
    x, time, _, ids = episodes(0, 0.0)
    plain = compiled_once(LENGTH).full(x, time, ids)
    wide = compiled_once(LENGTH, logit_clip=1e4).full(x, time, ids)
    narrow = compiled_once(LENGTH, logit_clip=0.01).full(x, time, ids)
    np.testing.assert_allclose(wide, plain, atol=1e-4)
    assert not np.allclose(narrow, plain, atol=1e-3)


COMPILED: dict = {}


def compiled_once(context_length, **chosen):
    key = (context_length, *chosen.items())
    if key not in COMPILED:
        COMPILED[key] = Compiled("", small_transformer(context_length, **chosen))
    return COMPILED[key]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: small_transformer(8, window=0), "window=0 must be"),
        (lambda: small_transformer(8, window=2, sink=-1), "sink=-1 must be"),
        (lambda: small_transformer(8, sink=2), "sink=2 has no effect without a window"),
        (lambda: small_transformer(8, logit_clip=0.0), r"logit_clip=0\.0 must be a number above 0"),
        (lambda: small_transformer(8, dtype="float16"), "dtype='float16' must be one of float32"),
        (lambda: GRU(8, layers=0), "layers=0 must be"),
        (lambda: GRU(8, hidden_size=-1), "hidden_size=-1 must be"),
        (lambda: Mamba(8, state_size=0), "state_size=0 must be"),
        (lambda: Mamba(8, expand=0), "expand=0 must be"),
        (lambda: Memax(context_length=8, layers=0), "layers=0 must be"),
        (lambda: FeedForward(8, layers=0), "layers=0 must be"),
        (lambda: FeedForward(8, activation="swoosh"), "activation='swoosh'"),
    ],
)
def test_impossible_settings_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
