"""Updates that would bring a NaN change nothing, or none of their epoch's changes is kept."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amago_jax import make_run
from amago_jax.learning.health import largest
from amago_jax.learning.metrics import JoinedMetrics, summarize
from tiny_runs import LEAST, on_no_mesh

UPDATES = 6
OVERRIDES = [*LEAST, f"updates={UPDATES}", "optimizer.warmup_updates=2", "batch_size=1"]
OVERRIDES += ["agent.popart=true", "timestep_encoder.normalize_inputs=true"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What learns from a buffer in either way, a learner, and buffers: good, in part, and bad."""
    run = make_run(OVERRIDES, run_dir=tmp_path_factory.mktemp("run"))
    state, _ = run.trainer.train_epoch(run.state)
    good = jax.tree.map(lambda x: x[0], state.experience.replay)

    def with_reward(reward, rows):
        rewards = good.timesteps.previous_reward.at[rows].set(reward)
        return good.replace(timesteps=dataclasses.replace(good.timesteps, previous_reward=rewards))

    def learn(skips):
        trainer = dataclasses.replace(on_no_mesh(run.trainer), skip_not_finite=skips)
        return jax.jit(lambda learner, replay, key: trainer.learn(learner, replay, key))

    replays = {
        "good": good,
        "part": with_reward(jnp.nan, slice(0, 2)),
        "bad": with_reward(1e30, slice(None)),
    }
    return learn(True), learn(False), state.learner, replays


def clock(learner):
    return {int(x) for x in jax.tree.leaves(learner.optimizer) if x.dtype == jnp.int32}


def test_bad_updates_change_nothing_and_are_counted(trained):
    skip, _, learner, replays = trained
    after, metrics = skip(learner, replays["bad"], jax.random.key(0))
    chex.assert_trees_all_equal(after, learner)
    assert metrics["updates/skipped"] == UPDATES
    assert metrics["health/first"] == 0
    assert metrics["health/loss"] == jnp.inf
    assert not np.isfinite(metrics["health/gradient/critics"])
    assert np.isnan(metrics["loss/total"])


def test_good_updates_between_bad_ones_are_taken(trained):
    skip, _, learner, replays = trained
    after, metrics = skip(learner, replays["part"], jax.random.key(0))
    skipped = int(metrics["updates/skipped"])
    assert 0 < skipped < UPDATES
    chex.assert_tree_all_finite(after)
    assert int(after.updates) == int(learner.updates) + UPDATES - skipped
    assert clock(after) == {int(after.updates)}
    assert int(after.agent.popart.moments.steps) == int(after.updates) + 1
    assert np.isfinite(metrics["loss/total"])


def test_an_epoch_with_a_bad_update_is_given_up_where_none_is_skipped(trained):
    _, stop, learner, replays = trained
    after, metrics = stop(learner, replays["part"], jax.random.key(0))
    chex.assert_trees_all_equal(after, learner)
    assert metrics["updates/skipped"] > 0


def test_good_epochs_are_the_same_in_either_way(trained):
    skip, stop, learner, replays = trained
    (one, metrics), (other, _) = (
        f(learner, replays["good"], jax.random.key(0)) for f in (skip, stop)
    )
    chex.assert_trees_all_close(one, other, rtol=1e-5, atol=1e-7)
    assert metrics["updates/skipped"] == 0
    assert int(one.updates) == int(other.updates) == int(learner.updates) + UPDATES


def test_weights_that_are_not_finite_are_told(trained):
    _, stop, learner, replays = trained
    actor = jax.tree.map(lambda x: jnp.full_like(x, jnp.inf), learner.agent.target_params["actor"])
    targets = {**learner.agent.target_params, "actor": actor}
    broken = learner.replace(agent=learner.agent.replace(target_params=targets))
    _, metrics = stop(broken, replays["good"], jax.random.key(0))
    assert metrics["health/weights"] > 0


def test_only_what_was_taken_is_summarized():
    joined = JoinedMetrics(jnp.array([[1.0, 5.0], [jnp.nan, 9.0], [3.0, 7.0]]), ("x", "y_max"))
    assert summarize(joined, jnp.array([True, False, True])) == {"x": 2.0, "y_max": 7.0}
    nothing = summarize(joined, jnp.zeros(3, bool))
    assert all(np.isnan(value) for value in nothing.values())


def test_the_largest_finite_magnitudes_are_found(trained):
    *_, replays = trained
    timesteps = replays["good"].timesteps
    rewards = timesteps.previous_reward.at[0, 0].set(-7e5).at[1, 0].set(-jnp.inf)
    observation = jax.tree.map(lambda x: x.at[0].set(3), timesteps.observation)
    seen = largest(
        dataclasses.replace(timesteps, previous_reward=rewards, observation=observation), None
    )
    assert seen == {"health/largest_observation": 3.0, "health/largest_reward": 7e5}
