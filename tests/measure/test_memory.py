"""The estimate of memory is what a run holds."""

import jax

import amago_jax
from amago_jax.measure.memory import estimate_memory
from amago_jax.runs.building import build
from tiny_runs import TINY


def test_the_estimate_is_what_a_run_holds(capsys):
    # A buffer large enough to show beside what a process holds anyway.
    overrides = [*TINY, "devices=1", "replay.capacity=2000000", "measure=true"]
    config = amago_jax.compose(overrides, "estimate_memory")
    found = estimate_memory(config)
    state = build(config).init(jax.random.key(0))

    def held(tree):
        return sum(x.nbytes for x in jax.tree.leaves(tree))

    assert found["learner"] == held(state.learner)
    assert found["replay"] == held(state.experience.replay)
    assert found["environments"] == held(state.experience.rollout)
    assert found["work"] > 0
    parts = ("learner", "environments", "replay", "work")
    assert found["total"] == sum(found[name] for name in parts)
    assert 0.8 < found["measured"] / found["total"] < 1.25
    printed = capsys.readouterr().out
    assert "replay" in printed
    assert "on each of 1 devices" in printed
    assert "measured" in printed


def test_memory_grows_with_a_long_context_not_with_its_square():
    def work(length):
        overrides = [*TINY, "devices=1", f"context_length={length}", "replay.capacity=5000"]
        return estimate_memory(amago_jax.compose(overrides))["work"]

    # Scores of all pairs of timesteps would take 512 MB, ten times the rest.
    assert 3 < work(4000) / work(1000) < 5


def test_ten_thousand_steps_fit_an_accelerator():
    # Metrics would take longer to compile, and next to no memory.
    overrides = ["experiment=tmaze_10000", "devices=1", "agent.detailed_metrics=false"]
    found = estimate_memory(amago_jax.compose(overrides))
    assert found["replay"] > 3e9
    assert 10e9 < found["total"] < 40e9  # of 80 GB
