"""PPO's command: its folder is one that reports read; wrong settings are named."""

import math
import types

import numpy as np
import pytest

from amago_jax.errors import ConfigError, TrainingError
from amago_jax.reports.report import make_report
from amago_jax.runs import on_policy
from amago_jax.runs.config import compose
from amago_jax.runs.directories import save_settings
from amago_jax.runs.on_policy import _read_settings, build_ppo, check_ppo, train_ppo
from run_folders import write_run

TINY = [
    "env.corridor_length=3",
    "rollout_steps=6",
    "epochs=2",
    "envs=4",
    "evaluation.episodes=4",
    "trajectory_encoder=identity",
    "timestep_encoder.hidden_size=16",
    "timestep_encoder.layers=1",
    "agent.hidden_size=16",
    "agent.layers=1",
    "logger.plots=false",
    "logger.console=false",
]


def test_reports_read_what_is_left(tmp_path):
    folder = train_ppo(compose([*TINY, f"run_dir={tmp_path / 'run'}", "label=ppo"], "ppo"))
    found = make_report(folder)
    (run,) = found.runs
    assert run.status == "complete"
    assert found.tasks == ["tmaze/passive"]
    assert [row["epoch"] for row in run.rows] == [1, 2]
    assert run.rows[-1]["updates"] == 32
    assert math.isfinite(run.rows[-1]["evaluation/return"])
    assert run.rows[-1]["time/env_steps_per_second"] > 0
    assert run.config["ppo.clip"] == 0.2
    assert not any(name.startswith("replay") for name in run.config)
    with pytest.raises(ConfigError, match="already holds a run"):
        train_ppo(compose([*TINY, f"run_dir={tmp_path / 'run'}"], "ppo"))


def test_reports_compare_it_with_runs_of_the_agent_in_one_task(tmp_path):
    for seed in range(2):
        shared = ["env=tmaze/passive", f"seed={seed}"]
        found = {
            "agent": compose([*shared, "label=AMAGO"]),
            "ppo": _read_settings(compose([*shared, "label=PPO"], "ppo")),
        }
        for name, config in found.items():
            folder = write_run(tmp_path / name / str(seed), [1.0])
            (folder / "config.yaml").unlink()
            save_settings(config, folder / "config.yaml")
    (first, second) = make_report([tmp_path / "agent", tmp_path / "ppo"], equal="updates").measured
    assert first.setting.task == second.setting.task == "tmaze/passive"
    assert (first.setting.name, second.setting.name) == ("AMAGO", "PPO")
    assert len(first.finals) == len(second.finals) == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ppo.minibatches=3", r"ppo.minibatches=3 does not divide envs=4"),
        ("ppo.clip=0", r"ppo.clip=0 must be"),
        ("ppo.gamma=1", r"ppo.gamma=1 must be"),
        ("resume=runs/x", r"resume='runs/x' is not for PPO"),
        ("seeds=3", r"seeds=3 is not for PPO"),
        ("on_nan=skip", r"on_nan='skip' is not for PPO"),
        ("envs=0", r"envs=0 must be"),
    ],
)
def test_wrong_settings_are_named(override, message):
    with pytest.raises(ConfigError, match=message):
        check_ppo(compose([*TINY, override], "ppo"))


def test_actions_are_scored_where_they_are_and_discrete_policies_may_be_sure():
    sure = build_ppo(compose([], "ppo")).agent.distribution
    assert (sure.clip_low, sure.clip_high) == (1e-6, 1.0)
    exact = build_ppo(compose(["env=gymnax/Pendulum-v1"], "ppo")).agent.distribution
    assert exact.action_limit > 0.9999
    named = ["env=gymnax/Pendulum-v1", "distribution=beta", "distribution.action_limit=0.999"]
    assert build_ppo(compose(named, "ppo")).agent.distribution.action_limit == 0.999


def test_what_attends_keeps_the_past_and_what_recurs_its_state():
    given = [item for item in TINY if not item.startswith("trajectory_encoder")]
    attending = build_ppo(compose([*given, "context_length=4"], "ppo"))
    assert attending.agent.past == 4
    assert attending.learning_agent.trajectory_encoder.window == 4
    assert build_ppo(compose([*given, "trajectory_encoder=gru"], "ppo")).agent.past == 0


@pytest.mark.parametrize(
    ("loss", "evaluated", "message"),
    [
        (math.nan, 1.0, "the loss is nan in epoch 1; ppo.learning_rate=0.0003 may be too large"),
        (1.0, math.nan, "an evaluation's return is nan in epoch 1, for env 'worlds' gave a NaN"),
        (1.0, math.inf, "an evaluation's return is inf"),
    ],
)
def test_what_is_no_number_ends_training(loss, evaluated, message, tmp_path, monkeypatch):
    trainer = types.SimpleNamespace(
        env=types.SimpleNamespace(name="worlds"),
        init=lambda key: types.SimpleNamespace(agent={}),
        train_epoch=lambda state: (state, {"loss/total": np.float32(loss)}),
        evaluate=lambda agent, key: {"evaluation/return": np.float32(evaluated)},
    )
    monkeypatch.setattr(on_policy, "build_ppo", lambda config: trainer)
    monkeypatch.setattr(on_policy, "_compile", lambda *_: 0.0)
    with pytest.raises(TrainingError, match=message):
        train_ppo(compose([*TINY, f"run_dir={tmp_path / 'run'}", "evaluation.every=1"], "ppo"))
