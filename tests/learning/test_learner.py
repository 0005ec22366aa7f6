"""The optimizer against written-out formulas, and gradients accumulated over batches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amago_jax import make_run
from amago_jax.learning.learner import make_optimizer
from tiny_runs import LEAST, on_no_mesh

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


def reference(gradients, weight, rate, decay, warmup, clip, interval=None):
    """AdamW on one number, step by step; returns the weight after each."""
    first = second = 0.0
    clock, weights = 0, []
    for k, gradient in enumerate(gradients):
        gradient = np.clip(gradient, -clip, clip)  # the global norm of one number
        if interval is not None and k % interval == 0:
            clock = 0
        clock += 1
        first = BETA_1 * first + (1 - BETA_1) * gradient
        second = BETA_2 * second + (1 - BETA_2) * gradient**2
        step = (first / (1 - BETA_1**clock)) / (np.sqrt(second / (1 - BETA_2**clock)) + EPSILON)
        weight -= rate * min(k / warmup, 1.0) * (step + decay * weight)
        weights.append(weight)
    return weights


@pytest.mark.parametrize("interval", [None, 3])
def test_optimizer_is_adamw_with_warmup_clipping_and_clock(interval):
    gradients = np.random.default_rng(0).normal(size=10) * 2
    optimizer = make_optimizer(
        0.1, weight_decay=0.01, warmup_updates=4, clip_norm=1.5, reset_interval=interval
    )
    weight = jnp.asarray(0.7)
    state = optimizer.init(weight)
    found = []
    for gradient in gradients:
        step, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, weight)
        weight = weight + step
        found.append(float(weight))
    wanted = reference(gradients, 0.7, 0.1, 0.01, 4, 1.5, interval)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    assert found[0] == pytest.approx(0.7)


def test_a_clock_that_never_ticks_is_refused():
    with pytest.raises(ValueError, match="reset_interval=0"):
        make_optimizer(reset_interval=0)


def test_accumulated_gradients_are_those_of_the_whole(tmp_path):
    """Two batches from a buffer that holds one window alone are twice the same batch."""
    overrides = [*LEAST, "envs=1", "batch_size=1", "env.corridor_length=10"]
    overrides += ["updates=2", "agent.critics=1"]
    run = make_run(overrides, run_dir=tmp_path)
    twice = dataclasses.replace(run.trainer, batches_per_update=2)
    state, _ = run.trainer.train_epoch(run.trainer.init(jax.random.key(0)))
    replay = jax.tree.map(lambda x: x[0], state.experience.replay)

    def learn(trainer):
        learn = on_no_mesh(trainer).learn
        return jax.jit(lambda s, k: learn(s, replay, k)[0])(state.learner, state.key)

    once, accumulated = learn(run.trainer), learn(twice)
    assert once.updates == accumulated.updates == 4
    for a, b in zip(
        jax.tree.leaves(once.agent.params), jax.tree.leaves(accumulated.agent.params), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
