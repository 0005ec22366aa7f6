"""Changes to what was saved, and to what trains: they mean what the command line means."""

import json

import chex
import jax
import numpy as np
import pytest
from omegaconf import OmegaConf

import amago_jax
from amago_jax.errors import CheckpointError, ConfigError
from amago_jax.runs.building import build
from amago_jax.runs.changing import changed, differences
from amago_jax.runs.checkpoints import open_step, steps
from amago_jax.runs.train_side_by_side import train_side_by_side
from amago_jax.runs.training import train_run
from tiny_runs import LEAST, TINY

QUIET = ["logger.console=false", "logger.plots=false"]
OVERRIDES = [
    ["trajectory_encoder=gru", "trajectory_encoder.layers=3", "~exploration.randomize"],
    ["agent=multitask", "advantage_filter=exponential", "++sweep.name=new"],
    ["logger=[tensorboard,trackio]", "logger.trackio.project=mine"],
    ["label='a b: c'", "++env.penalty=-0.5", "exploration.start=[0.5,0.1]", "stop.return=null"],
]


def plain(config):
    return OmegaConf.to_container(config, resolve=True)


@pytest.mark.parametrize("overrides", OVERRIDES)
def test_overrides_of_what_is_there_are_those_of_the_command_line(overrides):
    assert plain(changed(amago_jax.compose(), overrides)) == plain(amago_jax.compose(overrides))


@pytest.mark.parametrize(
    "override",
    [
        "replay.starts=anywhere",
        "trajectory_encoder.normalization=rmsnorm",
        "on_env_nan=restart",
        "checkpoint.on_error=continue",
        "evaluation.episodes=3",
    ],
)
def test_settings_that_a_saved_configuration_lacks_can_be_given(override):
    name = override.partition("=")[0]
    section, _, last = name.rpartition(".")
    lacking = OmegaConf.create(plain(amago_jax.compose()))
    settings = OmegaConf.select(lacking, section) if section else lacking
    del settings[last]
    assert plain(changed(lacking, [override])) == plain(amago_jax.compose([override]))


def test_what_a_saved_configuration_lacks_is_as_it_was_then():
    lacking = OmegaConf.create(plain(amago_jax.compose(["trajectory_encoder=mamba"])))
    assert lacking.replay.pop("starts") == "across"
    assert lacking.trajectory_encoder.pop("inner_norms")
    trainer = build(changed(lacking, []))
    assert trainer.replay.starts == "inside"
    assert not trainer.agent.trajectory_encoder.inner_norms


def test_a_choice_replaces_its_group_alone():
    config = amago_jax.compose([*TINY, "agent.n_step=3"])
    other = changed(config, ["env=tmaze/active", "agent.tau=0.5"])
    assert (other.env.env_id, other.env.corridor_length) == ("tmaze/active", 30)
    assert set(differences(config, other)) == {"env.env_id", "env.corridor_length", "agent.tau"}


WRONG = [
    ("epochs", "epochs"),
    ("epochs=[1", "epochs"),
    ("epoch=3", "did you mean epochs"),
    ("+epochs=3", "epochs"),
    ("~nothing", "nothing"),
    ("nothing=1", "there is no setting 'nothing'"),
    ("trajectory_encoder=grue", "did you mean gru"),
    ("agent.taus=2", r"did you mean agent\.tau"),
    ("trajectory_encoder@x=gru", "trajectory_encoder"),
    ("optimizer=[1,2]", "optimizer"),
    ("seed=1,2", "sweeps over several values"),
    ("agent.tau=interval(0,1)", "sweeps over several values"),
    ("experiment=maze_runner", "makes a new run"),
    ("ablation=gru", "makes a new run"),
    ("hydra/launcher=joblib", "hydra"),
    ("hydra/help=amago_jax", "hydra"),
]


@pytest.mark.parametrize(("override", "message"), WRONG)
def test_what_is_wrong_with_an_override_is_one_sentence(override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        changed(amago_jax.compose(LEAST), [override])
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run after two epochs, with a checkpoint of each."""
    run = amago_jax.make_run([*LEAST, "epochs=2"], tmp_path_factory.mktemp("run"))
    for _ in run.epochs():
        run.save()
    return run


def test_a_run_is_loaded_with_other_groups(run):
    other = amago_jax.load_run(run.directory, ["env=tmaze/active", "env.corridor_length=7"])
    assert (other.trainer.env.name, other.trainer.env.horizon) == ("tmaze/active", 10)
    chex.assert_trees_all_equal(other.learner, run.learner)
    with pytest.raises(CheckpointError, match="does not fit: 'agent/params/trajectory_encoder"):
        amago_jax.load_run(run.directory, ["trajectory_encoder=gru"])


REFUSED = [
    "seed=1",
    "env.corridor_length=5",
    "env=tmaze/active",
    "agent.gammas=[0.9]",
    "agent.n_step=2",
    "agent=multitask",
    "trajectory_encoder=gru",
    "envs=8",
    "replay.capacity=80",
    "rollout_steps=6",
    "dtype=bfloat16",
    "hindsight=some",
    "exploration=bilevel",
    "optimizer.reset_interval=3",
    "seeds=2",
    "lanes=8",
    "epochs=1",
    "updates=0",
    "nothing=3",
]


@pytest.mark.parametrize("override", REFUSED)
def test_what_cannot_change_within_a_run_is_refused_alive_and_saved(override, run):
    before, trainer = plain(run.config), run.trainer
    name = override.partition("=")[0]
    for change in (run.change, lambda given: amago_jax.Run.resume(run.directory, given)):
        with pytest.raises(ConfigError, match=name):
            change([override])
    assert plain(run.config) == before
    assert run.trainer is trainer
    assert run.changes.made == []


def test_a_runs_config_cannot_be_written_to(run):
    for write in (
        lambda config: setattr(config, "epochs", 3),
        lambda config: config.agent.gammas.append(0.5),
        lambda config: OmegaConf.update(config, "optimizer.learning_rate", 1.0),
    ):
        with pytest.raises(ConfigError, match=r"run\.change\(\['"):
            write(run.config)
    copy = OmegaConf.create(plain(run.config))
    copy.epochs = 7
    assert run.config.epochs == 2


def test_a_changed_run_is_the_one_resumed_with_the_changes(tmp_path, run):
    """Numbers compile nothing; sizes do; nothing is lost; and when it was is written down."""
    changes = ["optimizer.learning_rate=1e-4", "epochs=4", "agent.tau=0.1", "checkpoint.keep=1"]
    alive = amago_jax.make_run([*LEAST, "epochs=2"], tmp_path / "alive")
    list(alive.epochs())
    alive.save()
    compiled = alive.compile_seconds
    alive.change(changes)
    rows = list(alive.epochs())
    assert alive.compile_seconds == compiled
    resumed = amago_jax.Run.resume(run.directory, changes)
    for row, other in zip(rows, resumed.epochs(), strict=True):
        assert {k: v for k, v in row.items() if not k.startswith("time/")} == {
            k: v for k, v in other.items() if not k.startswith("time/")
        }
    chex.assert_trees_all_equal(alive.learner, resumed.learner)
    settings = dict(item.split("=") for item in changes)
    expected = [{"epoch": 2, "settings": {k: float(v) for k, v in settings.items()}}]
    assert alive.changes.made == resumed.changes.made == expected
    # What is saved is what was used, and what was changed before stays known.
    alive.save()
    assert steps(tmp_path / "alive" / "checkpoints") == [12]
    assert open_step(tmp_path / "alive" / "checkpoints").config["epochs"] == 4
    again = amago_jax.Run.resume(tmp_path / "alive", ["epochs=5", "updates=2"])
    assert [entry["epoch"] for entry in again.changes.made] == [2, 4]
    (row,) = again.epochs()
    again.save()
    assert json.loads((tmp_path / "alive" / "changes.json").read_text()) == again.changes.made
    assert row["updates"] == 14
    assert again.config.optimizer.learning_rate == 1e-4


def test_what_is_changed_while_a_run_trains_is_what_its_folder_says(tmp_path, monkeypatch):
    run = amago_jax.make_run([*LEAST, *QUIET, "epochs=9"], tmp_path)
    evaluate = run.evaluate

    def shorten(fold):
        if fold == 2:
            run.change(["epochs=3", "checkpoint.every=1", "label=shorter"])
        return evaluate(fold)

    monkeypatch.setattr(run, "evaluate", shorten)
    train_run(run)
    assert [row["epoch"] for row in run.rows] == [1, 2, 3]
    assert steps(tmp_path / "checkpoints") == [6, 9]
    saved = OmegaConf.load(tmp_path / "config.yaml")
    assert (saved.label, saved.epochs) == ("shorter", 3)


def test_runs_side_by_side_change_together(tmp_path):
    runs = amago_jax.make_runs([*LEAST, *QUIET, "seeds=2", "epochs=2"], tmp_path)
    runs.change(["epochs=1", "optimizer.learning_rate=1e-4"])
    assert [run.config.epochs for run in runs.runs] == [1, 1]
    with pytest.raises(RuntimeError, match=r"Runs\.change"):
        runs.runs[0].change(["epochs=2"])
    for wrong in ("seeds=3", "logger.console=true", "agent.n_step=2", "seed=4"):
        with pytest.raises(ConfigError, match=wrong.partition("=")[0]):
            runs.change([wrong])
    with pytest.raises(ConfigError, match="config"):
        runs.config.epochs = 3
    grid = amago_jax.make_runs([*LEAST, "grid={agent.tau:[0.1,0.2]}"], tmp_path / "grid")
    with pytest.raises(ConfigError, match=r"agent\.tau is what grid=.* varies"):
        grid.change(["agent.tau=0.3"])
    train_side_by_side(runs)
    again = amago_jax.Runs.resume(tmp_path)
    assert again.config.optimizer.learning_rate == 1e-4
    assert [run.changes.made[0]["epoch"] for run in again.runs] == [0, 0]
    assert not again.training
    with pytest.raises(ConfigError, match=r"agent\.n_step"):
        amago_jax.Runs.resume(tmp_path, ["agent.n_step=2"])


def test_a_run_beside_others_ends_when_a_change_says_so_and_does_not_begin_again(tmp_path):
    runs = amago_jax.make_runs([*LEAST, *QUIET, "seeds=2", "evaluation.every=1"], tmp_path)
    epochs = runs.epochs()
    rows = next(epochs)
    returns = sorted(row["evaluation/return"] for row in rows.values())
    for run, one in zip(runs.runs, (0.0, 9.0), strict=True):  # as if only the second had learned
        run.rows = [run.rows[-1] | {"evaluation/return": one}]
    assert returns[0] < 9.0
    runs.change(["stop.return=5", "stop.evaluations=1"])
    assert list(runs.training) == [0]
    ended = jax.device_get(runs.runs[1].learner.agent.params)
    assert list(next(epochs)) == [0]
    jax.tree.map(np.testing.assert_array_equal, ended, runs.runs[1].learner.agent.params)
    with pytest.raises(ConfigError, match=r"stop\.return=null: the run in .*seed1 has ended"):
        runs.change(["stop.return=null"])


def test_a_run_goes_on_in_its_own_folder_alone(run, tmp_path):
    with pytest.raises(ConfigError, match=r"run_dir=.* cannot change within a run"):
        amago_jax.Run.resume(run.directory, [f"run_dir={tmp_path}"])


def test_copies_of_a_runs_config_can_be_changed(run):
    copied, merged = run.config.copy(), OmegaConf.merge(run.config, {"epochs": 3})
    copied.agent.tau = merged.agent.tau = 0.5
    assert (copied.agent.tau, merged.agent.tau, merged.epochs) == (0.5, 0.5, 3)
    with pytest.raises(ConfigError, match=r"run\.change"):
        run.config.agent.tau = 0.5


def test_another_run_does_not_save_among_a_finished_ones_checkpoints(run, tmp_path):
    other = amago_jax.make_run([*LEAST, "epochs=9"], run.directory)
    with pytest.raises(ConfigError, match="already holds a run"):
        next(other.epochs())
    with pytest.raises(CheckpointError, match="saved by another run"):
        other.save()
    own = amago_jax.make_run(LEAST, tmp_path)
    own.save()
    next(own.epochs())
    own.save()
    assert steps(tmp_path / "checkpoints") == [0, 3]
