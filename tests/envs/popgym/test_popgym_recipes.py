"""The recipes for POPGym compose, and build what the papers say."""

import jax.numpy as jnp
import pytest

from amago_jax.agents.multitask import MultiTaskAgent
from amago_jax.envs.popgym.tasks import TASKS
from amago_jax.models.distributions import Discrete, TanhGaussian
from amago_jax.runs.building import build
from amago_jax.runs.config import compose
from amago_jax.runs.flags import parse
from amago_jax.runs.sweeps import plan


@pytest.mark.parametrize("task", ["RepeatFirstHard", "ConcentrationHard"])
def test_the_papers_settings_reach_the_agent(task):
    trainer = build(compose([f"env=popgym/{task}", "experiment=popgym"]))
    assert trainer.env.name == f"popgym/{task}"
    assert trainer.env.terminate_on_truncation
    assert trainer.replay.window == trainer.env.horizon + 1
    agent = trainer.agent
    assert agent.distribution == Discrete(trainer.env.action_space.size, 1e-6, 1.0)
    assert agent.trajectory_encoder.max_time > trainer.env.horizon
    logits = jnp.array([30.0] + [0.0] * (agent.distribution.actions - 1))
    assert agent.distribution.probabilities(logits)[0] > 0.999


def test_the_recipe_serves_continuous_actions_as_well():
    trainer = build(compose(["env=popgym/PositionOnlyPendulumEasy", "experiment=popgym"]))
    assert isinstance(trainer.agent.distribution, TanhGaussian)


def test_the_preset_sweeps_over_all_tasks_and_three_seeds():
    runs = plan(parse(["sweep=popgym"], "config")).runs
    assert len(runs) == 42 * 3
    assert {run[1] for run in runs} == {f"env=popgym/{task}" for task in TASKS}
    config = compose(runs[-1])
    assert config.run_dir == f"runs/{config.env.env_id}/seed2"


def test_the_multidomain_recipe_is_amago_2s():
    config = compose(["experiment=popgym_multidomain"])
    assert config.exploration._target_ == "amago_jax.acting.exploration.Plain"
    trainer = build(config)
    assert trainer.env.name == "popgym/multidomain"
    assert isinstance(trainer.agent, MultiTaskAgent)
    assert trainer.agent.trajectory_encoder.max_time > trainer.env.horizon
