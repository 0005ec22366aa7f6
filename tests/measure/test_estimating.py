"""An estimate is what a run holds and does, and its launches do not grow."""

import json

import jax
import pytest

import amago_jax
from amago_jax.errors import ConfigError
from amago_jax.measure.estimating import check_estimate, estimate, print_estimate
from amago_jax.measure.operations import matmul_flops
from amago_jax.measure.speed import act, learn
from amago_jax.runs.building import build
from tiny_runs import LEAST, TINY

# A buffer large enough to show beside what a process holds anyway.
TOY = [*TINY, "devices=1", "replay.capacity=2000000"]
# Launches of the toy on a CPU, as the tests compile it; other compilers fuse otherwise.
MOST_LAUNCHES = {"update": 1770, "step": 165}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The toy's estimate, with what two epochs took, and the line that was written of it."""
    output = tmp_path_factory.mktemp("estimate") / "rows.json"
    overrides = [*TOY, "measure=true", f"output={output}"]
    estimated = print_estimate(amago_jax.compose(overrides, "estimate"))
    (line,) = output.read_text().splitlines()
    return estimated, json.loads(line)


def test_the_memory_is_what_a_run_holds(found):
    estimated, _ = found
    memory = estimated.memory
    state = build(amago_jax.compose(TOY)).init(jax.random.key(0))

    def held(tree):
        return sum(x.nbytes for x in jax.tree.leaves(tree))

    assert memory["learner"] == held(state.learner)
    assert memory["replay"] == held(state.experience.replay)
    assert memory["environments"] == held(state.experience.rollout)
    assert 0 < memory["evaluation"] < memory["epoch"]
    parts = ("learner", "environments", "replay", "epoch")
    assert memory["total"] == sum(memory[name] for name in parts)
    assert 0.8 < estimated.measured / memory["total"] < 1.25
    assert estimated.fits


def test_the_operations_are_those_that_are_measured(found):
    estimated, _ = found
    trainer = build(amago_jax.compose(TOY))
    state = trainer.shapes()
    learned = matmul_flops(lambda state: learn(trainer, state), state)
    acted = matmul_flops(lambda state: act(trainer, state), state)
    assert trainer.updates * estimated.update.operations["float32"] == learned
    # What a rollout works out once is none of its steps'.
    assert 0.98 < trainer.rollout_steps * estimated.step.operations["float32"] / acted <= 1


def test_launches_do_not_grow(found):
    estimated, _ = found
    assert estimated.update.work.launches["matrix product"] > 10
    for name, most in MOST_LAUNCHES.items():
        assert getattr(estimated, name).work.total <= most, name


def test_it_is_written_as_a_line_of_json(found):
    estimated, row = found
    assert row["memory"] == dict(estimated.memory)
    assert row["measured"] == estimated.measured
    assert row["update"]["launches"] == estimated.update.work.total
    assert row["update"]["bound"] is None  # nobody has published a processor's rates


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["target=h10"], "target=h10 is unknown"),
        (["target=cpu", "measure=true"], "measure=true .* target=cpu"),
        (["target=cpu", "devices=1000"], "devices=1000 must be between 1 and"),
        (["target=cpu", "envs=0"], "envs=0 must be"),
    ],
)
def test_what_is_wrong_is_said_before_anything_compiles(overrides, said):
    with pytest.raises(ConfigError, match=said):
        check_estimate(amago_jax.compose(overrides, "estimate"))


def test_seeds_side_by_side_launch_hardly_more_than_one():
    one, three = (
        estimate(amago_jax.compose([*LEAST, "devices=1", *seeds], "estimate"))
        for seeds in ([], ["seeds=3"])
    )
    for turn in ("update", "step"):
        alone, together = getattr(one, turn), getattr(three, turn)
        assert together.work.total < 1.2 * alone.work.total
        assert together.operations["float32"] == 3 * alone.operations["float32"]
    assert three.memory["learner"] == 3 * one.memory["learner"]
    assert three.memory["replay"] == 3 * one.memory["replay"]
    assert "3 seeds side by side" in str(three)
