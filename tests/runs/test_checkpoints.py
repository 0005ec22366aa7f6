"""Checkpoints come back bit for bit, or say what is wrong; a killed save harms nothing."""

import dataclasses
import json
import logging
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from amago_jax.errors import CheckpointError, DamagedError
from amago_jax.runs.checkpoints import STATE, latest_step, open_step, restore
from amago_jax.runs.saving import Saver

CONFIG = {"seed": 1, "env": {"env_id": "tmaze"}, "betas": [0.9, 0.999], "stop": None}


@struct.dataclass
class State:
    params: dict
    optimizer: tuple
    key: jax.Array
    updates: jax.Array


def make_state(seed: int = 0) -> State:
    key = jax.random.key(seed)
    kernel = jax.random.normal(key, (3, 2))
    return State(
        params={"actor": {"kernel": kernel, "bias": jnp.zeros(2, jnp.bfloat16)}, "none": {}},
        optimizer=(kernel * 2, (), None, jnp.zeros((0, 3))),
        key=key,
        updates=jnp.asarray(seed, jnp.int32),
    )


def save(directory, step, tree, config, **saver):
    """Save the learner of a run alone, and wait."""
    with Saver(directory, **saver) as opened:
        return opened.save(step, {STATE: tree}, config)


def as_bytes(array) -> tuple:
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return (array.shape, str(array.dtype), np.asarray(jax.random.key_data(array)).tobytes())
    return (array.shape, str(array.dtype), np.asarray(array).tobytes())


def assert_same(tree, other) -> None:
    assert str(jax.tree.structure(tree)) == str(jax.tree.structure(other))
    assert jax.tree.map(as_bytes, tree) == jax.tree.map(as_bytes, other)


def blank(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.text("ab/. ", min_size=1, max_size=3),
        npst.arrays(
            st.sampled_from([np.float32, np.float16, np.int32, np.uint8, np.bool_, np.complex64]),
            npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
        ),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_arrays_come_back_bit_for_bit(tmp_path_factory, arrays, on_device):
    directory = tmp_path_factory.mktemp("run")
    tree = {"leaves": jax.tree.map(jnp.asarray, arrays) if on_device else arrays}
    save(directory, 1, tree, {})
    assert_same(restore(directory, tree), tree)


def test_state_comes_back_with_keys_empty_arrays_and_config(tmp_path):
    state = make_state(7)
    folder = save(tmp_path / "new" / "checkpoints", 100, state, CONFIG)
    assert folder == tmp_path / "new" / "checkpoints" / "100"
    assert_same(restore(folder.parent, make_state(0)), state)
    assert_same(restore(folder.parent, blank(state)), state)
    assert open_step(folder.parent).config == CONFIG
    key = restore(folder.parent, blank(state)).key
    assert jax.random.uniform(key) == jax.random.uniform(state.key)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_arrays_of_keys_of_any_kind(tmp_path, impl):
    keys = jax.random.split(jax.random.key(0, impl=impl), (2, 3))
    save(tmp_path, 1, keys, {})
    assert_same(restore(tmp_path, keys), keys)
    other = jax.random.split(jax.random.key(0, impl="unsafe_rbg"), (2, 3))
    with pytest.raises(CheckpointError, match="'array' should be key"):
        restore(tmp_path, other)


def test_the_newest_steps_are_kept(tmp_path):
    assert latest_step(tmp_path / "none") is None
    assert latest_step(tmp_path) is None
    for step, before in ((9, None), (10, 9), (100, 10)):
        save(tmp_path, step, make_state(step), {"step": step}, keep=2, after=before)
    assert latest_step(tmp_path) == 100
    assert not (tmp_path / "9").exists()
    assert_same(restore(tmp_path, make_state()), make_state(100))
    assert_same(restore(tmp_path, make_state(), step=10), make_state(10))
    assert open_step(tmp_path, 10).config == {"step": 10}
    with pytest.raises(CheckpointError, match=r"no step 9 in .*\[10, 100\]"):
        restore(tmp_path, make_state(), step=9)


def test_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save("checkpoints", 1, make_state(1), {})
    assert_same(restore(Path("checkpoints"), make_state()), make_state(1))


def test_saving_the_same_again_is_allowed_but_nothing_else_is_overwritten(tmp_path):
    save(tmp_path, 5, make_state(5), CONFIG)
    assert save(tmp_path, 5, make_state(5), CONFIG) == tmp_path / "5"
    for step in (4, 5, 6):
        with pytest.raises(CheckpointError, match=f"{tmp_path} already holds step 5"):
            save(tmp_path, step, make_state(6), CONFIG)
    assert_same(restore(tmp_path, make_state()), make_state(5))


def test_a_killed_save_harms_nothing(tmp_path):
    save(tmp_path, 1, make_state(1), CONFIG)
    stray = tmp_path / "2.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "1", stray)
    (stray / "entries" / "metadata").unlink()
    assert latest_step(tmp_path) == 1
    assert_same(restore(tmp_path, make_state()), make_state(1))
    save(tmp_path, 2, make_state(2), CONFIG, after=1)
    assert_same(restore(tmp_path, make_state()), make_state(2))
    assert not stray.exists()


def test_a_save_that_fails_half_way_harms_nothing(tmp_path, monkeypatch):
    save(tmp_path, 1, make_state(1), CONFIG)

    def fail(*_, **__):
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr("orbax.checkpoint.JsonCheckpointHandler.async_save", fail)
        with pytest.raises(CheckpointError, match="disk full"):
            save(tmp_path, 2, make_state(2), CONFIG, after=1)
    assert_same(restore(tmp_path, make_state()), make_state(1))
    save(tmp_path, 2, make_state(2), CONFIG, after=1)
    assert_same(restore(tmp_path, make_state()), make_state(2))


def test_missing_folder_and_empty_folder_are_named(tmp_path):
    for call in (lambda path: restore(path, make_state()), open_step):
        with pytest.raises(CheckpointError, match=f"no checkpoint folder {tmp_path}/none"):
            call(tmp_path / "none")
        with pytest.raises(CheckpointError, match=f"no complete checkpoint in {tmp_path}"):
            call(tmp_path)


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=f"{tmp_path}/file"):
        save(tmp_path / "file", 1, make_state(), {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"updates": jnp.zeros(2, jnp.int32)},
            "'updates' should be int32[2] but is int32[]",
        ),
        ({"updates": jnp.zeros(())}, "'updates' should be float32[] but is int32[]"),
        ({"key": jnp.zeros(2, jnp.uint32)}, "'key' should be uint32[2] but is key<fry>[]"),
        ({"params": {"actor": {"scale": jnp.ones(1)}}}, "'params/actor/scale' is missing"),
        ({"params": {}}, "'params/actor/kernel' is not expected"),
        (
            {"optimizer": (jnp.zeros((3, 2)), (), None, jnp.zeros((0, 4)))},
            "'optimizer/3' should be float32[0, 4] but is float32[0, 3]",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_both_shapes(tmp_path, change, message):
    save(tmp_path, 1, make_state(), {})
    with pytest.raises(CheckpointError, match=re.escape(message)) as caught:
        restore(tmp_path, dataclasses.replace(make_state(), **change))
    assert str(tmp_path / "1") in str(caught.value)


# Where a file cannot be read, Orbax may close its event loop over a pending read, which Python
# complains of, harmlessly, whenever it collects it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_corrupt_files_are_told(tmp_path):
    tree = {"kernel": jax.random.normal(jax.random.key(1), (64, 64))}
    save(tmp_path / "good", 1, tree, CONFIG)
    files = [file for file in (tmp_path / "good" / "1").rglob("*") if file.is_file()]
    assert len(files) > 5
    refused = 0
    for file in files:
        bad = tmp_path / "bad"
        shutil.copytree(tmp_path / "good", bad)
        victim = bad / file.relative_to(tmp_path / "good")
        victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
        error = None
        try:
            state, config = restore(bad, tree), open_step(bad).config
        except CheckpointError as caught:
            error = str(caught)
        if error is None:  # some files only repeat what others say
            assert_same(state, tree)
            assert config == CONFIG
        else:
            refused += 1
            assert f"checkpoint {bad}/1 is corrupt" in error
        shutil.rmtree(bad)
    assert refused >= 4


def test_wrong_numbers_are_told(tmp_path):
    path = save(tmp_path, 1, make_state(1), {}) / "entries" / "metadata"
    entries = json.loads(path.read_text())
    entries["updates"]["crc32"] += 1
    path.write_text(json.dumps(entries))
    with pytest.raises(DamagedError, match="wrong checksum of what describes it"):
        restore(tmp_path, make_state())
    shutil.rmtree(tmp_path / "1" / "seal")  # as in those made before there were seals
    with pytest.raises(DamagedError, match="wrong checksum of 'updates'"):
        restore(tmp_path, make_state())
    path.write_text('{"updates": 3}')
    with pytest.raises(CheckpointError, match="malformed"):
        restore(tmp_path, make_state())


def test_small_arrays_are_given_to_orbax_as_one(tmp_path, monkeypatch):
    """TensorStore keeps some memory of every array that it is given, for as long as it runs."""
    given = []

    def keep(self, step, documents, parts, metrics):
        given.append(parts)
        return write(self, step, documents, parts, metrics)

    write = Saver._write
    monkeypatch.setattr(Saver, "_write", keep)
    rng = np.random.default_rng(0)
    tree = {f"layer {n}": rng.normal(size=(n, 3)).astype(np.float32) for n in range(50)}
    tree |= {"large": np.zeros(2**20 + 1, bool), "flag": np.array(True), "key": jax.random.key(3)}
    save(tmp_path, 1, tree, {})
    (parts,) = given
    small = sum(12 * n for n in range(50)) + 1 + 8
    assert sorted(x.nbytes for x in parts[STATE].values()) == [small, 2**20 + 1]
    assert_same(restore(tmp_path, tree), tree)


def test_checkpoints_in_which_each_array_lies_by_itself_are_read(tmp_path, monkeypatch):
    """As they were written before the small ones were put together."""
    state = make_state()
    monkeypatch.setattr("amago_jax.runs.entries.MOST_BYTES", 0)
    save(tmp_path, 1, state, {})
    monkeypatch.undo()
    opened = open_step(tmp_path)
    assert not any("offset" in entry for entry in opened.entries().values())
    assert_same(opened.restore(blank(state)), state)
    # The same arrays are there already, wherever they lie: a run that goes on saves nothing anew.
    save(tmp_path, 1, state, {})
    with pytest.raises(CheckpointError, match="already holds step 1"):
        save(tmp_path, 1, make_state(1), {})


def test_names_that_look_alike_are_told_apart(tmp_path):
    tree = {
        "a": jnp.ones(1),
        "a/": jnp.ones(1, jnp.float16),
        "b": {".": jnp.zeros(2)},
        ".": jnp.ones(3),
    }
    save(tmp_path, 1, tree, {})
    assert_same(restore(tmp_path, tree), tree)


def test_only_arrays_and_json_are_saved(tmp_path):
    with pytest.raises(TypeError, match="'a/0' is not an array but str"):
        save(tmp_path, 1, {"a": ["text"]}, {})
    with pytest.raises(TypeError, match="JSON"):
        save(tmp_path, 1, make_state(), {"path": object()})
    with pytest.raises(TypeError, match="same name 'a/b'"):
        save(tmp_path, 1, {"a": {"b": np.ones(1)}, "a/b": np.ones(1)}, {})
    assert latest_step(tmp_path) is None


def test_orbax_is_quiet(tmp_path, caplog, capfd):
    with caplog.at_level(logging.INFO):
        save(tmp_path, 1, make_state(), {})
        restore(tmp_path, make_state())
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
