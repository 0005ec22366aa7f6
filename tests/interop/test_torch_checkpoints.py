"""The authors' weights go into an agent and come back bit for bit."""

import jax
import numpy as np
import pytest

from amago_jax.interop import (
    InteropError,
    load_torch,
    read_state_dict,
    save_torch,
    write_state_dict,
)
from amago_jax.interop.torch_names import from_state_dict, to_state_dict
from amago_jax.models.feedforward import FeedForward
from amago_jax.models.gru import GRU
from amago_jax.models.mamba import Mamba
from golden_agents import AMAGO, MULTITASK, agent_of, batch_of
from golden_files import load
from small_agents import small_agent, start
from streams import pack, random_episode

SUFFIXES = ["pt", "safetensors"]


def golden_agent(name):
    golden = load(name)
    agent = agent_of(golden)
    example = jax.tree.map(lambda x: x[:, 0], batch_of(golden, 0, agent.discrete).timesteps)
    like = jax.eval_shape(agent.init, jax.random.key(0), example)
    return golden.under("weights"), agent, like


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", AMAGO + MULTITASK)
def test_the_authors_weights_make_the_round_trip(tmp_path, name, suffix):
    weights, agent, like = golden_agent(name)
    theirs, ours = tmp_path / f"theirs.{suffix}", tmp_path / f"ours.{suffix}"
    write_state_dict(theirs, weights)
    state = load_torch(theirs, agent, like)
    save_torch(ours, agent, state)
    found = read_state_dict(ours)
    assert set(found) == set(weights)
    for key, array in weights.items():
        assert found[key].shape == array.shape, key
        assert found[key].dtype == array.dtype, key
        np.testing.assert_array_equal(found[key], array, err_msg=key)
    again = load_torch(ours, agent, like)
    jax.tree.map(np.testing.assert_array_equal, again, state)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_weights_of_a_compiled_model_are_read(tmp_path, suffix):
    weights, agent, like = golden_agent(AMAGO[0])

    def compiled(name):
        """The name in a compiled agent, whose memory's blocks were compiled, too."""
        return "_orig_mod." + name.replace("layers.0.", "layers.0._orig_mod.")

    path = tmp_path / f"compiled.{suffix}"
    write_state_dict(path, {compiled(name): array for name, array in weights.items()})
    assert any(".layers.0._orig_mod." in name for name in read_state_dict(path))
    state = load_torch(path, agent, like)
    heads = agent.trajectory_encoder.heads
    jax.tree.map(np.testing.assert_array_equal, state, from_state_dict(like, weights, heads))
    write_state_dict(path, weights | {"_orig_mod.popart.mu": weights["popart.mu"]})
    with pytest.raises(InteropError, match=r"has entry 'popart\.mu' twice"):
        load_torch(path, agent, like)


MEMORIES = {
    "gru": GRU(8, layers=2, hidden_size=6, output_width=5),
    "feedforward": FeedForward(8, width=6, feedforward_width=8, layers=2),
}


def agent_and_state(**settings):
    agent = small_agent(**settings)
    batch = pack([[random_episode(np.random.default_rng(0), 5)]], 8)
    example = jax.tree.map(lambda x: x[:, 0], batch.timesteps)
    return agent, start(agent, example)


@pytest.mark.parametrize("name", MEMORIES)
def test_other_memories_make_the_round_trip(tmp_path, name):
    agent, state = agent_and_state(trajectory_encoder=MEMORIES[name])
    save_torch(tmp_path / "weights.pt", agent, state)
    found = load_torch(tmp_path / "weights.pt", agent, state)
    jax.tree.map(np.testing.assert_array_equal, found, state)
    file = {"gru": "gru", "feedforward": "feedforward_traj"}[name]
    wanted = {f"traj_encoder.{key}" for key in load(file).under("weights")}
    weights = read_state_dict(tmp_path / "weights.pt")
    assert {key for key in weights if key.startswith("traj_encoder.")} == wanted


@pytest.mark.parametrize("normalization", ["rmsnorm", "unitball"])
def test_other_normalizations_make_the_round_trip(tmp_path, normalization):
    memory = FeedForward(8, 8, 8, 1, normalization=normalization)
    agent, state = agent_and_state(trajectory_encoder=memory)
    save_torch(tmp_path / "weights.pt", agent, state)
    found = load_torch(tmp_path / "weights.pt", agent, state)
    jax.tree.map(np.testing.assert_array_equal, found, state)
    norms = {key for key in read_state_dict(tmp_path / "weights.pt") if "traj_encoder.out_" in key}
    assert norms == ({"traj_encoder.out_norm.norm.scale"} if normalization == "rmsnorm" else set())
    # Of an agent that has another norm, the entry is over or missing.
    other, like = agent_and_state(trajectory_encoder=FeedForward(8, 8, 8, 1))
    with pytest.raises(InteropError, match=r"traj_encoder\.out_norm\.norm\."):
        load_torch(tmp_path / "weights.pt", other, like)


def test_what_the_original_has_not_is_named():
    _agent, state = agent_and_state(trajectory_encoder=Mamba(8, width=6, layers=1, state_size=3))
    with pytest.raises(InteropError, match="no array like params/trajectory_encoder/"):
        to_state_dict(state, 1)


def test_missing_left_over_and_misshapen_entries_are_named():
    weights, agent, like = golden_agent(AMAGO[0])
    heads = agent.trajectory_encoder.heads

    def changed(**entries):
        return {k: v for k, v in (weights | entries).items() if v is not None}

    with pytest.raises(InteropError, match=r"has no entry 'popart\.mu'"):
        from_state_dict(like, changed(**{"popart.mu": None}), heads)
    few = {k: v for k, v in weights.items() if not k.startswith("actor.")}
    with pytest.raises(InteropError, match=r"has no entries 'actor\.base.* and 1 more"):
        from_state_dict(like, few, heads)
    with pytest.raises(InteropError, match="no place for entry 'surplus'"):
        from_state_dict(like, changed(surplus=np.zeros(3)), heads)
    name = "actor.base.in_layer.weight"
    rows, columns = weights[name].shape
    wide = np.zeros((rows, columns + 1), np.float32)
    with pytest.raises(InteropError, match=rf"{name}.* \({rows}, {columns + 1}\).*agent has"):
        from_state_dict(like, changed(**{name: wide}), heads)


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("actor.base.in_layer.weight", lambda x: x * np.nan, "NaN or infinity"),
        ("actor.base.in_layer.weight", lambda x: x * 0 + np.inf, "NaN or infinity"),
        ("actor.base.in_layer.weight", lambda x: x.astype(np.int32), "dtype int32"),
        ("actor.base.in_layer.weight", lambda x: x.astype(np.complex64), "dtype complex64"),
        ("actor.base.in_layer.bias", lambda x: x.astype(bool), "dtype bool"),
        ("actor.base.in_layer.weight", lambda x: x.astype(float) + 1e300, "1e\\+300, .*range"),
        ("popart.nu", lambda x: x * 0 - 1, "-1, which is out of range"),
        ("popart._t", lambda x: x * 0 - 3, "-3, which is out of range"),
    ],
)
def test_numbers_that_no_agent_has_are_refused(name, spoil, message):
    weights, agent, like = golden_agent(AMAGO[0])
    spoiled = weights | {name: spoil(weights[name])}
    with pytest.raises(InteropError, match=rf"{name}.*{message}"):
        from_state_dict(like, spoiled, agent.trajectory_encoder.heads)


def test_damaged_safetensors_are_named(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_state_dict(path, {"w": np.zeros(4, np.float32)})
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InteropError, match=r"weights\.safetensors is damaged"):
        read_state_dict(path)
