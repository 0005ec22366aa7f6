"""Weights joined in vectors while learning are the weights, and take the same steps."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax import make_run
from amago_jax.agents import AgentState
from amago_jax.learning.learner import init_learner, make_optimizer
from amago_jax.learning.vectors import flatten
from tiny_runs import LEAST, on_no_mesh

shapes = st.lists(st.lists(st.integers(0, 3), max_size=3).map(tuple), max_size=4)


@settings(max_examples=20, deadline=None)
@given(actor=shapes, encoder=shapes, seed=st.integers(0, 99))
def test_what_was_joined_is_split_again(actor, encoder, seed):
    rng = np.random.default_rng(seed)

    def module(shapes):
        return {str(i): jnp.asarray(rng.normal(size=s), jnp.float32) for i, s in enumerate(shapes)}

    params = {"actor": module(actor), "encoder": module(encoder)}
    agent = AgentState(
        params=params,
        target_params={"actor": module(actor)},
        statistics={"encoder": module(encoder)},
        popart=jnp.ones(2),
    )
    state = init_learner(make_optimizer(), agent)
    # Moments that are not all zero.
    state = jax.tree.map(lambda x: x + jnp.asarray(rng.integers(5), x.dtype), state)
    joined, layout = flatten(state, elementwise=True)
    sizes = [sum(x.size for x in jax.tree.leaves(tree)) for tree in params.values()]
    clocks, moments = [()] * 2, [(size,) for size in sizes] * 2
    assert shapes_of(joined.agent.params) == moments[:2]
    assert shapes_of(joined.agent.target_params) == moments[:1]
    assert sorted(shapes_of(joined.optimizer)) == sorted(clocks + moments)
    assert shapes_of(joined.agent.statistics) == [(sizes[1],)]
    chex.assert_trees_all_equal(layout.unflatten(joined), state)


def shapes_of(tree):
    return [x.shape for x in jax.tree.leaves(tree)]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A learner after an epoch, and what an epoch more makes of it: joined, and one by one."""
    overrides = [*LEAST, "updates=4", "optimizer.warmup_updates=2", "agent.layers=2"]
    run = make_run(overrides, run_dir=tmp_path_factory.mktemp("run"))
    state, _ = run.trainer.train_epoch(run.state)
    own = jax.tree.map(lambda x: x[0], state.experience.replay)
    joined = on_no_mesh(run.trainer)
    # Optax's own kind of optimizer does not say whether it is elementwise.
    adamw = joined.optimizer
    one_by_one = optax.GradientTransformation(adamw.init, adamw.update)
    apart = dataclasses.replace(joined, optimizer=one_by_one)

    def learn(trainer):
        def after(learner, replay):
            return trainer.learn(learner, replay, jax.random.key(1))

        return jax.jit(after).lower(state.learner, own).compile()

    programs = [learn(trainer) for trainer in (joined, apart)]
    return state.learner, programs, [program(state.learner, own) for program in programs]


def test_steps_are_those_of_arrays_one_by_one(learned):
    before, _, ((found, metrics), (expected, wanted)) = learned
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(metrics, wanted, rtol=1e-3, atol=1e-6)
    for part in ("params", "target_params"):
        old, new = (getattr(learner.agent, part)["critics"] for learner in (before, found))
        moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), old, new)
        assert max(jax.tree.leaves(moved)) > 1e-6, part


def test_there_is_less_to_launch(learned):
    joined, apart = (program.as_text().count(" fusion(") for program in learned[1])
    assert 0 < joined < apart
