"""Mamba against its recurrence written out timestep by timestep; how it starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amago_jax.models.mamba import (
    LONGEST_STEP,
    SHORTEST_STEP,
    Mamba,
    Selected,
    root_mean_square_one,
    scan_in_parallel,
    scan_in_sequence,
)

ROWS, LENGTH, FEATURES = 2, 11, 4
MODULE = Mamba(LENGTH, width=20, layers=2, state_size=3, convolution_width=4)
WITH_NORMS = MODULE.clone(inner_norms=True)


@pytest.fixture(scope="module")
def params():
    """Those of both, for norms have no weights."""
    ids = jnp.ones((ROWS, LENGTH), jnp.int32)
    x = jnp.zeros((ROWS, LENGTH, FEATURES))
    return jax.jit(MODULE.init)(jax.random.key(0), x, ids, ids)["params"]


def normalize(x, params):
    scaled = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    return scaled * params["norm"]["scale"] + params["norm"]["bias"]


def silu(x):
    return x / (1 + np.exp(-x))


def to_one(x):
    return x if len(x) == 1 else x / np.sqrt((x**2).mean() + 1e-5)


def reference_block(xs, params, norms):
    """One block over one episode ``xs [T, D]``, one timestep and one channel after another."""
    taps, inner = params["kernel"].shape
    size = params["log_rates"].shape[1]
    rank = params["step"]["kernel"].shape[0]
    past, state, out = [np.zeros(inner)] * (taps - 1), np.zeros((inner, size)), []
    for x in xs:
        u, gate = np.split(normalize(x, params["norm"]) @ params["input"]["kernel"], 2)
        past = [*past, u]
        u = params["bias"] + sum(params["kernel"][k] * past[k - taps] for k in range(taps))
        u = silu(u)
        selected = u @ params["select"]["kernel"]
        low, write, read = selected[:rank], selected[rank : rank + size], selected[rank + size :]
        if norms:
            low, write, read = [to_one(part) for part in (low, write, read)]
        step = np.log1p(np.exp(low @ params["step"]["kernel"] + params["step"]["bias"]))
        y = np.zeros(inner)
        for i in range(inner):
            for n in range(size):
                rate = -np.exp(params["log_rates"][i, n])
                state[i, n] = np.exp(step[i] * rate) * state[i, n] + step[i] * write[n] * u[i]
                y[i] += read[n] * state[i, n]
        y = (y + params["skip"] * u) * silu(gate)
        y = to_one(y) if norms else y
        out.append(x + y @ params["output"]["kernel"])
    return np.array(out)


def reference(xs, params, norms):
    dense = params["input"]["dense"]
    h = xs @ dense["kernel"] + dense["bias"]
    for layer in range(MODULE.layers):
        h = reference_block(h, params[f"blocks_{layer}"], norms)
    return np.array([normalize(x, params["output_norm"]) for x in h])


@pytest.mark.parametrize("module", [MODULE, WITH_NORMS], ids=["published", "norms"])
def test_the_encoder_equals_the_recurrence(module, params):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, LENGTH, FEATURES))
    cuts = [[0, 5, LENGTH], [0, 2, LENGTH]]
    ids = np.array([[1] * 5 + [2] * 6, [1] * 2 + [2] * 9])
    out = jax.jit(module.apply)({"params": params}, jnp.asarray(x, jnp.float32), ids, ids)
    exact = jax.tree.map(lambda w: np.asarray(w, np.float64), params)
    for row, (start, cut, end) in enumerate(cuts):
        pieces = x[row, start:cut], x[row, cut:end]
        expected = [reference(piece, exact, module.inner_norms) for piece in pieces]
        np.testing.assert_allclose(out[row], np.concatenate(expected), atol=2e-5)


def test_both_scans_equal_the_recurrence_and_each_other_in_gradients():
    rng = np.random.default_rng(0)
    u, step = rng.normal(size=(2, 1, 7, 2)).astype(np.float32)
    write, read = rng.normal(size=(2, 1, 7, 3)).astype(np.float32)
    selected = Selected(u=u, step=np.abs(step), write=write, read=read)
    rates = -rng.uniform(size=(2, 3)).astype(np.float32)
    is_first = np.array([[True, False, False, True, True, False, False]])
    state, expected = np.zeros((2, 3)), []
    for t in range(7):
        decay = np.exp(selected.step[0, t, :, None] * rates)
        drive = np.outer(selected.step[0, t] * u[0, t], write[0, t])
        state = (0.0 if is_first[0, t] else decay * state) + drive
        expected.append(state @ read[0, t])

    def run(scan):
        def loss(selected, rates):
            y = scan(selected, rates, is_first)
            return jnp.sum(jnp.sin(y)), y

        grads, y = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(selected, rates)
        np.testing.assert_allclose(y[0], expected, atol=1e-5)
        return grads

    grads = run(scan_in_parallel), run(scan_in_sequence)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *grads)


def test_it_starts_as_published(params):
    block = params["blocks_0"]
    np.testing.assert_allclose(np.exp(block["log_rates"][0]), [1.0, 2.0, 3.0], rtol=1e-6)
    step = np.asarray(jax.nn.softplus(block["step"]["bias"]))
    assert step.min() >= SHORTEST_STEP * 0.999
    assert step.max() <= LONGEST_STEP * 1.001
    # Log-uniform: as many below the geometric middle as above.
    assert 0.25 < (step < np.sqrt(SHORTEST_STEP * LONGEST_STEP)).mean() < 0.75
    np.testing.assert_array_equal(block["skip"], 1.0)
    # ceil(20 / 16) numbers decide the step.
    assert block["step"]["kernel"].shape[0] == 2


def test_with_norms_the_first_timestep_is_heard_at_the_end(params):
    """Here and in a T-Maze's 30 steps alike; without, learning to remember does not begin."""
    x = np.random.default_rng(0).normal(size=(ROWS, LENGTH, FEATURES)).astype(np.float32)
    x[1, 1:] = x[0, 1:]
    ids = jnp.ones((ROWS, LENGTH), jnp.int32)

    def difference(module):
        out = jax.jit(module.apply)({"params": params}, x, ids, ids)
        return float(jnp.abs(out[0, -1] - out[1, -1]).mean())

    assert difference(WITH_NORMS) > 20 * difference(MODULE)


def test_a_single_number_keeps_its_size():
    np.testing.assert_array_equal(root_mean_square_one(jnp.array([[0.5], [-3.0]])), [[0.5], [-3.0]])
    of_two = root_mean_square_one(jnp.array([[0.5, -0.5], [30.0, 40.0]]))
    np.testing.assert_allclose(jnp.square(of_two).mean(-1), 1.0, rtol=1e-4)
