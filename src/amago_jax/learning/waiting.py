"""Collecting before learning: epochs that add to the buffer and leave the learner alone."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from amago_jax.learning.learner import LearnerState
from amago_jax.types import Array, Metrics

Learn = Callable[[LearnerState], tuple[LearnerState, Metrics]]


def learn_if(due: Array, learn: Learn, learner: LearnerState) -> tuple[LearnerState, Metrics]:
    """Learn, or leave the learner as it is.

    Args:
        due: bool ``[]``, whether to learn, the same on every device.
        learn: returns the learner after an epoch's updates, and their metrics.
        learner: before them.

    Returns:
        What ``learn`` does; or the learner and metrics of no update: means are NaN, counts 0.
    """

    def wait(learner: LearnerState) -> tuple[LearnerState, Metrics]:
        return learner, {name: _of_nothing(shape) for name, shape in metrics.items()}

    _, metrics = jax.eval_shape(learn, learner)
    return jax.lax.cond(due, learn, wait, learner)


def _of_nothing(shape: jax.ShapeDtypeStruct) -> Array:
    real = jnp.issubdtype(shape.dtype, jnp.inexact)
    return jnp.full(shape.shape, jnp.nan if real else 0, shape.dtype)
