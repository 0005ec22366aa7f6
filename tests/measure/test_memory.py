"""What a program works with is the compiler's figure, and it does not grow where it must not."""

import jax

import amago_jax
from amago_jax.measure.memory import held, work
from amago_jax.parallel import arrange
from amago_jax.runs.building import build
from tiny_runs import TINY

# Metrics would take longer to compile, and next to no memory.
WITHOUT_METRICS = ["devices=1", "agent.detailed_metrics=false"]


def compiled(overrides):
    trainer = build(amago_jax.compose(overrides))
    state = trainer.shapes()
    epoch = trainer.programs.train_epoch.lower(trainer, state).compile()
    return held(state, trainer.mesh), work(epoch)


def test_memory_grows_with_a_long_context_not_with_its_square():
    def working(length):
        sizes = [f"context_length={length}", "replay.capacity=5000"]
        return compiled([*TINY, *WITHOUT_METRICS, *sizes])[1]

    # Scores of all pairs of timesteps would take 512 MB, ten times the rest.
    assert 3 < working(4000) / working(1000) < 5


def test_ten_thousand_steps_fit_an_accelerator():
    holding, working = compiled(["experiment=tmaze_10000", *WITHOUT_METRICS])
    assert holding["replay"] > 3e9
    assert 10e9 < sum(holding.values()) + working < 40e9  # of 80 GB


def test_what_is_split_is_held_in_parts():
    state = build(amago_jax.compose([*TINY, "devices=1"])).shapes()
    whole, half, seeds = (held(state, arrange(range(n), s)) for n, s in ((1, 1), (2, 1), (2, 2)))
    assert half["learner"] == whole["learner"]
    assert half["replay"] == whole["replay"] / 2
    # Leaves that lead with the axis of seeds are split along it.
    assert seeds["learner"] == whole["learner"] / 2
    assert seeds["replay"] == whole["replay"] / 2
    key = jax.eval_shape(lambda: jax.random.key(0))
    assert held(state.replace(learner=key), arrange([0]))["learner"] == 8
