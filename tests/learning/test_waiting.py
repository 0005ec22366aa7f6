"""Steps are collected before learning begins: rows say so, and a resumed run goes on exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import amago_jax
from amago_jax import ConfigError
from amago_jax.learning.waiting import learn_if
from tiny_runs import LEAST

# An epoch makes at most 4 x 12 transitions, so that the second is the first to reach 50.
WAITING = [*LEAST, "learning_starts=50", "epochs=3"]


def without_times(rows):
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]


def assert_equal(found, expected):
    def check(a, b):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)

    jax.tree.map(check, found, expected)


def test_epochs_before_collect_alone_and_a_resumed_run_goes_on_exactly(tmp_path):
    run = amago_jax.make_run(WAITING, tmp_path)
    start, rows = jax.device_get(run.policy.state), []
    for row in run.epochs():
        rows.append(row)
        if row["epoch"] == 1:
            assert_equal(run.policy.state, start)
            run.save()
    assert [row["updates"] for row in rows] == [0, 3, 6]
    assert rows[0]["env_steps"] < 50 <= rows[1]["env_steps"]
    assert ["loss/total" in row for row in rows] == [False, True, True]
    assert rows[0]["updates/skipped"] == 0
    assert "evaluation/return" in rows[0]
    resumed = amago_jax.Run.resume(tmp_path)
    assert without_times(resumed.rows) == without_times(rows[:1])
    assert without_times(resumed.epochs()) == without_times(rows[1:])
    assert_equal(resumed.state, run.state)


def test_of_several_side_by_side_each_waits_for_itself():
    @jax.jit
    @jax.vmap
    def step(due, learner):
        def learn(x):
            return x + 1, {"loss/total": 2.0 * x, "updates/skipped": x.astype(jnp.int32) * 0 + 7}

        return learn_if(due, learn, learner)

    learner, metrics = step(jnp.array([False, True]), jnp.array([1.0, 10.0]))
    assert learner.tolist() == [1, 11]
    np.testing.assert_array_equal(metrics["loss/total"], [np.nan, 20])
    assert metrics["updates/skipped"].tolist() == [0, 7]


def test_a_run_that_would_never_learn_is_told_early(tmp_path):
    with pytest.raises(ConfigError, match=r"learning_starts=145 is more than the 144 timesteps"):
        amago_jax.make_run([*WAITING, "learning_starts=145"], tmp_path)
    with pytest.raises(ConfigError, match="learning_starts=-1"):
        amago_jax.make_run([*WAITING, "learning_starts=-1"], tmp_path)
