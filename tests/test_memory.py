"""The estimate of memory is what a run holds."""

import jax

import amago_jax
from amago_jax.config import build
from amago_jax.memory import estimate_memory
from tiny_runs import TINY


def test_the_estimate_is_what_a_run_holds(capsys):
    config = amago_jax.compose([*TINY, "devices=1", "replay.capacity=4000"])
    found = estimate_memory(config)
    state = build(config).init(jax.random.key(0))

    def held(tree):
        return sum(x.nbytes for x in jax.tree.leaves(tree))

    assert found["learner"] == held(state.learner)
    assert found["replay"] == held(state.experience.replay)
    assert found["environments"] == held(state.experience.rollout)
    assert found["work"] > 0
    assert found["total"] == sum(size for name, size in found.items() if name != "total")
    printed = capsys.readouterr().out
    assert "replay" in printed
    assert "on each of 1 devices" in printed


def test_a_longer_context_takes_more_to_work_with():
    def work(length):
        overrides = [*TINY, "devices=1", f"context_length={length}", "replay.capacity=500"]
        return estimate_memory(amago_jax.compose(overrides))["work"]

    # What is linear in the context doubles, attention's scores do more.
    assert 1.7 < work(400) / work(200) < 4
