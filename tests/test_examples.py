"""The examples run, at toy size, and do what they say."""

import importlib
import sys
from pathlib import Path

import pytest

from tiny_runs import LEAST

FOLDER = Path(__file__).parents[1] / "examples"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
OF_THE_TASK = ("env.", "rollout_steps", "trajectory_encoder")
SMALL = [item for item in LEAST if not item.startswith(OF_THE_TASK)]
SMALL += ["epochs=2", "updates=1", "replay.capacity=60", "logger.plots=false"]
WITHOUT_MEMORY = [*SMALL, "trajectory_encoder=identity"]


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Return a function that imports an example by its name, as its own folder lets it be."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.chdir(tmp_path)
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)


def test_there_are_five_short_ones():
    lines = {name: len((FOLDER / f"{name}.py").read_text().splitlines()) for name in NAMES}
    assert len(lines) == 5
    assert all(30 <= count <= 60 for count in lines.values()), lines


def test_a_run_in_the_maze_and_its_saved_policy(example, capsys):
    found = example("train_tmaze").main(WITHOUT_MEMORY)
    assert found <= 1
    assert "epoch 2: 96 steps" in capsys.readouterr().out
    returns = example("act_with_a_saved_policy").main(episodes=4)
    assert returns.shape == (4,)


def test_seeds_and_rates_side_by_side(example):
    found = example("seeds_side_by_side").main(WITHOUT_MEMORY, seeds=2, rates=(1e-4, 1e-3))
    assert len(found) == 4
    assert all(list(Path(name).glob("checkpoints/*")) for name in found)


def test_an_environment_of_ones_own(example, capsys):
    assert 0 <= example("own_environment").main(WITHOUT_MEMORY) <= 1
    assert "epoch 2/2, evaluation" in capsys.readouterr().out


def test_a_memory_of_ones_own(example, capsys):
    assert example("own_memory").main([*SMALL, "trajectory_encoder.width=16"]) <= 1
    said = capsys.readouterr().out
    assert "own_memory.Average does not take heads" in said
    assert "remembers (1, 16)" in said
