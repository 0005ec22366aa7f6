"""A run goes on as if it had never ended, and is ended so that it can."""

import functools
import json
import os
import random
import shutil
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import amago_jax
from amago_jax.errors import (
    CheckpointError,
    ConfigError,
    DamagedError,
    InterruptionError,
    TrainingError,
)
from amago_jax.learning.experience import spread
from amago_jax.reports.outcomes import read_outcome
from amago_jax.reports.rows import read_jsonl
from amago_jax.runs.changing import resumable
from amago_jax.runs.checkpoints import RETURN, STATE, candidates, open_step, restore, steps
from amago_jax.runs.interruption import Interruption
from amago_jax.runs.logging import JsonLinesLogger
from amago_jax.runs.saving import Saver
from amago_jax.runs.train_side_by_side import train_side_by_side
from amago_jax.runs.training import train_run
from tiny_runs import LEAST, RARITY, TINY

KINDS = {
    "memory": TINY,
    "goals counted": RARITY,
}
QUIET = ["logger.console=false", "logger.plots=false"]


def numbers(rows):
    """Rows without what depends on the clock, or on how long a run was to be."""
    return [
        {name: x for name, x in row.items() if not name.startswith(("time/", "epochs"))}
        for row in rows
    ]


def assert_same_state(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(kind, tmp_path):
    overrides = [*KINDS[kind], "stop.return=1000", "stop.evaluations=2"]
    whole = amago_jax.make_run([*overrides, "epochs=4"], tmp_path / "whole")
    expected = list(whole.epochs())
    part = amago_jax.make_run([*overrides, "epochs=2"], tmp_path / "part")
    list(part.epochs())
    part.save()
    resumed = amago_jax.Run.resume(tmp_path / "part", ["epochs=4"])
    # The folder has no metrics: what is needed of them is in the checkpoint.
    assert numbers(resumed.rows) == numbers(expected[:2])
    assert numbers(resumed.epochs()) == numbers(expected[2:])
    assert resumed.rows[2]["time/seconds"] > resumed.rows[1]["time/seconds"]
    assert_same_state(resumed.state, whole.state)


def test_a_buffer_that_was_not_saved_is_filled_before_learning(tmp_path):
    # Windows of 6 in a ring of 40, of which an epoch fills 12.
    overrides = [*LEAST, "epochs=3", "checkpoint.replay=false"]
    run = amago_jax.make_run(overrides, tmp_path)
    list(run.epochs())
    run.save()
    resumed = amago_jax.Run.resume(tmp_path, ["epochs=4"])
    state = resumed.state
    assert int(state.experience.replay.written[0]) == 36
    chex.assert_trees_all_equal(state.learner, run.learner)
    (row,) = resumed.epochs()
    assert row["epoch"] == 4
    assert row["updates"] == 12


def ask_at(monkeypatch, epoch, number=signal.SIGTERM):
    """Have a signal arrive while an epoch's row is written."""
    log, asked = JsonLinesLogger.log, []

    def asking(logger, row):
        log(logger, row)
        if row["epoch"] == epoch and not asked:  # asked twice, the process would end at once
            asked.append(epoch)
            signal.raise_signal(number)

    monkeypatch.setattr(JsonLinesLogger, "log", asking)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_that_can_go_on(number, tmp_path, monkeypatch, capsys):
    config = functools.partial(amago_jax.compose, [*LEAST, *QUIET, "epochs=4"])
    whole, part = tmp_path / "whole", tmp_path / "part"
    for folder in (whole, part):
        run = config()
        run.run_dir = str(folder)
        if folder == whole:
            amago_jax.train(run)
            continue
        with monkeypatch.context() as patched:
            ask_at(patched, 2, number)
            with pytest.raises(InterruptionError, match=rf"{number.name}.*resume={part}") as error:
                amago_jax.train(run)
        assert error.value.exit_code == 75
        assert "once more ends at once" in capsys.readouterr().err
        assert read_outcome(part).status == "interrupted"
    # What was written after the checkpoint, by a run that was killed, is dropped.
    with (part / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"epoch": 3.0, "updates": -1}) + "\n" + '{"epoch": 4.0, "upd')
    amago_jax.train(amago_jax.compose([f"resume={part}"]))
    rows = [numbers(read_jsonl(folder / "metrics.jsonl")) for folder in (whole, part)]
    assert rows[0] == rows[1]
    assert read_outcome(part).status == "complete"
    assert signal.getsignal(number) is not None


def test_signals_are_heard_only_while_a_run_trains():
    before = signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
        assert interruption.asked is None
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)  # so soon, it is the same wish
        assert interruption.asked == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is before


def test_runs_side_by_side_go_on_together(tmp_path, monkeypatch):
    """One ends by its criterion, one fails, and two are interrupted."""
    overrides = [*LEAST, *QUIET, "seeds=2", "grid={optimizer.learning_rate:[1e-3,1e30]}"]
    overrides += ["epochs=4", "checkpoint.every=1"]
    healthy = [*LEAST, *QUIET, "seeds=2", "grid={optimizer.learning_rate:[1e-3,2e-3]}", "epochs=4"]
    whole = amago_jax.make_runs(healthy, tmp_path / "whole")
    list(whole.epochs())
    with monkeypatch.context() as patched:
        ask_at(patched, 2)
        with pytest.raises(InterruptionError, match="after epoch 2"):
            train_side_by_side(amago_jax.make_runs(overrides, tmp_path / "part"))
    # As after a kill between two saves: the newest step that all have counts.
    first = tmp_path / "part" / "optimizer.learning_rate=0.001" / "seed0"
    shutil.rmtree(first / "checkpoints" / "6")
    resumed = amago_jax.Runs.resume(tmp_path / "part")
    assert set(resumed.failures) == {2, 3}
    assert [run.next_epoch for run in resumed.runs[:2]] == [2, 2]
    with pytest.raises(TrainingError, match="2 of 4 runs failed"):
        train_side_by_side(resumed)
    for number, seed in enumerate((0, 1)):
        run = tmp_path / "part" / "optimizer.learning_rate=0.001" / f"seed{seed}"
        assert numbers(read_jsonl(run / "metrics.jsonl")) == numbers(whole.runs[number].rows)
        assert read_outcome(run).status == "complete"
    again = amago_jax.Runs.resume(tmp_path / "part")
    assert not again.training
    chex.assert_trees_all_equal(again.runs[1].learner, whole.runs[1].learner)


def test_runs_side_by_side_that_are_complete_can_have_more_epochs(tmp_path):
    """Also where their folder was moved, and the newest checkpoint of one is damaged."""
    overrides = [*LEAST, *QUIET, "seeds=2", "checkpoint.every=1"]
    whole = amago_jax.make_runs([*overrides, "epochs=4"], tmp_path / "whole")
    list(whole.epochs())
    train_side_by_side(amago_jax.make_runs([*overrides, "epochs=2"], tmp_path / "first"))
    folder = (tmp_path / "first").rename(tmp_path / "moved")
    damage(folder / "seed1" / "checkpoints" / "6")
    with pytest.warns(UserWarning, match="6 is corrupt.*taking step 3"):
        runs = amago_jax.Runs.resume(folder, ["epochs=4"])
    train_side_by_side(runs)
    assert not (tmp_path / "first").exists()
    for run, expected in zip(runs.runs, whole.runs, strict=True):
        rows = read_jsonl(run.directory / "metrics.jsonl")
        assert numbers(rows) == numbers(expected.rows)
        chex.assert_trees_all_equal(amago_jax.load_run(run.directory).learner, expected.learner)


def test_what_was_loaded_to_evaluate_is_not_trained_in_its_folder(tmp_path):
    amago_jax.train(amago_jax.compose([*LEAST, *QUIET, "epochs=1", f"run_dir={tmp_path / 'a'}"]))
    loaded = amago_jax.load_run(tmp_path / "a")
    with pytest.raises(ConfigError, match=r"Run\.resume goes on"):
        next(loaded.epochs())
    begun = amago_jax.load_run(tmp_path / "a", [f"run_dir={tmp_path / 'b'}"])
    (row,) = begun.epochs()
    assert (begun.directory, row["epoch"], row["updates"]) == (tmp_path / "b", 1, 6)
    loaded = amago_jax.load_run(tmp_path / "a")
    loaded.directory = tmp_path / "c"
    loaded.save()
    with pytest.raises(CheckpointError, match="the learner alone"):
        amago_jax.Run.resume(tmp_path / "c")
    # Nor by what trains runs with all around it.
    train_run(amago_jax.load_run(tmp_path / "a", [f"run_dir={tmp_path / 'd'}", *QUIET]))
    for override in ("env=tmaze/active", "nothing=3", "env.nothing=3", "epochs=0"):
        with pytest.raises(ConfigError, match=override.partition("=")[0].rpartition(".")[2]):
            amago_jax.Run.resume(tmp_path / "a", [override])


def damage(checkpoint):
    """Cut off half of every array's file."""
    for path in (checkpoint / "state").rglob("d/*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_devices_that_are_not_here_are_not_asked_for(tmp_path):
    config = amago_jax.compose([*LEAST, "devices=99"])
    with pytest.warns(UserWarning, match="devices=99"):
        assert resumable(config, ["epochs=3"], tmp_path).devices is None
    assert resumable(config, ["devices=1"], tmp_path).devices == 1


def test_a_checkpoint_is_saved_though_the_one_before_was_not(tmp_path, monkeypatch):
    with Saver(tmp_path) as saver:
        with monkeypatch.context() as patched:
            patched.setattr(saver, "wait", fail_to_save)
            with pytest.raises(CheckpointError, match="the one before"):
                saver.save(1, {STATE: TREE}, {})
        saver.wait()
    assert steps(tmp_path) == [1]


def fail_to_save():
    raise CheckpointError("the one before was not saved")


TREE = {"kernel": np.arange(6.0, dtype=np.float32)}


def save_steps(folder, returns, keep=None, *, reopened=False):
    """Save a step for each return, each by a saver of its own if ``reopened``."""
    saver = Saver(folder, keep=keep)
    for step, value in enumerate(returns, 1):
        progress = {} if value is None else {RETURN: value}
        saver.save(step, {STATE: {"kernel": TREE["kernel"] * step}}, {"n": step}, progress)
        if reopened:
            saver.close()
            saver = Saver(folder, keep=keep, after=step)
    saver.close()


@settings(max_examples=15, deadline=None)
@given(
    returns=st.lists(st.one_of(st.none(), st.integers(-3, 3).map(float)), min_size=1, max_size=5),
    keep=st.integers(1, 3),
    reopened=st.booleans(),
)
def test_the_newest_and_the_best_are_kept(tmp_path_factory, returns, keep, reopened):
    folder = tmp_path_factory.mktemp("kept")
    save_steps(folder, returns, keep, reopened=reopened)
    newest = list(range(max(1, len(returns) - keep + 1), len(returns) + 1))
    known = [value for value in returns if value is not None]
    assert set(steps(folder)) >= set(newest)
    assert candidates(folder) == steps(folder)[::-1]
    (best,) = candidates(folder, "best")
    assert len(steps(folder)) <= keep + 1
    if known:
        assert returns[best - 1] == max(known)
    np.testing.assert_array_equal(restore(folder, TREE, step=best)["kernel"], TREE["kernel"] * best)


@pytest.mark.parametrize("step", ["7", "worst", "1.5"])
def test_steps_that_are_not_there_are_named(step, tmp_path):
    save_steps(tmp_path, [None, None])
    with pytest.raises(CheckpointError, match=f"step.*{step}.*1, 2"):
        candidates(tmp_path, step)


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path):
    run = amago_jax.make_run([*LEAST, "epochs=2"], tmp_path)
    for _ in run.epochs():
        run.save()
    damage(tmp_path / "checkpoints" / "6")
    with pytest.warns(UserWarning, match="6 is corrupt.*taking step 3"):
        resumed = amago_jax.Run.resume(tmp_path)
    assert resumed.next_epoch == 2
    with pytest.warns(UserWarning, match="taking step 3"):
        assert int(amago_jax.load_run(tmp_path).learner.updates) == 3
    with pytest.raises(DamagedError):
        amago_jax.load_run(tmp_path, step=6)
    # What it saves in the damaged one's place is good.
    list(resumed.epochs())
    resumed.save()
    chex.assert_trees_all_equal(amago_jax.load_run(tmp_path).learner, run.learner)
    assert steps(tmp_path / "checkpoints_left") == [6]


def test_bits_that_flip_in_what_describes_a_checkpoint_are_found(tmp_path):
    save_steps(tmp_path / "good", [1.0])
    rng = random.Random(0)
    names = ["config", "progress", "entries", "seal"]
    for _ in range(60):
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(tmp_path / "good", tmp_path / "bad")
        path = tmp_path / "bad" / "1" / rng.choice(names) / "metadata"
        content = bytearray(path.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            config = open_step(tmp_path / "bad").config
        except DamagedError:
            continue
        assert config == {"n": 1}  # white space may change


def fail(*_, **__):
    raise OSError(28, os.strerror(28), "metrics.jsonl")


def test_a_full_disk_stops_training_or_does_not(tmp_path, monkeypatch, capsys):
    overrides = [*LEAST, "logger.plots=false", "epochs=2", "checkpoint.every=1"]

    def make(name, *more):
        return amago_jax.make_run([*overrides, *more], tmp_path / name)

    with monkeypatch.context() as patched:
        patched.setattr(JsonLinesLogger, "log", fail)
        with pytest.raises(CheckpointError, match=r"metrics\.jsonl: No space left"):
            train_run(make("stop"))
        assert read_outcome(tmp_path / "stop").status == "failed"
        run = train_run(make("continue", "checkpoint.on_error=continue"))
    assert len(run.rows) == 2
    warnings = capsys.readouterr().out.count("warning: cannot write metrics.jsonl")
    assert warnings == 2
    assert steps(tmp_path / "continue" / "checkpoints") == [3, 6]
    with pytest.raises(ConfigError, match=r"checkpoint\.on_error='maybe' must be one of stop"):
        make("neither", "checkpoint.on_error=maybe")


def test_a_folder_that_vanishes_is_told(tmp_path, monkeypatch):
    run = amago_jax.make_run([*LEAST, *QUIET, "epochs=2"], tmp_path / "run")
    save = run.save

    def vanish(**arguments):
        save(**arguments)
        run.saver.wait()
        shutil.rmtree(tmp_path / "run")

    monkeypatch.setattr(run, "save", vanish)
    with pytest.raises(CheckpointError, match="is gone"):
        train_run(run)


@settings(max_examples=20, deadline=None)
@given(counts=st.sampled_from([(1, 2), (2, 1), (4, 2), (2, 8), (8, 8)]), seed=st.integers(0, 9))
def test_experience_keeps_its_order_on_other_devices(counts, seed):
    before, after = counts
    shapes = experience_shapes()
    rng = np.random.default_rng(seed)

    def fill(x):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.split(jax.random.key(seed), x.shape)
        return np.asarray(rng.integers(0, 9, x.shape)).astype(x.dtype)

    experience = spread(jax.tree.map(fill, shapes), before)
    found = spread(experience, after)
    total = functools.partial(jax.tree.map, lambda x: np.asarray(x).sum(axis=0))
    chex.assert_trees_all_equal(total(found.goals.totals), total(experience.goals.totals))
    for a, b in zip(jax.tree.leaves(found.replay), jax.tree.leaves(experience.replay), strict=True):
        assert a.shape[0] == after
        if b.ndim > 1:
            np.testing.assert_array_equal(np.reshape(a, -1), np.reshape(b, -1))
        else:
            assert (np.asarray(a) == np.asarray(b)[0]).all()


@functools.cache
def experience_shapes():
    overrides = [*RARITY, "envs=8", "batch_size=8", "devices=1"]
    return amago_jax.runs.build(amago_jax.compose(overrides)).shapes().experience
