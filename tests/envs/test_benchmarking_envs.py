"""The speed of environments is measured and told, whichever they are."""

import pytest

import amago_jax
from amago_jax.benchmarking_envs import benchmark_envs

TINY = ["copies=[1,3]", "total_steps=6", "least_steps=2", "repeats=1", "numpy_steps=10"]


def test_all_copies_of_all_environments_are_timed(capsys):
    environments = "environments={tmaze/active:{},goals/maze_runner:{side:7,goals:1,limit:9}}"
    config = amago_jax.compose([*TINY, "~environments", f"+{environments}"], "benchmark_envs")
    rates = benchmark_envs(config)
    assert {name: set(by_copies) for name, by_copies in rates.items()} == {
        "tmaze/active": {1, 3},
        "goals/maze_runner": {1, 3},
        "numpy": {1},
    }
    assert all(rate > 0 for by_copies in rates.values() for rate in by_copies.values())
    printed = capsys.readouterr().out
    assert "| environment | 1 | 3 |" in printed
    assert "MazeRunner in NumPy" in printed


@pytest.mark.parametrize("env_id", ["gymnax/Pendulum-v1", "goals/package_delivery"])
def test_any_one_environment_will_do(env_id, capsys):
    config = amago_jax.compose(
        [*TINY, "~environments", f"+environments={{{env_id}:{{}}}}"], "benchmark_envs"
    )
    assert set(benchmark_envs(config)) == {env_id}
    assert "NumPy" not in capsys.readouterr().out
