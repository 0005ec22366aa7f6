"""Metrics joined in one array are the same numbers, each summarized in its own way."""

import jax
import jax.numpy as jnp

from amago_jax.learning.metrics import join, summarize


def test_extremes_over_updates_are_extremes():
    def step(update, x):
        metrics = {"value/x_max": x + 2, "value/x": x + 1, "value/x_min": x}
        return update + 1, join(metrics)

    _, joined = jax.lax.scan(step, 0, jnp.array([1.0, 3.0]))
    assert joined.values.shape == (2, 3)
    assert summarize(joined) == {"value/x_max": 5.0, "value/x": 3.0, "value/x_min": 1.0}
