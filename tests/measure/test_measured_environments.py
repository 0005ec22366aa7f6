"""The speed of environments is measured and told, whichever they are."""

import pytest

import amago_jax
from amago_jax.errors import ConfigError
from amago_jax.measure.environments import benchmark_envs

TINY = ["seconds=0.001", "repeats=1"]


def benchmark(*overrides):
    return benchmark_envs(amago_jax.compose([*TINY, *overrides], "benchmark_envs"))


def test_all_copies_of_all_environments_are_timed(capsys):
    environments = "environments={tmaze/active:{},goals/maze_runner:{side:7,goals:1,limit:9}}"
    rates = benchmark("~environments", f"+{environments}", "copies=[1,4000]", "most_bytes=1e6")
    # 4,000 mazes do not fit, 4,000 corridors do.
    assert {name: set(by_copies) for name, by_copies in rates.items()} == {
        "tmaze/active": {"1", "4000"},
        "goals/maze_runner": {"1", "Python"},
    }
    assert all(rate > 0 for by_copies in rates.values() for rate in by_copies.values())
    printed = capsys.readouterr().out
    assert "| environment | 1 | 4000 | Python | times |" in printed
    maze = next(line for line in printed.splitlines() if "goals/maze_runner" in line).split(" | ")
    assert maze[2] == ""
    assert maze[3] == f"{rates['goals/maze_runner']['Python']:,.0f}"


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ("gymnax/Pendulum*", ["gymnax/Pendulum-v1"]),
        ("*/package_delivery tmaze/a*", ["goals/package_delivery", "tmaze/active"]),
    ],
)
def test_patterns_choose_environments(patterns, names, capsys):
    rates = benchmark(f"environments={patterns}", "copies=[2]")
    assert list(rates) == names
    assert all(set(by_copies) == {"2"} for by_copies in rates.values())
    lines = capsys.readouterr().out.splitlines()[-len(names) :]
    assert all(line.startswith(f"| {name} | ") for name, line in zip(names, lines, strict=True))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["environments=tmaze/pasive"], "environments='tmaze/pasive' matches no id: did you mean"),
        (["~environments", "+environments={tmaze/active:{length:3}}"], "no setting 'length'"),
    ],
)
def test_mistakes_are_named(overrides, sentence):
    with pytest.raises(ConfigError, match=sentence):
        benchmark(*overrides)
