"""What is done about updates whose loss or gradients are no numbers, and what is known of them.

A NaN in one gradient is a NaN in every weight after the next step, and from there in everything.
So either such an update leaves the learner as it was, or an epoch that has one is given up and the
learner of its beginning kept; what is told of it, and whether the run goes on, is decided by
`amago_jax.runs.health`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from amago_jax.agents import Agent
from amago_jax.learning.learner import LearnerState
from amago_jax.learning.metrics import JoinedMetrics, summarize
from amago_jax.parallel import data_max
from amago_jax.types import Array, Metrics, Params, Timestep

HEALTH = "health/"  # what metrics begin with that are for `amago_jax.runs.health` alone
TELLING = ("gradient/norm", "loss/total")  # an update is good if these are numbers
# What is told of the batch of an update that is not good, as far as the agent reports it.
BATCH = ("loss/actor", "loss/critic", "value/q", "value/td_target_min", "value/td_target_max")


def module_norms(grads: Params) -> Metrics:
    """Return the norm ``[]`` of every module's gradient, by the name that metrics give it."""
    return {f"gradient/{module}": optax.tree.norm(tree) for module, tree in grads.items()}


def skip_if_not_finite(before: LearnerState, after: LearnerState, metrics: Metrics) -> LearnerState:
    """Return the learner after an update, or, if that is not good, as it was before.

    Only the count of updates goes on: loops are compiled for counters that nothing holds up. See
    `end_epoch`, which sets it right.
    """
    good = jnp.isfinite(jnp.stack([metrics[name] for name in TELLING])).all()
    return dataclasses.replace(_choose(good, after, before), updates=after.updates)


def end_epoch(
    agent: Agent,
    before: LearnerState,
    after: LearnerState,
    metrics: JoinedMetrics,
    *,
    skips: bool,
) -> tuple[LearnerState, Metrics]:
    """Judge an epoch's updates.

    Args:
        agent: the agent.
        before: the learner before them.
        after: the learner after them.
        metrics: ``[N, M]`` of N updates, `module_norms` among them.
        skips: whether updates that are not good were skipped.

    Returns:
        The learner after, or, if it is not good, the one before. And metrics, float32 ``[]`` by
        name: means over the good updates, NaN if there are none; ``updates/skipped``, how many are
        not; and under ``health/`` what tells why: ``first``, which update is the first that is not
        good, from 0, its ``loss`` and ``gradient/<module>``, and of its batch, ``batch/<metric>``,
        those of `BATCH` that are in the metrics; ``weights``, how many arrays of
        the learner held a NaN or an infinity; ``saturated``, for how many discounts PopArt scales
        less than it should.
    """
    columns = {name: metrics.values[:, i] for i, name in enumerate(metrics.names)}
    good = jnp.isfinite(jnp.stack([columns[name] for name in TELLING])).all(0)
    first, bad = good.argmin(), (~good).sum()
    arrays = [x for x in jax.tree.leaves(after) if jnp.issubdtype(x.dtype, jnp.inexact)]
    bad_arrays = jnp.stack([~jnp.isfinite(x).all() for x in arrays]).sum()
    norms = [f"gradient/{module}" for module in after.agent.params]
    summary = summarize(metrics, good)
    if not agent.detailed_metrics:
        summary = {name: x for name, x in summary.items() if name not in norms}
    if skips:
        after = dataclasses.replace(after, updates=after.updates - bad)
    kept = (bad_arrays == 0) & (skips | (bad == 0))
    return _choose(kept, after, before), {
        **summary,
        "updates/skipped": bad,
        f"{HEALTH}first": first,
        **{f"{HEALTH}{name}": columns[name][first] for name in norms},
        f"{HEALTH}loss": columns["loss/total"][first],
        **{f"{HEALTH}batch/{name}": columns[name][first] for name in BATCH if name in columns},
        f"{HEALTH}weights": bad_arrays,
        f"{HEALTH}saturated": agent.saturated(after.agent).sum(),
    }


def largest(timesteps: Timestep, axis_name: str | None) -> Metrics:
    """Return the largest finite magnitudes of what was seen, over all devices: float32 ``[]`` each.

    Args:
        timesteps: leaves ``[E, T, ...]``.
        axis_name: mesh axis over whose devices environments are split, if any.
    """
    observations = [_largest(x) for x in jax.tree.leaves(timesteps.observation)]
    both = jnp.stack([jnp.stack(observations).max(), _largest(timesteps.previous_reward)])
    observation, reward = data_max(both, axis_name)
    return {f"{HEALTH}largest_observation": observation, f"{HEALTH}largest_reward": reward}


def _largest(x: Array) -> Array:
    x = jnp.abs(x.astype(jnp.float32))
    return jnp.where(jnp.isfinite(x), x, 0.0).max(initial=0.0)


def _choose(condition: Array, learner: LearnerState, other: LearnerState) -> LearnerState:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), learner, other)
