"""Runs side by side: each with its own folder, its own end, and its own failure."""

import functools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import amago_jax
from amago_jax.errors import CheckpointError, ConfigError, TrainingError
from amago_jax.reports.rows import read_jsonl
from amago_jax.runs.cli import check
from amago_jax.runs.members import members
from amago_jax.runs.train_side_by_side import summary, train_side_by_side
from recorders import RECORDED, Recorder
from tiny_runs import LEAST

RATES = "grid={optimizer.learning_rate:[1e-3,%s]}"


def without_times(row):
    return {name: x for name, x in row.items() if not name.startswith("time/")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two seeds each of a learning rate that learns and one that diverges."""
    folder = tmp_path_factory.mktemp("trained")
    overrides = [*LEAST, "seeds=[3,5]", RATES % "1e30", "epochs=3", "checkpoint.every=2"]
    overrides += [f"run_dir={folder}", "logger.console=false", RECORDED]
    config = amago_jax.compose(overrides)
    with pytest.raises(TrainingError, match="2 of 4 runs failed") as error:
        train_side_by_side(amago_jax.Runs(config))
    return folder, str(error.value)


def test_every_run_has_a_folder_that_reads_as_a_run(trained):
    folder, _ = trained
    for seed in (3, 5):
        run = folder / "optimizer.learning_rate=0.001" / f"seed{seed}"
        assert [row["epoch"] for row in read_jsonl(run / "metrics.jsonl")] == [1, 2, 3]
        config = OmegaConf.load(run / "config.yaml")
        assert (config.seed, config.seeds, config.grid) == (seed, None, None)
        assert (run / "curves.png").is_file()
        loaded = amago_jax.load_run(run, imports=["recorders"])
        assert int(loaded.learner.updates) == 9
        assert math.isfinite(loaded.evaluate()["evaluation/return"])
    assert (folder / "curves.png").is_file()


def test_runs_that_fail_are_named_and_harm_no_other(trained, tmp_path):
    folder, error = trained
    for seed in (3, 5):
        failed = folder / "optimizer.learning_rate=1e+30" / f"seed{seed}"
        assert f"{failed}: the loss became" in error
        assert not (failed / "checkpoints").exists()  # it had learned nothing
    healthy = amago_jax.make_runs([*LEAST, "seeds=[3,5]", RATES % "2e-3", "epochs=3"], tmp_path)
    for _ in healthy.epochs():
        pass
    for number, seed in enumerate((3, 5)):
        rows = read_jsonl(folder / f"optimizer.learning_rate=0.001/seed{seed}/metrics.jsonl")
        found = [without_times(row) for row in healthy.runs[number].rows]
        assert found == [without_times(row) for row in rows]


def test_runs_are_logged_each_on_its_own_as_runs_of_one_group(trained):
    folder, _ = trained
    calls = [one.calls for one in Recorder.made if one.calls and one.calls[0][1].group]
    found = {}
    for run in calls:
        info = run[0][1]
        assert info.group == folder.name
        found[info.folder.relative_to(folder)] = [call[0] for call in run[1:-1]], run[-1][1]
    for seed in (3, 5):
        rate = "optimizer.learning_rate="
        logged, outcome = found[Path(f"{rate}0.001", f"seed{seed}")]
        assert (logged, outcome) == (["log"] * 3 + ["picture"], "complete")
        logged, outcome = found[Path(f"{rate}1e+30", f"seed{seed}")]
        assert (set(logged), outcome) == (set(), "failed")


def test_runs_end_on_their_own(tmp_path):
    overrides = [*LEAST, "seeds=2", "epochs=4", "stop.return=0", "stop.evaluations=1"]
    runs = amago_jax.make_runs(overrides, tmp_path)
    lucky, other = runs.runs
    # One solves the task at once, the other never.
    runs.evaluate = lambda fold: [{"evaluation/return": 1.0}, {"evaluation/return": -1.0}]
    epochs = runs.epochs()
    assert set(next(epochs)) == {0, 1}
    assert lucky.finished
    assert set(runs.training) == {1}
    at_the_end = int(lucky.learner.updates)
    rows = next(epochs)
    assert set(rows) == {1}
    together = summary(runs, rows)
    assert together["evaluation/return"] == 0  # the mean counts the one that has ended
    assert (together["runs/least_return"], together["runs/greatest_return"]) == (-1, 1)
    assert [set(rows) for rows in epochs] == [{1}, {1}]
    assert int(lucky.learner.updates) == at_the_end == 3
    assert int(other.learner.updates) == 12
    assert (len(lucky.rows), len(other.rows)) == (1, 4)
    with pytest.raises(RuntimeError, match=r"Runs\.epochs"):
        lucky.epochs()


def test_a_folder_is_not_used_twice_by_whatever_runs(tmp_path):
    config = amago_jax.compose([*LEAST, "seeds=1", "epochs=1", f"run_dir={tmp_path}"])
    config.logger.console = config.logger.plots = False
    runs = train_side_by_side(amago_jax.Runs(config))
    assert runs.directory == tmp_path
    config.seeds = [7]
    with pytest.raises(ConfigError, match=f"{tmp_path} already holds a run"):
        train_side_by_side(amago_jax.Runs(config))
    with pytest.raises(CheckpointError, match="holds the runs seed0"):
        amago_jax.load_run(tmp_path)


def config(*overrides):
    return amago_jax.compose([*LEAST, *overrides])


@functools.cache
def here():
    return config("run_dir=runs/here")


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 5),
    seeds=st.one_of(
        st.integers(1, 4), st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True)
    ),
    rates=st.lists(st.sampled_from([1e-4, 1e-3, 0.5]), unique=True),
    taus=st.lists(st.sampled_from([0.1, 0.5]), unique=True),
    own_folders=st.booleans(),
)
def test_members_are_all_settings_with_all_seeds(seed, seeds, rates, taus, own_folders):
    given = here().copy()
    given.seed, given.seeds = seed, seeds
    grid = {"optimizer.learning_rate": rates, "agent.tau": taus}
    given.grid = {name: values for name, values in grid.items() if values} or None
    if own_folders:
        given.run_dir = "runs/${seed}_${optimizer.learning_rate}_${agent.tau}"
    found = members(given)
    wanted = list(range(seed, seed + seeds)) if isinstance(seeds, int) else seeds
    assert [member.seed for member in found] == wanted * (len(rates or [0]) * len(taus or [0]))
    kinds = {(m.seed, m.optimizer.learning_rate, m.agent.tau) for m in found}
    assert len(kinds) == len({m.run_dir for m in found}) == len(found)
    assert {m.agent.tau for m in found} == {*(taus or [here().agent.tau])}
    assert all(m.seeds is None and m.grid is None for m in found)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeds=0", "seeds=0 must be a whole number of at least 1, a list"),
        ("seeds=1.5", "seeds=1.5 must be"),
        ("seeds=true", "seeds=True must be"),
        ("seeds=[]", "must be"),
        ("seeds=[1,1]", "must be .* different whole numbers"),
        ("seeds=[1,a]", "must be"),
        ("grid=3", "grid=3 must be {name: a list of values"),
        ("grid={agent.tau:0.1}", "must be a list of values"),
        ("grid={agent.tua:[0.1]}", r"no setting 'agent.tua'.*did you mean agent\.tau"),
        ("grid={learning_rate:[0.1]}", r"did you mean optimizer\.learning_rate"),
        ("grid={updates:[3,4]}", "must be a number to it"),
        ("grid={agent.tau:[2.0]}", "tau"),
    ],
)
def test_what_cannot_be_side_by_side_is_said_before_anything_runs(override, message):
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        check([[*LEAST, override]], "config")


def test_several_runs_are_not_built_as_one(tmp_path):
    with pytest.raises(ConfigError, match="make_runs"):
        amago_jax.make_run([*LEAST, "seeds=2"], tmp_path)


def test_seeds_share_what_is_compiled(tmp_path):
    first, second = (
        amago_jax.make_runs([*LEAST, f"seeds={seeds}", "epochs=3"], tmp_path / str(n))
        for n, seeds in enumerate(([3, 5, 7], [0, 1, 2]))
    )
    assert first.trainer.programs is second.trainer.programs
    assert not np.array_equal(first.runs[0].init_key, second.runs[0].init_key)
