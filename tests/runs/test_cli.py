"""Sweeps are expanded and checked before the first run begins."""

import pytest

from amago_jax import ConfigError
from amago_jax.runs.cli import check
from amago_jax.runs.flags import parse
from amago_jax.runs.sweeps import plan


def runs(*arguments):
    """The overrides of every run of a sweep, without what all have in common of its own."""
    sweep = plan(parse(["-m", *arguments], "config"))
    own = ("sweep", "hydra.sweeper.params")
    return [[item for item in run if not item.startswith(own)] for run in sweep.runs]


def test_a_sweep_is_every_combination_in_order():
    assert runs("seed=0,1", "envs=8", "agent.tau=0.1,0.2") == [
        ["seed=0", "envs=8", "agent.tau=0.1"],
        ["seed=0", "envs=8", "agent.tau=0.2"],
        ["seed=1", "envs=8", "agent.tau=0.1"],
        ["seed=1", "envs=8", "agent.tau=0.2"],
    ]
    assert runs() == [[]]


def test_a_malformed_sweep_is_one_sentence():
    with pytest.raises(ConfigError, match="seed"):
        runs("seed=[0,")


def test_every_ablation_of_the_preset_can_be_built():
    found = runs("sweep=ablation")
    assert len(found) == 66
    choices = {item for run in found for item in run if item.startswith("ablation=")}
    assert len(choices) == 11
    check([[choice] for choice in sorted(choices)], "config")


def test_mazes_of_the_papers_sizes_can_be_built():
    found = runs("sweep=maze_runner")
    assert len(found) == 36
    assert {"env.side=15", "env.goals=3"} < set(found[-1])
    check([found[0], found[-1]], "config")


def test_the_first_wrong_run_of_a_sweep_is_found():
    with pytest.raises(ConfigError, match="heads=7"):
        check(runs("trajectory_encoder.heads=8,7"), "config")


def test_a_command_checks_runs_in_its_own_way():
    checked = []
    check([["seed=1"], ["seed=2", "devices=1000"]], "config", lambda c: checked.append(c.seed))
    assert checked == [1, 2]


def test_a_missing_setting_is_named():
    with pytest.raises(ConfigError, match="checkpoint is missing: give checkpoint="):
        check([[]], "evaluate")
