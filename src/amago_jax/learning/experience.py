"""What each device has of its own, and its division among another number of devices."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amago_jax.acting.rollout import RolloutState
from amago_jax.hindsight import GoalCounts
from amago_jax.learning.replay import ReplayState
from amago_jax.types import Array


@struct.dataclass
class Experience:
    """What each device has of its own; leaves have a leading axis of devices.

    Attributes:
        rollout: environments and the policy's memory of them.
        replay: the ring buffer.
        goals: how often goals were achieved; None unless hindsight asks.
    """

    rollout: RolloutState
    replay: ReplayState
    goals: GoalCounts | None = None


def spread(experience: Experience, devices: int) -> Experience:
    """Divide experience anew.

    Environments, with the policy's memory of them and their rows of the replay, keep their order.

    Args:
        experience: leaves lead with the axis of the devices that it was made on.
        devices: how many it is divided among; they divide the environments.

    Returns:
        The same, leading with the axis of ``devices``.
    """

    def divide(x: Array) -> Array:
        if x.ndim == 1:  # a count, the same on every device
            return jnp.broadcast_to(x[:1], (devices,))
        return x.reshape(devices, -1, *x.shape[2:])

    goals = experience.goals
    if goals is not None:
        # Sums of each device's own: the first has all of them.
        first = jnp.arange(devices) == 0

        def total(x: Array) -> Array:
            own = first.reshape(devices, *[1] * (x.ndim - 1))
            return jnp.where(own, x.sum(axis=0, keepdims=True), 0).astype(x.dtype)

        goals = dataclasses.replace(
            goals, totals=jax.tree.map(total, goals.totals), seen=divide(goals.seen)
        )
    return Experience(
        rollout=jax.tree.map(divide, experience.rollout),
        replay=jax.tree.map(divide, experience.replay),
        goals=goals,
    )


def place(tree: Any, like: Any) -> Any:
    """Put arrays that every process has whole where those of ``like`` lie.

    Args:
        tree: of arrays.
        like: of `jax.ShapeDtypeStruct` with a sharding, or of arrays.
    """

    def put(x: Any, target: Any) -> Array:
        if jax.process_count() == 1:
            return jax.device_put(x, target.sharding)
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            data = divided(jax.random.key_data(x), target.sharding)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
        return divided(x, target.sharding)

    def divided(x: Any, sharding: Any) -> Array:
        whole = np.asarray(x)
        return jax.make_array_from_callback(whole.shape, sharding, lambda part: whole[part])

    return jax.tree.map(put, tree, like)
