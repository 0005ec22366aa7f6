"""What a run does around training: folders, logs, checkpoints, errors, scripts."""

import dataclasses
import functools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from omegaconf import OmegaConf

import amago_jax
from amago_jax import ConfigError, TrainingError, envs
from amago_jax.errors import CheckpointError
from amago_jax.runs.checkpoints import STATE
from amago_jax.runs.commands import evaluate, train
from amago_jax.runs.saving import Saver
from in_process import run_script
from tiny_runs import TINY, TINY_ANYWHERE, WITHOUT_MEMORY_ANYWHERE, tiny_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A trained run's folder."""
    directory = tmp_path_factory.mktemp("run")
    overrides = [*TINY, "epochs=3", "checkpoint.every=2", f"run_dir={directory}"]
    run = train(amago_jax.compose(overrides))
    return run, directory


def test_a_run_leaves_config_metrics_curves_and_checkpoints(finished):
    run, directory = finished
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all("evaluation/return" in row and "time/eta_seconds" in row for row in rows)
    assert "corridor_length: 4" in (directory / "config.yaml").read_text()
    assert (directory / "curves.png").read_bytes().startswith(b"\x89PNG")
    steps = sorted(int(p.name) for p in (directory / "checkpoints").iterdir() if p.name.isdigit())
    assert steps == [6, 9]
    assert len(run.rows) == 3


def test_a_loaded_run_evaluates_as_the_trained_one(finished):
    run, directory = finished
    loaded = amago_jax.load_run(directory)
    for a, b in zip(
        jax.tree.leaves(run.state.learner), jax.tree.leaves(loaded.state.learner), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert loaded.evaluate(7) == run.evaluate(7)


def test_a_loaded_policy_acts_as_the_trained_one(finished):
    run, directory = finished
    env = run.trainer.env
    streams = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 5))
    for key in (None, jax.random.key(1)):
        actions = []
        for policy in (run.policy, amago_jax.load_policy(directory)):
            action, memory = policy.act(streams.timestep, policy.initial_memory(5), key)
            actions.append(action)
            assert memory.lengths.tolist() == [1] * 5
        assert actions[0].shape == (5,)
        np.testing.assert_array_equal(*actions)


def test_a_policy_acts_whatever_kernel_it_was_trained_with(finished, tmp_path):
    run, _ = finished
    config = OmegaConf.to_container(run.config, resolve=True) | {"attention": "splash"}
    with Saver(tmp_path / "checkpoints") as saver:
        saver.save(9, {STATE: run.learner}, config)
    assert amago_jax.load_run(tmp_path).evaluate(7) == run.evaluate(7)
    with pytest.raises(ConfigError, match="attention=pallas does not take platform=cpu"):
        amago_jax.load_run(tmp_path, ["attention=pallas"])


def test_a_policy_is_not_changed_by_later_epochs(tmp_path):
    run = tiny_run(tmp_path, "epochs=2")
    epochs = run.epochs()
    next(epochs)
    policy = run.policy
    before = jax.tree.map(np.asarray, policy.state.params)
    next(epochs)
    jax.tree.map(np.testing.assert_array_equal, before, policy.state.params)


def test_a_folder_is_not_used_twice(finished):
    _, directory = finished
    with pytest.raises(ConfigError, match=r"run_dir=.* already holds a run"):
        train(amago_jax.compose([*TINY, f"run_dir={directory}"]))


def test_runs_begun_at_the_same_time_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = {amago_jax.make_run(TINY).directory for _ in range(3)}
    assert len(folders) == 3
    assert all(folder.is_dir() for folder in folders)


class Broken:
    """An environment whose rewards become NaN once an episode is three steps old."""

    def __init__(self, env):
        self._env = env

    def __getattr__(self, name):
        return getattr(self._env, name)

    def step_env(self, key, state, action, params):
        observation, state, reward, done, info = self._env.step_env(key, state, action, params)
        return observation, state, jnp.where(state.time >= 3, jnp.nan, reward), done, info


def test_nan_from_an_environment_stops_early_and_loses_nothing(tmp_path):
    def make():
        whole = envs.make("tmaze/passive", corridor_length=4)
        return dataclasses.replace(whole, name="test/broken", env=Broken(whole.env))

    if "test/broken" not in envs.list_ids():
        envs.register("test/broken", functools.partial(make))
    broken = ["env=gymnax/MemoryChain-bsuite", "env.env_id=test/broken", "~env.params"]
    overrides = [*WITHOUT_MEMORY_ANYWHERE, *broken, "rollout_steps=12", "epochs=5"]
    overrides += ["context_length=6"]
    with pytest.raises(TrainingError, match=r"'test/broken' gave a NaN .* in epoch 1; .* intact"):
        train(amago_jax.compose([*overrides, f"run_dir={tmp_path}"]))


def test_a_diverging_loss_stops_early(tmp_path):
    run = tiny_run(tmp_path, "epochs=5", "agent.reward_multiplier=1e30")
    said = r"loss became inf, and the gradients of critics.* in update 1 of epoch 1 .*; rewards .* "
    with pytest.raises(TrainingError, match=said + r"no optimizer.learning_rate .* intact"):
        list(run.epochs())
    assert not (tmp_path / "checkpoints").exists()  # there was nothing to save yet


def test_the_agent_before_a_failure_is_saved(tmp_path):
    run = tiny_run(tmp_path, "epochs=5", "checkpoint.every=5")
    epochs = run.epochs()
    next(epochs)
    good, agent = run.policy.state, run.trainer.agent
    exploding = dataclasses.replace(agent, reward_multiplier=1e30)
    run.trainer = dataclasses.replace(run.trainer, agent=exploding)
    with pytest.raises(TrainingError, match=r"epoch 2 .*; .* is saved in .*/checkpoints/3, and"):
        next(epochs)
    chex.assert_trees_all_equal(amago_jax.load_policy(tmp_path).state, good)


def test_evaluate_reports_returns(finished, capsys):
    _, directory = finished
    row = evaluate(amago_jax.compose([f"checkpoint={directory}", "episodes=16"], "evaluate"))
    assert set(row) == {
        "evaluation/return",
        "evaluation/return_std",
        "evaluation/return_min",
        "evaluation/return_max",
        "evaluation/episode_length",
    }
    assert "tmaze/passive: return" in capsys.readouterr().out


def test_the_evaluation_script_runs(finished):
    _, directory = finished
    done = run_script("evaluate", f"checkpoint={directory}", "episodes=4")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tmaze/passive: return")
    assert "over 4 episodes" in done.stdout


def test_evaluate_in_a_changed_environment(finished):
    _, directory = finished
    overrides = [f"checkpoint={directory}", "episodes=4", "overrides=['env.corridor_length=3']"]
    assert evaluate(amago_jax.compose(overrides, "evaluate"))["evaluation/episode_length"] == 4
    with pytest.raises(ConfigError, match="corridor_lenght"):
        amago_jax.load_run(directory, ["env.corridor_lenght=3"])


def test_a_checkpoint_of_one_dtype_goes_on_in_the_other(tmp_path):
    run = tiny_run(tmp_path, "dtype=bfloat16", "epochs=1")
    (row,) = run.epochs()
    assert np.isfinite(row["loss/total"])
    run.save()
    assert amago_jax.load_run(tmp_path).trainer.agent.trajectory_encoder.dtype == "bfloat16"
    exact = amago_jax.load_run(tmp_path, ["dtype=float32"])
    assert exact.trainer.agent.timestep_encoder.dtype == "float32"
    chex.assert_trees_all_equal(exact.learner, run.learner)


def test_another_agents_checkpoint_is_refused(finished):
    _, directory = finished
    with pytest.raises(CheckpointError, match="trajectory_encoder"):
        amago_jax.load_run(directory, ["trajectory_encoder.feedforward_width=24"])


def test_multirun_trains_every_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The penalty, as it would be anyway, has no place in the environment's file.
    arguments = [*TINY, "env.penalty=-0.25", "epochs=1", "logger.plots=false"]
    arguments += ["--multirun", "seed=0,1"]
    result = run_script("train", *arguments)
    assert result.returncode == 0, result.stderr
    folders = sorted(p.parent for p in tmp_path.glob("runs/tmaze/passive/*/*/metrics.jsonl"))
    assert [folder.name[-5:] for folder in folders] == ["seed0", "seed1"]
    assert all(OmegaConf.load(f / "config.yaml").env.penalty == -0.25 for f in folders)
    assert result.stdout.count("Trained in tmaze/passive") == 2
    assert result.stdout.count("attention=dense, windows of ") == 2


def test_meta_episodes_leave_an_adaptation_curve(tmp_path):
    overrides = [*TINY_ANYWHERE, "env=meta/dark_key_door", "rollout_steps=12"]
    overrides += ["context_length=20"]
    run = amago_jax.make_run(overrides, run_dir=tmp_path)
    success = {f"evaluation/success/attempt_{number}": number / 5 for number in range(1, 6)}
    returns = {f"evaluation/return/attempt_{number}": 1.0 for number in range(1, 6)}
    run.rows = [{"env_steps": 1.0, "updates": 1.0, "evaluation/return": 5.0, **success, **returns}]
    run.plot()
    assert (tmp_path / "adaptation.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "success.png").exists()
    run.rows = [run.rows[0] | {"evaluation/success/attempts": 0.6}]
    run.plot()
    assert (tmp_path / "success.png").exists()
