"""Sweeps are expanded and checked before the first run begins."""

import pytest

from amago_jax import ConfigError
from amago_jax.runs.cli import check
from amago_jax.runs.sweeps import split_sweep, sweep_preset


def test_a_sweep_is_every_combination_in_order():
    assert split_sweep(["seed=0,1", "envs=8", "agent.tau=0.1,0.2"]) == [
        ["seed=0", "envs=8", "agent.tau=0.1"],
        ["seed=0", "envs=8", "agent.tau=0.2"],
        ["seed=1", "envs=8", "agent.tau=0.1"],
        ["seed=1", "envs=8", "agent.tau=0.2"],
    ]
    assert split_sweep([]) == [[]]


def test_a_malformed_sweep_is_one_sentence():
    with pytest.raises(ConfigError, match="seed"):
        split_sweep(["seed=[0,"])


def test_the_ablation_preset_is_as_large_as_its_file_says():
    preset = sweep_preset(["sweep=ablation", "seed=0,1"], "config")
    runs = split_sweep([f"{key}={value}" for key, value in preset.items()])
    assert len(runs) == 66
    assert sweep_preset(["seed=0,1"], "config") == {}


def test_every_ablation_can_be_built():
    preset = sweep_preset(["sweep=ablation"], "config")
    check([[f"ablation={name}"] for name in preset["ablation"].split(",")], "config")


def test_mazes_of_the_papers_sizes_can_be_built():
    preset = sweep_preset(["sweep=maze_runner"], "config")
    runs = split_sweep([f"{key}={value}" for key, value in preset.items()])
    assert len(runs) == 36
    assert {"env.side=15", "env.goals=3"} < set(runs[-1])
    check([runs[0], runs[-1]], "config")


def test_the_first_wrong_run_of_a_sweep_is_found():
    with pytest.raises(ConfigError, match="heads=7"):
        check(split_sweep(["trajectory_encoder.heads=8,7"]), "config")


def test_a_command_checks_runs_in_its_own_way():
    checked = []
    check([["seed=1"], ["seed=2", "devices=1000"]], "config", lambda c: checked.append(c.seed))
    assert checked == [1, 2]


def test_a_missing_setting_is_named():
    with pytest.raises(ConfigError, match="checkpoint is missing: give checkpoint="):
        check([[]], "evaluate")
