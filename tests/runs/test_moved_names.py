"""Runs saved before modules moved load still, and do what they did."""

import importlib
import json
import shutil
from pathlib import Path

import pytest

from amago_jax import load_policy, load_run
from amago_jax.runs.moved_names import MOVED, current_name

SAVED = Path(__file__).parent / "data" / "before_the_move.zip"
# Every part that a configuration of that time could name, but for those that stayed.
NAMED_THEN = [
    "amago_jax.agent.Agent",
    "amago_jax.amago.build_amago_agent",
    "amago_jax.exploration.BiLevel",
    "amago_jax.exploration.Plain",
    "amago_jax.exploration.Windowed",
    "amago_jax.hindsight.build_hindsight",
    "amago_jax.instructions.GoalProtocol",
    "amago_jax.learner.make_optimizer",
    "amago_jax.multitask.build_multitask_agent",
    "amago_jax.replay.Replay",
    "amago_jax.models.distributions.make_distribution",
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    shutil.unpack_archive(SAVED, folder)
    return folder


@pytest.mark.parametrize("name", ["tmaze", "maze_multitask"])
def test_a_saved_run_evaluates_as_it_did(saved, name):
    expected = json.loads((saved / "expected.json").read_text())[name]
    run = load_run(saved / name, ["seed=3"])
    assert run.evaluate() == pytest.approx(expected, abs=1e-5)
    assert int(run.learner.updates) == 6


def test_a_saved_policy_loads_without_compiling_a_training_state(saved, monkeypatch):
    def refuse(*_):
        raise AssertionError("the training state was made")

    monkeypatch.setattr("amago_jax.learning.trainer.Trainer.init", refuse)
    policy = load_policy(saved / "tmaze")
    assert policy.state.params["actor"]


def test_a_run_from_before_there_was_a_dtype_loads_in_either(saved):
    for overrides, dtype in (([], "float32"), (["dtype=bfloat16"], "bfloat16")):
        run = load_run(saved / "tmaze", overrides)
        assert run.trainer.agent.trajectory_encoder.dtype == dtype


@pytest.mark.parametrize("name", NAMED_THEN)
def test_every_part_is_found(name):
    module, _, part = current_name(name).rpartition(".")
    assert hasattr(importlib.import_module(module), part)


def test_what_did_not_move_keeps_its_name():
    assert current_name("mine.learner.make_optimizer") == "mine.learner.make_optimizer"
    assert not set(MOVED) & set(MOVED.values())
