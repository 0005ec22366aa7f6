"""Runs that cannot fit are refused before anything is made, with a value that would fit."""

import re

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amago_jax import compose, make_run, make_runs
from amago_jax.errors import ConfigError
from amago_jax.measure.memory import held
from amago_jax.runs import memory
from amago_jax.runs.building import build
from amago_jax.runs.memory import SHARE, _round, check_memory, memory_of, needs, size_of
from amago_jax.runs.shapes import learner_shapes
from in_process import run_script
from tiny_runs import CORRIDOR, MAZE_WITHOUT_MEMORY, OTHERS, TINY

ONE = "devices=1"
GIGABYTES = 16e9


@pytest.fixture(autouse=True)
def small_machine(monkeypatch):
    monkeypatch.setattr(memory, "_host_memory", lambda: GIGABYTES)


@pytest.mark.parametrize(
    "overrides",
    [
        [*TINY, "replay.capacity=3000"],
        [*MAZE_WITHOUT_MEMORY, "hindsight=some"],
        [*OTHERS, *CORRIDOR, "trajectory_encoder=gru", "agent=multitask"],
    ],
)
def test_what_is_needed_is_what_a_run_holds(overrides):
    trainer = build(compose([*overrides, ONE]))
    found, expected = needs(trainer), held(trainer.shapes(), trainer.mesh)
    assert found["environments"] == pytest.approx(expected["environments"], rel=0.02, abs=64)
    assert found["replay"] == pytest.approx(expected["replay"], rel=0.02)
    # What loading a policy restores into, without tracing environments and replay.
    assert learner_shapes(trainer) == trainer.shapes().learner
    # Gradients are held during an update alone.
    weights = size_of(trainer.shapes().learner.agent.params)
    assert found["networks and their optimizer"] - weights == pytest.approx(
        expected["learner"], rel=0.02
    )


TOO_LARGE = {
    "envs=1000000000": r"^replay.capacity=20000 and envs=1000000000 would need .* for the replay",
    "replay.capacity=2000000000": r"capacity=2000000000 .*; replay.capacity=\d+ would fit$",
    "evaluation.episodes=1000000000": r"^evaluation.episodes=1000000000 would need .* evaluation",
    "batch_size=1000000000": r"^batch_size=1000000000 would need .* GB for the batch",
    "updates=2000000000": r"^updates=2000000000 would need 400 GB for the metrics of",
    "agent.hidden_size=300000": r"^the run would need .* networks .*; choose smaller networks",
    "lanes=1000000000": r"^lanes=1000000000 would need .*; lanes=\d+ would fit$",
}


@pytest.mark.parametrize("overrides", TOO_LARGE)
def test_the_largest_part_is_named_and_a_value_that_fits(overrides):
    lanes = overrides.startswith("lanes")
    trainer = build(compose([overrides, ONE]))
    with pytest.raises(ConfigError, match=TOO_LARGE[overrides]) as caught:
        check_memory(trainer, in_lanes=lanes)
    assert "\n" not in str(caught.value)
    fitting = re.search(r"(\S+=\d+) would fit$", str(caught.value))
    if fitting is not None:
        check_memory(build(compose([overrides, ONE, fitting[1]])), in_lanes=lanes)


def test_what_fits_is_not_refused():
    check_memory(build(compose([ONE])))
    exact = build(compose([ONE, "replay.capacity=1000000"]))
    total = sum(needs(exact).values())
    assert total < SHARE * GIGABYTES
    with pytest.raises(ConfigError, match=r"replay of 40 seeds, .*; replay.capacity=\d+ would fit"):
        check_memory(exact, seeds=40)


@given(
    value=st.floats(1, 1e9), least=st.integers(1, 100), divisor=st.sampled_from([1, 2, 3, 8, 64])
)
def test_a_value_that_fits_is_a_multiple_of_the_devices(value, least, divisor):
    least = -(-least // divisor) * divisor
    found = _round(value, least, divisor)
    if found is None:
        assert value < least
    else:
        assert least <= found <= value
        assert found % divisor == 0


def test_devices_of_a_processor_share_its_memory():
    (device,) = jax.devices("cpu")
    assert memory_of([device]) == memory_of([device] * 8) == GIGABYTES


class Accelerator:
    platform = "gpu"

    def __init__(self, limit):
        self._limit = limit

    def memory_stats(self):
        return self._limit and {"bytes_limit": self._limit}


def test_an_accelerators_memory_is_what_it_says():
    assert memory_of([Accelerator(8e9), Accelerator(4e9)]) == 4e9
    assert memory_of([Accelerator(None)]) is None


def test_it_is_said_before_anything_is_made(tmp_path):
    huge = [*TINY, ONE, "envs=1000000000", "batch_size=1"]
    runs = [make_run(huge, run_dir=tmp_path / "run")]
    runs += [make_runs([*huge, "seeds=2"], run_dir=tmp_path / "runs")]
    for run in runs:
        with pytest.raises(ConfigError, match=r"envs=1000000000 would need"):
            run.compile()
        with pytest.raises(ConfigError, match=r"envs=1000000000 would need"):
            _ = run.state


def test_the_command_says_so_before_the_first_of_several_runs():
    done = run_script("train", "--multirun", "envs=24,1000000000")
    assert done.returncode == 1
    assert done.stderr.startswith("error: replay.capacity=20000 and envs=1000000000 would need")
